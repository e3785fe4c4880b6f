// From the gradients of this rank's examples to new weights: sum over the ranks, clip,
// AdamW, moving averages.
//
// gradient_sum.hpp decides how gradients are summed, and whether a rank updates all weights or a
// part of them.
//
//     for (const Piece& piece : update.start(local)) {
//       update.begin(piece);
//       (loss(piece) * update.loss_scale().value()).backward();
//       update.end(piece);
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
#include "framework/optim/adamw.hpp"
#include "framework/optim/ema.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/optim/loss_scale.hpp"
#include "framework/train/gradient_sum.hpp"
#include "framework/train/state_buffer.hpp"

namespace scorenet::train {

/// The moving averages that a config asks for.
std::vector<optim::EmaProfile> ema_profiles_of(const config::EmaConfig& config);

class Update {
 public:
  /// All arguments but the config must outlive this. plan: the one that gave `parameters` its
  /// layout. Throws ConfigError as AdamW and CanonicalSum do.
  Update(const config::Config& config, optim::FlatParameters& parameters, const GradientPlan& plan,
         comm::Communicators& comms);

  /// Zeroes the gradients. Returns the pieces in which to compute this rank's `local` examples.
  std::vector<Piece> start(int64_t local);
  /// Before and after the backward pass of a piece.
  void begin(const Piece& piece);
  void end(const Piece& piece);
  /// After the last piece: waits for the sum over all ranks and returns its norm, without the
  /// loss's scale. Collective.
  double finish();
  /// AdamW with clipping, then the averages; afterwards every rank has all weights.
  /// Collective if sharded.
  void step(double learning_rate, double norm, const optim::EmaMoment& moment);

  /// The same for a device that the host does not wait for (device_step.hpp), if
  /// runs_on_device(). sum_on_device(): after the last piece. settle(): throws the errors of the
  /// sum. Both collective.
  bool runs_on_device() const { return sum_->runs_on_device(); }
  /// started: backward has begun to send (begin(), end()); otherwise all is sent now.
  void sum_on_device(bool started);
  void settle() { sum_->settle(); }
  /// Of what this rank's optimiser works on, without the loss's scale. If norms_are_parts() the
  /// whole norm is the root of the sum of all ranks' squares.
  torch::Tensor norm_on_device() const;
  bool norms_are_parts() const { return sum_->is_sharded(); }
  /// average_shares: (profiles) float32, average_shares(moment) on the device. step: without
  /// gradient_scale, which is known here.
  void step(optim::AdamW::DeviceStep step, const torch::Tensor& average_shares);
  /// After it: all ranks have all weights. Collective.
  void share_weights_on_device() { sum_->after_update_on_device(); }
  std::vector<double> average_shares(const optim::EmaMoment& moment) const {
    return ema_.shares(moment);
  }
  /// The pieces of a share without any traffic: for a recorded backward pass.
  std::vector<Piece> start_silent(int64_t local);

  /// The factor on the loss before backward; 1 unless train.precision = fp16.
  const optim::LossScale& loss_scale() const { return loss_scale_; }
  /// Call it once a step, after step() or in its place, with the same value on all ranks.
  void adapt_loss_scale(bool overflowed);
  /// A device's own scale. It decides as report_of() does, a step before the host hears of it;
  /// take_loss_scale(): in a pause, the device takes what the host has.
  const optim::LossScaleOnDevice& loss_scale_on_device() const { return scale_on_device_; }
  void adapt_loss_scale_on_device(const torch::Tensor& not_finite);
  void take_loss_scale();

  /// True if, for 10 consecutive steps, rank zero's buckets became ready out of launch order: then
  /// all ranks should observe the order again, in the same step. Call it once a step.
  bool wants_new_order();
  void observe_order_again();

  /// Of the last step's traffic; zeros under canonical.
  const reduce::ReducerStats& traffic() const { return sum_->reducer().stats(); }
  const reduce::GradientReducer& reducer() const { return sum_->reducer(); }

  const std::vector<optim::EmaProfile>& ema_profiles() const { return ema_.profiles(); }
  /// The i-th average with the layout of the parameters. Collective if sharded.
  torch::Tensor average(size_t i) const;

  /// Where this rank's part of sharded buffers lies in the whole; empty: nothing is sharded.
  std::vector<reduce::OwnedRange> owned() const { return sum_->owned(); }
  /// What a checkpoint holds besides the weights.
  std::vector<StateBuffer> buffers() const;
  std::vector<StateTensor> tensors() const;
  /// The whole buffer, with the layout of the parameters. Collective.
  torch::Tensor whole(const StateBuffer& buffer) const;
  /// Copies this rank's part of `whole` into the buffer.
  void keep(const StateBuffer& buffer, const torch::Tensor& whole) const;

 private:
  StateBuffer::Kind kind_of_moments() const;

  int64_t micro_batch_;
  comm::Communicators& comms_;
  std::unique_ptr<GradientSum> sum_;
  optim::AdamW optimizer_;
  optim::EmaSet ema_;
  optim::LossScale loss_scale_;
  optim::LossScaleOnDevice scale_on_device_;
  int out_of_order_ = 0;  // consecutive steps
};

}  // namespace scorenet::train
