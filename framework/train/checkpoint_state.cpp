#include "framework/train/checkpoint_state.hpp"

#include <nlohmann/json.hpp>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"

namespace scorenet::train {
namespace {

constexpr const char* kObjectiveFile = "objective.safetensors";

// Every buffer that has the parameters' layout, with the file and prefix it is stored under.
struct FlatBuffer {
  std::string file;
  std::string prefix;
  torch::Tensor values;
};

std::vector<FlatBuffer> flat_buffers(const TrainState& state) {
  std::vector<FlatBuffer> all = {{"model.safetensors", "", state.parameters.values()}};
  for (const auto& [name, tensor] : state.optimizer.state()) {
    if (tensor.dim() == 1) all.push_back({"optimizer.safetensors", name + ".", tensor});
  }
  for (size_t i = 0; i < state.ema.profiles().size(); ++i) {
    all.push_back(
        {"ema.safetensors", ema_name(state.ema.profiles()[i]) + ".", state.ema.averages()[i]});
  }
  return all;
}

// What is left of the optimizer: its counters, scalars.
std::vector<std::pair<std::string, torch::Tensor>> scalars(const TrainState& state) {
  std::vector<std::pair<std::string, torch::Tensor>> all;
  for (const auto& [name, tensor] : state.optimizer.state()) {
    if (tensor.dim() == 0) all.emplace_back(name, tensor);
  }
  return all;
}

std::map<std::string, checkpoint::TensorMap> tensors_by_file(const TrainState& state) {
  std::map<std::string, checkpoint::TensorMap> files;
  const FlatParameters& parameters = state.parameters;
  for (const FlatBuffer& buffer : flat_buffers(state)) {
    for (size_t i = 0; i < parameters.names().size(); ++i) {
      files[buffer.file][buffer.prefix + parameters.names()[i]] =
          parameters.view_of(buffer.values, i).detach().to(torch::kCPU).contiguous();
    }
  }
  for (const auto& [name, tensor] : scalars(state))
    files["optimizer.safetensors"][name] = tensor.detach().to(torch::kCPU);
  for (const auto& [name, tensor] : state.objective.state()) files[kObjectiveFile][name] = tensor;
  return files;
}

void copy_tensor(const checkpoint::CheckpointReader& reader, const checkpoint::Safetensors& file,
                 const std::string& name, torch::Tensor target) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end() || found->second.sizes() != target.sizes()) {
    throw CheckpointError(reader.folder().string() + ": tensor '" + name + "' " +
                          (found == file.tensors.end()
                               ? "is missing"
                               : "has shape " + shape_string(found->second.sizes()) +
                                     ", expected " + shape_string(target.sizes())) +
                          ". Use the config it was written with, or another --outdir.");
  }
  target.copy_(found->second);
}

void read_tensors(const checkpoint::CheckpointReader& reader, const TrainState& state) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, checkpoint::Safetensors> files;
  for (const char* file :
       {"model.safetensors", "optimizer.safetensors", "ema.safetensors", kObjectiveFile}) {
    if (reader.has(file)) files[file] = reader.tensors(file);
  }
  for (const FlatBuffer& buffer : flat_buffers(state)) {
    for (size_t i = 0; i < state.parameters.names().size(); ++i) {
      copy_tensor(reader, files[buffer.file], buffer.prefix + state.parameters.names()[i],
                  state.parameters.view_of(buffer.values, i));
    }
  }
  for (const auto& [name, tensor] : scalars(state))
    copy_tensor(reader, files["optimizer.safetensors"], name, tensor);
  for (const auto& [name, tensor] : state.objective.state())
    copy_tensor(reader, files[kObjectiveFile], name, tensor);
}

// Keys that may change between starts: how long, how often, how it is shown or carried; not what is trained.
bool may_change(const config::Field& field) {
  for (const char* section : {"eval", "checkpoint", "comm", "run"}) {
    if (field.section() == section) return true;
  }
  for (const char* name : {"train.steps", "train.duration_kimg", "train.micro_batch",
                           "train.uneven", "train.on_nonfinite", "train.max_skipped",
                           "train.learning_rate", "model.kernels", "data.path", "data.prefetch"}) {
    if (field.name == name) return true;
  }
  return false;
}

void check_config_unchanged(const checkpoint::CheckpointReader& reader,
                            const config::Config& config) {
  config::Config now = config;
  config::Config then =
      config::parse_text(reader.text("config.toml"), reader.folder().string() + "/config.toml");
  const auto new_fields = config::fields(now), old_fields = config::fields(then);
  for (size_t i = 0; i < new_fields.size(); ++i) {
    const std::string old_value = config::value_string(old_fields[i]),
                      new_value = config::value_string(new_fields[i]);
    if (old_value == new_value || may_change(new_fields[i])) continue;
    throw ConfigError(new_fields[i].name + " = " + new_value + ": the run in " +
                      reader.folder().parent_path().parent_path().string() + " was started with " +
                      old_value + ". Keep that value to resume, or choose another --outdir.");
  }
}

RunProgress read_on_rank_zero(const RunFolder& folder, const config::Config& config,
                              const TrainState& state) {
  const auto reader = checkpoint::open_latest(folder.checkpoints());
  if (!reader) return {};
  check_config_unchanged(*reader, config);
  read_tensors(*reader, state);
  const auto json = nlohmann::json::parse(reader->text("state.json"));
  return {json.at("step"), json.at("skipped"), json.at("total_sec"), reader->warnings()};
}

comm::DataType type_of(const torch::Tensor& tensor) {
  if (tensor.scalar_type() == torch::kFloat64) return comm::DataType::float64;
  if (tensor.scalar_type() == torch::kInt64) return comm::DataType::int64;
  return comm::DataType::float32;
}

void broadcast_state(const TrainState& state, RunProgress& progress, comm::Communicator& comm) {
  double counters[3] = {static_cast<double>(progress.step), static_cast<double>(progress.skipped),
                        progress.total_sec};
  comm.broadcast({counters, 3, comm::DataType::float64}, 0, "progress of the run").wait();
  progress.step = static_cast<int64_t>(counters[0]);
  progress.skipped = static_cast<int64_t>(counters[1]);
  progress.total_sec = counters[2];
  const torch::NoGradGuard no_grad;
  const auto send = [&](torch::Tensor tensor, const std::string& tag) {
    torch::Tensor host = tensor.to(torch::kCPU).contiguous();
    comm.broadcast({host.data_ptr(), host.numel(), type_of(host)}, 0, tag).wait();
    if (!host.is_same(tensor)) tensor.copy_(host);
  };
  for (const FlatBuffer& buffer : flat_buffers(state))
    send(buffer.values, "initial " + buffer.file);
  for (const auto& [name, tensor] : scalars(state)) send(tensor, "initial " + name);
  for (const auto& [name, tensor] : state.objective.state()) send(tensor, "initial " + name);
}

}  // namespace

void save_checkpoint(const RunFolder& folder, const config::Config& config, const TrainState& state,
                     const RunProgress& progress) {
  checkpoint::CheckpointWriter writer(folder.checkpoints(), progress.step);
  for (const auto& [file, tensors] : tensors_by_file(state)) writer.write_tensors(file, tensors);
  writer.write_text("config.toml", config::to_toml(config));
  const nlohmann::ordered_json counters = {{"format", 1},
                                           {"step", progress.step},
                                           {"skipped", progress.skipped},
                                           {"total_sec", progress.total_sec}};
  writer.write_text("state.json", counters.dump(2) + "\n");
  writer.commit(static_cast<int>(config.checkpoint.keep));
}

RunProgress restore_checkpoint(const RunFolder& folder, const config::Config& config,
                               const TrainState& state, comm::Communicator& comm) {
  RunProgress progress;
  if (comm.rank() == 0) progress = read_on_rank_zero(folder, config, state);
  broadcast_state(state, progress, comm);
  return progress;
}

}  // namespace scorenet::train
