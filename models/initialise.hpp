// Initial weights as a function of a seed and of each parameter's name: identical on every rank,
// and unchanged when layers are added elsewhere in the network.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::models {

enum class WeightLaw {
  // U(-b, b), b = sqrt(6 / (fan_in + fan_out)); Glorot & Bengio 2010. DDPM's choice
  xavier_uniform,
  lecun_normal,  // N(0, 1 / fan_in)
};

/// Overwrites all parameters: matrices and kernels by `law`, class embeddings by N(0, 0.02^2), the
/// scales of norms by one, biases by zero, and every parameter whose name ends in one of
/// zero_suffixes by zero.
void initialise_weights(torch::nn::Module& module, uint64_t seed, WeightLaw law,
                        const std::vector<std::string>& zero_suffixes);

}  // namespace scorenet::models
