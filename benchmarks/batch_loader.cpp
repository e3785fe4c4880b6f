// Images per second of the batch loader, by storage, against one H5Dread an image, and against
// memcpy alone: the same rows in the same order, out of the mapped contiguous file.
//
//   build/benchmarks/batch_loader_benchmark [IMAGES]
//
// IMAGES: 20000 if left out, of 3 x 32 x 32. One process, one thread of ours. First every way is
// checked to deliver the same pixels. Then, in turns, 5 repeats of each, all images ten times (of
// H5Dread a twentieth of them); minimum, median, maximum. The files were just written, so they are
// in the page cache: this is the loader's speed, not the disk's.
#include "framework/data/batch_loader.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/core/allocator.hpp"
#include "framework/core/random.hpp"
#include "framework/data/dataset_writer.hpp"
#include "framework/data/mapped_file.hpp"

namespace {

using namespace scorenet;
using namespace scorenet::data;

constexpr int64_t kBatch = 128;
constexpr int64_t kDepth = 4;  // batches read ahead, as data.prefetch
constexpr int kRepeats = 5;
constexpr int64_t kEpochs = 10;  // one takes some 20 ms

struct Way {
  std::string name;
  std::function<double()> images_per_second;
  std::vector<double> measured;
};

torch::Tensor noise_images(int64_t n) {
  const auto bits = normal_for_slots({1, RandomStream::synthetic_data, 0}, slot_range(0, n),
                                     {3, 32, 32 / 4}, torch::kFloat32);
  return bits.view(torch::kUInt8).view({n, 3, 32, 32});
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ShuffleOptions shuffle_for(const ImageDataset& dataset) {
  return {.seed = 3, .block_rows = dataset.block_rows(), .window_blocks = 16};
}

double loader_rate(const std::string& path, int64_t images) {
  ImageDataset dataset(path, "train");
  BatchLoader loader([&](const auto& indices) { return dataset.read(indices); },
                     GlobalSampler(dataset.size(), shuffle_for(dataset)),
                     {.global_batch = kBatch, .depth = kDepth});
  const int64_t steps = std::max<int64_t>(1, kEpochs * images / kBatch);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < steps; ++i) loader.next();
  return static_cast<double>(steps * kBatch) / seconds_since(start);
}

torch::Tensor one_by_one(const Hdf5Array& array, const std::vector<int64_t>& indices) {
  std::vector<torch::Tensor> rows;
  for (const int64_t index : indices) rows.push_back(array.read_rows(index, 1, torch::kUInt8));
  return torch::cat(rows);
}

// The order of the rows is known beforehand, and no batch is handed to another thread: what is left
// is to move the bytes, into as many batches as the loader has under way.
double memcpy_rate(const std::string& path, int64_t images) {
  ImageDataset dataset(path, "train");
  const Hdf5ArrayInfo info = Hdf5File::open(path).array("/train/images").info();
  const MappedFile file(path);
  const auto row_bytes = static_cast<size_t>(info.bytes / info.shape[0]);
  const int64_t steps = std::max<int64_t>(1, kEpochs * images / kBatch);
  const auto rows = GlobalSampler(dataset.size(), shuffle_for(dataset)).indices(0, steps * kBatch);
  std::vector<char> batches((kDepth + 2) * kBatch * row_bytes, 1);
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t from = info.offset + rows[i] * static_cast<int64_t>(row_bytes);
    char* const to = batches.data() + i * row_bytes % batches.size();
    std::memcpy(to, file.at(from), row_bytes);
    asm volatile("" : : "r"(to) : "memory");  // the copy counts as used
  }
  return static_cast<double>(steps * kBatch) / seconds_since(start);
}

double plain_rate(const std::string& path, int64_t images) {
  const auto array = Hdf5File::open(path).array("/train/images");
  GlobalSampler sampler(array.rows(), {.seed = 3});
  const int64_t steps =
      std::max<int64_t>(1, images / kBatch / 20);  // it is slow: a twentieth is enough
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < steps; ++i) one_by_one(array, sampler.indices(i * kBatch, kBatch));
  return static_cast<double>(steps * kBatch) / seconds_since(start);
}

void check_same_pixels(const std::vector<std::string>& paths) {
  const auto indices =
      GlobalSampler(ImageDataset(paths[0], "train").size(), {.seed = 3}).indices(0, kBatch);
  const auto expected = one_by_one(Hdf5File::open(paths[0]).array("/train/images"), indices);
  for (const auto& path : paths) {
    if (torch::equal(ImageDataset(path, "train").read(indices).examples, expected)) continue;
    throw DataError(path + ": the loader's pixels differ from plain H5Dread's.");
  }
}

}  // namespace

int main(int argc, char** argv) {
  tune_allocator();  // as the program does
  const int64_t images = argc > 1 ? std::atoll(argv[1]) : 20000;
  const auto folder =
      std::filesystem::temp_directory_path() / ("loader-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::vector<std::pair<std::string, Hdf5Storage>> storages{
      {"contiguous", {0, 0}}, {"chunk-512", {512, 0}}, {"chunk-512-gzip-1", {512, 1}}};
  std::vector<std::string> paths;
  std::vector<Way> ways;
  const auto pixels = noise_images(images);
  for (const auto& [name, storage] : storages) {
    const std::string path = (folder / (name + ".h5")).string();
    DatasetWriter writer(path, storage, true);
    writer.write_split("train", pixels, {});
    writer.commit();
    paths.push_back(path);
    ways.push_back({"loader, " + name, [=] { return loader_rate(path, images); }, {}});
    if (storage.gzip_level == 0)
      ways.push_back(
          {"one H5Dread an image, " + name, [=] { return plain_rate(path, images); }, {}});
    if (name == "contiguous")
      ways.push_back({"memcpy, " + name, [=] { return memcpy_rate(path, images); }, {}});
  }
  check_same_pixels(paths);
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    for (auto& way : ways) way.measured.push_back(way.images_per_second());
  }
  std::printf("%ld images of 3 x 32 x 32 uint8, batches of %ld, %d repeats; images/s\n",
              static_cast<long>(images), static_cast<long>(kBatch), kRepeats);
  std::printf("%-40s %12s %12s %12s %10s\n", "", "minimum", "median", "maximum", "MB/s");
  for (auto& way : ways) {
    std::sort(way.measured.begin(), way.measured.end());
    const double median = way.measured[kRepeats / 2];
    std::printf("%-40s %12.0f %12.0f %12.0f %10.0f\n", way.name.c_str(), way.measured.front(),
                median, way.measured.back(), median * 3072 / 1e6);
  }
  std::filesystem::remove_all(folder);
  return 0;
}
