// Temporaries of writers that have ended go, those of living writers and all other names stay.
#include "framework/files/temporaries.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "framework/core/host_name.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;

std::string name_by(const std::string& host, pid_t process) {
  return ".x.safetensors.tmp-" + host + "-" + std::to_string(process) + "-0";
}

// The number of a process that has ended and been waited for.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

class TemporariesTest : public testing::Test {
 protected:
  void add(const std::string& name) { test::write_bytes(folder_.path() / name, "half"); }
  void age(const std::string& name, int64_t seconds) {
    fs::last_write_time(folder_.path() / name,
                        fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
  }
  bool is_there(const std::string& name) const { return fs::exists(folder_.path() / name); }

  test::TemporaryFolder folder_;
};

TEST_F(TemporariesTest, AWriterThatHasEndedLeavesNothing) {
  const std::string file = name_by(host_name(), ended_process());
  const std::string folder =
      ".0000012.tmp-" + host_name() + "-" + std::to_string(ended_process()) + "-3";
  add(file);
  add(folder + "/model.safetensors");
  remove_dead_temporaries(folder_.path());
  EXPECT_FALSE(is_there(file));
  EXPECT_FALSE(is_there(folder));
}

TEST_F(TemporariesTest, ALivingWriterKeepsItsFile) {
  const auto mine = temporary_sibling(folder_.path() / "x.safetensors").filename().string();
  const auto parents = name_by(host_name(), ::getppid());
  add(mine);
  add(parents);
  remove_dead_temporaries(folder_.path());
  EXPECT_TRUE(is_there(mine));
  EXPECT_TRUE(is_there(parents));
  remove_dead_temporaries(folder_.path(), {.own_too = true});
  EXPECT_FALSE(is_there(mine));
}

TEST_F(TemporariesTest, AProcessThatBeganAfterTheFileWasLastWrittenIsAnotherOfThatNumber) {
  const auto mine = name_by(host_name(), ::getpid());
  add(mine);
  age(mine, 3600);
  remove_dead_temporaries(folder_.path());
  EXPECT_FALSE(is_there(mine));
}

TEST_F(TemporariesTest, AWriterOnAnotherHostIsGivenUpWhenItsFileHasNotChangedForLong) {
  const std::string fresh = name_by("other-host", 1), old = name_by("other-host", 2);
  add(fresh);
  add(old);
  age(old, 700);
  remove_dead_temporaries(folder_.path());
  EXPECT_TRUE(is_there(fresh));
  EXPECT_FALSE(is_there(old));
  remove_dead_temporaries(folder_.path(), {.foreign_age = std::chrono::seconds(0)});
  EXPECT_FALSE(is_there(fresh));
}

TEST_F(TemporariesTest, OfOneNameAloneWhereThatIsAskedFor) {
  const std::string by = ".tmp-" + host_name() + "-" + std::to_string(ended_process()) + "-0";
  add(".a.h5" + by);
  add(".b.h5" + by);
  add(".a.h5.tmp-" + host_name() + "-" + std::to_string(::getppid()) + "-0");
  remove_dead_temporaries_of({"a.h5", "c.h5"}, folder_.path());
  EXPECT_FALSE(is_there(".a.h5" + by));
  EXPECT_TRUE(is_there(".b.h5" + by));
  EXPECT_TRUE(is_there(".a.h5.tmp-" + host_name() + "-" + std::to_string(::getppid()) + "-0"));
}

TEST_F(TemporariesTest, OtherNamesStay) {
  const std::set<std::string> names = {"x.safetensors", ".hidden",    "notes.tmp-a-1-0",
                                       ".x.tmp-a-b",    ".x.tmp-1-0", ".x.tmp-host-1x-0"};
  for (const auto& name : names) {
    add(name);
    age(name, 7000);
  }
  remove_dead_temporaries(folder_.path());
  for (const auto& name : names) EXPECT_TRUE(is_there(name)) << name;
  EXPECT_NO_THROW(remove_dead_temporaries(folder_.path() / "nowhere"));
}

}  // namespace
}  // namespace scorenet::files
