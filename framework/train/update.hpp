// From the gradients of this rank's examples to new weights: sum over the ranks, clip, AdamW, moving averages.
//
// Three ways to the sum, the same to whoever calls:
//     all-reduce in buckets while backward runs      the usual one; may be compressed on the way (comm.compression)
//     reduce-scatter in buckets while backward runs  train.shard_optimizer: each rank keeps and updates its part of the
//                                                    weights' moments and averages (ZeRO stage 1, reduce/shards.hpp)
//     virtual shards and one fixed tree              comm.canonical: the same bits at any rank count (canonical_sum.hpp)
//
//     for (const Piece& piece : update.start(local)) {
//       loss(piece); update.begin(piece); (loss * update.loss_scale().value()).backward(); update.end(piece);
//     }
//     const double norm = update.finish();
//     if (finite everywhere) update.step(learning_rate, norm, moment);
//     update.adapt_loss_scale(overflowed);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/reduce/canonical_sum.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "framework/reduce/shards.hpp"
#include "framework/train/adamw.hpp"
#include "framework/train/ema.hpp"
#include "framework/train/flat_parameters.hpp"
#include "framework/train/gradient_plan.hpp"
#include "framework/train/loss_scale.hpp"

namespace scorenet::train {

/// Examples [first, first + count) of a rank's share, computed at once.
struct Piece {
  int64_t first = 0;
  int64_t count = 0;
  bool starts_sum = false;  // of a virtual shard or of the share
  bool ends_sum = false;
};

/// Cuts `local` examples into `sums` equal stretches and each of those into pieces of at most `micro` (0: any number).
/// Nothing for local = 0.
std::vector<Piece> cut_share(int64_t local, int64_t sums, int64_t micro);

/// A buffer of the state, as a checkpoint sees it: whatever lies on which rank, whole() and keep() speak of all of it.
struct StateBuffer {
  enum class Kind { replicated, sharded, summed };
  std::string file;    // "optimizer.safetensors"
  std::string prefix;  // before a parameter's name: "adamw.first_moment."
  torch::Tensor values;
  Kind kind = Kind::replicated;
  bool optional = false;  // a checkpoint without it is complete
};

/// A tensor of any shape that is equal on all ranks.
struct StateTensor {
  std::string file;
  std::string name;
  torch::Tensor values;
  bool optional = false;
};

/// The moving averages that a config asks for.
std::vector<EmaProfile> ema_profiles_of(const config::EmaConfig& config);

class Update {
 public:
  /// All arguments but the config must outlive this; `plan` is the one that `parameters` was laid out by.
  /// Throws ConfigError as AdamW and CanonicalSum do.
  Update(const config::Config& config, FlatParameters& parameters, const GradientPlan& plan,
         comm::Communicators& comms);

  /// Zeroes the gradients; the pieces in which to compute this rank's `local` examples.
  std::vector<Piece> start(int64_t local);
  /// Before and after the backward pass of a piece.
  void begin(const Piece& piece);
  void end(const Piece& piece);
  /// After the last piece: waits for the sum over all ranks and returns its norm, without the loss's scale. Collective.
  double finish();
  /// AdamW with clipping, then the averages; afterwards every rank has all weights. Collective if sharded.
  void step(double learning_rate, double norm, const EmaMoment& moment);

  /// What the loss is to be multiplied by before backward; 1 unless train.precision = fp16.
  const LossScale& loss_scale() const { return loss_scale_; }
  /// Once a step, after step() or in its place; the same on all ranks.
  void adapt_loss_scale(bool overflowed);

  /// Whether rank zero has seen, for some steps on end, buckets that the order of launch kept waiting: then all ranks
  /// should observe the order again, in the same step. To be asked once a step.
  bool wants_new_order();
  void observe_order_again();

  /// Of the last step's traffic; zeros under canonical.
  const reduce::ReducerStats& traffic() const { return reducer_.stats(); }
  const reduce::GradientReducer& reducer() const { return reducer_; }

  const std::vector<EmaProfile>& ema_profiles() const { return ema_.profiles(); }
  /// The i-th average with the layout of the parameters. Collective if sharded.
  torch::Tensor average(size_t i) const;

  /// What a checkpoint holds besides the weights.
  std::vector<StateBuffer> buffers() const;
  std::vector<StateTensor> tensors() const;
  /// All of a buffer, with the layout of the parameters; the buffer itself where it is whole. Collective.
  torch::Tensor whole(const StateBuffer& buffer) const;
  /// Takes up what belongs to this rank of `whole`.
  void keep(const StateBuffer& buffer, const torch::Tensor& whole) const;

 private:
  AdamWTarget target() const;

  const config::Config config_;
  FlatParameters& parameters_;
  comm::Communicators& comms_;
  std::unique_ptr<reduce::Shards> shards_;           // sharded
  torch::Tensor part_, part_gradient_;               // sharded: this rank's
  std::unique_ptr<reduce::CanonicalSum> canonical_;  // canonical
  reduce::GradientReducer reducer_;
  AdamW optimizer_;
  EmaSet ema_;
  LossScale loss_scale_;
  int out_of_order_ = 0;  // steps on end
};

}  // namespace scorenet::train
