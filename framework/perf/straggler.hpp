// Who holds the others up, and in what: judged by each rank's own phases before its
// first collective.
//
// Time inside collectives says nothing: everybody waits for the slow one there, and so looks slow.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace scorenet::perf {

struct Straggler {
  int rank = 0;
  std::string phase;
  double seconds = 0;         // that rank's, a step
  double median_seconds = 0;  // of all ranks in that phase
};

/// seconds[p][r]: rank r's mean time a step in phase phases[p], all before any waiting for others.
/// The rank and phase with the largest excess over the phase's median, if it is more than
/// `threshold` of a median rank's step; nothing if the ranks are balanced. Throws ConfigError if
/// the sizes do not fit.
std::optional<Straggler> find_straggler(const std::vector<std::string>& phases,
                                        const std::vector<std::vector<double>>& seconds,
                                        double threshold = 0.1);

/// "rank 1 is slow in data: 0.300 s a step, median of all ranks 0.010 s".
std::string describe(const Straggler& straggler);

}  // namespace scorenet::perf
