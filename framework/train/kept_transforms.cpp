#include "framework/train/kept_transforms.hpp"

#include <optional>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/score/model_input.hpp"

namespace scorenet::train {
namespace {

constexpr char kEntries[] = "scorenet.transforms";
constexpr char kFingerprint[] = "scorenet.data_fingerprint";

std::string joined(const std::vector<std::string>& entries) {
  std::string text;
  for (const std::string& entry : entries) text += entry + "\n";
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
  if (says(kEntries) != joined(model.transforms.entries())) return std::nullopt;
  if (!resumes && says(kFingerprint) != fingerprint) return std::nullopt;
  return file;
}

// Rank zero's numbers on all ranks.
void share(checkpoint::TensorMap& state, const score::ScoreModel& model, comm::Communicator& comm) {
  for (const size_t stage : model.transforms.unmeasured()) {
    const int64_t count = model.transforms.statistics_of(stage, model.example_shape);
    for (const char* what : {"mean", "std"}) {
      const std::string name = transform::state_name(stage, what);
      torch::Tensor values = torch::zeros({count}, torch::kFloat64);
      if (comm.rank() == 0) values.copy_(state.at(name));
      comm.broadcast({values.data_ptr(), count, comm::DataType::float64}, 0, name).wait();
      state[name] = values;
    }
  }
}

}  // namespace

void settle_transforms(score::ScoreModel& model, data::ImageDataset& dataset,
                       const std::string& fingerprint, const RunFolder& folder,
                       comm::Communicator& comm) {
  if (model.transforms.unmeasured().empty()) return;
  std::optional<checkpoint::Safetensors> file;
  if (comm.rank() == 0) {
    file = kept(model, fingerprint, folder);
    transform::TransformChain trial(model.config.data.transforms);
    if (file) trial.restore(file->tensors, model.example_shape, folder.transforms().string());
  }
  int64_t found = file ? 1 : 0;
  comm.broadcast({&found, 1, comm::DataType::int64}, 0, "kept statistics").wait();
  if (found == 0) return score::measure_transforms(model, dataset, comm);
  checkpoint::TensorMap state;
  if (file) state = file->tensors;
  share(state, model, comm);
  model.transforms.restore(state, model.example_shape, folder.transforms().string());
}

void keep_transforms(const score::ScoreModel& model, const std::string& fingerprint,
                     const RunFolder& folder) {
  checkpoint::TensorMap tensors;
  for (const auto& [name, values] : model.transforms.state()) tensors[name] = values;
  if (tensors.empty() || has_checkpoint(folder)) return;
  const checkpoint::Metadata metadata = {{kEntries, joined(model.transforms.entries())},
                                         {kFingerprint, fingerprint}};
  checkpoint::write_safetensors(folder.transforms(), tensors,
                                checkpoint::with_digests(tensors, metadata));
}

}  // namespace scorenet::train
