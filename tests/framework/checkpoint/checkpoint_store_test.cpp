// A checkpoint exists entirely or not at all, whatever is killed, filled, flipped or deleted.
#include "framework/checkpoint/checkpoint_store.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cctype>
#include <cstring>
#include <set>

#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::checkpoint {
namespace {

namespace fs = std::filesystem;
using test::FaultLayer;

// Every value says which step it belongs to.
TensorMap weights_of(int64_t step) {
  TensorMap tensors;
  for (int i = 0; i < 4; ++i)
    tensors["layer" + std::to_string(i)] =
        torch::full({8, 8}, static_cast<double>(100 * step + i), torch::kFloat32);
  return tensors;
}

std::vector<std::string> save(const fs::path& root, int64_t step, int keep = 2,
                              files::FileLayer& layer = files::real_files()) {
  CheckpointWriter writer(root, step, layer);
  writer.write_tensors("model.safetensors", weights_of(step), {{"step", std::to_string(step)}});
  writer.write_text("state.json", "{\"step\": " + std::to_string(step) + "}");
  return writer.commit(keep);
}

void expect_whole(const CheckpointReader& reader, int64_t step) {
  EXPECT_EQ(reader.step(), step);
  EXPECT_EQ(reader.text("state.json"), "{\"step\": " + std::to_string(step) + "}");
  const auto read = reader.tensors("model.safetensors").tensors;
  for (const auto& [name, expected] : weights_of(step))
    EXPECT_TRUE(torch::equal(read.at(name), expected)) << name;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

void flip_bit(const fs::path& path, int64_t byte, int bit) {
  std::string bytes = files::read_file(path);
  bytes[static_cast<size_t>(byte)] =
      static_cast<char>(bytes[static_cast<size_t>(byte)] ^ (1 << bit));
  test::write_bytes(path, bytes);
}

class CheckpointStoreTest : public testing::Test {
 protected:
  test::TemporaryFolder folder_{test::memory_or_disk()};
  fs::path root_ = folder_.path() / "checkpoints";
};

TEST_F(CheckpointStoreTest, WhatWasSavedComesBack) {
  EXPECT_FALSE(open_latest(root_).has_value());
  EXPECT_TRUE(save(root_, 512).empty());
  const auto reader = open_latest(root_);
  ASSERT_TRUE(reader.has_value());
  expect_whole(*reader, 512);
  EXPECT_TRUE(reader->warnings().empty());
  EXPECT_EQ(reader->tensors("model.safetensors").metadata.at("step"), "512");
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"0000512", "latest"}));
  EXPECT_EQ(files::read_file(root_ / "latest"), "0000512\n");
  EXPECT_EQ(names_in(root_ / "0000512"),
            (std::set<std::string>{"manifest.json", "model.safetensors", "state.json"}));
}

TEST_F(CheckpointStoreTest, OnlyTheNewestAreKept) {
  for (int64_t step = 1; step <= 5; ++step) save(root_, step, 3);
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"0000003", "0000004", "0000005", "latest"}));
  save(root_, 6, 1);
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"0000006", "latest"}));
}

TEST_F(CheckpointStoreTest, StepsAreOrderedAsNumbers) {
  EXPECT_EQ(step_name(512), "0000512");
  EXPECT_EQ(step_name(10'000'000), "10000000");
  save(root_, 9'999'999);
  save(root_, 10'000'000);
  save(root_, 10'000'001);
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"10000000", "10000001", "latest"}));
}

TEST_F(CheckpointStoreTest, ARunThatWentBackReplacesItsStepAndLatestDecides) {
  save(root_, 1, 9);
  save(root_, 2, 9);
  save(root_, 3, 9);
  save(root_, 2, 9);
  expect_whole(*open_latest(root_), 2);
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"0000001", "0000002", "0000003", "latest"}));
}

TEST_F(CheckpointStoreTest, AWriterThatIsDroppedLeavesNothing) {
  {
    CheckpointWriter writer(root_, 1);
    writer.write_text("state.json", "{}");
  }
  EXPECT_TRUE(names_in(root_).empty());
}

TEST_F(CheckpointStoreTest, ABitFlippedInATensorIsNamedAndTheOneBeforeIsUsed) {
  save(root_, 1);
  save(root_, 2);
  const auto path = root_ / "0000002" / "model.safetensors";
  const auto place = read_safetensors_header(path).places.at("layer2");
  flip_bit(path, place.begin + 17, 3);
  EXPECT_ERROR(open_checkpoint(root_ / "0000002"), CheckpointError, "0000002/model.safetensors",
               "tensor \"layer2\"", "checksum");
  const auto reader = open_latest(root_);
  expect_whole(*reader, 1);
  ASSERT_EQ(reader->warnings().size(), 1u);
  EXPECT_THAT(reader->warnings()[0],
              testing::AllOf(testing::HasSubstr("layer2"), testing::HasSubstr("Using step 1.")));
}

TEST_F(CheckpointStoreTest, ABitFlippedAnywhereInAnyFileIsFound) {
  save(root_, 1);
  for (const std::string name : {"model.safetensors", "state.json", "manifest.json"}) {
    const auto path = root_ / "0000001" / name;
    const std::string whole = files::read_file(path);
    for (size_t i = 0; i < 40; ++i) {
      const size_t byte = i * (whole.size() - 1) / 39;
      if (std::isspace(static_cast<unsigned char>(whole[byte])) && name == "manifest.json")
        continue;  // JSON's own layout
      flip_bit(path, static_cast<int64_t>(byte), static_cast<int>(i % 7));
      EXPECT_ERROR(open_checkpoint(root_ / "0000001"), CheckpointError, "0000001");
      EXPECT_ERROR(open_latest(root_), CheckpointError, "no checkpoint is intact", name);
      test::write_bytes(path, whole);
    }
  }
  expect_whole(*open_latest(root_), 1);
}

TEST_F(CheckpointStoreTest, AFileCutAtAnyOf20PlacesIsNamedAndTheOneBeforeIsUsed) {
  save(root_, 1);
  save(root_, 2);
  for (const std::string name : {"model.safetensors", "state.json", "manifest.json"}) {
    const auto path = root_ / "0000002" / name;
    const std::string whole = files::read_file(path);
    for (size_t part = 0; part < 20; ++part) {
      test::write_bytes(path, whole.substr(0, whole.size() * part / 20));
      EXPECT_ERROR(open_checkpoint(root_ / "0000002"), CheckpointError, "0000002/" + name);
      EXPECT_EQ(open_latest(root_)->step(), 1);
    }
    test::write_bytes(path, whole);
  }
  EXPECT_EQ(open_latest(root_)->step(), 2);
}

TEST_F(CheckpointStoreTest, MissingSwappedAndRenamedFilesAreNamed) {
  save(root_, 1);
  save(root_, 2);
  fs::rename(root_ / "0000002/state.json", root_ / "aside");
  EXPECT_ERROR(open_checkpoint(root_ / "0000002"), CheckpointError, "state.json", "missing");
  fs::copy_file(root_ / "0000001/state.json",
                root_ / "0000002/state.json");  // as long, from another step
  EXPECT_ERROR(open_checkpoint(root_ / "0000002"), CheckpointError, "0000002/state.json",
               "checksum");
  fs::remove_all(root_ / "0000002");
  const auto reader = open_latest(root_);
  EXPECT_EQ(reader->step(), 1);
  EXPECT_THAT(reader->warnings().at(0), testing::HasSubstr("0000002: missing"));
  fs::rename(root_ / "0000001", root_ / "0000007");
  EXPECT_ERROR(open_latest(root_), CheckpointError, "manifest says step 1");
  fs::remove_all(root_ / "0000007");
  EXPECT_ERROR(open_latest(root_), CheckpointError, "no checkpoint is intact", "0000002: missing");
}

TEST_F(CheckpointStoreTest, WithoutAUsableLatestTheNewestIsTaken) {
  save(root_, 1);
  save(root_, 2);
  test::write_bytes(root_ / "latest", "nonsense");
  expect_whole(*open_latest(root_), 2);
  fs::remove(root_ / "latest");
  expect_whole(*open_latest(root_), 2);
}

TEST_F(CheckpointStoreTest, AManifestOfAnotherFormatIsNamed) {
  save(root_, 1);
  Manifest manifest;
  manifest.step = 1;
  std::string text = manifest_text(manifest);
  EXPECT_NO_THROW(parse_manifest(text, "m.json"));
  const std::string other = R"({"files":{},"format":2,"step":1})";
  text = R"({"files":{},"format":2,"step":1,"checksum":")" + checksum(other) + "\"}";
  EXPECT_ERROR(parse_manifest(text, "m.json"), CheckpointError, "m.json", "format 2", "expected 1");
  const std::string lacking = R"({"format":1})";
  text = R"({"format":1,"checksum":")" + checksum(lacking) + "\"}";
  EXPECT_ERROR(parse_manifest(text, "m.json"), CheckpointError, "not a whole manifest");
}

TEST_F(CheckpointStoreTest, TemporariesOfAKilledWriterAreClearedByTheNext) {
  save(root_, 1);
  test::write_bytes(root_ / ".0000002.tmp-host-1-0" / "model.safetensors", "half");
  test::write_bytes(root_ / ".latest.tmp-host-1-0", "0000");
  expect_whole(*open_latest(root_), 1);
  save(root_, 2);
  EXPECT_EQ(names_in(root_), (std::set<std::string>{"0000001", "0000002", "latest"}));
}

TEST_F(CheckpointStoreTest, PipesInPlaceOfFilesAreRefusedAtOnce) {
  for (const char* name : {"latest", "0000001/manifest.json", "0000001/state.json"}) {
    std::filesystem::remove_all(root_);
    save(root_, 1);
    std::filesystem::remove(root_ / name);
    ASSERT_EQ(::mkfifo((root_ / name).c_str(), 0600), 0);
    EXPECT_ERROR(open_latest(root_), CheckpointError, name, "is a pipe");
  }
}

TEST_F(CheckpointStoreTest, ManifestsThatPointElsewhereOrAreNestedDeepAreRefused) {
  Manifest manifest;
  manifest.files["../0000002/state.json"] = {};
  EXPECT_ERROR(parse_manifest(manifest_text(manifest), "m.json"), CheckpointError, "m.json",
               "../0000002/state.json");
  const std::string deep = "{\"checksum\":\"\",\"files\":" + std::string(1'000'000, '[');
  EXPECT_ERROR(parse_manifest(deep, "m.json"), CheckpointError, "nested");
}

TEST_F(CheckpointStoreTest, NamesThatAreNoFilesOfACheckpointAreRefused) {
  CheckpointWriter writer(root_, 1);
  writer.write_text("a", "1");
  EXPECT_ERROR(writer.write_text("a", "2"), CheckpointError, "\"a\"");
  EXPECT_ERROR(writer.write_text("../b", "2"), CheckpointError, "\"../b\"");
  EXPECT_ERROR(writer.write_text("manifest.json", "2"), CheckpointError, "manifest.json");
  writer.commit(1);
  EXPECT_FALSE(open_latest(root_)->has("b"));
  EXPECT_ERROR(open_latest(root_)->text("b"), CheckpointError, "0000001/b", "no such file");
}

TEST_F(CheckpointStoreTest, WhicheverCallFailsTheErrorSaysSoTheOldIsIntactAndNoTemporaryStays) {
  save(root_, 1);
  FaultLayer counter(0, FaultLayer::Fault::error);
  save(root_, 2, 2, counter);
  ASSERT_GT(counter.calls(), 20);
  for (const int reason : {ENOSPC, EIO}) {
    for (int at = 1; at <= counter.calls(); ++at) {
      fs::remove_all(root_);
      save(root_, 1);
      FaultLayer layer(at, FaultLayer::Fault::error, reason, 1 << 30, /*lasting=*/reason == ENOSPC);
      EXPECT_ERROR(save(root_, 2, 2, layer), CheckpointError, std::strerror(reason));
      EXPECT_NO_THROW(open_checkpoint(root_ / "0000001"));
      const auto reader = open_latest(root_);
      ASSERT_TRUE(reader.has_value());
      expect_whole(*reader, reader->step());
      for (const auto& name : names_in(root_))
        EXPECT_EQ(name.find(files::kTemporaryMark), std::string::npos) << name;
    }
  }
}

// Runs `work` in a child process; true if it was killed.
template <typename Work>
bool killed(const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST_F(CheckpointStoreTest, KilledAtAnyCallTheRunResumesFromAWholeCheckpointAndCanSaveAgain) {
  // 8 bytes a write: killed inside the header, inside tensors, between files, at each
  // sync and rename.
  save(root_, 1);
  int points = 0, resumed_from_new = 0;
  for (bool alive = true; alive;) {
    ++points;
    alive = killed([&] {
      FaultLayer layer(points, FaultLayer::Fault::kill, 0, 8);
      save(root_, 2, 2, layer);
    });
    const auto reader = open_latest(root_);
    ASSERT_TRUE(reader.has_value()) << "killed at call " << points;
    expect_whole(*reader, reader->step());
    ASSERT_TRUE(reader->warnings().empty()) << reader->warnings()[0];
    resumed_from_new += reader->step() == 2;
    if (alive && reader->step() == 2) {
      save(root_, 3);
      fs::remove_all(root_);
      save(root_, 1);
    } else if (alive && fs::exists(root_ / "0000002")) {
      fs::remove_all(root_ / "0000002");  // whole, but not yet the latest
    }
    ASSERT_LT(points, 1000);
  }
  RecordProperty("points", points);
  EXPECT_GE(points, 200);
  EXPECT_GE(resumed_from_new, 1);
}

TEST_F(CheckpointStoreTest, KilledWhileReplacingAStepTheOneBeforeIsWhole) {
  for (int at = 1;; ++at) {
    fs::remove_all(root_);
    save(root_, 1);
    save(root_, 2);
    const bool was_killed = killed([&] {
      FaultLayer layer(at, FaultLayer::Fault::kill);
      save(root_, 2, 2, layer);
    });
    const auto reader = open_latest(root_);
    ASSERT_TRUE(reader.has_value());
    expect_whole(*reader, reader->step());
    if (!was_killed) break;
  }
}

TEST_F(CheckpointStoreTest, AReplacementThatFailsPutsTheOldOneBack) {
  FaultLayer counter(0, FaultLayer::Fault::error);
  save(root_, 2);
  save(root_, 2, 2, counter);
  for (int at = 1; at <= counter.calls(); ++at) {
    FaultLayer layer(at, FaultLayer::Fault::error, EIO);
    EXPECT_ERROR(save(root_, 2, 2, layer), CheckpointError, "Input/output error");
    expect_whole(*open_latest(root_), 2);
    EXPECT_TRUE(open_latest(root_)->warnings().empty()) << at;
  }
}

TEST_F(CheckpointStoreTest, FoldersWhoseNamesAreNoStepsAreLeftAlone) {
  for (const char* name : {"99999999999999999999", "notes", "-5"})
    fs::create_directories(root_ / name);
  EXPECT_FALSE(open_latest(root_).has_value());
  save(root_, 1, 1);
  expect_whole(*open_latest(root_), 1);
  EXPECT_TRUE(fs::exists(root_ / "99999999999999999999"));
}

TEST_F(CheckpointStoreTest, AFullDiskIsAnErrorAndTheOldCheckpointSurvives) {
  const auto disk = folder_.path() / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  save(disk / "checkpoints", 1);
  const auto save_large = [&] {
    CheckpointWriter writer(disk / "checkpoints", 2);
    writer.write_tensors("model.safetensors", {{"w", torch::zeros({100'000})}});  // 400 kB
    writer.commit(2);
  };
  EXPECT_ERROR(save_large(), CheckpointError, "model.safetensors", "No space left on device",
               "Free some space");
  expect_whole(*open_latest(disk / "checkpoints"), 1);
  EXPECT_EQ(names_in(disk / "checkpoints"), (std::set<std::string>{"0000001", "latest"}));
  ::umount(disk.c_str());
}

TEST_F(CheckpointStoreTest, AFolderThatCannotBeMadeIsNamed) {
  test::write_bytes(folder_.path() / "file", "");
  EXPECT_ERROR(CheckpointWriter(folder_.path() / "file" / "checkpoints", 1), CheckpointError,
               "file/checkpoints", "cannot be made");
}

}  // namespace
}  // namespace scorenet::checkpoint
