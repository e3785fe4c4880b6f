// The corpus begins with what seeds.cpp writes, and that is the same at any time.
#include "tests/fuzz/seeds.hpp"

#include <gtest/gtest.h>

#include "framework/files/atomic_file.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::fuzz {
namespace {

std::string bytes_of(const Seed& seed, const std::filesystem::path& folder) {
  const auto path = folder / seed.target / seed.name;
  return std::filesystem::exists(path) ? files::read_file(path) : "not there";
}

TEST(Seeds, AreTheSameWheneverTheyAreWritten) {
  const test::TemporaryFolder first, second;
  const auto seeds = write_seeds(first.path());
  ASSERT_EQ(seeds.size(), write_seeds(second.path()).size());
  for (const Seed& seed : seeds) {
    EXPECT_EQ(bytes_of(seed, first.path()), bytes_of(seed, second.path()))
        << seed.target << "/" << seed.name;
  }
}

// Seeds that other versions of a library write otherwise are only looked for. Those of other
// versions of this program may stay as they are: files of all versions are worth reading.
TEST(Seeds, AreInTheCorpus) {
  const test::TemporaryFolder folder;
  const std::filesystem::path corpus = SCORENET_CORPUS;
  for (const Seed& seed : write_seeds(folder.path())) {
    SCOPED_TRACE(seed.target + "/" + seed.name +
                 ": write it again with build/tests/fuzz_seeds tests/fuzz/corpus");
    if (seed.source == SeedSource::here) {
      EXPECT_EQ(bytes_of(seed, folder.path()), bytes_of(seed, corpus));
    } else if (seed.source == SeedSource::libraries) {
      EXPECT_TRUE(std::filesystem::exists(corpus / seed.target / seed.name));
    }
  }
}

}  // namespace
}  // namespace scorenet::fuzz
