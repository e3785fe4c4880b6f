// The U-Net of DDPM (Ho et al. 2020, 2006.11239, appendix B) for images of any size, and for series
// and volumes.
//
// Modules, their names, order and constants are those of diffusers' UNet2DModel, so a state dict of
// the one is a state dict of the other (conv_in, time_embedding, down_blocks.i.resnets.j,
// .attentions.j, .downsamplers.0, mid_block, up_blocks, conv_norm_out, conv_out). What differs: the
// noise level comes as log-SNR (embedding.hpp), class embeddings have one more row that means "no
// label", and sizes that no level can halve are padded and cropped.
#pragma once

#include <vector>

#include "models/cpu/executor.hpp"
#include "models/score_network.hpp"
#include "models/unet_encoder.hpp"

namespace scorenet::models {

class UNetImpl : public ScoreNetwork {
 public:
  /// For examples of `image_channels` channels and `axes` axes, 1 to 3. Throws ConfigError naming
  /// the key and value that do not fit.
  UNetImpl(const UNetOptions& options, int64_t image_channels, int64_t axes = 2);

  /// x: (B, image_channels, ...) of any sizes. Throws ShapeError for another number of dimensions
  /// or channels, ConfigError for labels given to an unconditional network.
  torch::Tensor forward(const NetworkInput& input) override;

 private:
  void build_up(const UNetOptions& options);
  // From what encoder_.prepared() gives to the output, by the layers one after the other, or by
  // the executor.
  torch::Tensor by_layers(const torch::Tensor& in, const BlockContext& context);
  torch::Tensor by_executor(const torch::Tensor& in, const BlockContext& context);
  torch::Tensor output_layer_padded(const torch::Tensor& h);
  torch::Tensor output_layer_channels_last(const torch::Tensor& h);

  UNetEncoder encoder_;
  cpu::Executor executor_;
  std::vector<Stage> up_blocks_;
  torch::nn::GroupNorm conv_norm_out_{nullptr};
  Convolution conv_out_{nullptr};
};
TORCH_MODULE(UNet);

}  // namespace scorenet::models
