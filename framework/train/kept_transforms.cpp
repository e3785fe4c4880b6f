#include "framework/train/kept_transforms.hpp"

#include <optional>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::train {
namespace {

constexpr char kEntries[] = "scorenet.transforms";
constexpr char kFingerprint[] = "scorenet.data_fingerprint";

// Of all transforms, those of conditions behind their names.
std::string entries_of(const score::ScoreModel& model) {
  std::string text;
  for (const std::string& entry : model.transforms.entries()) text += entry + "\n";
  for (const data::ConditionMap& condition : model.config.conditions)
    for (const std::string& entry : condition.transforms)
      text += condition.name + " " + entry + "\n";
  return text;
}

bool has_checkpoint(const RunFolder& folder) {
  return std::filesystem::exists(folder.checkpoints() / "latest");
}

// Rank zero's: what the folder has, if it is of these transforms and, before the first checkpoint,
// of these data.
std::optional<checkpoint::Safetensors> kept(const score::ScoreModel& model,
                                            const std::string& fingerprint,
                                            const RunFolder& folder) {
  const bool resumes = has_checkpoint(folder);
  if (!std::filesystem::exists(folder.transforms())) {
    if (!resumes) return std::nullopt;
    throw CheckpointError(
        folder.transforms().string() +
        ": no such file, but the run has checkpoints of a network trained with these statistics. "
        "Put the file back, or choose another --outdir.");
  }
  checkpoint::Safetensors file = checkpoint::read_safetensors(folder.transforms());
  const auto says = [&file](const char* key) {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? std::string() : found->second;
  };
  if (says(kEntries) != entries_of(model)) return std::nullopt;
  if (!resumes && says(kFingerprint) != fingerprint) return std::nullopt;
  return file;
}

// Rank zero's numbers on all ranks: the names and sizes that a model without them asks for.
void share(checkpoint::TensorMap& state, const score::ScoreModel& model, comm::Communicator& comm) {
  const auto take = [&](const transform::TransformChain& chain, const std::string& prefix,
                        const std::vector<int64_t>& shape) {
    for (const size_t stage : chain.unmeasured()) {
      for (const char* what : {"mean", "std"}) {
        const std::string name = prefix + transform::state_name(stage, what);
        const int64_t count = chain.statistics_of(stage, shape);
        torch::Tensor values = torch::zeros({count}, torch::kFloat64);
        if (comm.rank() == 0) values.copy_(state.at(name));
        comm.broadcast({values.data_ptr(), count, comm::DataType::float64}, 0, name).wait();
        state[name] = values;
      }
    }
  };
  take(model.transforms, "", model.example_shape);
  for (const data::ConditionMap& condition : model.config.conditions)
    take(model.conditions.at(condition.name).chain(), score::statistics_prefix(condition.name),
         condition.shape);
}

}  // namespace

void settle_transforms(score::ScoreModel& model, data::ImageDataset& dataset,
                       const std::string& fingerprint, const RunFolder& folder,
                       comm::Communicator& comm) {
  if (!score::lacks_statistics(model)) return;
  std::optional<checkpoint::Safetensors> file;
  if (comm.rank() == 0) {
    file = kept(model, fingerprint, folder);
    score::ScoreModel trial;  // of its own: a damaged file leaves the model as it was
    trial.config = model.config;
    trial.example_shape = model.example_shape;
    trial.transforms = transform::TransformChain(model.config.data.transforms);
    trial.conditions = score::condition_chains(model.config);
    if (file) score::restore_statistics(trial, file->tensors, folder.transforms().string());
  }
  int64_t found = file ? 1 : 0;
  comm.broadcast({&found, 1, comm::DataType::int64}, 0, "kept statistics").wait();
  if (found == 0) return score::measure_transforms(model, dataset, comm);
  checkpoint::TensorMap state;
  if (file) state = file->tensors;
  share(state, model, comm);
  score::restore_statistics(model, state, folder.transforms().string());
}

void keep_transforms(const score::ScoreModel& model, const std::string& fingerprint,
                     const RunFolder& folder) {
  checkpoint::TensorMap tensors;
  for (const auto& [name, values] : score::statistics_of(model)) tensors[name] = values;
  if (tensors.empty() || has_checkpoint(folder)) return;
  const checkpoint::Metadata metadata = {{kEntries, entries_of(model)},
                                         {kFingerprint, fingerprint}};
  checkpoint::write_safetensors(folder.transforms(), tensors,
                                checkpoint::with_digests(tensors, metadata));
}

}  // namespace scorenet::train
