#include "framework/transform/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"

namespace scorenet::transform {
namespace {

constexpr int64_t kMostBlocks = 256;
constexpr int64_t kValuesAtOnce = int64_t{1} << 22;

Moments no_moments(int64_t parts) {
  const auto zeros = [parts] { return torch::zeros({parts}, torch::kFloat64); };
  return {zeros(), zeros(), zeros()};
}

struct Pass {
  const TransformChain& chain;
  size_t stage;
  const Split& split;
  int64_t parts = chain.statistics_of(stage, split.example_shape);
  int64_t dims = c10::multiply_integers(split.example_shape);
  int64_t blocks = std::min(kMostBlocks, split.size);
};

// Some rows at a time; how many follows from the shape alone.
Moments moments_of_block(const Pass& pass, int64_t block) {
  const auto edge = [&](int64_t i) { return i * pass.split.size / pass.blocks; };
  const int64_t at_once = std::max<int64_t>(1, kValuesAtOnce / pass.dims);
  Moments all = no_moments(pass.parts);
  for (int64_t first = edge(block); first < edge(block + 1); first += at_once) {
    const int64_t count = std::min(at_once, edge(block + 1) - first);
    const auto indices = slot_range(first, count);
    const Conditions conditions =
        pass.split.conditions ? pass.split.conditions(first, count) : Conditions{};
    const NetworkValues values = pass.chain.before(pass.stage, pass.split.read(first, count),
                                                   {pass.split.where, indices}, conditions);
    all = merged(all, moments_of(values.x, values.observed, pass.parts));
  }
  return all;
}

Moments from_rank(const Moments& own, int root, const Ranks& ranks) {
  if (ranks.size == 1) return own;
  torch::Tensor all = torch::stack({own.count, own.mean, own.squares}).contiguous();
  ranks.broadcast(all, root);
  return {all[0].clone(), all[1].clone(), all[2].clone()};
}

Moments moments_of_split(const Pass& pass, const Ranks& ranks) {
  Moments all = no_moments(pass.parts);
  for (int64_t first = 0; first < pass.blocks; first += ranks.size) {
    Moments own = no_moments(pass.parts);
    if (first + ranks.rank < pass.blocks) own = moments_of_block(pass, first + ranks.rank);
    for (int root = 0; root < ranks.size && first + root < pass.blocks; ++root)
      all = merged(all, from_rank(own, root, ranks));
  }
  return all;
}

// Which values a part is: "channel 3", "the value at (0, 3, 4)".
std::string part_name(const Pass& pass, int64_t part) {
  if (pass.parts == 1) return "the split";
  const auto& shape = pass.split.example_shape;
  if (pass.parts == shape[0]) return "channel " + std::to_string(part);
  std::vector<int64_t> place(shape.size());
  for (size_t i = place.size(); i-- > 0; part /= shape[i]) place[i] = part % shape[i];
  return "the value at " + shape_string(place);
}

Statistics statistics_of(const Pass& pass, const Moments& moments) {
  const Statistics found{moments.mean, (moments.squares / moments.count).sqrt()};
  const double* const std = found.std.const_data_ptr<double>();
  for (int64_t i = 0; i < pass.parts; ++i) {
    if (std[i] > 0) continue;
    std::ostringstream text;
    text << pass.split.where << ": " << pass.chain.name(pass.stage)
         << " divides by the deviation, but " << part_name(pass, i);
    if (moments.count.const_data_ptr<double>()[i] == 0)
      text << " has only missing values";
    else
      text << " is constant at " << moments.mean.const_data_ptr<double>()[i];
    text << ". Leave it out of the data, or use standardise(all) or affine(a, b).";
    throw DataError(text.str());
  }
  return found;
}

}  // namespace

// Deviations are from the part's first value: a constant part has exactly none.
Moments moments_of(const torch::Tensor& x, const torch::Tensor& observed, int64_t parts) {
  const int64_t examples = x.size(0), dims = x.numel() / std::max<int64_t>(examples, 1);
  const int64_t of_each = dims / parts;
  const double* const values = x.const_data_ptr<double>();
  const bool* const there = observed.defined() ? observed.const_data_ptr<bool>() : nullptr;
  Moments m = no_moments(parts);
  double* const count = m.count.data_ptr<double>();
  double* const mean = m.mean.data_ptr<double>();
  double* const squares = m.squares.data_ptr<double>();
  const auto for_all = [&](const auto& visit) {
    for (int64_t i = 0, at = 0; i < examples; ++i)
      for (int64_t k = 0; k < dims; ++k, ++at)
        if (!there || there[at]) visit(k / of_each, values[at]);
  };
  std::vector<double> first(static_cast<size_t>(parts), 0.0);
  for_all([&](int64_t part, double value) {
    if (count[part] == 0) first[static_cast<size_t>(part)] = value;
    count[part] += 1;
    mean[part] += value - first[static_cast<size_t>(part)];
  });
  for (int64_t part = 0; part < parts; ++part) {
    if (count[part] > 0) mean[part] = first[static_cast<size_t>(part)] + mean[part] / count[part];
  }
  for_all([&](int64_t part, double value) {
    squares[part] += (value - mean[part]) * (value - mean[part]);
  });
  return m;
}

Moments merged(const Moments& before, const Moments& next) {
  Moments m = no_moments(before.count.size(0));
  double* const count = m.count.data_ptr<double>();
  double* const mean = m.mean.data_ptr<double>();
  double* const squares = m.squares.data_ptr<double>();
  for (int64_t i = 0; i < m.count.size(0); ++i) {
    const auto at = [i](const torch::Tensor& t) { return t.const_data_ptr<double>()[i]; };
    const double a = at(before.count), b = at(next.count);
    count[i] = a + b;
    if (a + b == 0) continue;
    const double gap = at(next.mean) - at(before.mean);
    mean[i] = a == 0 ? at(next.mean) : at(before.mean) + gap * (b / (a + b));
    squares[i] = at(before.squares) + at(next.squares) +
                 (a == 0 || b == 0 ? 0 : gap * gap * (a * b / (a + b)));
  }
  return m;
}

void measure_statistics(TransformChain& chain, const Split& split, const Ranks& ranks) {
  for (const size_t stage : chain.unmeasured()) {
    const Pass pass{chain, stage, split};
    chain.set_statistics(stage, statistics_of(pass, moments_of_split(pass, ranks)));
  }
}

}  // namespace scorenet::transform
