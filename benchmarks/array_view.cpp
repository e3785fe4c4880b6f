// Bytes a second from a file through the map, by storage, against plain reads of the same bytes.
//
//   array_view_benchmark [MEGABYTES] [FOLDER]
//
// Samples of 4 x 64 x 64 float32, 256 MB of them if nothing is said, in the order of the file and
// in a random one, in batches of 64: contiguous (`pread` into the batch is what it is compared
// with), and in chunks with gzip 1, whose bytes are counted inflated, on 1 and 2 threads. First
// every way is checked to deliver the same values. Then in turns, 5 repeats of each, the least, the
// middle and the greatest. The files were just written, so they are in the page cache: this is the
// reader's speed, not the disk's.
#include "framework/data/array_view.hpp"

#include <fcntl.h>
#include <torch/utils.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/core/random.hpp"

namespace {

using namespace scorenet;
using namespace scorenet::data;

constexpr int64_t kBatch = 64, kSampleBytes = 4 * 64 * 64 * 4;
constexpr int kRepeats = 5;

using Order = std::vector<int64_t>;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Smooth fields with a little noise, of which gzip leaves about two thirds.
torch::Tensor fields(int64_t first, int64_t count) {
  const auto noise = normal_for_slots({1, RandomStream::synthetic_data, 0},
                                      slot_range(first, count), {4, 64, 64}, torch::kFloat32);
  return (280 + 12 * noise).mul(64).round().div(64);
}

void write_file(const std::string& path, int64_t samples, const Hdf5Storage& storage) {
  auto file = Hdf5File::create(path);
  auto array = file.create_array("/fields", {samples, 4, 64, 64}, torch::kFloat32, storage);
  for (int64_t first = 0; first < samples; first += kBatch)
    array.write_rows(first, fields(first, std::min(kBatch, samples - first)));
  file.close();
}

// Batches in this order, given to `use`.
using Read = std::function<void(const Order& order, const std::function<void(torch::Tensor)>& use)>;

void read_mapped(const std::string& path, int threads, const Order& order,
                 const std::function<void(torch::Tensor)>& use) {
  torch::set_num_threads(threads);
  ArrayView view(SplitSource{kAllSamples, {path}}, "fields", {}, 32);
  for (size_t first = 0; first < order.size(); first += kBatch) {
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
    use(view.read({begin, begin + std::min<std::ptrdiff_t>(kBatch, order.end() - begin)}));
  }
}

void read_plainly(const std::string& path, const Order& order,
                  const std::function<void(torch::Tensor)>& use) {
  const int64_t offset = Hdf5File::open(path).array("/fields").info().offset;
  const int file = ::open(path.c_str(), O_RDONLY);
  for (size_t first = 0; first < order.size(); first += kBatch) {
    const auto count = std::min<size_t>(kBatch, order.size() - first);
    torch::Tensor batch = torch::empty({static_cast<int64_t>(count), 4, 64, 64});
    for (size_t i = 0; i < count; ++i) {
      char* const out = static_cast<char*>(batch.data_ptr()) + i * kSampleBytes;
      if (::pread(file, out, kSampleBytes, offset + order[first + i] * kSampleBytes) !=
          kSampleBytes)
        std::abort();
    }
    use(batch);
  }
  ::close(file);
}

struct Way {
  std::string name;
  Read read;
  std::vector<double> rates = {};  // bytes a second
};

double checksum(const Way& way, const Order& order) {
  double sum = 0;
  int64_t place = 0;
  way.read(order, [&](const torch::Tensor& batch) {
    const auto weights = torch::arange(place, place + batch.size(0), torch::kFloat64);
    sum += (batch.flatten(1).to(torch::kFloat64).sum(1) * weights).sum().item<double>();
    place += batch.size(0);
  });
  return sum;
}

void measure(Way& way, const Order& order) {
  const double start = now();
  way.read(order, [](const torch::Tensor&) {});
  way.rates.push_back(static_cast<double>(order.size()) * kSampleBytes / (now() - start));
}

void compare(std::vector<Way> ways, const Order& order, const char* what) {
  for (const Way& way : ways)
    if (checksum(way, order) != checksum(ways[0], order))
      throw DataError(way.name + ": other values than plain reads.");
  for (int repeat = 0; repeat < kRepeats; ++repeat)
    for (Way& way : ways) measure(way, order);
  std::printf("%s; MB/s least, middle, greatest; of plain reads\n", what);
  for (Way& way : ways) {
    std::sort(way.rates.begin(), way.rates.end());
    std::printf("  %-34s %7.0f %7.0f %7.0f   %.2f\n", way.name.c_str(), way.rates.front() / 1e6,
                way.rates[kRepeats / 2] / 1e6, way.rates.back() / 1e6,
                way.rates[kRepeats / 2] / ways[0].rates[kRepeats / 2]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t samples = (argc > 1 ? std::atoll(argv[1]) : 256) * 1'000'000 / kSampleBytes;
  const std::filesystem::path parent = argc > 2 ? argv[2] : std::filesystem::temp_directory_path();
  const auto folder = parent / ("array-view-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::string plain = (folder / "contiguous.h5").string();
  const std::string packed = (folder / "gzip.h5").string();
  write_file(plain, samples, {});
  write_file(packed, samples, {.chunk_rows = 8, .gzip_level = 1});
  std::vector<Way> ways;
  ways.push_back({"pread, contiguous",
                  [&](const Order& order, const auto& use) { read_plainly(plain, order, use); }});
  ways.push_back({"map, contiguous",
                  [&](const Order& order, const auto& use) { read_mapped(plain, 1, order, use); }});
  std::vector<Way> all = ways;
  for (const int threads : {1, 2})
    all.push_back({"map, gzip 1, threads " + std::to_string(threads),
                   [&, threads](const Order& order, const auto& use) {
                     read_mapped(packed, threads, order, use);
                   }});
  compare(all, slot_range(0, samples), "in the file's order");
  compare(ways, permutation({1, RandomStream::shuffle, 0}, samples), "in a random order");
  std::filesystem::remove_all(folder);
  return 0;
}
