// Activations that are computed twice and not kept (Chen et al. 2016, 1604.06174): for networks
// whose activations do not fit into memory.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

namespace scorenet::models {

/// A part of a network: a function of its inputs and of parameters that it knows.
using Segment = std::function<torch::Tensor(const std::vector<torch::Tensor>& inputs)>;

/// segment(inputs), with the same bits. Of what lies between, nothing is kept: the backward pass
/// computes the segment again, in the same precision. Gradients have the same bits, too, if an
/// input that the segment uses twice is given twice, the use whose gradient comes first in front:
/// else the two are added up before what comes from outside. There are derivatives of all orders.
/// `parameters`: all that the segment reads beside its inputs and that may need a gradient. The
/// segment must give the same result each time, and what it refers to must outlive the backward
/// pass.
torch::Tensor recomputed(const Segment& segment, const std::vector<torch::Tensor>& inputs,
                         const std::vector<torch::Tensor>& parameters);

}  // namespace scorenet::models
