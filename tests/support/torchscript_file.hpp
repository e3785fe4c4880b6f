// Small TorchScript networks, compiled from their source here: no Python is needed.
#pragma once

#include <torch/script.h>

#include <map>
#include <sstream>
#include <string>

namespace scorenet::test {

/// A module with this source, which defines forward. has_mode: it knows self.training.
inline torch::jit::Module script(const std::string& source,
                                 const std::map<std::string, torch::Tensor>& parameters = {},
                                 const std::map<std::string, torch::Tensor>& buffers = {},
                                 bool has_mode = false) {
  torch::jit::Module module("Network");
  if (has_mode) module.register_attribute("training", c10::BoolType::get(), true);
  for (const auto& [name, values] : parameters)
    module.register_parameter(name, values.clone().requires_grad_(true), /*is_buffer=*/false);
  for (const auto& [name, values] : buffers) module.register_buffer(name, values.clone());
  module.define(source);
  return module;
}

inline std::string bytes_of(const torch::jit::Module& module) {
  std::ostringstream out;
  module.save(out);
  return out.str();
}

// Exact denoisers of x0 ~ N(0, 1/4), in the words of each convention. w is 1/4.
inline constexpr const char* kEdmGaussian = R"(
def forward(self, x, sigma):
    v = (sigma * sigma).reshape([-1, 1])
    return self.w / (self.w + v) * x
)";

// A perceptron over D = 2 with a label's embedding or without; EDM's x0 behind its own skip.
inline constexpr const char* kPerceptron = R"(
def forward(self, x, sigma):
    s = sigma.reshape([-1, 1])
    h = torch.cat([x / torch.sqrt(s * s + 0.25), torch.log(s)], 1)
    h = torch.tanh(torch.matmul(h, self.w1) + self.b1)
    f = torch.matmul(h, self.w2)
    skip = 0.25 / (s * s + 0.25)
    return skip * x + 0.5 * s / torch.sqrt(s * s + 0.25) * f
)";

inline std::map<std::string, torch::Tensor> perceptron_weights(int64_t width = 16) {
  torch::manual_seed(1);
  return {{"w1", 0.5 * torch::randn({3, width})},
          {"b1", torch::zeros({width})},
          {"w2", 0.3 * torch::randn({width, 2})}};
}

}  // namespace scorenet::test
