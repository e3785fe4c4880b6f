// No output is an input, none is another output, an older file is replaced only when asked for, and
// nothing is left behind by the check itself.
#include "framework/files/output_guard.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;

struct OutputGuard : testing::Test {
  OutputGuard() { test::write_bytes(folder.file("d.h5"), "data"); }

  /// As a verb that reads d.h5 and was given --force.
  void check(const std::string& out) {
    check_outputs({{"--data", folder.file("d.h5")}}, {{"--json", out, /*may_replace=*/true}});
  }

  int64_t entries() const {
    return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  }

  const test::TemporaryFolder folder;
};

TEST_F(OutputGuard, AnInputIsKnownByDeviceAndInodeUnderEveryName) {
  fs::create_symlink("d.h5", folder.file("link"));
  fs::create_hard_link(folder.file("d.h5"), folder.file("hard"));
  fs::create_directory(folder.file("sub"));
  fs::create_directory_symlink(".", folder.file("here"));
  for (const std::string name : {"d.h5", "./d.h5", "sub/../d.h5", "here/d.h5", "link", "hard"})
    EXPECT_ERROR(check(folder.file(name)), ConfigError, "--json", name, "--data", "would be lost");
  // The input itself may be the one that is a link.
  EXPECT_ERROR(check_outputs({{"--data", folder.file("link")}},
                             {{"--json", folder.file("d.h5"), /*may_replace=*/true}}),
               ConfigError, "would be lost");
}

TEST_F(OutputGuard, AFileInsideAnInputFolderIsAnInput) {
  test::write_bytes(folder.file("net/unet/config.json"), "{}");
  fs::create_hard_link(folder.file("net/unet/config.json"), folder.file("hard"));
  const std::vector<NamedPath> inputs{{"folder", folder.file("net")}};
  for (const std::string name : {"net/unet/config.json", "hard"})
    EXPECT_ERROR(check_outputs(inputs, {{"--out", folder.file(name), /*may_replace=*/true}}),
                 ConfigError, name, "would be lost");
  check_outputs(inputs, {{"--out", folder.file("net/new.safetensors")}});
}

TEST_F(OutputGuard, TwoOutputsOfOneFileAreRefusedThoughItDoesNotExist) {
  const std::string once = folder.file("out"), again = (folder.path() / "." / "out").string();
  EXPECT_ERROR(check_outputs({}, {{"--json", once}, {"--per-example", again}}), ConfigError,
               "--json", "--per-example", "same file");
  fs::create_directory_symlink(".", folder.file("here"));
  EXPECT_ERROR(check_outputs({}, {{"--json", once}, {"--per-example", folder.file("here/out")}}),
               ConfigError, "same file");
  test::write_bytes(once, "");
  fs::create_hard_link(once, folder.file("other"));
  EXPECT_ERROR(check_outputs({}, {{"--json", once, true}, {"--x", folder.file("other"), true}}),
               ConfigError, "same file");
}

TEST_F(OutputGuard, AnOlderFileGivesWayOnlyWhenAsked) {
  test::write_bytes(folder.file("old"), "old");
  fs::create_symlink("nowhere", folder.file("dangling"));
  for (const std::string name : {"old", "dangling"}) {
    EXPECT_ERROR(check_outputs({}, {{"--json", folder.file(name)}}), ConfigError, name, "--force");
    check_outputs({}, {{"--json", folder.file(name), /*may_replace=*/true}});
  }
  EXPECT_EQ(read_file(folder.file("old")), "old");
}

TEST_F(OutputGuard, AnOutputIsANameForAFileInAFolderThatIsThere) {
  fs::create_directory(folder.file("sub"));
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_ERROR(check(folder.file("sub")), FileError, "names a folder");
  EXPECT_ERROR(check(folder.file("new/")), FileError, "names a folder");
  EXPECT_ERROR(check(folder.file("pipe")), FileError, "is a pipe, a device or a socket");
  EXPECT_ERROR(check("/dev/null"), FileError, "is a pipe, a device or a socket");
  EXPECT_ERROR(check(folder.file("absent/out")), FileError, "there is no folder", "absent");
  EXPECT_ERROR(check(folder.file("d.h5/out")), FileError, "is a file, expected a folder");
  EXPECT_ERROR(check(folder.file(std::string(300, 'n'))), FileError, "no file can be made");
  EXPECT_ERROR(check("/proc/out"), FileError, "no file can be made");
}

TEST_F(OutputGuard, AFolderThatTheVerbMakesMayBeMissingBelowOneThatCanBeWritten) {
  check_outputs({}, {{"--outdir", folder.file("a/b/out"), true, true}});
  EXPECT_FALSE(fs::exists(folder.file("a")));
  EXPECT_ERROR(check_outputs({}, {{"--outdir", folder.file("d.h5/b/out"), true, true}}), FileError,
               "is a file, expected a folder");
  EXPECT_ERROR(make_output_folder({"--outdir", folder.file("d.h5/b")}), FileError, "--outdir");
  make_output_folder({"--outdir", folder.file("a/b")});
  EXPECT_TRUE(fs::is_directory(folder.file("a/b")));
}

TEST_F(OutputGuard, TheCheckLeavesNothingAndOptionsNotGivenArePassedOver) {
  const int64_t before = entries();
  check_outputs({{"--data", ""}, {"--network", folder.file("absent")}},
                {{"--json", folder.file("new")}, {"--per-example", ""}, {"--other", ""}});
  EXPECT_EQ(entries(), before);
}

TEST_F(OutputGuard, AReplacingFileAppearsWholeOrNotAtAll) {
  {
    ReplacingFile given_up(folder.file("d.h5"));
    test::write_bytes(given_up.path(), "half");
  }
  EXPECT_EQ(read_file(folder.file("d.h5")), "data");
  EXPECT_EQ(entries(), 1);
  ReplacingFile file(folder.file("d.h5"));
  test::write_bytes(file.path(), "new");
  file.commit();
  EXPECT_EQ(read_file(folder.file("d.h5")), "new");
  EXPECT_EQ(entries(), 1);
}

}  // namespace
}  // namespace scorenet::files
