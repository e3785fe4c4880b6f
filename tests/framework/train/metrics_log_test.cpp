// What a run writes about itself, and what stays of it after a restart.
#include "framework/train/metrics_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/core/error.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

using testing::HasSubstr;

class MetricsLogTest : public testing::Test {
 protected:
  MetricsLogTest() { folder_.create(); }

  static std::vector<std::string> lines(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

  static Tick tick_at(int64_t step) {
    Tick t;
    t.step = step;
    t.loss = 0.25;
    t.loss_quartile[0] = std::nan("");
    return t;
  }

  const test::TemporaryFolder temporary_;
  RunFolder folder_{temporary_.path() / "run"};
};

TEST_F(MetricsLogTest, AnEvaluationIsForgottenWithoutTheTickOfItsStep) {
  MetricsLog log(folder_, 0, 100, false);
  log.metric(5, "elbo", 1);
  EXPECT_FALSE(log.has_evaluation(50));
  log.tick(tick_at(50));
  EXPECT_FALSE(log.has_evaluation(50));
  log.metric(50, "elbo", 2);
  log.metric(500, "elbo", 4);
  EXPECT_TRUE(log.has_evaluation(50));
  log.forget_evaluation(50);
  EXPECT_FALSE(log.has_evaluation(50));
  log.metric(50, "elbo", 3);
  const auto all = lines(folder_.metrics());
  ASSERT_EQ(all.size(), 7u);  // a head, one, three of the tick, one, one
  EXPECT_EQ(all[1], "5,elbo,1");
  EXPECT_EQ(all[5], "500,elbo,4");
  EXPECT_EQ(all[6], "50,elbo,3");
}

TEST_F(MetricsLogTest, ATickIsOneJsonObjectWithTheFieldsThatUsersRelyOn) {
  MetricsLog(folder_, 0, 100, false).tick(tick_at(50));
  const auto all = lines(folder_.stats());
  ASSERT_EQ(all.size(), 1u);
  const auto object = nlohmann::json::parse(all[0]);
  for (const char* key :
       {"step", "kimg", "loss", "grad_norm", "images_per_sec", "sec_per_kimg", "data_wait_frac",
        "comm_exposed_frac", "skipped", "cpu_mem_gb", "gpu_mem_gb", "timestamp"}) {
    EXPECT_TRUE(object.contains(key)) << key;
  }
  EXPECT_EQ(object["step"], 50);
  EXPECT_EQ(object["loss"], 0.25);
  EXPECT_TRUE(object["loss_q0"].is_null());  // JSON has no NaN
}

TEST_F(MetricsLogTest, ARestartDropsWhatTheLostStretchHadLogged) {
  {
    MetricsLog log(folder_, 0, 100, false);
    for (const int64_t step : {10, 20, 30}) log.tick(tick_at(step));
    log.metric(30, "bits_per_dim", 3.5);
  }
  std::ofstream(folder_.stats(), std::ios::app) << "{\"step\": 40, \"lo";  // torn by a kill
  MetricsLog(folder_, 20, 100, false).tick(tick_at(30));
  std::vector<int64_t> steps;
  for (const auto& line : lines(folder_.stats()))
    steps.push_back(nlohmann::json::parse(line)["step"]);
  EXPECT_THAT(steps, testing::ElementsAre(10, 20, 30));
  const auto metrics = lines(folder_.metrics());
  EXPECT_EQ(metrics.size(), 1u + 3 * 3);  // a header, and three numbers a tick
  for (const auto& line : metrics) EXPECT_THAT(line, testing::Not(HasSubstr("bits_per_dim")));
}

TEST_F(MetricsLogTest, TheLegendExplainsEveryField) {
  const auto object = to_json(Tick{});
  for (const auto& [key, value] : object.items()) {
    const std::string name = key.starts_with("loss_q") ? "loss_q0" : key;
    EXPECT_THAT(log_field_legend(), HasSubstr(name));
  }
}

TEST(RunFolder, NamesSortByStep) {
  const RunFolder folder("d");
  EXPECT_EQ(folder.snapshot(512, "ema0.999"), "d/snapshots/network-0000512-ema0.999.safetensors");
  EXPECT_EQ(folder.grid(512, ""), "d/samples/grid-0000512.png");
  EXPECT_EQ(folder.grid(512, "raw-"), "d/samples/grid-raw-0000512.png");
  EXPECT_EQ(folder.evaluation(512), "d/eval/eval-0000512.json");
}

TEST(RunFolder, AFolderThatCannotBeMadeIsNamed) {
  try {
    RunFolder("/proc/nowhere").create();
    FAIL();
  } catch (const CheckpointError& e) {
    EXPECT_THAT(e.what(), HasSubstr("/proc/nowhere"));
  }
}

TEST(Duration, ReadsAsAPersonSaysIt) {
  EXPECT_EQ(duration_text(62.4), "1m 02s");
  EXPECT_EQ(duration_text(3723), "1h 02m 03s");
  EXPECT_EQ(duration_text(90000), "1d 01h 00m");
}

TEST_F(MetricsLogTest, TheLossOverLogSnrStandsInATick) {
  Tick tick = tick_at(50);
  tick.log_snr_clean = 13;
  tick.log_snr_noisy = -5;
  tick.loss_by_level[3] = std::nan("");
  tick.loss_by_level[4] = 0.5;
  const auto object = to_json(tick);
  EXPECT_EQ(object["log_snr"], nlohmann::json({13.0, -5.0}));
  ASSERT_EQ(object["loss_by_log_snr"].size(), static_cast<size_t>(kLevelBins));
  EXPECT_TRUE(object["loss_by_log_snr"][3].is_null());
  EXPECT_EQ(object["loss_by_log_snr"][4], 0.5);
}

// Of the run folder's event files: how many there are, and their bytes together.
std::pair<size_t, uintmax_t> event_files(const RunFolder& folder) {
  std::pair<size_t, uintmax_t> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder.root())) {
    if (!entry.path().filename().string().starts_with("events.out.tfevents.")) continue;
    ++found.first;
    found.second += entry.file_size();
  }
  return found;
}

TEST_F(MetricsLogTest, AnEvaluationThatIsGivenUpIsNotInTensorBoard) {
  MetricsLog log(folder_, 0, 100, false);
  log.open_tensorboard(folder_, 0, "[run]", false);
  const auto before = event_files(folder_);
  EXPECT_EQ(before.first, 1u);
  log.metric(5, "elbo", 1);
  EXPECT_EQ(event_files(folder_), before);
  log.evaluation_is_whole(5);
  EXPECT_GT(event_files(folder_).second, before.second);
}

TEST_F(MetricsLogTest, ADiskThatTakesNoEventsIsToldOnceAndEndsNothing) {
  for (const int call : {1, 2, 3, 4}) {  // create, head, config, tick
    test::FaultLayer full(call, test::FaultLayer::Fault::error, ENOSPC);
    std::vector<std::string> told;
    TensorBoardLog log(
        folder_, 0, "[run]", /*changed=*/true,
        [&](const std::string& sentence) { told.push_back(sentence); }, full);
    for (const int64_t step : {1, 2, 3}) log.tick(tick_at(step));
    ASSERT_EQ(told.size(), 1u) << call;
    EXPECT_THAT(told[0], testing::AllOf(HasSubstr("events.out.tfevents."),
                                        HasSubstr("No more events for TensorBoard")));
  }
}

}  // namespace
}  // namespace scorenet::train
