// Results there and back through rows of numbers.
#include "framework/evaluate/result_rows.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

namespace scorenet::evaluate {
namespace {

using diffusion::ResultKind;

diffusion::LikelihoodResult result(double first, ResultKind kind) {
  const auto values = torch::arange(3, torch::kFloat64) + first;
  diffusion::LikelihoodResult r;
  r.nats = values;
  r.terms = {{"prior", 10 * values}, {"path", 100 * values}};
  r.nfe = torch::full({3}, 7.0, torch::kFloat64);
  r.kind = kind;
  return r;
}

TEST(ResultRows, EachQuantityComesBackUnderItsName) {
  const ResultRows rows({"prior", "path"});
  const auto packed = rows.pack(result(1, ResultKind::exact));
  ASSERT_EQ(packed.sizes(), (std::vector<int64_t>{3, rows.width()}));
  const ResultColumns columns = rows.unpack(packed);
  EXPECT_TRUE(columns.nats.equal(torch::tensor({1.0, 2.0, 3.0}, torch::kFloat64)));
  ASSERT_EQ(columns.terms.size(), 2u);
  EXPECT_EQ(columns.terms[0].first, "prior");
  EXPECT_TRUE(columns.terms[0].second.equal(10 * columns.nats));
  EXPECT_EQ(columns.terms[1].first, "path");
  EXPECT_TRUE(columns.terms[1].second.equal(100 * columns.nats));
  EXPECT_TRUE(columns.nfe.eq(7).all().item<bool>());
  EXPECT_TRUE(columns.solver_error.isnan().all().item<bool>());
  EXPECT_EQ(columns.weakest_kind(), ResultKind::exact);
}

TEST(ResultRows, WhatASolverMeasuredComesBack) {
  const ResultRows rows({"prior", "path"});
  auto measured = result(1, ResultKind::estimate);
  measured.solver_error = torch::tensor({0.1, 0.2, 0.3}, torch::kFloat64);
  EXPECT_TRUE(rows.unpack(rows.pack(measured)).solver_error.equal(measured.solver_error));
}

TEST(ResultRows, RowsThatWereLeftOutAreNotAmongTheResults) {
  const ResultRows rows({"prior", "path"});
  const ResultColumns columns = rows.unpack(
      torch::cat({rows.left_out(2), rows.pack(result(5, ResultKind::bound)), rows.left_out(1)}));
  EXPECT_TRUE(columns.nats.equal(torch::tensor({5.0, 6.0, 7.0}, torch::kFloat64)));
  EXPECT_EQ(rows.unpack(rows.left_out(4)).size(), 0);
}

TEST(ResultRows, TheWeakestKindOfAllBatchesCounts) {
  const ResultRows rows({"prior", "path"});
  const auto weakest = [&](ResultKind a, ResultKind b) {
    return rows.unpack(torch::cat({rows.pack(result(0, a)), rows.pack(result(3, b))}))
        .weakest_kind();
  };
  EXPECT_EQ(weakest(ResultKind::exact, ResultKind::bound), ResultKind::bound);
  EXPECT_EQ(weakest(ResultKind::estimate, ResultKind::exact), ResultKind::estimate);
}

}  // namespace
}  // namespace scorenet::evaluate
