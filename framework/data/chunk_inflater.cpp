#include "framework/data/chunk_inflater.hpp"

#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <thread>

#include "framework/core/check.hpp"
#include "framework/data/hdf5_call.hpp"

namespace scorenet::data {
namespace {

// Bits of a chunk's mask: the filter of that number was left out.
constexpr uint32_t kFirstFilter = 1, kSecondFilter = 2;

// HDF5's shuffle: the first bytes of all values, then the second, ... Back to whole values.
std::vector<char> unshuffled(const std::vector<char>& planes, size_t element) {
  std::vector<char> values(planes.size());
  const size_t count = planes.size() / element;
  for (size_t byte = 0; byte < element; ++byte) {
    const char* plane = planes.data() + byte * count;
    for (size_t i = 0; i < count; ++i) values[i * element + byte] = plane[i];
  }
  return values;
}

// The part of one axis that a chunk and a region share.
struct Shared {
  int64_t count = 0;
  int64_t from = 0, from_step = 1;  // in the chunk
  int64_t to = 0;                   // in the region, one after the other
};

Shared shared(const Places& places, int64_t corner, int64_t chunk) {
  const int64_t first =
      std::max<int64_t>(0, (corner - places.first + places.step - 1)) / places.step;
  const int64_t end =
      corner + chunk <= places.first ? 0 : (corner + chunk - places.first - 1) / places.step + 1;
  const int64_t count = std::min(end, places.count) - first;
  return {std::max<int64_t>(0, count), places.at(first) - corner, places.step, first};
}

// Runs over the shared places of all axes but the last, then copies those of the last.
void scatter(const std::vector<Shared>& axes, size_t axis, const char* from, char* to,
             const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides,
             size_t element) {
  const Shared& here = axes[axis];
  from += here.from * from_strides[axis];
  to += here.to * to_strides[axis];
  if (axis + 1 == axes.size() && here.from_step == 1) {
    std::memcpy(to, from, static_cast<size_t>(here.count) * element);
    return;
  }
  for (int64_t i = 0; i < here.count; ++i) {
    const char* source = from + i * here.from_step * from_strides[axis];
    char* target = to + i * to_strides[axis];
    if (axis + 1 == axes.size())
      std::memcpy(target, source, element);
    else
      scatter(axes, axis + 1, source, target, from_strides, to_strides, element);
  }
}

std::vector<int64_t> strides_of(c10::IntArrayRef shape, size_t element) {
  std::vector<int64_t> strides(shape.size(), static_cast<int64_t>(element));
  for (size_t axis = shape.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

}  // namespace

struct ChunkInflater::Job {
  std::vector<int64_t> corner;  // of the chunk
  std::vector<Shared> axes;
  torch::Tensor out;
};

bool ChunkInflater::can_read(const Hdf5ArrayInfo& info) {
#if H5_VERSION_GE(1, 10, 3)
  const auto& filters = info.filters;
  const bool gzip = !filters.empty() && filters.back().starts_with("gzip");
  const bool plain = filters.size() == 1 || (filters.size() == 2 && filters[0] == "shuffle");
  return !info.chunk.empty() && info.bytes_are_native && gzip && plain;
#else
  return (void)info, false;
#endif
}

ChunkInflater::ChunkInflater(const Hdf5Array& array, int threads)
    : array_(array),
      threads_(std::max(1, threads)),
      shuffled_(array.info().filters.size() == 2),
      element_bytes_(c10::elementSize(*array.info().dtype)),
      chunk_bytes_(element_bytes_) {
  for (const int64_t size : array.info().chunk) chunk_bytes_ *= static_cast<size_t>(size);
}

std::vector<ChunkInflater::Job> ChunkInflater::jobs_of(const std::vector<Places>& region,
                                                       const torch::Tensor& out) const {
  const auto& chunk = array_.info().chunk;
  std::vector<std::vector<std::pair<int64_t, Shared>>> choices(region.size());
  for (size_t axis = 0; axis < region.size(); ++axis) {
    const Places& places = region[axis];
    const int64_t last = places.at(places.count - 1);
    for (int64_t corner = places.first / chunk[axis] * chunk[axis]; corner <= last;
         corner += chunk[axis]) {
      const Shared part = shared(places, corner, chunk[axis]);
      if (part.count > 0) choices[axis].push_back({corner, part});
    }
  }
  std::vector<Job> jobs{{{}, {}, out}};
  for (const auto& axis : choices) {
    std::vector<Job> longer;
    for (const Job& job : jobs) {
      for (const auto& [corner, part] : axis) {
        longer.push_back(job);
        longer.back().corner.push_back(corner);
        longer.back().axes.push_back(part);
      }
    }
    jobs = std::move(longer);
  }
  return jobs;
}

std::vector<char> ChunkInflater::inflated(const std::vector<int64_t>& corner) const {
  uint32_t left_out = 0;
  const std::vector<char> stored = array_.read_chunk(corner, chunk_bytes_, left_out);
  const bool plain = left_out & (shuffled_ ? kSecondFilter : kFirstFilter);
  std::vector<char> values(chunk_bytes_);
  uLongf bytes = chunk_bytes_;
  const bool whole =
      plain ? stored.size() == chunk_bytes_
            : uncompress(reinterpret_cast<Bytef*>(values.data()), &bytes,
                         reinterpret_cast<const Bytef*>(stored.data()), stored.size()) == Z_OK &&
                  bytes == chunk_bytes_;
  if (!whole) {
    throw DataError(array_.where() + ": the chunk at " + shape_string(corner) +
                    " cannot be read, since it does not inflate. " + kDamaged);
  }
  if (plain) values = stored;
  return shuffled_ && !(left_out & kFirstFilter) ? unshuffled(values, element_bytes_) : values;
}

void ChunkInflater::do_job(const Job& job) const {
  const std::vector<char> values = inflated(job.corner);
  scatter(job.axes, 0, values.data(), static_cast<char*>(job.out.data_ptr()),
          strides_of(array_.info().chunk, element_bytes_),
          strides_of(job.out.sizes(), element_bytes_), element_bytes_);
}

std::vector<torch::Tensor> ChunkInflater::read(
    const std::vector<std::vector<Places>>& regions) const {
  std::vector<torch::Tensor> all;
  std::vector<Job> jobs;
  for (const auto& region : regions) {
    std::vector<int64_t> shape;
    for (const Places& places : region) shape.push_back(places.count);
    all.push_back(torch::empty(shape, *array_.info().dtype));
    for (Job& job : jobs_of(region, all.back())) jobs.push_back(std::move(job));
  }
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;
  std::mutex guards_failure;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < jobs.size(); i = next++) do_job(jobs[i]);
    } catch (...) {
      next = jobs.size();
      const std::lock_guard lock(guards_failure);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < std::min(jobs.size(), static_cast<size_t>(threads_)); ++i)
      others.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return all;
}

}  // namespace scorenet::data
