// The sum of all ranks' gradients, and which rank updates which weights. Three siblings with
// the same interface:
//
//     AllReducedSum   all-reduce in buckets while backward runs       the usual one, which
//                                                                     comm.compression may shrink
//     ShardedSum      reduce-scatter in buckets while backward runs   train.shard_optimizer
//     CanonicalSum    virtual shards, summed by one fixed tree        comm.canonical
//
// Sharded, each rank keeps and updates its part of the weights, moments and averages
// (ZeRO stage 1). Canonical, the bits are the same at any rank count.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/optim/adamw.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "framework/reduce/shards.hpp"
#include "framework/train/gradient_plan.hpp"

namespace scorenet::train {

/// Examples [first, first + count) of a rank's share, computed at once.
struct Piece {
  int64_t first = 0;
  int64_t count = 0;
  bool starts_sum = false;  // of a virtual shard or of the share
  bool ends_sum = false;
};

/// Cuts `local` examples into `sums` equal stretches and each of those into pieces of at most
/// `micro` (0: any number). Nothing for local = 0.
std::vector<Piece> cut_share(int64_t local, int64_t sums, int64_t micro);

class GradientSum {
 public:
  virtual ~GradientSum() = default;

  /// Equal stretches of a rank's share that are summed one by one.
  virtual int64_t stretches() const { return 1; }
  /// Before and after the backward pass of a piece.
  virtual void begin(const Piece& piece) { reducer().begin(piece.ends_sum); }
  virtual void end(const Piece& /*piece*/) {}
  /// After the last piece: waits for the sum over all ranks (sharded: for this rank's part of it).
  /// Collective.
  virtual void finish() { reducer().finish(); }
  /// As finish(), for work that the device is given from now on (reduce::GradientReducer).
  void finish_on_device() { reducer().finish_on_device(); }
  /// Whether finish_on_device() may be used: no step on the way needs the host.
  virtual bool runs_on_device() const { return false; }
  /// The norm of the whole sum, from that of target()'s gradient. Collective if sharded.
  virtual double whole_norm(double own) const { return own; }

  /// What this rank's optimiser works on.
  virtual optim::AdamWTarget target() const = 0;
  /// target()'s weights, of which this rank keeps averages.
  virtual torch::Tensor weights() const = 0;
  /// Before the optimiser's step: copies the parameters' current values into weights().
  virtual void before_update() {}
  /// After it: all ranks have all weights. Collective if sharded.
  virtual void after_update() {}
  /// As after_update(), for what the device is given from now on. settle() waits for it and throws
  /// its errors.
  virtual void after_update_on_device() {}
  virtual void settle() { reducer().settle(); }

  /// Whether this rank's moments and averages are a part of the whole.
  virtual bool is_sharded() const { return false; }
  /// Which part: empty unless is_sharded().
  virtual std::vector<reduce::OwnedRange> owned() const { return {}; }
  /// All of a buffer that is laid out as target()'s values, with the layout of the parameters.
  /// Collective if sharded.
  virtual torch::Tensor whole(const torch::Tensor& own, const std::string& /*tag*/) const {
    return own;
  }
  /// Copies this rank's part of `whole` into `own`. If nothing is sharded the two are the same
  /// tensor and nothing is done.
  virtual void keep(const torch::Tensor& /*own*/, const torch::Tensor& /*whole*/) const {}

  virtual reduce::GradientReducer& reducer() = 0;
};

/// The sibling that the config asks for; with one rank nothing is sharded. All arguments but the
/// config must outlive the result. Throws ConfigError as reduce::CanonicalSum does.
std::unique_ptr<GradientSum> make_gradient_sum(const config::Config& config,
                                               optim::FlatParameters& parameters,
                                               const GradientPlan& plan,
                                               comm::Communicators& comms);

}  // namespace scorenet::train
