// A tiny run, trained once for all tests that only use what it left.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/launch/program.hpp"

namespace scorenet::test {

/// Suite: the class that derives from it, so that each has a run of its own.
template <class Suite>
class TrainedOnce : public testing::Test {
 protected:
  /// For SetUpTestSuite, which suites of one class may call in turn: the first
  /// trains, into file("run").
  static void train_once(int steps, const std::string& keys = "") {
    if (folder_) return;
    folder_ = std::make_unique<Folder>();
    tiny_ = make_tiny_run(*folder_);
    steps_ = steps;
    trained_ = run("SCORENET train " + tiny_.config + " --outdir " + file("run") +
                   " --train.steps " + std::to_string(steps) + " " + keys);
    ASSERT_EQ(trained_.exit_code, 0) << trained_.err;
  }
  static std::string file(const std::string& name) { return *folder_ / name; }
  /// Of this run, or of another of as many steps.
  static std::string snapshot(const std::string& name = "run") {
    const std::string digits = std::to_string(steps_);
    return file(name + "/snapshots/network-" + std::string(7 - digits.size(), '0') + digits +
                "-ema0.9.safetensors");
  }

  static inline std::unique_ptr<Folder> folder_;
  static inline TinyRun tiny_;
  static inline Outcome trained_;

 private:
  static inline int steps_ = 0;
};

}  // namespace scorenet::test
