#include "framework/train/batch_memory.hpp"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "framework/core/stop_signal.hpp"
#include "framework/train/gradient_plan.hpp"

namespace scorenet::train {
namespace {

constexpr double kUsableShare = 0.9;

// The number behind `key` in a file of lines "key: number kB", in bytes; 0 where there is none.
int64_t kib_field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == key && file >> kib) return kib << 10;
  }
  return 0;
}

// A number alone in a file; "max" and a file that is not there: no limit.
int64_t limit_in(const std::string& path) {
  std::ifstream file(path);
  int64_t bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<int64_t>::max();
}

// Of the host, within the limit of this process's control group (cgroup v2), as of a Slurm job.
int64_t free_host_bytes() {
  std::ifstream groups("/proc/self/cgroup");
  std::string group;
  for (std::string line; std::getline(groups, line);)
    if (line.starts_with("0::")) group = "/sys/fs/cgroup" + line.substr(3);
  const int64_t limit = limit_in(group + "/memory.max");
  int64_t free = kib_field("/proc/meminfo", "MemAvailable:");
  if (limit < std::numeric_limits<int64_t>::max())
    free = std::min(free, limit - limit_in(group + "/memory.current"));
  return std::max<int64_t>(0, free);
}

// What a device has in use at most.
class DevicePeak {
 public:
  explicit DevicePeak(torch::Device device) : device_(device) {
    if (device.is_cuda()) allocator()->emptyCache();
  }

  int64_t free_bytes(int ranks_of_host) const {
    if (!device_.is_cuda()) return free_host_bytes() / std::max(1, ranks_of_host);
    return static_cast<int64_t>(allocator()->getMemoryInfo(device_.index()).first);
  }

  int64_t bytes_now() const {
    if (!device_.is_cuda()) return kib_field("/proc/self/status", "VmRSS:");
    return allocator()->getDeviceStats(device_.index()).allocated_bytes[0].current;
  }

  // Bytes at most since the process began (CPU), or during `work` (GPU).
  template <typename Work>
  int64_t during(const Work& work) const {
    if (device_.is_cuda()) allocator()->resetPeakStats(device_.index());
    work();
    if (!device_.is_cuda()) return kib_field("/proc/self/status", "VmHWM:");
    return allocator()->getDeviceStats(device_.index()).allocated_bytes[0].peak;
  }

 private:
  c10::DeviceAllocator* allocator() const { return c10::getDeviceAllocator(device_.type()); }

  torch::Device device_;
};

// On a GPU, beside as many bytes.
bool fits(const score::ScoreModel& model, c10::IntArrayRef shape, int64_t batch, int64_t beside) {
  try {
    const auto state = torch::empty({beside}, torch::dtype(torch::kUInt8).device(model.device));
    rehearse(model, shape, batch);
    return true;
  } catch (const c10::OutOfMemoryError&) {
    return false;
  }
}

}  // namespace

BatchMemory measure_batch_memory(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                                 int64_t batch, int64_t state_bytes, int ranks_of_host) {
  const DevicePeak peak(model.device);
  const int64_t half = std::max<int64_t>(1, batch / 2);
  rehearse(model, example_shape, 1);  // libraries take their own memory now
  throw_if_stop_asked();
  BatchMemory out;
  out.available_bytes = peak.free_bytes(ranks_of_host);
  const auto at = [&](int64_t examples) {
    return peak.during([&] { rehearse(model, example_shape, examples); });
  };
  const int64_t before = peak.bytes_now(), small = at(half), large = at(2 * half);
  out.bytes_an_example = std::max<int64_t>(1, (large - small) / half);
  out.fixed_bytes = std::max<int64_t>(0, small - before - half * out.bytes_an_example);
  const auto usable = static_cast<int64_t>(kUsableShare * static_cast<double>(out.available_bytes));
  const int64_t for_examples = usable - state_bytes - out.fixed_bytes;
  out.largest_batch = std::max<int64_t>(0, for_examples / out.bytes_an_example);
  // A cache that is cut into pieces holds less than its sum.
  while (model.device.is_cuda() && out.largest_batch > 0 &&
         !fits(model, example_shape, out.largest_batch, state_bytes)) {
    throw_if_stop_asked();
    out.largest_batch = out.largest_batch * 9 / 10;
  }
  return out;
}

}  // namespace scorenet::train
