// The CPU executor's U-Net against the same network by LibTorch's operations.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <thread>

#include "models/autocast.hpp"
#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/executor.hpp"
#include "models/flops.hpp"
#include "models/make_model.hpp"
#include "tests/models/cpu/each_target.hpp"

namespace scorenet::models {
namespace {

torch::Tensor noise(uint64_t step, c10::IntArrayRef shape) {
  return normal_for_slots({8, RandomStream::synthetic_data, step}, {0}, shape, torch::kFloat32)[0];
}

double relative_error(const torch::Tensor& a, const torch::Tensor& reference) {
  return ((a - reference).norm() / reference.norm()).item<double>();
}

// Groups of 6 channels straddle the seam between 32 channels from below and 16 of the skip.
UNetOptions small_network() {
  return {.channels = {16, 32},
          .attention = {false, true},
          .attention_head_dim = 8,
          .norm_groups = 8,
          .num_classes = 3};
}
// Channels that fill no whole blocks, three levels, two layers in each, one head.
UNetOptions odd_network() {
  return {.channels = {20, 40, 36},
          .layers_per_block = 2,
          .attention = {false, true, false},
          .mid_attention = false,
          .attention_head_dim = 0,
          .norm_groups = 4};
}
// Wide enough for Winograd's tiles.
UNetOptions wide_network() {
  return {.channels = {32, 64, 64}, .attention = {false, false, true}, .norm_groups = 16};
}

struct Network {
  Network(UNetOptions unet, const std::string& kernels, int64_t channels = 2) {
    ModelOptions o;
    o.unet = std::move(unet);
    o.unet.kernels = kernels;
    net = make_model(o, {channels, 8, 8});
    const torch::NoGradGuard no_grad;
    uint64_t step = 100;  // norms too: else their gradients would be tested at one point alone
    for (auto& p : net->parameters()) p += 0.1 * noise(step++, p.sizes());
  }
  std::shared_ptr<ScoreNetwork> net;
};

NetworkInput input_of(c10::IntArrayRef shape, bool labels) {
  NetworkInput input;
  input.x = noise(1, shape);
  input.log_snr = torch::linspace(-4, 7, shape[0]);
  if (labels) input.given.labels = torch::arange(shape[0]) % 4;
  return input;
}

bool by_executor(const torch::Tensor& y) {
  for (auto node = y.grad_fn(); node != nullptr; node = node->next_edge(0).function)
    if (node->name().find("UNetNode") != std::string::npos) return true;
  return false;
}

struct Result {
  double loss;
  torch::Tensor y, d_x;
  std::vector<torch::Tensor> gradients;
};

Result pass(Network& network, NetworkInput input, torch::Dtype dtype = torch::kFloat32) {
  for (auto& p : network.net->parameters()) p.mutable_grad().reset();
  input.x = input.x.clone().requires_grad_();
  torch::Tensor y;
  {
    const AutocastScope precision(dtype);
    y = network.net->forward(input);
  }
  const auto loss = (y - noise(2, y.sizes())).square().mean();
  loss.backward();
  Result r{loss.item<double>(), y.detach(), input.x.grad(), {}};
  for (const auto& p : network.net->parameters()) r.gradients.push_back(p.grad().clone());
  return r;
}

void expect_same(const Result& ours, const Result& reference, const Network& network) {
  EXPECT_NEAR(ours.loss / reference.loss, 1.0, 1e-6);
  EXPECT_LT(relative_error(ours.y, reference.y), 1e-5);
  EXPECT_LT(relative_error(ours.d_x, reference.d_x), 1e-5);
  double largest = 0;
  for (const auto& g : reference.gradients) largest = std::max(largest, g.norm().item<double>());
  const auto named = network.net->named_parameters();
  for (size_t i = 0; i < reference.gradients.size(); ++i) {
    const double norm = reference.gradients[i].norm().item<double>();
    // A key's bias moves all of a token's weights alike: its gradient is rounding, around 0.
    if (named[i].key().find("to_k.bias") != std::string::npos) {
      EXPECT_LT(ours.gradients[i].norm().item<double>(), 1e-5 * largest) << named[i].key();
      continue;
    }
    EXPECT_GT(norm, 0) << named[i].key();
    EXPECT_LT((ours.gradients[i] - reference.gradients[i]).norm().item<double>(), 1e-5 * norm)
        << named[i].key();
  }
}

UNetOptions dropping_network() {
  UNetOptions o = odd_network();
  o.dropout = 0.3;
  return o;
}
// Slots of the middle of a global batch.
const BatchSlots kDropoutSlots{{1, RandomStream::dropout, 5}, {8, 9, 3, 11, 12}};
NetworkInput dropped_input() {
  NetworkInput input = input_of({5, 2, 8, 8}, false);
  input.dropout = &kDropoutSlots;
  return input;
}

class CpuExecutor : public cpu::EachTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, CpuExecutor, cpu::each_target(), cpu::name_of_target);

TEST_P(CpuExecutor, GivesTheNetworksLossAndGradients) {
  if (!cpu::executor_available(torch::kFloat32)) GTEST_SKIP() << "it does not run there";
  struct Setting {
    UNetOptions options;
    std::vector<int64_t> shape;
    bool labels;
  };
  for (const int64_t padding : {0, 1}) {
    for (Setting s : {Setting{small_network(), {3, 2, 8, 8}, true},
                      Setting{small_network(), {2, 2, 13, 10}, true},  // padded and cropped
                      Setting{odd_network(), {2, 2, 12, 8}, false},
                      Setting{wide_network(), {5, 2, 28, 28}, false}}) {
      s.options.downsample_padding = padding;
      Network ours(s.options, "auto"), reference(s.options, "aten");
      const auto input = input_of(s.shape, s.labels);
      expect_same(pass(ours, input), pass(reference, input), ours);
      // Again: memory that was used before gives the same bits.
      const Result first = pass(ours, input), second = pass(ours, input);
      EXPECT_TRUE(torch::equal(first.d_x, second.d_x));
    }
  }
}

torch::Tensor flat(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> all;
  for (const auto& t : tensors) all.push_back(t.flatten());
  return torch::cat(all);
}

class Bf16Executor : public testing::TestWithParam<cpu::Bf16Unit> {
 protected:
  void SetUp() override {
    if (!cpu::executor_available(torch::kBFloat16) || cpu::bf16_unit() < GetParam())
      GTEST_SKIP() << "this CPU lacks the instructions";
    cpu::limit_bf16_unit(GetParam());
  }
  void TearDown() override { cpu::limit_bf16_unit(cpu::Bf16Unit::tiles); }
};
INSTANTIATE_TEST_SUITE_P(Units, Bf16Executor,
                         testing::Values(cpu::Bf16Unit::pairs, cpu::Bf16Unit::tiles),
                         [](const auto& unit) {
                           return unit.param == cpu::Bf16Unit::tiles ? "amx" : "avx512_bf16";
                         });

// Against LibTorch's operations in float32: no further from them than the same operations in
// bfloat16 are, by 6e-3 to 2e-2 of the norm.
TEST_P(Bf16Executor, GivesTheNetworksLossAndGradientsUpToRounding) {
  for (const int64_t padding : {0, 1}) {
    for (auto [options, shape] : std::vector<std::pair<UNetOptions, std::vector<int64_t>>>{
             {small_network(), {3, 2, 8, 8}},
             {small_network(), {2, 2, 13, 10}},
             {odd_network(), {2, 2, 12, 8}},
             {wide_network(), {5, 2, 28, 28}}}) {
      options.downsample_padding = padding;
      Network ours(options, "auto"), reference(options, "aten");
      const auto input = input_of(shape, false);
      const Result exact = pass(reference, input), a = pass(ours, input, torch::kBFloat16);
      const Result rounded = pass(reference, input, torch::kBFloat16);
      const auto expect_as_near = [](const torch::Tensor& t, const torch::Tensor& of_operations,
                                     const torch::Tensor& in_float) {
        const double error = relative_error(t, in_float);
        EXPECT_GT(error, 1e-4);  // it was bfloat16
        EXPECT_LT(error, 1.1 * relative_error(of_operations, in_float));
      };
      EXPECT_NEAR(a.loss / exact.loss, 1.0, 2e-3);
      expect_as_near(a.y, rounded.y, exact.y);
      expect_as_near(a.d_x, rounded.d_x, exact.d_x);
      expect_as_near(flat(a.gradients), flat(rounded.gradients), flat(exact.gradients));
      const Result again = pass(ours, input, torch::kBFloat16);
      EXPECT_TRUE(torch::equal(again.d_x, a.d_x));
      EXPECT_TRUE(torch::equal(flat(again.gradients), flat(a.gradients)));
    }
  }
}

TEST_P(Bf16Executor, GivesTheSameBitsInAnyBatchOnAnyNumberOfThreads) {
  Network network(wide_network(), "auto");
  const auto input = input_of({37, 2, 8, 8}, false);  // several sums of gradients
  std::vector<Result> results;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    results.push_back(pass(network, input, torch::kBFloat16));
  }
  EXPECT_TRUE(torch::equal(results[0].y, results[1].y));
  EXPECT_TRUE(torch::equal(flat(results[0].gradients), flat(results[1].gradients)));
  at::set_num_threads(1);
}

TEST_P(CpuExecutor, DropsTheSameNumbers) {
  if (!cpu::executor_available(torch::kFloat32)) GTEST_SKIP() << "it does not run there";
  Network ours(dropping_network(), "auto"), reference(dropping_network(), "aten");
  EXPECT_TRUE(by_executor(ours.net->forward(dropped_input())));
  expect_same(pass(ours, dropped_input()), pass(reference, dropped_input()), ours);
  auto kept = dropped_input();
  kept.dropout = nullptr;
  EXPECT_GT(relative_error(pass(ours, kept).y, pass(ours, dropped_input()).y), 0.01);
}

TEST_P(Bf16Executor, DropsTheSameNumbers) {
  Network ours(dropping_network(), "auto"), reference(dropping_network(), "aten");
  const Result a = pass(ours, dropped_input(), torch::kBFloat16);
  const Result b = pass(reference, dropped_input());
  EXPECT_LT(relative_error(a.y, b.y), 0.02);
  EXPECT_LT(relative_error(a.d_x, b.d_x), 0.02);
  EXPECT_LT(relative_error(flat(a.gradients), flat(b.gradients)), 0.02);
}

NetworkInput small_input() { return input_of({5, 2, 8, 8}, true); }

TEST(CpuExecutorRoute, IsTakenWhereItAppliesAndOnlyThere) {
  if (!cpu::executor_available(torch::kFloat32)) GTEST_SKIP() << "this CPU lacks the instructions";
  const auto takes = [](const UNetOptions& o, const std::string& kernels, NetworkInput input) {
    return by_executor(Network(o, kernels).net->forward(input));
  };
  EXPECT_TRUE(takes(small_network(), "auto", small_input()));
  EXPECT_FALSE(takes(small_network(), "aten", small_input()));
  EXPECT_FALSE(takes(small_network(), "blocks", small_input()));
  auto recomputing = small_network();
  recomputing.recompute = true;
  EXPECT_FALSE(takes(recomputing, "auto", small_input()));
  auto ring = small_network();
  ring.padding = {"periodic"};
  EXPECT_FALSE(takes(ring, "auto", small_input()));
  EXPECT_TRUE(takes(dropping_network(), "auto", dropped_input()));
  const AutocastScope scope(torch::kBFloat16);
  EXPECT_EQ(takes(small_network(), "auto", small_input()),
            cpu::executor_available(torch::kBFloat16));
  EXPECT_FALSE(takes(small_network(), "blocks", small_input()));
}

TEST(CpuExecutorRoute, LeavesCountingToOperations) {
  Network ours(wide_network(), "auto"), reference(wide_network(), "aten");
  EXPECT_EQ(forward_flops(*ours.net, {2, 8, 8}), forward_flops(*reference.net, {2, 8, 8}));
  EXPECT_GT(forward_flops(*ours.net, {2, 8, 8}), 0);
}

TEST(CpuExecutorState, TwoForwardPassesMayPrecedeTheirBackwardPasses) {
  Network network(small_network(), "auto");
  const auto a = small_input();
  auto b = small_input();
  b.x = noise(3, b.x.sizes());
  const auto gradient = [&](const torch::Tensor& y) {
    return torch::autograd::grad({y.square().sum()}, {network.net->parameters()[0]}, {}, true)[0];
  };
  const auto alone_a = gradient(network.net->forward(a));
  const auto alone_b = gradient(network.net->forward(b));
  const auto y_a = network.net->forward(a), y_b = network.net->forward(b);
  EXPECT_TRUE(torch::equal(gradient(y_b), alone_b));
  EXPECT_TRUE(torch::equal(gradient(y_a), alone_a));
  EXPECT_TRUE(torch::equal(gradient(y_a), alone_a));  // the graph was retained
  EXPECT_FALSE(torch::equal(alone_a, alone_b));
}

TEST(CpuExecutorState, WeightsThatChangeAreReadAgain) {
  Network network(small_network(), "auto"), reference(small_network(), "aten");
  const torch::NoGradGuard no_grad;
  const auto before = network.net->forward(small_input());
  for (auto* n : {&network, &reference}) {
    // As an optimiser does on flat memory: no version is counted.
    for (auto& p : n->net->parameters()) p.data_ptr<float>()[0] += 0.5f;
  }
  const auto after = network.net->forward(small_input());
  EXPECT_FALSE(torch::equal(before, after));
  EXPECT_LT(relative_error(after, reference.net->forward(small_input())), 1e-5);
}

TEST(CpuExecutorState, SecondDerivativesAreTheReferences) {
  std::vector<torch::Tensor> second;
  for (const char* kernels : {"auto", "aten"}) {
    Network network(dropping_network(), kernels);
    auto input = dropped_input();
    input.x.requires_grad_();
    const auto y = network.net->forward(input);
    const auto first = torch::autograd::grad({y.square().sum()}, {input.x}, {}, true, true)[0];
    second.push_back(
        torch::autograd::grad({first.square().sum()}, {network.net->parameters()[0]})[0]);
  }
  EXPECT_LT(relative_error(second[0], second[1]), 1e-4);
}

// What of the network has its gradients when the gradients of one parameter arrive.
std::vector<std::string> complete_at(Network& network, const std::string& name, int64_t images) {
  std::vector<std::string> complete;
  for (auto& p : network.net->parameters()) p.mutable_grad().reset();
  network.net->named_parameters()[name].register_hook([&](const torch::Tensor&) {
    for (const auto& p : network.net->named_parameters())
      if (p.value().grad().defined()) complete.push_back(p.key());
  });
  network.net->forward(input_of({images, 2, 8, 8}, false)).square().sum().backward();
  return complete;
}

TEST(CpuExecutorState, ALayersGradientsArriveBeforeTheLayersBeforeItAreThrough) {
  Network network(wide_network(), "auto");
  for (const int64_t images : {3, 9, 20}) {
    // Behind the middle, all of the way up has arrived, and nothing of the way down.
    const auto complete = complete_at(network, "mid_block.resnets.1.conv2.weight", images);
    int up = 0;
    for (const std::string& name : complete) {
      up += name.find("up_blocks") != std::string::npos;
      EXPECT_EQ(name.find("down_blocks"), std::string::npos) << name << ", " << images;
      EXPECT_EQ(name.find("conv_in"), std::string::npos) << name << ", " << images;
    }
    EXPECT_GT(up, 40) << images;
  }
}

TEST(CpuExecutorState, PartOfTheGradientsHasTheBitsOfAll) {
  Network network(wide_network(), "auto");
  auto input = input_of({9, 2, 8, 8}, false);
  input.x.requires_grad_();
  const auto y = network.net->forward(input);
  std::vector<torch::Tensor> all = network.net->parameters();
  all.push_back(input.x);
  const auto whole = torch::autograd::grad({y.square().sum()}, all, {}, /*retain_graph=*/true);
  for (size_t i = 0; i < all.size(); i += 7) {
    const auto one = torch::autograd::grad({y.square().sum()}, {all[i]}, {}, true)[0];
    EXPECT_TRUE(torch::equal(one, whole[i])) << i;
  }
}

TEST(CpuExecutorState, FrozenLayersHaveNoGradientsAndChangeNoOthers) {
  Network network(wide_network(), "auto");
  const auto input = input_of({9, 2, 8, 8}, false);
  const auto named = network.net->named_parameters();
  const auto gradients_of = [&](const std::function<bool(const std::string&)>& trains) {
    std::vector<torch::Tensor> trained;
    for (const auto& p : named) {
      p.value().set_requires_grad(trains(p.key()));
      if (trains(p.key())) trained.push_back(p.value());
    }
    return torch::autograd::grad({network.net->forward(input).square().sum()}, trained);
  };
  const auto all = gradients_of([](const std::string&) { return true; });
  for (const char* part : {"up_blocks.1", "conv_in", "mid_block"}) {
    const auto trains = [&](const std::string& name) {
      return name.find(part) != std::string::npos && name.find("time_emb") == std::string::npos;
    };
    const auto some = gradients_of(trains);
    size_t at = 0;
    for (size_t i = 0; i < named.size(); ++i) {
      if (!trains(named[i].key())) continue;
      EXPECT_TRUE(torch::equal(some[at++], all[i])) << named[i].key();
    }
    EXPECT_EQ(at, some.size());
    EXPECT_GT(at, 0u) << part;
  }
}

TEST(CpuExecutorState, TheInputsGradientAloneHasTheSameBits) {
  Network network(wide_network(), "auto");
  auto input = input_of({5, 2, 8, 8}, false);
  input.x.requires_grad_();
  const auto y = network.net->forward(input);
  const auto direction = noise(9, y.sizes());
  const auto alone = torch::autograd::grad({y}, {input.x}, {direction}, true)[0];
  std::vector<torch::Tensor> all = network.net->parameters();
  all.push_back(input.x);
  EXPECT_TRUE(torch::equal(torch::autograd::grad({y}, all, {direction}).back(), alone));
}

TEST(CpuExecutorState, GivesAnImageTheSameBitsInAnyBatchOnAnyNumberOfThreads) {
  const UNetOptions options = wide_network();
  const Network network(options, "auto");
  const auto parameters = network.net->named_parameters();
  cpu::Executor executor(options, 2, 2);
  const auto x = noise(1, {9, 2, 8, 8}), time = noise(2, {9, 128});
  const torch::NoGradGuard no_grad;
  const auto run = [&](int64_t first, int64_t count, int threads, torch::Dtype dtype) {
    at::set_num_threads(threads);
    const auto y = executor.forward({x.narrow(0, first, count),
                                     time.narrow(0, first, count),
                                     dtype,
                                     nullptr,
                                     [&](const std::string& name) { return parameters[name]; },
                                     {}});
    at::set_num_threads(1);
    return y;
  };
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    if (!cpu::executor_available(dtype)) continue;
    const auto all = run(0, 9, 1, dtype);
    EXPECT_TRUE(torch::equal(run(0, 9, 3, dtype), all));
    EXPECT_TRUE(torch::equal(run(5, 1, 3, dtype), all.narrow(0, 5, 1)));
    EXPECT_TRUE(torch::equal(run(2, 3, 1, dtype), all.narrow(0, 2, 3)));
  }
}

TEST(CpuExecutorState, GivesTheSameGradientsOnAnyNumberOfThreads) {
  Network network(wide_network(), "auto");
  const auto input = input_of({37, 2, 8, 8}, false);  // several sums of gradients
  std::vector<Result> results;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    results.push_back(pass(network, input));
  }
  at::set_num_threads(1);
  EXPECT_TRUE(torch::equal(results[0].y, results[1].y));
  EXPECT_TRUE(torch::equal(results[0].d_x, results[1].d_x));
  for (size_t i = 0; i < results[0].gradients.size(); ++i)
    EXPECT_TRUE(torch::equal(results[0].gradients[i], results[1].gradients[i])) << i;
}

TEST(CpuExecutorState, ThreadsMayCallAtOnce) {
  Network network(small_network(), "auto");
  const auto input = small_input();
  torch::Tensor alone;
  {
    const torch::NoGradGuard no_grad;
    alone = network.net->forward(input);
  }
  std::vector<torch::Tensor> y(4);
  std::vector<std::thread> threads;
  for (auto& result : y) {
    threads.emplace_back([&network, &input, &result] {
      const torch::NoGradGuard no_grad;
      for (int i = 0; i < 5; ++i) result = network.net->forward(input);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& result : y) EXPECT_TRUE(torch::equal(result, alone));
}

}  // namespace
}  // namespace scorenet::models
