#include "framework/data/describe.hpp"

#include <algorithm>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/data/image_dataset.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kMostClassesShown = 100;

std::string storage_line(const Hdf5ArrayInfo& storage) {
  if (storage.chunk.empty()) {
    return storage.offset >= 0 ? "contiguous at byte " + std::to_string(storage.offset) + ", mapped"
                               : "in one piece, read through HDF5";
  }
  return "chunks of " + shape_string(storage.chunk) + (storage.compressed ? ", compressed" : "");
}

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

}  // namespace

std::string describe_file(const std::filesystem::path& path) {
  const auto file = Hdf5File::open(path.string());
  const auto splits = splits_of(file);
  if (splits.empty()) {
    throw DataError(path.string() +
                    ": holds no group with `images`. Expected /train/images or the like.");
  }
  std::ostringstream out;
  out << path.string() << ", " << std::filesystem::file_size(path) << " bytes\n";
  for (const char* key : {"source", "split_rule"}) {
    if (const auto value = file.attribute("/", key)) {
      out << "  " << key << ": " << printable(*value) << '\n';
    }
  }
  if (const auto names = class_names(file); !names.empty()) {
    out << "  classes: " << classes_line(names) << '\n';
  }
  for (const auto& split : splits) {
    ImageDataset dataset(path.string(), split);
    out << split << "\n  images:      " << shape_string(dataset.storage().shape) << ' '
        << dataset.storage().type_name
        << (dataset.kind() == DataKind::discrete ? " (256 levels)" : " (continuous)")
        << "\n  storage:     " << storage_line(dataset.storage())
        << "\n  labels:      " << label_line(dataset)
        << "\n  fingerprint: " << dataset.fingerprint() << '\n';
  }
  return out.str();
}

}  // namespace scorenet::data
