// Likelihood results as rows of numbers, the form in which ranks exchange them: one row an example,
// one column a quantity.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "framework/diffusion/likelihood/result.hpp"

namespace scorenet::evaluate {

/// The results of n examples, a tensor (n) float64 a quantity.
struct ResultColumns {
  torch::Tensor nats;
  std::vector<std::pair<std::string, torch::Tensor>> terms;
  torch::Tensor nfe;                // denoiser evaluations
  torch::Tensor kind;               // diffusion::ResultKind as a number, the weakest first
  torch::Tensor solver_error = {};  // NaN where no solver measured it

  int64_t size() const { return nats.size(0); }
  /// The weakest kind of all examples. REQUIRES size() > 0.
  diffusion::ResultKind weakest_kind() const;
};

class ResultRows {
 public:
  /// terms: the names of each result's terms, in order.
  explicit ResultRows(std::vector<std::string> terms) : terms_(std::move(terms)) {}

  /// Numbers in a row.
  int64_t width() const;
  /// (B, width()) float64.
  torch::Tensor pack(const diffusion::LikelihoodResult& result) const;
  /// (count, width()): rows of examples that were not computed, such as those after a
  /// time budget's end.
  torch::Tensor left_out(int64_t count) const;
  /// rows: (n, width()). The rows that were left out are not in what is returned.
  ResultColumns unpack(const torch::Tensor& rows) const;

 private:
  std::vector<std::string> terms_;
};

}  // namespace scorenet::evaluate
