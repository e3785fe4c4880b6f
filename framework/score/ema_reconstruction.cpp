#include "framework/score/ema_reconstruction.hpp"

#include <ATen/ops/linalg_solve.h>
#include <torch/utils.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/core/finite.hpp"
#include "framework/optim/ema.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::score {
namespace {

double inner(const PowerAverage& a, const PowerAverage& b) {
  const double ga = optim::ema_power_exponent(a.sigma_rel),
               gb = optim::ema_power_exponent(b.sigma_rel);
  const double log_powers = (ga + gb + 1) * std::log(std::min(a.images, b.images)) -
                            (ga + 1) * std::log(a.images) - (gb + 1) * std::log(b.images);
  return (ga + 1) * (gb + 1) / (ga + gb + 1) * std::exp(log_powers);
}

struct Equations {
  torch::Tensor a;  // (n, n)
  torch::Tensor b;  // (n)
};

Equations equations_of(const std::vector<PowerAverage>& stored, const PowerAverage& wanted) {
  const auto n = static_cast<int64_t>(stored.size());
  auto a = torch::empty({n, n}, torch::kFloat64), b = torch::empty({n}, torch::kFloat64);
  for (int64_t i = 0; i < n; ++i) {
    const auto& p = stored[static_cast<size_t>(i)];
    b[i] = inner(p, wanted);
    for (int64_t j = 0; j < n; ++j) a[i][j] = inner(p, stored[static_cast<size_t>(j)]);
  }
  return {a, b};
}

struct Stored {
  checkpoint::Safetensors file;
  config::Config config;
  int64_t step;
  PowerAverage average;
};

double relative_width(const std::string& text, const std::filesystem::path& path) {
  double width = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, width);
  // Beyond 0.28 no power has such a width (EDM2).
  if (read.ec == std::errc() && read.ptr == end && width > 0 && width < 0.28) return width;
  throw CheckpointError(path.string() + ": says an average of width \"" + text +
                        "\", expected a number in (0, 0.28). The file is damaged.");
}

void check_is_of_a_power_average(const Stored& s, const std::filesystem::path& path) {
  if (s.step < 1) {
    throw CheckpointError(path.string() +
                          ": is of step 0, before anything was averaged. Give a later snapshot.");
  }
  for (const auto& [name, tensor] : s.file.tensors) {
    if (tensor.is_floating_point()) continue;
    throw CheckpointError(path.string() + ", tensor '" + name +
                          "': " + c10::toString(tensor.scalar_type()) +
                          " numbers, weights are floating-point ones.");
  }
}

Stored read(const std::filesystem::path& path) {
  Stored s{checkpoint::read_safetensors(path), {}, 0, {}};
  for (const auto& [name, tensor] : s.file.tensors)
    check_finite(tensor, path.string() + ", tensor '" + name + "'");
  const SnapshotLabel label = snapshot_label(s.file.metadata, path);
  s.config = snapshot_config(s.file.metadata, path);
  s.step = label.step;
  const std::string prefix = "emastd";
  if (!label.weights.starts_with(prefix)) {
    throw CheckpointError(path.string() + ": holds " + label.weights +
                          ", not a power average. Give snapshots named ...-emastd*.safetensors, "
                          "which runs with ema.powers save.");
  }
  const auto batch = static_cast<double>(s.config.train.batch_size);
  s.average = {relative_width(label.weights.substr(prefix.size()), path),
               static_cast<double>(label.step) * batch};
  check_is_of_a_power_average(s, path);
  return s;
}

void check_same_run(const Stored& first, const Stored& other, const std::filesystem::path& path) {
  bool same = first.file.tensors.size() == other.file.tensors.size() &&
              first.config.train.batch_size == other.config.train.batch_size &&
              first.config.train.seed == other.config.train.seed;
  for (const auto& [name, tensor] : first.file.tensors) {
    const auto found = other.file.tensors.find(name);
    same = same && found != other.file.tensors.end() && found->second.sizes() == tensor.sizes();
  }
  if (same) return;
  throw CheckpointError(path.string() +
                        ": is of another network, batch size or seed than the first snapshot. Give "
                        "snapshots of one run.");
}

}  // namespace

std::vector<double> reconstruction_factors(const std::vector<PowerAverage>& stored,
                                           const PowerAverage& wanted) {
  double last = 0;
  for (const PowerAverage& s : stored) last = std::max(last, s.images);
  if (!(wanted.images > 0 && wanted.images <= last)) {
    throw ConfigError("ema reconstruct: wanted after " + std::to_string(wanted.images) +
                      " images, but the last of " + std::to_string(stored.size()) +
                      " snapshots is from " + std::to_string(last) + ". Give later snapshots.");
  }
  for (size_t i = 0; i < stored.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (stored[i].sigma_rel != stored[k].sigma_rel || stored[i].images != stored[k].images)
        continue;
      throw ConfigError("ema reconstruct: snapshots " + std::to_string(k + 1) + " and " +
                        std::to_string(i + 1) +
                        " are the same average at the same step. Give each once.");
    }
  }
  const Equations e = equations_of(stored, wanted);
  const auto x = at::linalg_solve(e.a, e.b);
  return {x.data_ptr<double>(), x.data_ptr<double>() + x.numel()};
}

double reconstruction_error(const std::vector<PowerAverage>& stored, const PowerAverage& wanted,
                            const std::vector<double>& factors) {
  const Equations e = equations_of(stored, wanted);
  const auto x = torch::tensor(factors, torch::kFloat64);
  const double square = (x.dot(e.a.mv(x)) - 2 * x.dot(e.b)).item<double>() + inner(wanted, wanted);
  return std::sqrt(std::max(square, 0.0) / inner(wanted, wanted));
}

double reconstruct_snapshot(const std::vector<std::filesystem::path>& snapshots, double sigma_rel,
                            int64_t step, const std::filesystem::path& out) {
  std::vector<Stored> stored;
  std::vector<PowerAverage> averages;
  for (const auto& path : snapshots) {
    stored.push_back(read(path));
    check_same_run(stored.front(), stored.back(), path);
    averages.push_back(stored.back().average);
  }
  if (stored.empty()) throw ConfigError("ema reconstruct: no snapshots. Give those of a run.");
  if (step < 0)
    for (const Stored& s : stored) step = std::max(step, s.step);
  const auto batch = static_cast<double>(stored.front().config.train.batch_size);
  const PowerAverage wanted{sigma_rel, static_cast<double>(step) * batch};
  const auto factors = reconstruction_factors(averages, wanted);

  checkpoint::TensorMap sum;
  for (const auto& [name, tensor] : stored.front().file.tensors) {
    if (is_statistic(name)) {
      sum[name] = tensor;
      continue;
    }
    auto total = torch::zeros(tensor.sizes(), torch::kFloat64);
    for (size_t i = 0; i < stored.size(); ++i)
      total.add_(stored[i].file.tensors.at(name).to(torch::kFloat64), factors[i]);
    sum[name] = total.to(tensor.scalar_type());
  }
  checkpoint::Metadata metadata = stored.front().file.metadata;
  metadata["scorenet.step"] = std::to_string(step);
  metadata["scorenet.weights"] =
      "ema" + optim::ema_name({optim::EmaProfile::Kind::power, sigma_rel});
  write_snapshot(out, sum, metadata);
  return reconstruction_error(averages, wanted, factors);
}

}  // namespace scorenet::score
