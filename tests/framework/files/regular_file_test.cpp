// Whatever is no regular file is refused by what it is, and without opening it: opening a pipe
// would wait for a writer.
#include "framework/files/regular_file.hpp"

#include <sys/stat.h>

#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::files {
namespace {

TEST(RegularFile, AFileAndALinkToItAreOnes) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder.file("a"), "12345");
  std::filesystem::create_symlink("a", folder.file("link"));
  EXPECT_EQ(regular_file_size(folder.file("a")), 5);
  EXPECT_EQ(regular_file_size(folder.file("link")), 5);
}

TEST(RegularFile, WhatStandsInItsPlaceIsNamed) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("nowhere", folder.file("dangling"));
  EXPECT_ERROR(require_regular_file(folder.file("pipe")), FileError, "pipe: is a pipe");
  EXPECT_ERROR(require_regular_file(folder.path()), FileError, "is a folder");
  EXPECT_ERROR(require_regular_file("/dev/zero"), FileError, "is a device");
  EXPECT_ERROR(require_regular_file(folder.file("absent")), FileError, "no such file");
  EXPECT_ERROR(require_regular_file(folder.file("dangling")), FileError, "no such file");
}

TEST(RegularFile, ReadFileDoesNotWaitOnAPipe) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_ERROR(read_file(folder.file("pipe")), FileError, "is a pipe");
}

}  // namespace
}  // namespace scorenet::files
