// CIFAR-10's binary version: 3073-byte records, one label and 3 x 32 x 32 pixels, channel by
// channel, row by row. (Krizhevsky 2009, "Learning multiple layers of features from tiny images";
// layout from the data set's own page.)
#include <vector>

#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kRecordBytes = 1 + 3 * 32 * 32;
constexpr int64_t kClasses = 10;

struct Records {
  torch::Tensor images;  // (N, 3, 32, 32) uint8
  torch::Tensor labels;  // (N) uint8
};

Records read_records(const std::filesystem::path& path) {
  std::string bytes = read_maybe_gzip(path);
  const auto size = static_cast<int64_t>(bytes.size());
  if (size == 0 || size % kRecordBytes != 0) {
    throw DataError(path.string() + ": " + std::to_string(size) +
                    " bytes, expected a multiple of " + std::to_string(kRecordBytes) +
                    " (the binary version, not the Python one). Fetch it again.");
  }
  const auto table =
      torch::from_blob(bytes.data(), {size / kRecordBytes, kRecordBytes}, torch::kUInt8);
  Records records{table.slice(1, 1).reshape({-1, 3, 32, 32}).clone(), table.select(1, 0).clone()};
  if (const auto largest = records.labels.max().item<int64_t>(); largest >= kClasses) {
    throw DataError(path.string() + ": label " + std::to_string(largest) +
                    ", expected 0 to 9. Check that it is CIFAR-10's binary version.");
  }
  return records;
}

}  // namespace

std::vector<std::string> convert_cifar10(const std::filesystem::path& folder,
                                         const ConvertOptions& options) {
  Notes notes;
  std::vector<torch::Tensor> images, labels;
  for (int i = 1; i <= 5; ++i) {
    const auto records = read_records(folder / ("data_batch_" + std::to_string(i) + ".bin"));
    images.push_back(records.images);
    labels.push_back(records.labels);
  }
  const auto test = read_records(folder / "test_batch.bin");
  const auto train_images = torch::cat(images);
  const auto sizes = train_sizes(train_images.size(0), options, notes);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "CIFAR-10, binary version");
  writer.set_attribute("split_rule", split_rule(sizes, "data_batch_1 to data_batch_5") +
                                         "; test: all of test_batch");
  write_splits(writer, sizes, train_images, torch::cat(labels));
  writer.write_split("test", test.images, test.labels);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
