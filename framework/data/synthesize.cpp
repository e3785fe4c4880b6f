#include <numbers>

#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/dataset_writer.hpp"

namespace scorenet::data {
namespace {

// A split's number keeps its samples apart from those of another with the same seed; part of
// the file format.
uint64_t split_number(const std::string& split) {
  if (split == "train") return 0;
  if (split == "validation") return 1;
  if (split == "test") return 2;
  throw ConfigError("split \"" + split + "\": expected train, validation or test.");
}

struct Draws {
  torch::Tensor normal;   // (n, 2)
  torch::Tensor uniform;  // (n)
};

Draws draw(const std::string& split, int64_t n, uint64_t seed) {
  const auto slots = slot_range(0, n);
  const uint64_t step = 2 * split_number(split);
  return {normal_for_slots({seed, RandomStream::synthetic_data, step}, slots, {2}, torch::kFloat64),
          uniform_for_slots({seed, RandomStream::synthetic_data, step + 1}, slots, {},
                            torch::kFloat64)};
}

torch::Tensor swiss_roll(const Draws& draws) {
  const auto t = 1.5 * std::numbers::pi * (1 + 2 * draws.uniform);
  return (torch::stack({t * t.cos(), t * t.sin()}, 1) + 0.5 * draws.normal) / 6.865;
}

torch::Tensor grid_component(int64_t n) { return torch::arange(n, torch::kInt64).remainder(25); }

torch::Tensor gaussians25(const Draws& draws) {
  const auto k = grid_component(draws.normal.size(0));
  const auto column = k.remainder(5);
  const auto row = torch::floor_divide(k, 5);
  const auto centre = 2.0 * (torch::stack({column, row}, 1).to(torch::kFloat64) - 2);
  return (centre + 0.05 * draws.normal) / 2.828;
}

torch::Tensor points(const std::string& kind, const Draws& draws) {
  if (kind == "swiss-roll") return swiss_roll(draws);
  if (kind == "gaussians25") return gaussians25(draws);
  if (kind == "gaussian") return draws.normal;
  throw ConfigError(
      "--kind " + kind +
      ": expected swiss-roll, gaussians25 or gaussian, or a twin: calo, well, weather, cmd or "
      "nhwc.");
}

}  // namespace

void synthesize(const std::string& kind, const std::map<std::string, int64_t>& sizes, uint64_t seed,
                const ConvertOptions& options) {
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "synthetic: " + kind + ", seed " + std::to_string(seed));
  writer.set_attribute("split_rule", "independent draws");
  for (const auto& [split, n] : sizes) {
    if (n < 1)
      throw ConfigError("--" + split + " " + std::to_string(n) + ": expected at least 1 sample.");
    const auto values = points(kind, draw(split, n, seed));
    writer.write_split(split, values, kind == "gaussians25" ? grid_component(n) : torch::Tensor());
  }
  writer.commit();
}

}  // namespace scorenet::data
