#include <algorithm>
#include <cmath>

#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/dataset_writer.hpp"
#include "framework/data/image_dataset.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kRowsAtOnce = 1024;

void copy_split(DatasetWriter& writer, const std::string& path, const std::string& split) {
  DatasetOptions reading;
  reading.missing = std::nan("");  // NaN may mark missing values, and is copied as it is
  ImageDataset source(path, split, reading);
  writer.begin_split(
      {split, source.size(), source.example_shape(), source.dtype(), source.has_labels()});
  for (int64_t first = 0; first < source.size(); first += kRowsAtOnce) {
    const auto batch = source.read(slot_range(first, std::min(kRowsAtOnce, source.size() - first)));
    writer.append(batch.examples, batch.labels);
  }
}

}  // namespace

std::vector<std::string> rechunk(const std::filesystem::path& in, const ConvertOptions& options) {
  const auto file = Hdf5File::open(in.string());
  const auto splits = splits_of(file);
  if (splits.empty()) {
    throw DataError(in.string() +
                    ": holds no group with `images`. Expected /train/images or the like.");
  }
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  for (const auto& split : splits) copy_split(writer, in.string(), split);
  Notes notes;
  writer.copy_the_rest(file, notes);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
