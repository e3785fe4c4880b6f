#include "framework/data/describe.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/data/channel_statistics.hpp"
#include "framework/data/file_tree.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/propose_map.hpp"
#include "framework/data/sample_picture.hpp"
#include "framework/data/stored_marks.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kMostClassesShown = 100;

std::string label_line(const ImageDataset& dataset) {
  if (!dataset.has_labels()) return "none";
  std::ostringstream out;
  const auto largest = dataset.labels().max().item<int64_t>();
  if (largest >= kMostClassesShown) return "0 to " + std::to_string(largest);
  out << largest + 1 << " classes, samples in each:";
  const auto counts = torch::bincount(dataset.labels(), {}, largest + 1);
  for (int64_t k = 0; k < counts.size(0); ++k) out << ' ' << counts[k].item<int64_t>();
  return out.str();
}

// The data set /classes, or the attribute of that name in files of before 2026-11-25.
std::vector<std::string> class_names(const Hdf5File& file) {
  if (file.has("/classes") && !file.is_group("/classes") &&
      file.array("/classes").info().type_name == "string") {
    return file.read_strings("/classes");
  }
  std::vector<std::string> names;
  std::istringstream lines(file.attribute("/", "classes").value_or(""));
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  return names;
}

std::string classes_line(const std::vector<std::string>& names) {
  constexpr size_t kMostNames = 10;
  std::string text = std::to_string(names.size()) + ": ";
  for (size_t i = 0; i < std::min(kMostNames, names.size()); ++i) {
    text += (i == 0 ? "" : ", ") + printable(names[i]);
  }
  return text + (names.size() > kMostNames ? ", ..." : "");
}

int64_t size_of(const std::string& path) {
  return is_npy(path) ? static_cast<int64_t>(std::filesystem::file_size(path))
                      : Hdf5File::open(path).bytes();
}

std::string describe_own(const std::string& path) {
  const auto file = Hdf5File::open(path);
  std::ostringstream out;
  out << path << ", " << size_of(path) << " bytes\n";
  for (const char* key : {"source", "split_rule"}) {
    if (const auto value = file.attribute("/", key)) {
      out << "  " << key << ": " << printable(*value) << '\n';
    }
  }
  if (const auto names = class_names(file); !names.empty()) {
    out << "  classes: " << classes_line(names) << '\n';
  }
  for (const auto& split : splits_of(file)) {
    DatasetOptions reading;
    reading.missing = std::nan("");  // a key says whether they mark missing values; here they may
    ImageDataset dataset(path, split, reading);
    const DatasetSummary summary = dataset.summary();
    out << split << "\n  images:      " << shape_string(dataset.storage().shape) << ' '
        << dataset.storage().type_name
        << (dataset.kind() == DataKind::discrete ? " (256 levels)" : " (continuous)")
        << "\n  storage:     " << storage_text(dataset.storage());
    if (const auto packing = packing_of(file, "/" + split + "/images"))
      out << "\n  packed:      " << packing->text();
    if (const auto mark = missing_mark_of(file, "/" + split + "/images"))
      out << "\n  missing:     the file marks them by " << number_text(*mark);
    if (summary.missing > 0)
      out << "\n  missing:     " << 100 * summary.missing
          << " % are NaN: set data.missing = \"nan\"";
    out << "\n  labels:      " << label_line(dataset) << "\n  fingerprint: " << summary.fingerprint
        << '\n';
  }
  return out.str();
}

// Samples evenly spread over a split: all of them if they have no more than kMostBytes.
std::vector<std::vector<int64_t>> spread_parts(const ImageDataset& dataset) {
  constexpr int64_t kMostBytes = int64_t{256} << 20, kPartBytes = int64_t{1} << 22;
  const int64_t bytes = dataset.dims() * static_cast<int64_t>(c10::elementSize(dataset.dtype()));
  const int64_t rows = std::max(dataset.block_rows(), kPartBytes / bytes + 1);
  const int64_t parts = (dataset.size() - 1) / rows + 1;
  const int64_t taken = std::clamp<int64_t>(kMostBytes / (rows * bytes), 1, parts);
  std::vector<std::vector<int64_t>> all;
  for (int64_t i = 0; i < taken; ++i) {
    const int64_t first = i * parts / taken * rows;
    all.push_back(slot_range(first, std::min(rows, dataset.size() - first)));
  }
  return all;
}

void add_values(const ChannelStatistics& found, std::ostringstream& out) {
  constexpr int64_t kMostShown = 12;
  const int64_t channels = found.mean().size(0);
  const auto at = [](const torch::Tensor& values, int64_t c) { return values[c].item<double>(); };
  const torch::Tensor deviation = found.deviation(), missing = found.missing_share();
  for (int64_t c = 0; c < channels; ++c) {
    if (c >= kMostShown && c + 1 < channels) continue;
    out << (c == 0 ? "  values:      " : "               ");
    if (c + 1 == channels && c > kMostShown) out << "...\n               ";
    if (channels > 1) out << "channel " << c << ": ";
    if (at(missing, c) == 1) {
      out << "all missing\n";
      continue;
    }
    out << at(found.least(), c) << " to " << at(found.greatest(), c) << ", mean "
        << at(found.mean(), c) << ", deviation " << at(deviation, c);
    if (at(missing, c) > 0) out << ", " << 100 * at(missing, c) << " % missing";
    out << '\n';
  }
}

// What the options say, or else the files: netCDF's mark.
std::optional<double> mark_of(const DataMap& map, const ImageDataset& dataset,
                              const DescribeOptions& options) {
  if (options.missing || is_npy(dataset.files()[0])) return options.missing;
  const std::string array = "/" + with_split(map.arrays[0], dataset.split());
  const Hdf5File file = Hdf5File::open(dataset.files()[0]);
  return missing_mark_of(file, array);
}

ChannelStatistics statistics_of(ImageDataset& dataset, std::optional<double> missing) {
  ChannelStatistics statistics(missing);
  for (const auto& indices : spread_parts(dataset)) statistics.add(dataset.read_values(indices));
  return statistics;
}

void describe_split(const DataMap& map, const std::string& split, const DescribeOptions& options,
                    std::ostringstream& out) {
  DatasetOptions reading;
  reading.levels = options.levels;
  ImageDataset dataset(map, split, reading);
  const size_t files = dataset.files().size();
  out << split << "\n  samples:     " << dataset.size() << " of shape "
      << shape_string(dataset.example_shape())
      << (dataset.levels() > 0 ? ", " + std::to_string(dataset.levels()) + " levels"
                               : std::string(", continuous"))
      << "\n  stored:      " << shape_string(dataset.storage().shape) << ' '
      << dataset.storage().type_name << ", " << storage_text(dataset.storage());
  if (files > 1) out << ", the first of " << files << " files";
  out << "\n  labels:      " << label_line(dataset) << '\n';
  const auto missing = mark_of(map, dataset, options);
  if (missing && !options.missing)
    out << "  missing:     the file marks them by " << number_text(*missing)
        << ": set data.missing to that\n";
  add_values(statistics_of(dataset, missing), out);
}

std::vector<std::string> splits_to_show(const DataMap& map, const std::string& asked) {
  if (!asked.empty()) return {asked};
  std::vector<std::string> splits;
  for (const char* usual : {"train", "validation", "test"})
    if (map.splits.count(usual)) splits.push_back(usual);
  for (const auto& [split, entries] : map.splits)
    if (std::find(splits.begin(), splits.end(), split) == splits.end()) splits.push_back(split);
  if (!splits.empty()) return splits;
  const auto files = files_of(map);
  if (is_own_layout(map) && !files.empty() && !is_npy(files[0]))
    splits = splits_of(Hdf5File::open(files[0]));
  return splits.empty() ? std::vector<std::string>{kAllSamples} : splits;
}

// Values that no network expects, and those that span magnitudes.
void propose_transforms(ProposedMap& proposed) {
  constexpr double kUsualValues = 10, kSpread = 20;
  ImageDataset dataset(proposed.map, "train");
  if (dataset.kind() == DataKind::discrete) return;
  const ChannelStatistics found = statistics_of(dataset, proposed.missing);
  const auto there = found.missing_share().lt(1);
  if (!there.any().item<bool>()) return;
  const auto of = [&there](const torch::Tensor& values) { return values.masked_select(there); };
  const double least = of(found.least()).min().item<double>();
  const double greatest = of(found.greatest()).max().item<double>();
  if (std::max(-least, greatest) > kUsualValues) proposed.transforms = {"standardise(channel)"};
  const double spread = (of(found.greatest()) / of(found.mean())).max().item<double>();
  if (least >= 0 && spread > kSpread && greatest > kUsualValues) {
    proposed.notes.push_back(
        "the largest values are far above the mean: consider log(a), with a > 0, before it");
  }
}

std::string describe_foreign(const std::string& path) {
  const auto tree = tree_of(path);
  std::ostringstream out;
  out << path << ", " << size_of(path) << " bytes\n" << tree_text(tree);
  auto proposed = propose_map(path, tree);
  if (!proposed) {
    out << "no array of numbers with an axis besides the samples: nothing to train on\n";
    return out.str();
  }
  std::string values;
  try {
    propose_transforms(*proposed);
    DescribeOptions options;
    options.missing = proposed->missing;
    values = describe_map(proposed->map, options);
  } catch (const DataError& error) {
    values = "which cannot be read as it is: " + std::string(error.what()) + '\n';
  }
  out << "\nthis looks like " << proposed->what << "; start from this [data] block:\n\n"
      << to_toml(*proposed) << '\n'
      << values;
  return out.str();
}

}  // namespace

bool has_own_layout(const std::string& path) {
  return !is_npy(path) && !splits_of(Hdf5File::open(path)).empty();
}

std::string describe_file(const std::filesystem::path& path) {
  return has_own_layout(path.string()) ? describe_own(path.string())
                                       : describe_foreign(path.string());
}

std::string describe_map(const DataMap& map, const DescribeOptions& options) {
  std::ostringstream out;
  for (const std::string& split : splits_to_show(map, options.split))
    describe_split(map, split, options, out);
  return out.str();
}

void draw_samples(const DataMap& map, const DescribeOptions& options, int64_t samples,
                  const std::filesystem::path& picture) {
  ImageDataset dataset(map, splits_to_show(map, options.split).front());
  const int64_t count = std::min(samples, dataset.size());
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back(i * dataset.size() / count);
  torch::Tensor values = dataset.read_values(indices);
  const auto missing = mark_of(map, dataset, options);
  if (missing && values.is_floating_point())
    values.masked_fill_(values.eq(torch::scalar_tensor(*missing, values.scalar_type())),
                        std::nan(""));
  write_sample_picture(picture, values);
}

}  // namespace scorenet::data
