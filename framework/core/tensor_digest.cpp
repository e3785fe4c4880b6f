#include "framework/core/tensor_digest.hpp"

#include "framework/core/digest.hpp"

namespace scorenet {

std::string digest_of(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.detach().cpu().contiguous();
  return digest(values.data_ptr(), values.nbytes());
}

std::string digest_of(const std::vector<torch::Tensor>& tensors) {
  if (tensors.size() == 1) return digest_of(tensors[0]);
  std::string all;
  for (const torch::Tensor& tensor : tensors) all += digest_of(tensor);
  return digest(all.data(), all.size());
}

}  // namespace scorenet
