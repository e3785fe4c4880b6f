#include "framework/train/same_run.hpp"

#include "framework/comm/fingerprint.hpp"
#include "framework/config/fields.hpp"

namespace scorenet::train {

std::string digest_of(const std::vector<torch::Tensor>& tensors) {
  std::string all;
  for (const torch::Tensor& tensor : tensors) {
    const auto host = tensor.to(torch::kCPU).contiguous();
    all += comm::digest(host.data_ptr(), host.nbytes());
  }
  return tensors.size() == 1 ? all : comm::digest(all.data(), all.size());
}

ScoreModel same_on_all_ranks(ScoreModel model, const std::string& data_fingerprint,
                             comm::Communicator& comm) {
  comm::Fingerprint mine = {{"program", SCORENET_VERSION}};
  for (const config::Field& field : config::fields(model.config))
    mine.push_back({field.name, config::value_string(field)});
  mine.push_back({"data set's fingerprint", data_fingerprint});
  std::vector<torch::Tensor> weights;
  for (const auto& [name, parameter] : named_parameters(model)) weights.push_back(parameter);
  mine.push_back({"initial weights' digest", digest_of(weights)});
  comm::check_same_on_all_ranks(comm, mine);
  return model;
}

}  // namespace scorenet::train
