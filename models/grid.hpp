// Grids of one, two or three axes: their boundaries, and the convolutions over them.
//
// Every network of examples (C, L), (C, H, W) or (C, D, H, W) is made of these layers, so that it
// is written once. A periodic axis (an angle, a longitude, a box, a lattice) is closed to a ring:
// what leaves at one end enters at the other.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <string>
#include <vector>

namespace scorenet::models {

enum class Boundary { zeros, periodic };

/// One an axis, in the order of the example's shape; their number is that of the axes.
using Boundaries = std::vector<Boundary>;

/// Reads the config key model.padding: one name for all `axes`, or one name an axis. Throws
/// ConfigError that lists the names, or says how many were expected.
Boundaries boundaries_of(const std::vector<std::string>& padding, int64_t axes);

/// Whether this is an image bounded by zeros: what the special kernels are made for.
bool is_plain_image(const Boundaries& boundaries);

/// Throws ConfigError, naming the axis, where a periodic axis of `sizes` is no multiple of
/// `multiple`: it cannot be padded without being torn. `why`: what asks for it.
void check_rings(const Boundaries& boundaries, c10::IntArrayRef sizes, int64_t multiple,
                 const std::string& why);

/// x (B, C, ...) with `before` and `after` more places on each axis: zeros, or the ring's other
/// end. REQUIRES both to be at most the size of every periodic axis.
torch::Tensor extended(const torch::Tensor& x, const Boundaries& boundaries, int64_t before,
                       int64_t after);

/// x (B, C, ...) with zeros behind each axis up to a multiple of `multiple`.
torch::Tensor padded_to_multiple(const torch::Tensor& x, int64_t multiple);
/// The first sizes[i] places of each axis behind the second.
torch::Tensor cropped(const torch::Tensor& x, c10::IntArrayRef sizes);

/// Throws ShapeError unless x is (B, channels, ...) with `axes` axes. network: for the message.
void check_input(const char* network, const torch::Tensor& x, int64_t channels, size_t axes);

/// (B, C) -> (B, C, 1, ...) with `dim` dimensions.
torch::Tensor as_shift(const torch::Tensor& per_channel, int64_t dim);

/// x (B, C, ...) with every place repeated, each axis becoming twice as long.
torch::Tensor doubled(const torch::Tensor& x);

/// x (B, C, ...) with each axis, an even one, half as long: means of neighbours.
torch::Tensor halved(const torch::Tensor& x);

struct ConvolutionOptions {
  int64_t in = 0, out = 0;  // channels
  int64_t size = 3;         // of the kernel along each axis
  int64_t stride = 1;
  int64_t padding = 1;  // places in front of and behind each axis
  Boundaries boundaries = Boundaries(2);
};

/// A convolution with a bias. Its parameters have the names and shapes of LibTorch's Conv1d to
/// Conv3d: weight (out, in, size, ...), bias (out).
class ConvolutionImpl : public torch::nn::Module {
 public:
  explicit ConvolutionImpl(const ConvolutionOptions& options);
  /// (B, in, ...) -> (B, out, ...).
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight;
  torch::Tensor bias;

 private:
  ConvolutionOptions options_;
};
TORCH_MODULE(Convolution);

}  // namespace scorenet::models
