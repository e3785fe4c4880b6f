#include "framework/train/same_run.hpp"

#include "framework/comm/fingerprint.hpp"
#include "framework/config/fields.hpp"
#include "framework/core/tensor_digest.hpp"

namespace scorenet::train {

score::ScoreModel same_on_all_ranks(score::ScoreModel model, const std::string& data_fingerprint,
                                    comm::Communicator& comm) {
  comm::Fingerprint mine = {{"program", SCORENET_VERSION}};
  for (const config::Field& field : config::fields(model.config))
    mine.push_back({field.name, config::value_string(field)});
  mine.push_back({"data set's fingerprint, and its first and last sample's", data_fingerprint});
  std::vector<torch::Tensor> weights;
  for (const auto& [name, parameter] : score::named_parameters(model)) weights.push_back(parameter);
  mine.push_back({"initial weights' digest", digest_of(weights)});
  comm::check_same_on_all_ranks(comm, mine);
  return model;
}

}  // namespace scorenet::train
