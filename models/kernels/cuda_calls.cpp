#include "models/kernels/cuda_calls.hpp"

#include <c10/cuda/CUDAStream.h>

#include <string>

#include "framework/core/error.hpp"

namespace scorenet::models::kernels {

void check_launch(LaunchError error, const char* kernel) {
  if (error == nullptr) return;
  throw Error(ExitCode::usage, std::string(kernel) + ": CUDA could not start it: " + error +
                                   ". model.kernels = aten does without it.");
}

bool is_element(torch::Dtype dtype) {
  return dtype == torch::kFloat32 || dtype == torch::kBFloat16 || dtype == torch::kFloat16;
}

Element element_of(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat32    ? Element::float32
         : x.scalar_type() == torch::kBFloat16 ? Element::bfloat16
                                               : Element::float16;
}

Stream stream_of(const torch::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

torch::Tensor floats(const torch::Tensor& like, c10::IntArrayRef shape) {
  return torch::empty(shape, torch::dtype(torch::kFloat32).device(like.device()));
}

const float* numbers(const torch::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

float* numbers_to_fill(const torch::Tensor& t) {
  return t.defined() ? t.mutable_data_ptr<float>() : nullptr;
}

torch::Tensor column_sums(const torch::Tensor& table) {
  const int64_t columns = table.numel() / table.size(0);
  const torch::Tensor out = floats(table, table.sizes().slice(1));
  check_launch(launch_column_sums(numbers(table), table.size(0), columns, numbers_to_fill(out),
                                  stream_of(table)),
               "column sums");
  return out;
}

}  // namespace scorenet::models::kernels
