// A small training on a GPU, for tests of its step.
#pragma once

#include <ATen/Context.h>

#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {

// Without attention, whose fused backward pass adds in any order.
inline config::Config images_config(const std::string& more) {
  config::Config config = config::parse_text(
      "[model]\ntype = \"unet\"\nchannels = [16, 32]\nnorm_groups = 8\ndropout = 0.1\n"
      "attention = [false, false]\n"
      "[train]\nbatch_size = 12\nsteps = 100\nwarmup_steps = 1\nlearning_rate = 0.001\n"
      "micro_batch = 8\n[ema]\ndecays = [0.5]\n" +
          more,
      "device_step_gpu_test");
  config.model.unet.mid_attention = false;
  return config;
}

struct Training : public Learner {
  Training(const config::Config& config, torch::Device device, comm::Communicators& comms)
      : Learner(
            [&] {
              auto built = score::build_model(config, {3, 16, 16}, device);
              const std::string& precision = config.train.precision;
              if (precision == "bf16") built.compute_dtype = torch::kBFloat16;
              if (precision == "fp16") built.compute_dtype = torch::kFloat16;
              return built;
            }(),
            /*levels=*/256, comms),
        share(data::shard(12, comms.host->rank(), comms.host->size())) {
    // Its search may choose another kernel in every thread: each training here has its own.
    at::globalContext().setBenchmarkCuDNN(false);
  }

  // This rank's share of 24 images in turns; pixels are a function of their number.
  std::optional<StepReport> run(int64_t k) {
    data::LoadedBatch loaded;
    loaded.step = k;
    loaded.slots = share;
    loaded.batch.indices = slot_range(k % 2 * 12 + share.begin, share.size());
    loaded.batch.examples = (torch::arange(12 * 768) * (31 + k % 2))
                                .remainder(256)
                                .to(torch::kUInt8)
                                .view({12, 3, 16, 16})
                                .narrow(0, share.begin, share.size());
    const torch::Tensor numbers = torch::sin(torch::arange(12 * 768))
                                      .view({12, 3, 16, 16})
                                      .narrow(0, share.begin, share.size());
    if (model.config.data.augment > 0) loaded.augment = numbers.flatten(1).narrow(1, 0, 9);
    if (!model.config.data.missing.empty()) loaded.batch.observed = numbers < 0.9;
    if (!model.config.conditions.empty()) loaded.batch.numbers = numbers.flatten(1).narrow(1, 9, 2);
    // Its square is no finite number; the weight itself is.
    if (spoil == k) parameters.parameters().back().detach().view({-1})[0].fill_(1e38);
    return step->run(loaded, k, {});
  }

  data::Range share;
  int64_t spoil = -1;
};

}  // namespace scorenet::train
