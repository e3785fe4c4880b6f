#include "framework/train/start_block.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include "framework/config/validate.hpp"
#include "framework/core/build_info.hpp"
#include "framework/core/check.hpp"
#include "framework/core/host_name.hpp"
#include "framework/core/processor_name.hpp"
#include "framework/data/stored_marks.hpp"
#include "framework/train/host_copy.hpp"
#include "framework/train/train_precision.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"

namespace scorenet::train {
namespace {

// What the steps of this start compute in, and those before it, where that was something else.
std::string precision_line(const score::ScoreModel& model, const RunProgress& progress) {
  const std::string now = models::precision_name(model.compute_dtype);
  const std::string line = describe_precision(model.config.train.precision, now, model.device);
  if (progress.precision.empty() || progress.precision == now) return line;
  return line + "; up to step " + std::to_string(progress.step) + " the run computed in " +
         progress.precision;
}

// A line of its own, where there are some.
std::string transforms_line(const score::ScoreModel& model) {
  std::string text;
  for (const std::string& entry : model.transforms.entries())
    text += (text.empty() ? "" : ", ") + entry;
  if (model.transforms.has_missing())
    text += (text.empty() ? "" : "; ") + ("missing: " + model.config.data.missing);
  return text.empty() ? "" : "transforms      " + text + "\n";
}

// What computes: what a figure of its speed has to say.
std::string program_line(const score::ScoreModel& model) {
  return "scorenet " + build_line() + ", on " + host_name() + " (" +
         (model.device.is_cpu() ? "" : model.device.str() + ", ") + processor_name() + ")";
}

std::string network_line(const score::ScoreModel& model) {
  std::ostringstream out;
  models::ScoreNetwork& network = *model.trained().network;
  out << model.config.model.type << ", " << models::parameter_count(network) << " parameters, "
      << models::forward_flops(network, model.example_shape) * 1e-9
      << " GFLOP a forward pass of one image";
  return out.str();
}

std::string saves_line(const config::CheckpointConfig& c, const Learner& learner) {
  std::ostringstream out;
  out << "saves           ";
  if (c.every > 0) out << "every " << c.every << " steps, ";
  if (c.every_minutes > 0) out << "every " << c.every_minutes << " minutes, ";
  out << "at the end; ";
  const auto bytes = HostCopy::bytes_for(learner.parameters, learner.update);
  if (c.background)
    out << "written beside training, from a copy of " << 1e-6 * static_cast<double>(bytes)
        << " MB in rank zero's memory";
  else
    out << "training waits for each";
  if (!c.replica.empty()) out << "; also in " << c.replica;
  out << "\n";
  return out.str();
}

// A network meets noise of unit variance: data of another size are noise, or drown it.
constexpr double kUsualValues = 10;

// What continuous data are like, and what to do where that is nothing to train on.
std::string values_lines(const config::DataConfig& data, const data::DatasetSummary& summary) {
  if (!summary.range) return "";
  std::ostringstream out;
  out << "values          " << summary.range->least << " to " << summary.range->greatest
      << ", mean " << summary.mean << ", deviation " << summary.deviation << "\n";
  const double most = std::max(-summary.range->least, summary.range->greatest);
  if (most > kUsualValues && data.transforms.empty()) {
    out << "warning         values reach " << most << ", and networks expect them within about -"
        << kUsualValues << " to " << kUsualValues
        << "; set data.transforms = [\"standardise(channel)\"]\n";
  }
  return out.str();
}

// What the files say of their values and the keys leave unheeded.
std::string marks_lines(const config::DataConfig& data, const data::ImageDataset& dataset,
                        const data::DatasetSummary& summary) {
  const std::string& path = dataset.files()[0];
  if (data::is_npy(path)) return "";
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto range = summary.range.value_or(data::ValueRange{-kInfinity, kInfinity});
  const data::Hdf5File file = data::Hdf5File::open(path);
  std::string text;
  for (const std::string& array : data.map.arrays) {
    if (data::is_npy(array)) continue;
    const std::string name = "/" + data::with_split(array, dataset.split());
    for (const std::string& mark : data::unheeded_marks(file, name, range.least, range.greatest,
                                                        {!data.missing.empty(), data.transforms}))
      text += "warning         " + mark + "\n";
  }
  return text;
}

std::string diffusion_line(const score::ScoreModel& model) {
  const config::DiffusionConfig& d = model.config.diffusion;
  return d.schedule.name + ", predicts " + (model.is_classifier() ? "the label" : d.prediction) +
         ", loss " + objective_name(model) + ", times " + d.time_sampling;
}

}  // namespace

std::string start_block(const config::Config& config, const std::filesystem::path& outdir,
                        const data::ImageDataset& dataset, const data::DatasetSummary& summary,
                        const Learner& learner, const RunProgress& progress,
                        const comm::Communicator& comm, const std::string& first_weights) {
  std::ostringstream out;
  const int64_t batch = config.train.batch_size, ranks = comm.size();
  const int64_t steps = config::total_steps(config.train);
  const bool overlaps = ranks > 1 && !config.comm.canonical;
  out << "output folder   " << outdir.string() << "\n"
      << "program         " << program_line(learner.model) << "\n"
      << "data            " << dataset.path() << " /" << dataset.split() << ": " << dataset.size()
      << " x " << shape_string(dataset.example_shape())
      << (dataset.has_labels() ? ", labels" : ", no labels") << "\n"
      << values_lines(config.data, summary)
      << (comm.rank() == 0 ? marks_lines(config.data, dataset, summary) : "")
      << transforms_line(learner.model) << "network         " << network_line(learner.model) << "\n"
      << first_weights << "diffusion       " << diffusion_line(learner.model) << "\n"
      << "ranks           " << ranks << " (" << comm.local_size() << " on this host), device "
      << learner.model.device.str() << ", " << torch::get_num_threads() << " threads each\n"
      << "batch           " << batch << " = " << ranks << " ranks x " << (batch + ranks - 1) / ranks
      << "\n"
      << "precision       " << precision_line(learner.model, progress) << "\n"
      << "gradients       " << describe(learner.plan, config)
      << (overlaps ? ", " + learner.update.reducer().overlap().describe() : "") << "\n"
      << "time limits     start " << config.comm.link.limits.start << " s, step "
      << config.comm.link.limits.train << " s, evaluation " << config.eval.time_budget_s
      << " s, save " << config.comm.link.limits.save << " s\n"
      << saves_line(config.checkpoint, learner) << "duration        " << steps
      << " steps = " << static_cast<double>(steps * batch) / 1000.0 << " kimg"
      << (progress.step ? ", resumed at step " + std::to_string(progress.step) : "");
  for (const std::string& change : progress.changes) out << "\nchanged         " << change;
  return out.str();
}

}  // namespace scorenet::train
