#include "framework/train/first_weights.hpp"

#include <algorithm>
#include <fstream>
#include <optional>

#include "framework/comm/on_rank_zero.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/finite.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/score/told_conditions.hpp"
#include "framework/train/snapshot_retention.hpp"

namespace scorenet::train {
namespace {

namespace fs = std::filesystem;

// Where the newest checkpoint of a run lies; its replica counts too.
std::optional<fs::path> newest_checkpoint(const RunFolder& folder, const std::string& replica) {
  std::error_code ignored;
  for (const fs::path& root : {folder.checkpoints(), fs::path(replica)}) {
    if (root.empty() || !fs::exists(root / "latest", ignored)) continue;
    std::string name = files::read_file(root / "latest");
    name.erase(std::find_if(name.begin(), name.end(), [](char c) { return c < '0' || c > '9'; }),
               name.end());
    return root / name;
  }
  return std::nullopt;
}

// What it was started from. A damaged one is told of when it is restored.
std::string digest_in(const fs::path& checkpoint) {
  try {
    return config::parse_file((checkpoint / "config.toml").string()).train.init_digest;
  } catch (const Error&) {
    return "";
  }
}

fs::path newest_of_run(const fs::path& run, const std::string& where) {
  std::vector<fs::path> newest;
  int64_t newest_step = -1;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run / "snapshots", error)) {
    const int64_t step = step_of_snapshot(entry.path()).value_or(-1);
    if (step > newest_step) newest.clear();
    newest_step = std::max(step, newest_step);
    if (step >= 0 && step == newest_step) newest.push_back(entry.path());
  }
  std::sort(newest.begin(), newest.end());
  if (newest.size() == 1) return newest[0];
  if (newest.empty()) {
    throw CheckpointError(where +
                          ": is a folder without snapshots/network-*.safetensors. Give a run's "
                          "folder, a snapshot, or what scorenet convert from-diffusers wrote.");
  }
  throw CheckpointError(where + ": has several snapshots of step " + std::to_string(newest_step) +
                        ", " + newest[0].filename().string() + " and " +
                        newest[1].filename().string() + ". Give one of them.");
}

std::string digest_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Digest digest;
  std::vector<char> piece(1 << 20);
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0)
    digest.add(piece.data(), static_cast<size_t>(file.gcount()));
  return digest.hex();
}

// What a network's weights mean beside their shapes. The kernels, and what only training does, do
// not belong to it.
bool gives_meaning(const std::string& key) {
  for (const char* other : {"model.kernels", "model.recompute", "model.dropout", "model.file"})
    if (key == other) return false;
  return key.starts_with("model.") || key == "diffusion.prediction" ||
         key == "diffusion.sigma_data" || key == "data.transforms";
}

std::vector<std::string> differences(const config::Config& then, const config::Config& now) {
  std::vector<std::string> all;
  for (const config::Change& change : config::changes(then, now)) {
    if (gives_meaning(change.name))
      all.push_back(change.name + " = " + change.new_value + ", its weights were trained with " +
                    change.old_value);
  }
  return all;
}

// A list that fits into a start block.
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kMost = 12;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMost); ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  return names.size() <= kMost
             ? text
             : text + " and " + std::to_string(names.size() - kMost) + " more tensors";
}

void copy_checked(const torch::Tensor& from, const std::string& name, torch::Tensor to,
                  const std::string& where) {
  if (!from.is_floating_point() || from.sizes() != to.sizes()) {
    throw CheckpointError(where + ", tensor '" + name + "': shape " + shape_string(from.sizes()) +
                          ", this config's network has " + shape_string(to.sizes()) +
                          ". Take over the keys of [model] that scorenet info prints of that "
                          "snapshot, or leave train.init out.");
  }
  to.copy_(from);
  check_finite(to, where + ", tensor '" + name + "'");
}

// Rank zero's values on all ranks.
void share(const optim::NamedTensors& parameters, comm::Communicator& comm) {
  for (const auto& [name, parameter] : parameters) {
    torch::Tensor host = parameter.detach().to(torch::kCPU).contiguous();
    const auto type =
        host.scalar_type() == torch::kFloat64 ? comm::DataType::float64 : comm::DataType::float32;
    comm.broadcast({host.data_ptr(), host.numel(), type}, 0, "first " + name).wait();
    if (comm.rank() != 0) parameter.detach().copy_(host);
  }
}

}  // namespace

FirstWeights::FirstWeights(config::Config& config, const RunFolder& folder,
                           comm::Communicator& comm)
    : init_(config.train.init) {
  if (init_.empty()) return;
  const std::string told = comm::on_rank_zero(
      comm,
      [&] {
        if (const auto checkpoint = newest_checkpoint(folder, config.checkpoint.replica))
          return "resumed " + digest_in(*checkpoint);
        return "new " + open(config.train);
      },
      "first weights");
  resumed_ = told.starts_with("resumed");
  digest_ = told.substr(told.find(' ') + 1);
  if (!digest_.empty()) config.train.init_digest = digest_;
}

// The digest of the file.
std::string FirstWeights::open(const config::TrainConfig& train) {
  const std::string where = "train.init = " + init_;
  path_ = fs::is_directory(init_) ? newest_of_run(init_, where) : fs::path(init_);
  file_ = checkpoint::read_safetensors(path_);
  const std::string digest = digest_of_file(path_);
  if (train.init_digest.empty() || train.init_digest == digest) return digest;
  throw CheckpointError(where + ": " + path_.string() + " has the digest " + digest +
                        ", expected " + train.init_digest +
                        " by train.init_digest. Give the file that it belongs to, or leave "
                        "train.init_digest out to start from this one.");
}

score::ScoreModel FirstWeights::given_to(score::ScoreModel model, comm::Communicator& comm) {
  if (init_.empty() || resumed_) return model;
  const torch::NoGradGuard no_grad;
  comm::on_rank_zero(
      comm,
      [&] {
        take(model);
        return std::string();
      },
      "first weights taken");
  share(score::named_parameters(model), comm);
  return model;
}

void FirstWeights::take(score::ScoreModel& model) {
  const config::Config then = score::snapshot_config(file_.metadata, path_);
  const std::string where = "train.init = " + init_;
  for (const auto& [name, parameter] : score::named_parameters(model)) {
    const auto found = file_.tensors.find(name);
    if (found == file_.tensors.end()) {
      new_.push_back(name);
      continue;
    }
    copy_checked(found->second, name, parameter.detach(), where);
    file_.tensors.erase(found);
    ++taken_;
  }
  if (taken_ == 0) {
    throw CheckpointError(where + ": has no tensor of this network, such as " + new_.front() +
                          "; its model.type is " + then.model.type + ", this config's " +
                          model.config.model.type +
                          ". Take over the keys of [model] that scorenet info prints of that "
                          "snapshot, or leave train.init out.");
  }
  // The statistics of transforms are those of this run's own data.
  for (const auto& [name, tensor] : file_.tensors)
    if (!score::is_statistic(name)) left_over_.push_back(name);
  file_.tensors.clear();
  differs_ = differences(then, model.config);
}

std::string FirstWeights::lines() const {
  if (init_.empty()) return "";
  if (resumed_) return "weights         of the checkpoint; the run began with " + init_ + "\n";
  const std::string indent(16, ' ');
  std::string text = "weights         " + std::to_string(taken_) + " tensors of " + path_.string() +
                     " (digest " + digest_ + ")\n";
  if (!new_.empty()) text += indent + "new, from train.seed: " + listed(new_) + "\n";
  if (!left_over_.empty()) text += indent + "left over, not used: " + listed(left_over_) + "\n";
  for (const std::string& line : differs_) text += "warning         " + line + "\n";
  return text;
}

}  // namespace scorenet::train
