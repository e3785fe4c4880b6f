// Decides, once before training, where each weight lies in the flat buffers and which gradients
// travel together.
//
// A rehearsal on one example shows the order in which backward makes the gradients. Rank zero's
// order becomes the layout on all ranks. So buckets become complete one after the other, for any
// order of registration. With comm.bucket_mb = 0 the caps are those that the step model
// (perf/step_model.hpp) finds best for the measured link and backward pass.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm/make_communicator.hpp"
#include "framework/perf/step_model.hpp"
#include "framework/reduce/bucket_plan.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::train {

struct GradientPlan {
  reduce::FlatLayout layout;
  std::vector<reduce::Bucket> buckets;
  reduce::BucketCaps caps;
  std::string reason;  // why these caps: "given", "chosen for ..."
};

/// Collective; equal on all ranks, which must have the same model. A parameter that gets no
/// gradient lies last.
GradientPlan plan_gradients(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                            comm::Communicators& comms);

/// "14 buckets of at most 4 MiB (given), all-reduced": one line for the start of a log.
std::string describe(const GradientPlan& plan, const config::Config& config);

/// One forward and backward pass on `batch` examples of noise, timed.
struct Rehearsal {
  double forward_s = 0;
  double backward_s = 0;
  std::vector<int64_t> order;  // parameters as their gradients were ready; those without one last
  // since backward began, in the order of `order`; those without one: its end
  std::vector<double> ready_s;
};

/// Leaves the parameters without gradients. Computes on this rank alone.
Rehearsal rehearse(const score::ScoreModel& model, c10::IntArrayRef example_shape, int64_t batch);

/// The rehearsal in the form of the step model: parameters in an order whose reverse is
/// the observed one.
perf::StepCosts step_costs(const Rehearsal& rehearsal, const std::vector<int64_t>& sizes,
                           double optimizer_s);

/// Latency and bandwidth of the gradients' link, from all-reduces of several sizes in the device's
/// memory. Collective.
perf::LinkModel measure_link(comm::Communicators& comms, torch::Device device);

}  // namespace scorenet::train
