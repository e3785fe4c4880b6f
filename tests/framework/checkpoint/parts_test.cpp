// Files in parts: what several processes wrote is one file again, or an error.
#include "framework/checkpoint/parts.hpp"

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::checkpoint {
namespace {

namespace fs = std::filesystem;

// Elements [begin, end) of 0, 1, ..., 23 as a tensor of 2 x 3 x 4, called "w".
TensorPiece piece(int64_t begin, int64_t end) {
  return {"w", {2, 3, 4}, begin, torch::arange(begin, end, torch::kFloat32)};
}

class PartsTest : public testing::Test {
 protected:
  // A checkpoint of step 7 whose f.safetensors lies in these parts; "s", a scalar, is in the file
  // itself.
  void save(const std::vector<std::vector<TensorPiece>>& parts) {
    CheckpointWriter writer(root_, 7);
    writer.write_tensors("f.safetensors", {{"s", torch::tensor(5.0F)}});
    const int size = static_cast<int>(parts.size());
    for (int r = 0; r < size; ++r)
      write_part(writer.folder(), part_name("f.safetensors", r, size),
                 parts[static_cast<size_t>(r)]);
    for (int r = 0; r < size; ++r) {
      const auto name = part_name("f.safetensors", r, size);
      writer.take_up(name, take_record(writer.folder(), name));
    }
    writer.commit(2);
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  fs::path root_ = folder_.path() / "checkpoints";
};

TEST_F(PartsTest, PiecesOfAnyCutAreTheTensorAgain) {
  for (const auto& parts : std::vector<std::vector<std::vector<TensorPiece>>>{
           {{piece(0, 24)}}, {{piece(5, 11), piece(20, 24)}, {piece(0, 5)}, {}, {piece(11, 20)}}}) {
    fs::remove_all(root_);
    save(parts);
    const auto found = open_latest(root_);
    EXPECT_TRUE(found->has("f.safetensors"));
    const auto tensors = found->tensors("f.safetensors").tensors;
    EXPECT_EQ(tensors.size(), 2u);
    EXPECT_TRUE(torch::equal(tensors.at("w"), torch::arange(24, torch::kFloat32).view({2, 3, 4})));
    EXPECT_EQ(tensors.at("s").item<float>(), 5);
  }
}

TEST_F(PartsTest, APieceThatIsMissingOrComesTwiceIsNamed) {
  save({{piece(0, 5)}, {piece(6, 24)}});
  EXPECT_ERROR(open_latest(root_)->tensors("f.safetensors"), CheckpointError, "f.safetensors",
               "\"w\"", "begins at element 6, expected 5");
  save({{piece(0, 20)}});
  EXPECT_ERROR(open_latest(root_)->tensors("f.safetensors"), CheckpointError, "\"w\"",
               "20 elements do not fill its shape");
  save({{piece(0, 24)}, {piece(0, 24)}});
  EXPECT_ERROR(open_latest(root_)->tensors("f.safetensors"), CheckpointError, "\"w\"",
               "begins at element 0, expected 24");
}

TEST_F(PartsTest, ADamagedPartIsRefusedWhenTheCheckpointIsOpened) {
  save({{piece(0, 5)}, {piece(5, 24)}});
  const auto path = root_ / "0000007" / part_name("f.safetensors", 1, 2);
  std::string bytes = files::read_file(path);
  bytes.back() ^= 1;
  test::write_bytes(path, bytes);
  EXPECT_ERROR(open_checkpoint(root_ / "0000007"), CheckpointError, "f.part-0001-of-0002",
               "checksum");
}

TEST_F(PartsTest, APartWithoutItsRecordIsNotTakenUp) {
  CheckpointWriter writer(root_, 7);
  EXPECT_ERROR(take_record(writer.folder(), "f.part-0000-of-0001.safetensors"), CheckpointError,
               "f.part-0000-of-0001");
}

TEST_F(PartsTest, ARecordOfAnotherPartIsRefused) {
  CheckpointWriter writer(root_, 7);
  write_part(writer.folder(), part_name("f.safetensors", 0, 2), {piece(0, 24)});
  const std::string other = part_name("f.safetensors", 1, 2);
  fs::rename(writer.folder() / (part_name("f.safetensors", 0, 2) + ".record"),
             writer.folder() / (other + ".record"));
  EXPECT_ERROR(take_record(writer.folder(), other), CheckpointError, other, "record of its part");
}

TEST(JoinParts, WhatIsNoPieceOfATensorWithAShapeIsNamed) {
  const TensorMap pieces = {{"w@0", torch::zeros(6)}};
  EXPECT_TRUE(join_parts({{pieces, {{"w", "2,3"}}}}, "f").contains("w"));
  for (const char* text : {"2,x", "2;3", "-6", "2,,3"})
    EXPECT_ERROR(join_parts({{pieces, {{"w", text}}}}, "f"), CheckpointError, "f, tensor \"w\"",
                 "its shape is \"" + std::string(text) + "\"");
  for (const char* key : {"w", "w@", "w@x", "w@0,1", "v@0"})
    EXPECT_ERROR(join_parts({{{{key, torch::zeros(6)}}, {{"w", "6"}}}}, "f"), CheckpointError,
                 "f, tensor \"" + std::string(key) + "\"", "is no piece of a tensor with a shape");
}

TEST_F(PartsTest, ACopyOfACheckpointIsItsBytes) {
  save({{piece(0, 5)}, {piece(5, 24)}});
  const auto from = open_latest(root_);
  const auto copy_root = folder_.path() / "copy";
  EXPECT_TRUE(copy_checkpoint(*from, copy_root, 2).empty());
  const auto copy = open_latest(copy_root);
  EXPECT_EQ(copy->step(), 7);
  for (const auto& [file, record] : from->manifest().files)
    EXPECT_EQ(files::read_file(copy->folder() / file), files::read_file(from->folder() / file));
}

}  // namespace
}  // namespace scorenet::checkpoint
