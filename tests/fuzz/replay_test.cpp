// Every file of each corpus through its target, and some hundred changes of them: in every run of
// the tests, with any compiler. launch/fuzz looks for more.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "framework/files/atomic_file.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/mutate.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::fuzz {
namespace {

namespace fs = std::filesystem;

struct Input {
  std::string name;
  std::string bytes;
};

std::vector<Input> corpus(const std::string& target) {
  std::vector<Input> inputs;
  for (const auto& entry : fs::directory_iterator(fs::path(SCORENET_CORPUS) / target))
    inputs.push_back({entry.path().filename().string(), files::read_file(entry.path())});
  std::sort(inputs.begin(), inputs.end(),
            [](const Input& a, const Input& b) { return a.name < b.name; });
  return inputs;
}

class Replay : public testing::TestWithParam<Target> {
 protected:
  Replay() { test::limit_memory(uint64_t{3} << 30); }

  bool run(const std::string& name, const std::string& bytes) {
    test::write_bytes(input_, bytes);
    SCOPED_TRACE(name);
    return hostile_.takes<>([&] { return GetParam().run(bytes); });
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  fs::path input_ = folder_.path() / "input";  // SCORENET_FUZZ_KEEP copies it
  test::Hostile hostile_{GetParam().name, input_};
};

TEST_P(Replay, OfTheCorpusEndsInDocumentedErrorsAlone) {
  const auto inputs = corpus(GetParam().name);
  int taken = 0;
  for (const Input& input : inputs) taken += run(input.name, input.bytes);
  // A target that refuses everything looks at nothing.
  EXPECT_GT(taken, 0);
}

TEST_P(Replay, OfChangedFilesEndsInDocumentedErrorsAlone) {
  const auto inputs = corpus(GetParam().name);
  test::Mutator random(16);
  for (int i = test::fuzz_count(200); i > 0; --i) {
    const Input& input = random.one_of(inputs);
    const bool text = GetParam().form == Form::toml && !random.chance(4);
    run(input.name + ", changed", text ? random.toml(input.bytes) : random.bytes(input.bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(kTargets),
                         [](const auto& of) { return std::string(of.param.name); });

}  // namespace
}  // namespace scorenet::fuzz
