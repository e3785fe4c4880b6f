// What every likelihood evaluator returns: -log p of each example, in nats, with its named parts.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

namespace scorenet::diffusion {

/// How the number relates to the model's own -log p, from the weakest to the strongest. A bound
/// says on which side the value lies, but not how far away. An estimate approximates the value.
/// Exact is the value.
enum class ResultKind {
  bound,     // an upper bound in expectation
  estimate,  // neither a bound nor free of model error
  exact,     // the value itself, up to rounding and a stated tolerance
};

/// "bound", "estimate", "exact".
std::string name_of(ResultKind kind);

/// The weaker of two: what can be said of both results together.
ResultKind weaker(ResultKind a, ResultKind b);

/// All tensors (B) float64 on the CPU, in the order of the examples given; the caller averages over
/// the data set.
struct LikelihoodResult {
  ResultKind kind = ResultKind::estimate;
  torch::Tensor nats;  // estimate of -log p(x)
  // parts whose meaning the evaluator documents
  std::vector<std::pair<std::string, torch::Tensor>> terms;
  // denoiser evaluations spent on each example (a derivative counts in the evaluator's own way)
  torch::Tensor nfe;
  // nats: by how much the solver changed `nats` when it last refined them; undefined: not measured
  torch::Tensor solver_error = {};

  /// The term of that name. Throws ConfigError that lists the names there are.
  const torch::Tensor& term(const std::string& name) const;
};

}  // namespace scorenet::diffusion
