#include "framework/train/checkpoint_state.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/checkpoint/json_text.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/train/replica.hpp"

namespace scorenet::train {

std::vector<StateBuffer> buffers_of(const TrainState& state) {
  std::vector<StateBuffer> all = state.update.buffers();
  all.insert(all.begin(), {"model.safetensors", "", state.parameters.values()});
  return all;
}

std::vector<StateTensor> tensors_of(const TrainState& state) {
  std::vector<StateTensor> all = state.update.tensors();
  for (const auto& [name, values] : state.objective.state())
    all.push_back({"objective.safetensors", name, values});
  for (const auto& [name, values] : state.spikes.state())
    all.push_back({"spikes.safetensors", name, values, /*optional=*/true});
  return all;
}

namespace {

// The files that these go into, each once; the same on all ranks.
std::vector<std::string> files_of(const TrainState& state) {
  std::vector<std::string> files;
  const auto add = [&files](const std::string& file) {
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  };
  for (const StateBuffer& buffer : buffers_of(state)) add(buffer.file);
  for (const StateTensor& tensor : tensors_of(state)) add(tensor.file);
  return files;
}

// The tensors of one file. Collective; filled on rank zero alone.
checkpoint::TensorMap gather_tensors(const std::string& file, const TrainState& state, bool mine) {
  checkpoint::TensorMap tensors;
  const optim::FlatParameters& parameters = state.parameters;
  for (const StateBuffer& buffer : buffers_of(state)) {
    if (buffer.file != file) continue;
    const torch::Tensor whole = state.update.whole(buffer);
    for (size_t i = 0; mine && i < parameters.names().size(); ++i) {
      tensors[buffer.prefix + parameters.names()[i]] =
          parameters.view_of(whole, i).detach().to(torch::kCPU).contiguous();
    }
  }
  for (const StateTensor& tensor : tensors_of(state)) {
    if (mine && tensor.file == file)
      tensors[tensor.name] = tensor.values.detach().to(torch::kCPU).contiguous();
  }
  return tensors;
}

void copy_tensor(const checkpoint::CheckpointReader& reader, const checkpoint::Safetensors& file,
                 const std::string& name, torch::Tensor target) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end() || found->second.sizes() != target.sizes()) {
    throw CheckpointError(
        reader.folder().string() + ": tensor '" + name + "' " +
        (found == file.tensors.end() ? "is missing"
                                     : "has shape " + shape_string(found->second.sizes()) +
                                           ", expected " + shape_string(target.sizes())) +
        ". Use the config and the data it was written with, or another --outdir.");
  }
  target.copy_(found->second);
}

bool missing_but_optional(const checkpoint::Safetensors& file, const std::string& name,
                          bool optional) {
  return optional && file.tensors.count(name) == 0;
}

// Keys that may change between starts: how long, how often, how it is shown or carried; not
// what is trained.
bool may_change(const std::string& key) {
  for (const char* section : {"eval.", "checkpoint.", "comm.", "run."}) {
    if (key.starts_with(section)) return true;
  }
  if (key.starts_with(config::kConditionPrefix) && key.ends_with(".array")) return true;
  for (const char* name :
       {"train.steps", "train.duration_kimg", "train.micro_batch", "train.uneven",
        "train.on_nonfinite", "train.max_skipped", "train.on_spike", "train.spike_deviations",
        "train.max_rollbacks", "train.learning_rate", "train.precision", "train.shard_optimizer",
        "train.init_digest", "model.kernels", "model.file", "model.convention_check",
        "data.changed", "data.prefetch",
        // Where the data lie: what they are, their fingerprint says.
        "data.path", "data.arrays", "data.splits", "data.labels_array"}) {
    if (key == name) return true;
  }
  return false;
}

config::Config saved_config(const checkpoint::CheckpointReader& reader) {
  try {
    return config::parse_text(reader.text("config.toml"),
                              (reader.folder() / "config.toml").string());
  } catch (const ConfigError& error) {
    throw CheckpointError(std::string(error.what()) +
                          " The checkpoint is damaged or of a newer version.");
  }
}

// The keys that changed since, each with both values. Throws ConfigError for one that must not.
std::vector<std::string> changes_since(const checkpoint::CheckpointReader& reader,
                                       const config::Config& config, const RunFolder& folder) {
  const config::Config then = saved_config(reader);
  std::vector<std::string> changes;
  for (const config::Change& change : config::changes(then, config)) {
    if (!may_change(change.name)) {
      throw ConfigError(change.name + " = " + change.new_value + ": the run in " +
                        folder.root().string() + " was started with " + change.old_value +
                        ". Keep that value to resume, or choose another --outdir.");
    }
    changes.push_back(change.sentence());
  }
  return changes;
}

// What state.json says.
struct SavedProgress {
  RunProgress progress;
  // its fingerprint and description; empty in checkpoints of older versions
  data::DatasetSummary data;
};

SavedProgress saved_progress(const checkpoint::CheckpointReader& reader) {
  const auto path = reader.folder() / "state.json";
  const auto json = checkpoint::parse_object(reader.text("state.json"), path, "its text");
  try {
    SavedProgress saved;
    saved.progress = {json.at("step").get<int64_t>(), json.at("skipped").get<int64_t>(),
                      json.at("total_sec").get<double>(), reader.warnings(),
                      json.value("precision", std::string())};
    saved.progress.redraw = json.value("redraw", int64_t{0});
    if (json.contains("data")) {
      saved.data.fingerprint = json["data"].at("fingerprint").get<std::string>();
      saved.data.description = json["data"].at("description").get<std::string>();
      for (const auto& file : json["data"].value("files", nlohmann::json::array()))
        saved.data.files.push_back(
            {file.at("name").get<std::string>(), file.at("fingerprint").get<std::string>()});
    }
    const RunProgress& p = saved.progress;
    if (p.step == reader.step() && p.skipped >= 0 && p.total_sec >= 0 && p.redraw >= 0)
      return saved;
  } catch (const nlohmann::json::exception&) {  // told below
  }
  throw CheckpointError(path.string() + ": has no numbers step (" + std::to_string(reader.step()) +
                        "), skipped and total_sec, or no texts of the data and the precision. The "
                        "file is damaged.");
}

// Of several files, the first that is not what it was.
std::string first_other_file(const data::DatasetSummary& then, const data::DatasetSummary& now) {
  for (size_t i = 0; i < std::max(then.files.size(), now.files.size()); ++i) {
    if (i >= then.files.size()) return "; " + now.files[i].name + " was not among its files then";
    if (i >= now.files.size()) return "; " + then.files[i].name + " is not among its files now";
    if (then.files[i].fingerprint == now.files[i].fingerprint) continue;
    const bool renamed = then.files[i].name != now.files[i].name;
    return "; the first file that differs is " + now.files[i].name +
           (renamed ? ", in the place of " + then.files[i].name : "");
  }
  return "";
}

nlohmann::ordered_json to_json(const data::DatasetSummary& data) {
  nlohmann::ordered_json json{{"fingerprint", data.fingerprint}, {"description", data.description}};
  for (const auto& file : data.files)
    json["files"].push_back({{"name", file.name}, {"fingerprint", file.fingerprint}});
  return json;
}

// Refuses other data, or notes it.
void check_data_unchanged(const RunFolder& folder, const config::Config& config,
                          const data::DatasetSummary& then, const data::DatasetSummary& now,
                          RunProgress& progress) {
  if (then.fingerprint.empty() || then.fingerprint == now.fingerprint) return;
  const std::string &was = then.description, &hash = then.fingerprint;
  const std::string change =
      "the data set has changed since step " + std::to_string(progress.step) + ": " +
      (was == now.description ? "other values, labels or storage of " + was
                              : was + " then, " + now.description + " now") +
      first_other_file(then, now) + " (fingerprint " + hash + " then, " + now.fingerprint + " now)";
  if (!config.data.changed) {
    throw DataError(path_text(config.data.map) + ", split " + config.data.split + ": " + change +
                    ". Give the data that the run in " + folder.root().string() +
                    " was started with, or set data.changed = true to go on with these.");
  }
  progress.changes.push_back("data.changed = true: " + change);
}

// What rank zero restores from; empty on the others and where there is no checkpoint.
struct Source {
  std::optional<checkpoint::CheckpointReader> reader;
  std::map<std::string, checkpoint::Safetensors> files{};

  const checkpoint::Safetensors& file(const std::string& name) {
    if (!files.count(name) && reader->has(name)) files[name] = reader->tensors(name);
    return files[name];
  }
};

comm::DataType type_of(const torch::Tensor& tensor) {
  if (tensor.scalar_type() == torch::kFloat64) return comm::DataType::float64;
  if (tensor.scalar_type() == torch::kInt64) return comm::DataType::int64;
  return comm::DataType::float32;
}

// The newest intact checkpoint of the folder; where it has none, that of the replica.
std::optional<checkpoint::CheckpointReader> open_newest(const RunFolder& folder,
                                                        const std::filesystem::path& replica) {
  const bool has_replica = !replica.empty() && replica_is_of(replica, folder.root());
  std::string lost = folder.checkpoints().string() + ": no checkpoint.";
  try {
    auto reader = checkpoint::open_latest(folder.checkpoints());
    if (reader || !has_replica) return reader;
  } catch (const CheckpointError& error) {
    if (!has_replica) throw;
    lost = error.what();
  }
  const auto found = checkpoint::open_latest(replica);
  if (!found) return std::nullopt;
  std::vector<std::string> warnings = found->warnings();
  warnings.push_back(lost + " Using step " + std::to_string(found->step()) +
                     " of checkpoint.replica = " + replica.string() + ".");
  return checkpoint::CheckpointReader(found->folder(), found->manifest(), std::move(warnings));
}

void broadcast_progress(RunProgress& progress, comm::Communicator& comm) {
  double counters[4] = {static_cast<double>(progress.step), static_cast<double>(progress.skipped),
                        progress.total_sec, static_cast<double>(progress.redraw)};
  comm.broadcast({counters, 4, comm::DataType::float64}, 0, "progress of the run").wait();
  progress.step = static_cast<int64_t>(counters[0]);
  progress.skipped = static_cast<int64_t>(counters[1]);
  progress.total_sec = counters[2];
  progress.redraw = static_cast<int64_t>(counters[3]);
}

// Rank zero's values on all ranks, over host memory.
void broadcast_tensor(torch::Tensor tensor, comm::Communicator& comm, const std::string& tag) {
  torch::Tensor host = tensor.to(torch::kCPU).contiguous();
  comm.broadcast({host.data_ptr(), host.numel(), type_of(host)}, 0, tag).wait();
  if (!host.is_same(tensor)) tensor.copy_(host);
}

void restore_buffer(const StateBuffer& buffer, const TrainState& state, Source& source,
                    comm::Communicator& comm) {
  const torch::Tensor whole = state.update.whole(buffer);
  for (size_t i = 0; source.reader && i < state.parameters.names().size(); ++i) {
    const std::string name = buffer.prefix + state.parameters.names()[i];
    const checkpoint::Safetensors& file = source.file(buffer.file);
    if (missing_but_optional(file, name, buffer.optional)) continue;
    copy_tensor(*source.reader, file, name, state.parameters.view_of(whole, i));
  }
  broadcast_tensor(whole, comm, "initial " + buffer.file);
  state.update.keep(buffer, whole);
}

void restore_tensor(const StateTensor& tensor, Source& source, comm::Communicator& comm) {
  if (source.reader) {
    const checkpoint::Safetensors& file = source.file(tensor.file);
    if (!missing_but_optional(file, tensor.name, tensor.optional))
      copy_tensor(*source.reader, file, tensor.name, tensor.values);
  }
  // They count, and are places in other tensors: what is negative is nobody's.
  if (source.reader && tensor.values.scalar_type() == torch::kInt64 &&
      tensor.values.lt(0).any().item<bool>()) {
    throw CheckpointError((source.reader->folder() / tensor.file).string() + ", tensor '" +
                          tensor.name +
                          "': holds a number below 0, expected counts. The file is damaged.");
  }
  broadcast_tensor(tensor.values, comm, "initial " + tensor.name);
}

}  // namespace

CheckpointTexts texts_of(const config::Config& config, const TrainState& state,
                         const RunProgress& progress) {
  const nlohmann::ordered_json counters = {{"format", 1},
                                           {"step", progress.step},
                                           {"skipped", progress.skipped},
                                           {"redraw", progress.redraw},
                                           {"total_sec", progress.total_sec},
                                           {"precision", progress.precision},
                                           {"data", to_json(state.data)}};
  return {{"config.toml", config::to_toml(config)}, {"state.json", counters.dump(2) + "\n"}};
}

std::vector<std::string> write_checkpoint(const std::filesystem::path& root,
                                          const CheckpointContent& content, int64_t keep,
                                          const std::function<void()>& before_commit,
                                          files::FileLayer& layer) {
  checkpoint::CheckpointWriter writer(root, content.step, layer);
  for (const auto& [file, tensors] : content.tensors) writer.write_tensors(file, tensors);
  for (const auto& [file, text] : content.texts) writer.write_text(file, text);
  if (before_commit) before_commit();
  return writer.commit(static_cast<int>(keep));
}

std::vector<std::string> save_checkpoint(const std::filesystem::path& root,
                                         const config::Config& config, const TrainState& state,
                                         const RunProgress& progress, comm::Communicator& comm) {
  const bool mine = comm.rank() == 0;
  std::exception_ptr failure;
  // The others do not know that a write has failed here: they go on sending.
  const auto unless_failed = [&](const std::function<void()>& work) {
    if (!mine || failure) return;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  std::optional<checkpoint::CheckpointWriter> writer;
  std::vector<std::string> problems;
  unless_failed([&] { writer.emplace(root, progress.step); });
  // One file after the other, so that rank zero never holds more than one of them whole.
  for (const std::string& file : files_of(state)) {
    const auto tensors = gather_tensors(file, state, mine);
    unless_failed([&] { writer->write_tensors(file, tensors); });
  }
  unless_failed([&] {
    for (const auto& [file, text] : texts_of(config, state, progress))
      writer->write_text(file, text);
    problems = writer->commit(static_cast<int>(config.checkpoint.keep));
  });
  if (failure) std::rethrow_exception(failure);
  return problems;
}

RunProgress restore_checkpoint(const RunFolder& folder, const config::Config& config,
                               const TrainState& state, comm::Communicator& comm) {
  const torch::NoGradGuard no_grad;
  RunProgress progress;
  Source source;
  if (comm.rank() == 0) source.reader = open_newest(folder, config.checkpoint.replica);
  if (source.reader) {
    std::vector<std::string> changes = changes_since(*source.reader, config, folder);
    SavedProgress saved = saved_progress(*source.reader);
    progress = std::move(saved.progress);
    progress.changes = std::move(changes);
    check_data_unchanged(folder, config, saved.data, state.data, progress);
  }
  broadcast_progress(progress, comm);
  for (const StateBuffer& buffer : buffers_of(state)) restore_buffer(buffer, state, source, comm);
  for (const StateTensor& tensor : tensors_of(state)) restore_tensor(tensor, source, comm);
  return progress;
}

}  // namespace scorenet::train
