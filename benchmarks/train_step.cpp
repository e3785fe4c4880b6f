// Images per second of one training step (forward, loss, backward, clipping, AdamW, EMA) on one
// rank, float32 and bfloat16, by ATen's operations (aten), the CPU fast path's blocks (blocks) and
// whatever the network takes by itself (auto: the CPU executor), interleaved so that a
// busy neighbour disturbs all alike. Before timing, every variant's loss and gradient are compared
// with those of ATen in float32.
//
//   OMP_NUM_THREADS=1 train_step_benchmark [small|large|dit|dit_s2] [BATCH] [REPEATS] [VARIANT]
//
// VARIANT: one alone, "fp32 auto" say, or "fp32", "bf16" for all of that precision. With less than
// the machine has (models/instruction_limit.hpp): ATEN_CPU_CAPABILITY=avx2, or, for bf16 without
// AMX, ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16.
//
// With "forward" or "likelihood" behind these: the forward pass alone, or with the gradient in x.
// small: 28x28x1, channels 32, 64, 64, attention at 7x7. large: DDPM's for CIFAR-10, 32x32x3,
// channels 128, 256, 256, 256. dit: a transformer for 28x28x1, width 192, 6 blocks, 3 heads, patch
// 2. dit_s2: DiT-S/2's size for 32x32x3, width 384, 12 blocks, 6 heads. Transformers have no blocks
// variant.
#include <torch/csrc/autograd/autograd.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "framework/core/allocator.hpp"
#include "framework/optim/adamw.hpp"
#include "framework/optim/ema.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"
#include "models/instruction_limit.hpp"
#include "models/make_model.hpp"

namespace scorenet {
namespace {

struct Setting {
  models::ModelOptions options;
  std::vector<int64_t> shape;
};

Setting setting_of(const std::string& size) {
  Setting s;
  if (size == "large") {
    s.options.unet.channels = {128, 256, 256, 256};
    s.options.unet.layers_per_block = 2;
    s.options.unet.attention = {false, true, false, false};
    s.options.unet.attention_head_dim = 0;
    s.options.unet.norm_groups = 32;
    s.shape = {3, 32, 32};
  } else if (size == "dit") {
    s.options.type = "dit";
    s.shape = {1, 28, 28};
  } else if (size == "dit_s2") {
    s.options.type = "dit";
    s.options.dit.width = 384;
    s.options.dit.depth = 12;
    s.options.dit.heads = 6;
    s.shape = {3, 32, 32};
  } else {
    s.options.unet.attention = {false, false, true};
    s.shape = {1, 28, 28};
  }
  return s;
}

// Weights in general position: the initial network is the zero function and most of
// its gradients vanish.
void perturb(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  uint64_t step = 0;
  for (auto& p : module.parameters()) {
    p += 0.05 * normal_for_slots({1, RandomStream::synthetic_data, step++}, {0}, p.sizes(),
                                 torch::kFloat32)[0];
  }
}

std::shared_ptr<models::ScoreNetwork> network_of(Setting setting, const std::string& kernels) {
  setting.options.unet.kernels = setting.options.dit.kernels = kernels;
  return models::make_model(setting.options, setting.shape);
}

struct Variant {
  Variant(torch::Dtype compute, const std::string& kernels, const Setting& setting)
      : name((compute == torch::kFloat32 ? "fp32 " : "bf16 ") + kernels),
        dtype(compute),
        network(network_of(setting, kernels)),
        flat((perturb(*network), *network)),
        adamw(flat, {}),
        ema(flat.values(), {{}}) {}

  std::string name;
  torch::Dtype dtype;
  std::shared_ptr<models::ScoreNetwork> network;
  optim::FlatParameters flat;
  optim::AdamW adamw;
  optim::EmaSet ema;
  std::vector<double> wall_s, cpu_s;
};

struct Batch {
  models::NetworkInput input;
  torch::Tensor target;
};

Batch draw_batch(int64_t size, c10::IntArrayRef shape) {
  const auto slots = slot_range(0, size);
  Batch batch;
  batch.input.x =
      normal_for_slots({1, RandomStream::training_noise, 0}, slots, shape, torch::kFloat32);
  batch.target =
      normal_for_slots({1, RandomStream::training_noise, 1}, slots, shape, torch::kFloat32);
  batch.input.log_snr = torch::linspace(-8, 8, size, torch::kFloat64);
  return batch;
}

double loss_and_gradient(Variant& v, const Batch& batch) {
  v.flat.zero_gradients();
  torch::Tensor prediction;
  {
    const models::AutocastScope precision(v.dtype);
    prediction = v.network->forward(batch.input);
  }
  const torch::Tensor loss = (prediction - batch.target).square().mean();
  loss.backward();
  return loss.item<double>();
}

// What an evaluation of a sampler or an elbo costs, and one of an ode likelihood.
void forward_alone(Variant& v, const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const models::AutocastScope precision(v.dtype);
  v.network->forward(batch.input);
}
void forward_and_input_gradient(Variant& v, Batch batch) {
  batch.input.x = batch.input.x.detach().requires_grad_(true);
  const models::AutocastScope precision(v.dtype);
  const torch::Tensor y = v.network->forward(batch.input);
  torch::autograd::grad({y}, {batch.input.x}, {batch.target});
}

void step(Variant& v, const Batch& batch) {
  loss_and_gradient(v, batch);
  v.adamw.step(1e-4, v.adamw.gradient_norm());
  v.ema.update(v.flat.values(), {.step = 1, .images_before = 1, .batch = 1});
}

double wall_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double cpu_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void time_step(Variant& v, const Batch& batch, const std::string& work) {
  const double wall = wall_now(), cpu = cpu_now();
  if (work == "forward") {
    forward_alone(v, batch);
  } else if (work == "likelihood") {
    forward_and_input_gradient(v, batch);
  } else {
    step(v, batch);
  }
  v.wall_s.push_back(wall_now() - wall);
  v.cpu_s.push_back(cpu_now() - cpu);
}

void compare(std::vector<Variant>& variants, const Batch& batch) {
  const double reference = loss_and_gradient(variants[0], batch);
  for (Variant& v : variants) {
    const double loss = loss_and_gradient(v, batch);
    const auto difference = (v.flat.gradients() - variants[0].flat.gradients()).norm();
    std::printf("%-22s loss %.8f (relative %.1e)   gradient error %.1e of its norm\n",
                v.name.c_str(), loss, std::abs(loss / reference - 1),
                (difference / variants[0].flat.gradients().norm()).item<double>());
  }
}

void report(const Variant& v, double batch, double reference_cpu_s) {
  auto cpu = v.cpu_s, wall = v.wall_s;
  std::sort(cpu.begin(), cpu.end());
  std::sort(wall.begin(), wall.end());
  const double median = cpu[cpu.size() / 2];
  std::printf("%-22s %7.1f images/CPU-s (%.1f to %.1f)   %.1f images/s wall   %.2fx\n",
              v.name.c_str(), batch / median, batch / cpu.back(), batch / cpu.front(),
              batch / wall[wall.size() / 2], reference_cpu_s / median);
}

int run(const std::string& size, int64_t batch_size, int repeats, const std::string& only,
        const std::string& work) {
  const Setting setting = setting_of(size);
  std::vector<Variant> variants;
  variants.reserve(6);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const std::string precision = dtype == torch::kFloat32 ? "fp32" : "bf16";
    for (const char* kernels : {"aten", "blocks", "auto"}) {
      const std::string name = precision + " " + kernels;
      if (setting.options.type == "dit" && std::string(kernels) == "blocks") continue;
      if (only.empty() || name == only || precision == only)
        variants.emplace_back(dtype, kernels, setting);
    }
  }
  const Batch batch = draw_batch(batch_size, setting.shape);
  std::printf(
      "%s: %lld parameters, %.3f GFLOP/image forward and backward, batch %lld, %d threads\n",
      size.c_str(), static_cast<long long>(models::parameter_count(*variants[0].network)),
      3e-9 * models::forward_flops(*variants[0].network, setting.shape),
      static_cast<long long>(batch_size), at::get_num_threads());
  compare(variants, batch);
  for (int i = 0; i < repeats; ++i) {
    for (Variant& v : variants) time_step(v, batch, work);
  }
  auto reference = variants[0].cpu_s;
  std::sort(reference.begin(), reference.end());
  for (const Variant& v : variants) {
    report(v, static_cast<double>(batch_size), reference[reference.size() / 2]);
  }
  return 0;
}

}  // namespace
}  // namespace scorenet

int main(int argc, char** argv) {
  scorenet::tune_allocator();
  scorenet::models::extend_instruction_limit();
  const std::string size = argc > 1 ? argv[1] : "small";
  const int64_t batch =
      argc > 2 ? std::stoll(argv[2]) : (size == "large" || size == "dit_s2" ? 8 : 32);
  return scorenet::run(size, batch, argc > 3 ? std::stoi(argv[3]) : 7, argc > 4 ? argv[4] : "",
                       argc > 5 ? argv[5] : "step");
}
