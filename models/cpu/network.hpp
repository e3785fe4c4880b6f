// The U-Net as the CPU executor runs it: the list of layers, and the place of every activation.
//
// A network is planned once for each size of image (plan_network.cpp). An arena holds all
// activations of an image one behind the other, and another arena all gradients; a batch has as
// many of both as it has images. Concatenation costs nothing: both tensors that meet at a skip
// connection are written as slices of the joined one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "models/cpu/arena.hpp"
#include "models/cpu/attention.hpp"
#include "models/cpu/convolution.hpp"
#include "models/cpu/group_norm.hpp"
#include "models/cpu/view.hpp"
#include "models/options.hpp"

namespace scorenet::models::cpu {

/// Where an image with its border, or some of its channels, is in an arena; or the same image
/// rounded to bfloat16.
struct Place {
  int64_t first = 0;  // floats from the arena's start to pixel (0, 0), or to the rounding
  int64_t step = 0;
  int64_t row = 0;
  int64_t channels = 0;
  Area area;
  bool rounded = false;

  Place slice(int64_t from, int64_t count) const {
    Place p = *this;
    p.first += from;
    p.channels = count;
    return p;
  }
};

/// The arenas of some images.
struct Window {
  float* first = nullptr;
  int64_t image = 0;  // floats of one image's arena
  /// REQUIRES that the place is not rounded.
  View view(const Place& p) const {
    return {first + p.first, p.step, p.row, image, p.channels, p.area};
  }
  Operand operand(const Place& p) const {
    if (!p.rounded) return view(p);
    const View size{nullptr, 0, 0, 0, p.channels, p.area};
    return {size, reinterpret_cast<Bf16*>(first + p.first), 2 * image};
  }
};

/// What the layers need to run over some images. Arrays hold the images one behind the other.
struct Pass {
  int64_t images = 0;
  Window values;
  const std::vector<const float*>* parameters = nullptr;
  const float* packed = nullptr;
  double* statistics = nullptr;  // (images, statistics_of_image)
  int64_t statistics_of_image = 0;
  float* shifts = nullptr;  // (images, shifts_of_image): what the noise level adds
  int64_t shifts_of_image = 0;
  const uint8_t* masks = nullptr;  // (images, masks_of_image): what dropout keeps; null: all
  int64_t masks_of_image = 0;
  float mask_factor = 1;

  // For the backward pass:
  Window gradients;
  const float* packed_backward = nullptr;
  float* shift_gradients = nullptr;  // as shifts
  float* sums = nullptr;             // where gradients of weights are added; null: not wanted
  bool first_of_sums = false;        // nothing has been added yet
  double* vectors = nullptr;         // where those of biases and norms are added; null as sums
  bool input_wanted = false;         // the gradient of the network's input
};

/// The mask of a residual block's dropout: where it begins among an image's masks, and its size.
struct DropoutMask {
  int64_t first = 0;
  int64_t channels = 0;
  Area area;
};

class Layer;
struct PlacedConvolution;
struct PlacedNorm;

class Network {
 public:
  /// For images of in_channels and size `area`, whose sides every level halves. arithmetic: that of
  /// the convolutions. Throws as UNet does.
  Network(const UNetOptions& options, int64_t in_channels, int64_t out_channels, Area area,
          Arithmetic arithmetic);
  ~Network();

  /// The names in UNet of the parameters that a pass is given, in its order.
  const std::vector<std::string>& parameters() const { return names_; }

  // Sizes, of one image or of the network, in numbers.
  int64_t value_floats() const { return values_; }
  int64_t gradient_floats() const { return gradients_; }
  int64_t statistics() const { return statistics_; }
  int64_t shifts() const { return shifts_; }
  int64_t mask_bytes() const { return mask_bytes_; }
  /// In the order of the network's residual blocks.
  const std::vector<DropoutMask>& masks() const { return masks_; }
  int64_t packed_floats() const { return packed_; }
  int64_t packed_backward_floats() const { return packed_backward_; }
  int64_t sum_floats() const { return sums_; }
  int64_t vector_numbers() const { return vectors_; }
  int64_t time_channels() const;
  /// Sums of weights' gradients are so large that they should exist once: threads share each layer.
  bool has_many_weights() const;
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }
  /// Indices of the parameters whose gradients are whole once backward has left that layer. Those
  /// of the noise level's projection, which all residual blocks read, are the first layer's.
  const std::vector<int64_t>& parameters_of(int64_t layer) const {
    return parts_[static_cast<size_t>(layer)].parameters;
  }

  void pack(const std::vector<const float*>& parameters, float* packed) const;
  void pack_backward(const std::vector<const float*>& parameters, float* packed) const;
  void pack_both(const std::vector<const float*>& parameters, float* packed,
                 float* packed_backward) const;

  const Place& input() const { return input_; }
  const Place& output() const { return output_; }
  const Place& input_gradient() const { return input_gradient_; }
  const Place& output_gradient() const { return output_gradient_; }

  /// time: (images, time_channels()). Writes pass.shifts.
  void project_time(const Pass& pass, float* time) const;
  void forward(const Pass& pass) const;
  /// From the output's gradient, through all layers, or through one, which must be the next.
  void backward(const Pass& pass) const;
  void backward(const Pass& pass, int64_t layer) const;
  /// time_gradient: (images, whole blocks of time_channels()). Its sums are not added to others.
  void project_time_backward(const Pass& pass, float* time, float* time_gradient) const;
  /// From the sums of all passes. Of `gradients`, one a parameter, those of parameters_of(layer)
  /// are overwritten; the others may be null.
  void write_gradients(int64_t layer, const float* sums, const double* vectors,
                       const std::vector<float*>& gradients) const;

 private:
  friend class Planner;

  // What has its gradients when backward has left a layer.
  struct LayerParts {
    std::vector<const PlacedConvolution*> convolutions;
    std::vector<const PlacedNorm*> norms;
    std::vector<int64_t> parameters;
  };

  Arenas scratch_;
  std::vector<std::string> names_;
  std::deque<PlacedConvolution> convolutions_;  // layers point to these
  std::deque<PlacedNorm> norms_;
  const PlacedConvolution* time_ = nullptr;  // from the noise level's embedding to all shifts
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<LayerParts> parts_;  // of each layer
  std::vector<DropoutMask> masks_;
  Place input_, output_, input_gradient_, output_gradient_;
  int64_t values_ = 0, gradients_ = 0, statistics_ = 0, shifts_ = 0;
  int64_t packed_ = 0, packed_backward_ = 0, sums_ = 0, vectors_ = 0, mask_bytes_ = 0;
};

}  // namespace scorenet::models::cpu
