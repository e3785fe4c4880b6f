#include "framework/train/spike_law.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "framework/core/median.hpp"

namespace scorenet::train {
namespace {

constexpr int64_t kLoss = 0, kNorm = 1;
constexpr int64_t kPlaces = SpikeLaw::kWindow + 1;

// In float32: what the order of a sum over ranks changes in the last bits of a float64 does not
// reach a decision.
double log_of(double value) {
  const auto logarithm = static_cast<float>(std::log(value));
  return std::isfinite(logarithm) ? logarithm : std::nan("");
}

double limit_from(const std::vector<double>& logs, double deviations) {
  if (static_cast<int64_t>(logs.size()) < SpikeLaw::kLeast)
    return std::numeric_limits<double>::infinity();
  const double middle = median(logs);
  std::vector<double> distances;
  for (const double value : logs) distances.push_back(std::abs(value - middle));
  const double deviation = std::max(1.4826 * median(distances), SpikeLaw::kLeastDeviation);
  return std::exp(middle + deviations * deviation);
}

std::string part(const char* what, double value, double limit, const std::vector<double>& logs) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %.4g is far above its recent median %.4g (limit %.4g)", what,
                value, std::exp(median(logs)), limit);
  return text;
}

}  // namespace

SpikeLaw::SpikeLaw(double deviations)
    : deviations_(deviations),
      steps_(torch::zeros({kPlaces}, torch::kInt64)),
      logs_(torch::zeros({kPlaces, 2}, torch::kFloat64)) {}

void SpikeLaw::observe(int64_t step, double loss, double grad_norm) {
  const int64_t place = step % kPlaces;
  steps_.mutable_data_ptr<int64_t>()[place] = step + 1;
  double* const logs = logs_.mutable_data_ptr<double>() + 2 * place;
  logs[kLoss] = log_of(loss);
  logs[kNorm] = log_of(grad_norm);
}

std::vector<double> SpikeLaw::recent(int64_t step, int64_t which) const {
  const int64_t* const steps = steps_.const_data_ptr<int64_t>();
  const double* const logs = logs_.const_data_ptr<double>();
  const int64_t last = step - 2, first = last - kWindow + 1;
  std::vector<double> values;
  for (int64_t place = 0; place < kPlaces; ++place) {
    const int64_t of = steps[place] - 1;
    const double value = logs[2 * place + which];
    if (of >= std::max<int64_t>(first, 0) && of <= last && !std::isnan(value))
      values.push_back(value);
  }
  return values;
}

SpikeLaw::Limits SpikeLaw::limits(int64_t step) const {
  return {limit_from(recent(step, kLoss), deviations_),
          limit_from(recent(step, kNorm), deviations_)};
}

std::string SpikeLaw::loss_sentence(int64_t step, double loss) const {
  return part("the loss", loss, limits(step).loss, recent(step, kLoss));
}

std::string SpikeLaw::norm_sentence(int64_t step, double grad_norm) const {
  return part("the gradient norm", grad_norm, limits(step).grad_norm, recent(step, kNorm));
}

std::vector<std::pair<std::string, torch::Tensor>> SpikeLaw::state() const {
  return {{"steps", steps_}, {"logs", logs_}};
}

}  // namespace scorenet::train
