// A call of a network as recordings see it: its tensors, and what makes two calls of one shape.
#pragma once

#include <torch/types.h>

#include <array>
#include <functional>
#include <tuple>
#include <vector>

#include "models/conditions.hpp"

namespace scorenet::score {

/// The input of an evaluation, all on the network's device.
struct NetworkCall {
  torch::Tensor x;        // (B, ...), float32
  torch::Tensor log_snr;  // (B)
  models::Conditions given;

  /// The same with every tensor mapped; undefined ones stay so.
  template <typename F>
  NetworkCall mapped(const F& f) const {
    return {f(x), f(log_snr), given.mapped(f)};
  }
};

using Evaluate = std::function<torch::Tensor(const NetworkCall&)>;

/// Of x without its batch, its and the level's types, the type that the network computes in, and
/// which conditions are given.
using CallKind = std::tuple<std::vector<int64_t>, torch::Dtype, torch::Dtype, std::array<bool, 5>>;

/// Calls before a shape is recorded: what is asked for once or twice is not worth it.
constexpr int64_t kEagerCalls = 2;

CallKind kind_of(const NetworkCall& call, torch::Dtype compute_dtype);

/// Copies now's B rows over the first B of kept's.
void refill(const NetworkCall& kept, const NetworkCall& now);

}  // namespace scorenet::score
