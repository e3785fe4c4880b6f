// Of four examples, of which one failed: what each form of a report says of them.
#include "framework/evaluate/evaluation_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/core/error.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/evaluate/file_units.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::evaluate {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

torch::Tensor numbers(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat64);
}

MetricResult result_of(const std::vector<double>& nats) {
  MetricResult result;
  result.nats = numbers(nats);
  return result;
}

// Means 2 nats of three examples, with a standard error of 1 / sqrt(3).
EvaluationReport report_of(bool discrete) {
  MetricResult result = result_of({1, 2, NAN, 3});
  result.terms = {{"prior", numbers({0.5, 1, 7, 1.5})}};
  result.nfe = 4;
  MetricReport metric;
  metric.name = "elbo";
  metric.results = {result};
  EvaluationReport report;
  report.network = "net";
  report.dims = 2;
  report.discrete = discrete;
  report.metrics = {metric};
  return report;
}

TEST(MetricResult, AnExampleFailsByItsValueOrByOneOfItsTerms) {
  MetricResult result = result_of({1, NAN, 3, 5});
  EXPECT_EQ(result.failed(), 1);
  EXPECT_EQ(result.nats_mean(), 3);  // (1 + 3 + 5) / 3
  result.terms = {{"path", numbers({0, 0, INFINITY, 0})}};
  EXPECT_EQ(result.failed(), 2);
  EXPECT_EQ(result.nats_mean(), 3);  // (1 + 5) / 2
  EXPECT_DOUBLE_EQ(result.nats_stderr(), std::sqrt(8.0) / std::sqrt(2.0));
  EXPECT_TRUE(std::isnan(result_of({4}).nats_stderr()));
  EXPECT_TRUE(std::isnan(result_of({NAN}).nats_mean()));
}

TEST(MetricResult, TheNetworksUnitsLeaveTheJacobianOut) {
  MetricResult result = result_of({1, 3});
  EXPECT_EQ(result.nats_mean_network(), 2);
  result.terms = {{kJacobianTerm, numbers({0.5, 0.5})}};
  EXPECT_EQ(result.nats_mean_network(), 1.5);
}

TEST(EvaluationReport, AsJsonHasMeansErrorsAndNullForWhatThereIsNot) {
  const auto discrete = to_json(report_of(true))["metrics"]["elbo"];
  EXPECT_EQ(discrete["nats_mean"], 2);
  EXPECT_DOUBLE_EQ(discrete["nats_stderr"], 1 / std::sqrt(3.0));
  EXPECT_DOUBLE_EQ(discrete["bits_per_dim"], 2 / (2 * std::log(2.0)));
  EXPECT_TRUE(discrete["nats_mean_network"].is_null());
  EXPECT_EQ(discrete["terms"]["prior"], 1);  // of those that did not fail
  EXPECT_EQ(discrete["failed"], 1);
  EXPECT_EQ(discrete["n"], 4);
  EXPECT_EQ(discrete["nfe"], 4);
  const auto continuous = to_json(report_of(false))["metrics"]["elbo"];
  EXPECT_TRUE(continuous["bits_per_dim"].is_null());
  EXPECT_EQ(continuous["nats_mean_network"], 2);
}

TEST(EvaluationReport, OverHTheKindIsTheWeakest) {
  EvaluationReport report = report_of(false);
  MetricResult exact = report.metrics[0].results[0], bound = exact;
  exact.hbar = 0;
  exact.kind = diffusion::ResultKind::exact;
  bound.hbar = 1;
  bound.kind = diffusion::ResultKind::bound;
  report.metrics[0].results = {exact, bound};
  const auto json = to_json(report)["metrics"]["elbo"];
  EXPECT_EQ(json["kind"], diffusion::name_of(diffusion::ResultKind::bound));
  ASSERT_EQ(json["per_hbar"].size(), 2u);
  EXPECT_EQ(json["per_hbar"][0]["kind"], diffusion::name_of(diffusion::ResultKind::exact));
  EXPECT_EQ(json["per_hbar"][1]["hbar"], 1);
}

TEST(EvaluationReport, SeparateTermsHaveDistributions) {
  EvaluationReport report = report_of(false);
  report.metrics[0].separate_terms = {"prior"};
  const auto json = to_json(report)["metrics"]["elbo"];
  EXPECT_EQ(json["prior_mean"], 1);
  EXPECT_EQ(json["prior_median"], 1);
  EXPECT_DOUBLE_EQ(json["prior_q05"], 0.55);  // of 0.5, 1 and 1.5, linear between
  EXPECT_DOUBLE_EQ(json["prior_q95"], 1.45);
}

TEST(EvaluationReport, IsALineForEachResult) {
  // 2 nats over 2 dimensions are 1.4427 bits a dimension.
  EXPECT_THAT(summary(report_of(true)),
              AllOf(HasSubstr("elbo 1.4427 +- 0.4165 bits/dim (bound, prior 0.7213"),
                    HasSubstr("n 4 of which 1 failed")));
  EXPECT_THAT(summary(report_of(false)),
              AllOf(HasSubstr("elbo 2.0000 +- 0.5774 nats (bound"), Not(HasSubstr("units"))));
  EvaluationReport transformed = report_of(false);
  transformed.transformed = true;
  EXPECT_THAT(summary(transformed), HasSubstr("nats in the file's units (bound"));
}

TEST(EvaluationReport, HeadlinesAreNatsAndBits) {
  const auto rows = headline(report_of(true));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].first, "elbo_nats");
  EXPECT_EQ(rows[0].second, 2);
  EXPECT_EQ(rows[1].first, "elbo_bits_per_dim");
  EXPECT_EQ(headline(report_of(false)).size(), 1u);
}

TEST(EvaluationReport, WithoutAnyFiniteValueIsAnError) {
  EvaluationReport report = report_of(true);
  EXPECT_NO_THROW(require_finite(report));
  report.metrics[0].results[0].nats.fill_(NAN);
  EXPECT_ERROR(require_finite(report), NotFiniteError, "elbo", "n 4");
  report = report_of(true);
  SampleMetricReport fd;
  fd.name = "fd";
  fd.n = 9;
  fd.values = {{"fd", NAN}};
  report.sample_metrics = {fd};
  EXPECT_ERROR(require_finite(report), NotFiniteError, "fd", "n 9");
}

TEST(EvaluationReport, ItsExamplesAreInAFile) {
  const test::TemporaryFolder folder;
  EvaluationReport report = report_of(true);
  MetricReport over_h = report.metrics[0];
  over_h.name = "hbar-elbo";
  over_h.results = {result_of({1, 2}), result_of({3, 4})};
  over_h.results[0].hbar = 0;
  over_h.results[1].hbar = 0.5;
  report.metrics.push_back(over_h);
  write_per_example(folder / "examples.h5", report);
  const auto file = data::Hdf5File::open(folder / "examples.h5");
  const auto read = [&](const std::string& name) {
    return file.array(name).read_all(torch::kFloat64);
  };
  EXPECT_TRUE(torch::equal(read("/elbo").nan_to_num(-1), numbers({1, 2, -1, 3})));
  EXPECT_TRUE(torch::equal(read("/hbar-elbo"), torch::stack({numbers({1, 2}), numbers({3, 4})})));
  EXPECT_TRUE(torch::equal(read("/hbar-elbo_hbars"), numbers({0, 0.5})));
}

}  // namespace
}  // namespace scorenet::evaluate
