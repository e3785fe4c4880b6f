// Finds the rank that delays the others, and the phase in which it is slow, from each rank's own
// phases before its first collective.
//
// Time inside collectives says nothing: every rank waits for the slow one there, and so looks slow.
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

/// seconds[p][r]: rank r's mean time a step in phase phases[p], before it waits for any other rank.
/// Returns the rank and phase with the largest excess over the phase's median, if that is more than
/// `threshold` of a median rank's step; else nothing. Throws ConfigError if the sizes do not fit.
std::optional<Straggler> find_straggler(const std::vector<std::string>& phases,
                                        const std::vector<std::vector<double>>& seconds,
                                        double threshold);

/// "rank 1 is slow in data: 0.300 s a step, median of all ranks 0.010 s".
std::string describe(const Straggler& straggler);

}  // namespace scorenet::perf
