// Ranks as threads of one process, on a modelled network: sleeps instead of sending, and
// fails on demand.
//
// An all-reduce of S bytes over n ranks takes 2 (n-1) a + 2 (n-1)/n S / B seconds (ring: Thakur,
// Rabenseifner, Gropp 2005), reduce-scatter, all-gather and all-to-all half of it, a broadcast
// ceil(log2 n) a + S / B, a barrier 2 ceil(log2 n) a; a is the latency in seconds, B the bandwidth
// of a rank's link in bytes per second. The link serves one operation at a time, in order, from the
// moment the last rank has started it; sleeping costs no core, so that schedules can be measured on
// a small machine. Results are formed in rank order: the same bits in every run.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/comm/operation.hpp"

namespace scorenet::comm {

/// Something that goes wrong on one rank at its operation number `sequence`.
struct SimFault {
  enum class Kind {
    fail,   // that rank's operation throws CommError
    drop,   // that rank never takes part: its call throws, and the others reach their deadline
    delay,  // that rank arrives `delay_s` seconds late
  };
  Kind kind = Kind::fail;
  int rank = 0;
  int64_t sequence = 0;
  double delay_s = 0;
};

struct SimOptions {
  double latency_s = 0;
  double bandwidth_bytes_per_s = std::numeric_limits<double>::infinity();
  PhaseLimits limits{};
  std::vector<SimFault> faults{};
  /// False: the buffers stay as they are. For timing buffers that are too large to add up on
  /// a small machine.
  bool move_data = true;
};

/// Seconds that `kind` takes on `ranks` ranks, as above. bytes: of the larger buffer.
double sim_seconds(const SimOptions& options, Collective kind, int ranks, int64_t bytes);

/// Runs program(communicator) on `ranks` threads and returns each rank's error sentence, "" where
/// it ended well. An operation that does not fit those of the other ranks throws CommError printing
/// both sides. Throws CommError if ranks < 1.
std::vector<std::string> run_simulated(int ranks, const SimOptions& options,
                                       const std::function<void(Communicator&)>& program);

}  // namespace scorenet::comm
