#include "launch/sample_like.hpp"

#include <torch/utils.h>

#include <cstdio>
#include <iostream>

#include "framework/comm/deadline.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/tensor_digest.hpp"
#include "framework/data/like_writer.hpp"
#include "framework/data/write_output.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"
#include "launch/drawn_parts.hpp"
#include "launch/run_lock.hpp"

namespace scorenet::launch {
namespace {

// Batches of a part: threads share them.
constexpr int64_t kBatchesOfPart = 8;

// Of weights that changed under the same name the parts are others.
std::string weights_of(const score::ScoreModel* model) {
  if (!model) return "";
  std::vector<torch::Tensor> all;
  for (const auto& [name, tensor] : score::named_parameters(*model)) all.push_back(tensor.detach());
  for (const auto& [name, tensor] : score::statistics_of(*model)) all.push_back(tensor);
  return config::to_toml(model->config) + digest_of(all) + "\n";
}

std::string key_of(const LikeRequest& r, const score::ScoreModel& model) {
  return std::string(SCORENET_VERSION) + "\n" + r.settings + "\n" + weights_of(&model) +
         weights_of(r.guidance.weak) + weights_of(r.guidance.classifier) +
         digest_of(torch::tensor(r.seeds));
}

// What the file holds: levels as numbers, real numbers in its units.
torch::Tensor stored_values(const score::ScoreModel& model, const torch::Tensor& x,
                            const data::ConditionValues& divisors) {
  if (model.traits.kind != data::DataKind::discrete) return score::file_values(model, x, divisors);
  return levels_from_data(x.nan_to_num(0, 1, -1), model.traits.levels).to(torch::kFloat64);
}

// The samples alone.
data::DatasetOptions like_options(config::Config config) {
  config.conditions.clear();
  return score::dataset_options(config);
}

// The map of the model's training data, with `like` in place of its files.
data::DataMap map_of(const LikeRequest& r, const score::ScoreModel& model) {
  data::DataMap map = model.config.data.map;
  map.path = {r.like};
  const auto entry = map.splits.find(model.config.data.split);
  if (entry == map.splits.end()) return map;
  // Ranges count the samples of all files of the data, of which this is one.
  entry->second = {data::are_ranges(entry->second) ? ":" : r.like};
  return map;
}

class Progress {
 public:
  explicit Progress(int64_t parts) : parts_(parts) {}
  void drawn() {
    ++drawn_;
    const double left = comm::seconds_since(start_) / static_cast<double>(drawn_) *
                        static_cast<double>(parts_ - drawn_);
    char text[96];
    std::snprintf(text, sizeof text, "part %lld of %lld of rank 0 drawn, about %.0f s left",
                  static_cast<long long>(drawn_), static_cast<long long>(parts_), left);
    std::cerr << text << std::endl;
  }

 private:
  int64_t parts_, drawn_ = 0;
  comm::Clock::time_point start_ = comm::Clock::now();
};

void draw_parts(const LikeRequest& r, const LoadedModel& loaded, const DrawnParts& parts,
                comm::Communicator& comm) {
  std::vector<int64_t> mine;
  for (int64_t part = comm.rank(); part < parts.count(); part += comm.size())
    if (!parts.has(part)) mine.push_back(part);
  const auto alone = comm::make_single_communicator();
  Progress progress(static_cast<int64_t>(mine.size()));
  for (const int64_t part : mine) {
    const data::Range range = parts.range(part);
    const std::vector<int64_t> seeds(r.seeds.begin() + range.begin, r.seeds.begin() + range.end);
    evaluate::GuidanceOptions guidance = r.guidance;
    guidance.told = evaluate::told_from(r.guidance.told, range.begin);
    guidance.labels = evaluate::dealt_labels(r.guidance.labels, range);
    parts.write(part, evaluate::generate(loaded.model, loaded.example_shape, seeds, r.sampler,
                                         guidance, r.batch, *alone)
                          .x);
    if (comm.rank() == 0 && mine.size() > 1) progress.drawn();
  }
}

// Returns the first sentence about samples that are not finite; "": all are.
evaluate::NotFinite write_all(const LikeRequest& r, const LoadedModel& loaded,
                              const DrawnParts& parts) {
  const score::ScoreModel& model = loaded.model;
  files::ReplacingFile whole(r.out);
  const auto conditions =
      r.guidance.told.read ? model.config.conditions : std::vector<data::ConditionMap>();
  data::LikeWriter writer(r.like, map_of(r, model), model.config.data.split, whole.path().string(),
                          static_cast<int64_t>(r.seeds.size()), conditions);
  evaluate::NotFinite bad;
  bool all_bad = true;
  for (int64_t part = 0; part < parts.count(); ++part) {
    const torch::Tensor x = parts.read(part);
    const data::Range range = parts.range(part);
    const auto found = evaluate::samples_not_finite(
        x, {r.seeds.begin() + range.begin, r.seeds.begin() + range.end});
    if (bad.sentence.empty()) bad.sentence = found.sentence;
    all_bad = all_bad && found.of_all;
    const auto divisors = evaluate::divided_by(model, r.guidance.told, range.begin, range.size());
    writer.write(range.begin, stored_values(model, x, divisors));
    if (writer.has_conditions())
      writer.write_conditions(range.begin, r.guidance.told.values(range.begin, range.size()));
  }
  bad.of_all = all_bad;
  writer.close();
  if (!bad.of_all) whole.commit();
  return bad;
}

void check_shape(const LikeRequest& r, const LoadedModel& loaded) {
  const score::ScoreModel& model = loaded.model;
  const data::ImageDataset like(map_of(r, model), model.config.data.split,
                                like_options(model.config));
  if (like.dims() == static_cast<int64_t>(c10::multiply_integers(loaded.example_shape))) return;
  throw DataError("--like " + like.where() + ": samples of shape " +
                  shape_string(like.example_shape()) + ", but the model's have " +
                  shape_string(loaded.example_shape) +
                  ". Give the file that the model was trained on.");
}

}  // namespace

ExitCode sample_like(const LikeRequest& r, const LoadedModel& loaded, comm::Communicator& comm) {
  if (comm.rank() == 0) check_shape(r, loaded);
  const DrawnParts parts(r.out + ".parts", key_of(r, loaded.model),
                         static_cast<int64_t>(r.seeds.size()), kBatchesOfPart * r.batch);
  const auto lock = lock_run_folder(parts.folder(), comm);
  draw_parts(r, loaded, parts, comm);
  comm.barrier("all parts drawn").wait();
  if (comm.rank() != 0) return ExitCode::done;
  evaluate::NotFinite bad;
  data::write_output([&] { bad = write_all(r, loaded, parts); });
  if (!bad.of_all) parts.remove();
  if (!bad.of_all)
    std::cout << r.seeds.size() << " samples, " << r.sampler.name << ", in " << r.out << std::endl;
  if (!bad.sentence.empty()) throw NotFiniteError(bad.sentence);
  return ExitCode::done;
}

}  // namespace scorenet::launch
