// Which snapshots stay.
#include "framework/train/snapshot_retention.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

std::set<std::string> left_of(const std::vector<std::string>& names, int64_t step,
                              const SnapshotRule& rule) {
  const test::TemporaryFolder folder;
  for (const auto& name : names) test::write_bytes(folder.path() / name, "x");
  EXPECT_TRUE(remove_old_snapshots(folder.path(), step, rule).empty());
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    left.insert(entry.path().filename().string());
  return left;
}

std::string name_of(int64_t step, const std::string& label = "ema0.9") {
  return "network-" + std::to_string(step) + "-" + label + ".safetensors";
}

using Names = std::set<std::string>;

TEST(SnapshotRetention, KeepsAllTheLastOrTheFirstOfEveryStretchToo) {
  const std::vector<std::string> all = {name_of(10), name_of(20), name_of(30), name_of(40),
                                        name_of(50)};
  EXPECT_EQ(left_of(all, 50, {}), Names(all.begin(), all.end()));
  EXPECT_EQ(left_of(all, 50, {.keep = 2}), (Names{name_of(40), name_of(50)}));
  // Stretches [0, 20), [20, 40), [40, 60).
  EXPECT_EQ(left_of(all, 50, {.keep = 1, .keep_every = 20}),
            (Names{name_of(10), name_of(20), name_of(40), name_of(50)}));
}

TEST(SnapshotRetention, CountsStepsNotFilesAndLeavesOtherFilesAndLaterSteps) {
  const std::vector<std::string> all = {
      name_of(10), name_of(10, "ema0.99"), name_of(20),        name_of(20, "ema0.99"),
      name_of(30), "network-10.txt",       "mine.safetensors", "network-x-ema.safetensors"};
  EXPECT_EQ(left_of(all, 20, {.keep = 1}),
            (Names{name_of(20), name_of(20, "ema0.99"), name_of(30), "network-10.txt",
                   "mine.safetensors", "network-x-ema.safetensors"}));
}

}  // namespace
}  // namespace scorenet::train
