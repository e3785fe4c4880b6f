// A file exists entirely or not at all, whichever call fails.
#include "framework/files/atomic_file.hpp"

#include <fcntl.h>

#include <set>

#include "tests/support/expect_error.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::files {
namespace {

using test::FaultLayer;

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

class AtomicFileTest : public testing::Test {
 protected:
  test::TemporaryFolder folder_;
  std::filesystem::path target_ = folder_.path() / "a.txt";
};

TEST_F(AtomicFileTest, WritesAllBytesAndReplacesWhatWasThere) {
  const std::string bytes("new\0text", 8);
  write_file_atomically(target_, "old");
  write_file_atomically(target_, bytes);
  EXPECT_EQ(read_file(target_), bytes);
  EXPECT_EQ(names_in(folder_.path()), (std::set<std::string>{"a.txt"}));
}

TEST_F(AtomicFileTest, ShortWritesAreContinued) {
  FaultLayer layer(0, FaultLayer::Fault::error, 0, 7);
  write_file_atomically(target_, std::string(100, 'x'), layer);
  EXPECT_EQ(read_file(target_), std::string(100, 'x'));
  EXPECT_EQ(layer.calls(),
            1 + 15 + 4);  // create, 100 / 7 writes, sync, close, rename, sync of the folder
}

TEST_F(AtomicFileTest, WhicheverCallFailsTheOldFileIsWholeAndNoTemporaryStays) {
  write_file_atomically(target_, "old");
  for (const auto& [reason, sentence] :
       {std::pair{ENOSPC, "No space left on device. Free some space"},
        {EROFS, "Read-only file system. Choose a folder"},
        {EIO, "Input/output error"}}) {
    for (int at = 1; at <= 5; ++at) {  // create, write, sync, close, rename
      FaultLayer layer(at, FaultLayer::Fault::error, reason);
      EXPECT_ERROR(write_file_atomically(target_, "new", layer), FileError, "a.txt", sentence);
      EXPECT_EQ(read_file(target_), "old");
      EXPECT_EQ(names_in(folder_.path()), (std::set<std::string>{"a.txt"}));
    }
  }
}

TEST_F(AtomicFileTest, AFolderThatCannotBeSyncedIsAnErrorAfterTheRename) {
  FaultLayer layer(6, FaultLayer::Fault::error, EIO);
  EXPECT_ERROR(write_file_atomically(target_, "new", layer), FileError, "folder cannot be synced");
  EXPECT_EQ(read_file(target_), "new");
}

TEST_F(AtomicFileTest, TemporaryNamesAreUnusedHiddenAndMarked) {
  const auto first = temporary_sibling(target_);
  EXPECT_EQ(first.parent_path(), folder_.path());
  EXPECT_EQ(first.filename().string().rfind(".a.txt" + std::string(kTemporaryMark), 0), 0u);
  test::write_bytes(first, "taken");
  EXPECT_NE(temporary_sibling(target_), first);
}

TEST_F(AtomicFileTest, WhatCannotBeReadIsNamed) {
  EXPECT_ERROR(read_file(target_), FileError, "a.txt", "no such file");
  EXPECT_ERROR(read_file(folder_.path()), FileError, folder_.path().string());
  EXPECT_ERROR(sync_file(target_), FileError, "a.txt");
  EXPECT_ERROR(write_file_atomically(folder_.path() / "no/a.txt", ""), FileError, "no/",
               "No such file");
}

TEST_F(AtomicFileTest, AFullDeviceIsAnError) {
  // /dev/full answers every write with ENOSPC; opening it needs no creation, hence the layer.
  struct FullDevice : FileLayer {
    int create(const std::filesystem::path& path) override {
      FileLayer::create(path);
      return ::open("/dev/full", O_WRONLY);
    }
  } layer;
  EXPECT_ERROR(write_file_atomically(target_, "new", layer), FileError, "No space left on device");
  EXPECT_TRUE(names_in(folder_.path()).empty());
}

}  // namespace
}  // namespace scorenet::files
