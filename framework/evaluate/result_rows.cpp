#include "framework/evaluate/result_rows.hpp"

#include <cmath>

namespace scorenet::evaluate {
namespace {

// Where a quantity stands in a row. kComputed is 1; a row that was left out is all zeros.
enum Column : int64_t { kComputed, kNats, kNfe, kKind, kSolverError, kFirstTerm };

}  // namespace

diffusion::ResultKind ResultColumns::weakest_kind() const {
  return static_cast<diffusion::ResultKind>(static_cast<int>(kind.min().item<double>()));
}

int64_t ResultRows::width() const { return kFirstTerm + static_cast<int64_t>(terms_.size()); }

torch::Tensor ResultRows::pack(const diffusion::LikelihoodResult& result) const {
  torch::Tensor rows = torch::ones({result.nats.size(0), width()}, torch::kFloat64);
  rows.select(1, kNats).copy_(result.nats);
  rows.select(1, kNfe).copy_(result.nfe);
  rows.select(1, kKind).fill_(static_cast<double>(result.kind));
  rows.select(1, kSolverError).fill_(std::nan(""));
  if (result.solver_error.defined()) rows.select(1, kSolverError).copy_(result.solver_error);
  for (size_t i = 0; i < terms_.size(); ++i)
    rows.select(1, kFirstTerm + static_cast<int64_t>(i)).copy_(result.terms.at(i).second);
  return rows;
}

torch::Tensor ResultRows::left_out(int64_t count) const {
  return torch::zeros({count, width()}, torch::kFloat64);
}

ResultColumns ResultRows::unpack(const torch::Tensor& rows) const {
  const torch::Tensor computed = rows.index({rows.select(1, kComputed) == 1});
  const auto column = [&](int64_t i) { return computed.select(1, i).clone(); };
  ResultColumns columns{column(kNats), {}, column(kNfe), column(kKind), column(kSolverError)};
  for (size_t i = 0; i < terms_.size(); ++i)
    columns.terms.emplace_back(terms_[i], column(kFirstTerm + static_cast<int64_t>(i)));
  return columns;
}

}  // namespace scorenet::evaluate
