#include "framework/perf/straggler.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "framework/core/error.hpp"

namespace scorenet::perf {
namespace {

// The lower median: with two ranks the faster one is the measure.
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 2];
}

}  // namespace

std::optional<Straggler> find_straggler(const std::vector<std::string>& phases,
                                        const std::vector<std::vector<double>>& seconds,
                                        double threshold) {
  const bool fits = phases.size() == seconds.size() && !seconds.empty() && !seconds[0].empty() &&
                    std::all_of(seconds.begin(), seconds.end(), [&](const auto& phase) {
                      return phase.size() == seconds[0].size();
                    });
  if (!fits) {
    throw ConfigError("find_straggler: " + std::to_string(phases.size()) + " phases and " +
                      std::to_string(seconds.size()) +
                      " rows of times, which must be equally long.");
  }
  Straggler worst;
  double step = 0;
  for (size_t p = 0; p < phases.size(); ++p) {
    const double middle = median(seconds[p]);
    step += middle;
    for (size_t r = 0; r < seconds[p].size(); ++r) {
      if (seconds[p][r] - middle > worst.seconds - worst.median_seconds) {
        worst = {int(r), phases[p], seconds[p][r], middle};
      }
    }
  }
  if (worst.seconds - worst.median_seconds <= threshold * step) return std::nullopt;
  return worst;
}

std::string describe(const Straggler& s) {
  std::array<char, 96> numbers{};
  std::snprintf(numbers.data(), numbers.size(), ": %.3f s a step, median of all ranks %.3f s",
                s.seconds, s.median_seconds);
  return "rank " + std::to_string(s.rank) + " is slow in " + s.phase + numbers.data();
}

}  // namespace scorenet::perf
