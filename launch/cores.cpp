#include "launch/cores.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <string>
#include <thread>

#include "framework/core/host_name.hpp"

namespace scorenet::launch {
namespace {

constexpr size_t kWords = 64;  // 4096 cores

// What a rank tells the others.
struct Card {
  uint64_t host = 0;
  std::array<uint64_t, kWords> mask{};
};

bool may_use(const CoreMask& mask, size_t core) {
  return core / 64 < mask.size() && (mask[core / 64] >> (core % 64) & 1) != 0;
}

}  // namespace

CoreMask allowed_cores() {
  CoreMask mask(kWords);
  // The kernel's words are bytes in the order of this machine's integers.
  if (sched_getaffinity(0, kWords * sizeof(uint64_t), reinterpret_cast<cpu_set_t*>(mask.data())) ==
      0)
    return mask;
  const size_t cores = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 64 * kWords);
  for (size_t c = 0; c < cores; ++c) mask[c / 64] |= uint64_t{1} << (c % 64);
  return mask;
}

int64_t cores_without_binding() {
  int64_t count = 0;
  // A thread may widen its own binding as far as the kernel lets it.
  std::thread([&count] {
    const CoreMask all(kWords, ~uint64_t{0});
    sched_setaffinity(0, kWords * sizeof(uint64_t), reinterpret_cast<const cpu_set_t*>(all.data()));
    for (const uint64_t word : allowed_cores()) count += std::popcount(word);
  }).join();
  return count;
}

int64_t share_of_cores(const std::vector<CoreMask>& ranks_of_host, size_t me) {
  const CoreMask& mine = ranks_of_host[me];
  double share = 0;
  for (size_t core = 0; core < 64 * mine.size(); ++core) {
    if (!may_use(mine, core)) continue;
    const auto users = std::count_if(ranks_of_host.begin(), ranks_of_host.end(),
                                     [core](const CoreMask& mask) { return may_use(mask, core); });
    share += 1.0 / static_cast<double>(users);
  }
  return std::max<int64_t>(1, static_cast<int64_t>(share + 1e-6));
}

int64_t cores_of_this_rank(comm::Communicator& comm) {
  Card mine;
  mine.host = std::hash<std::string>()(host_name());
  const CoreMask mask = allowed_cores();
  std::copy(mask.begin(), mask.end(), mine.mask.begin());
  std::vector<Card> all(static_cast<size_t>(comm.size()));
  comm.all_gather(
          {&mine, sizeof mine, comm::DataType::uint8},
          {all.data(), static_cast<int64_t>(all.size() * sizeof mine), comm::DataType::uint8},
          "cores")
      .wait();
  std::vector<CoreMask> ranks_of_host;
  size_t me = 0;
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r].host != mine.host) continue;
    if (r == static_cast<size_t>(comm.rank())) me = ranks_of_host.size();
    ranks_of_host.emplace_back(all[r].mask.begin(), all[r].mask.end());
  }
  return share_of_cores(ranks_of_host, me);
}

}  // namespace scorenet::launch
