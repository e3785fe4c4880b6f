#include "framework/data/describe.hpp"

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
  out << dataset.num_classes() << " classes";
  if (dataset.num_classes() > kMostClassesShown) return out.str();
  const auto counts = torch::bincount(dataset.labels(), {}, dataset.num_classes());
  out << ", samples in each:";
  for (int64_t k = 0; k < counts.size(0); ++k) out << ' ' << counts[k].item<int64_t>();
  return out.str();
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
    if (const auto value = file.attribute("/", key)) out << "  " << key << ": " << *value << '\n';
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
