// safetensors: what is written is read back, other programs read it, and nothing
// damaged is believed.
#include "framework/checkpoint/safetensors.hpp"

#include <sys/stat.h>

#include <cstdlib>

#include "framework/checkpoint/digests.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::checkpoint {
namespace {

// One tensor of every type that has a name, an empty one and a scalar.
TensorMap every_type() {
  TensorMap tensors;
  for (const auto dtype :
       {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
        torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    tensors[c10::toString(dtype)] = torch::arange(6, torch::kInt64).to(dtype).view({2, 3});
  }
  tensors["empty"] = torch::zeros({0, 3});
  tensors["scalar"] = torch::tensor(2.5, torch::kFloat64);
  return tensors;
}

// A file with this header and these bytes, as the format has it.
std::string raw(const std::string& header, const std::string& data = "") {
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return length + header + data;
}

class SafetensorsTest : public testing::Test {
 protected:
  void refused(const std::string& bytes, const std::vector<std::string>& named) {
    test::write_bytes(path_, bytes);
    test::expect_error<CheckpointError>([&] { read_safetensors(path_); }, named, __FILE__,
                                        __LINE__);
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  std::filesystem::path path_ = folder_.path() / "x.safetensors";
};

TEST_F(SafetensorsTest, EveryTypeShapeAndTextComesBackBitForBit) {
  const Metadata metadata{{"config", "[train]\nseed = 1\n\"täst\""}, {"empty", ""}};
  const auto tensors = every_type();
  write_safetensors(path_, tensors, metadata);
  const auto read = read_safetensors(path_);
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.tensors.size(), tensors.size());
  for (const auto& [name, expected] : tensors) {
    EXPECT_EQ(read.tensors.at(name).scalar_type(), expected.scalar_type());
    EXPECT_EQ(read.tensors.at(name).sizes(), expected.sizes());
    EXPECT_TRUE(torch::equal(read.tensors.at(name), expected)) << name;
  }
}

TEST_F(SafetensorsTest, ViewsAndTensorsThatNeedGradientsAreStoredByValue) {
  const auto base = torch::arange(6, torch::kFloat32).view({2, 3}).requires_grad_();
  write_safetensors(path_, {{"t", base.t()}});
  EXPECT_TRUE(torch::equal(read_safetensors(path_).tensors.at("t"), base.detach().t()));
}

TEST_F(SafetensorsTest, TheLayoutIsTheOneOfTheFormat) {
  // One float32: a header padded so that 8 + length is a multiple of 64, then 4 bytes.
  write_safetensors(path_, {{"w", torch::ones({1})}});
  const auto bytes = files::read_file(path_);
  EXPECT_EQ(bytes.size(), 64u + 4u);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x38\0\0\0\0\0\0\0", 8));  // 56
  std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize(56, ' ');
  EXPECT_EQ(bytes.substr(8, 56), header);
  EXPECT_EQ(bytes.substr(64), std::string("\0\0\x80\x3f", 4));
}

TEST_F(SafetensorsTest, EveryTensorIsAlignedToItsElementAndTheFirstTo64) {
  write_safetensors(path_, every_type());
  int64_t first = INT64_MAX;
  for (const auto& [name, place] : read_safetensors_header(path_).places) {
    EXPECT_EQ(place.begin % static_cast<int64_t>(c10::elementSize(place.dtype)), 0) << name;
    first = std::min(first, place.begin);
  }
  EXPECT_EQ(first % 64, 0);
}

TEST_F(SafetensorsTest, AnEmptyMapIsAValidFile) {
  write_safetensors(path_, {}, {{"k", "v"}});
  EXPECT_TRUE(read_safetensors(path_).tensors.empty());
  EXPECT_EQ(read_safetensors_header(path_).metadata.at("k"), "v");
}

TEST_F(SafetensorsTest, PythonReadsTheSameValuesAndMetadata) {
  if (std::system("python3 -c 'import safetensors.numpy' 2>/dev/null") != 0) {
    GTEST_SKIP() << "needs python3 with the safetensors and numpy packages";
  }
  write_safetensors(path_,
                    {{"a", torch::arange(6, torch::kFloat64).view({2, 3})},
                     {"b", torch::tensor({7}, torch::kUInt8)}},
                    {{"k", "v"}});
  const std::string program =
      "import safetensors.numpy as s, safetensors\n"
      "t = s.load_file('" +
      path_.string() +
      "')\n"
      "assert t['a'].tolist() == [[0, 1, 2], [3, 4, 5]] and t['a'].dtype == 'float64', t\n"
      "assert t['b'].tolist() == [7] and t['b'].dtype == 'uint8', t\n"
      "assert safetensors.safe_open('" +
      path_.string() +
      "', 'np').metadata() == {'k': 'v'}\n"
      "s.save_file({'c': t['a'] + 1}, '" +
      (folder_.path() / "y").string() + "', {'m': 'n'})\n";
  test::write_bytes(folder_.path() / "check.py", program);
  ASSERT_EQ(std::system(("python3 " + folder_.file("check.py")).c_str()), 0);
  const auto back = read_safetensors(folder_.path() / "y");
  EXPECT_TRUE(
      torch::equal(back.tensors.at("c"), torch::arange(1, 7, torch::kFloat64).view({2, 3})));
  EXPECT_EQ(back.metadata.at("m"), "n");
}

TEST_F(SafetensorsTest, AFileCutAnywhereIsRefused) {
  write_safetensors(path_, every_type());
  const auto bytes = files::read_file(path_);
  for (size_t part = 0; part < 40; ++part)
    refused(bytes.substr(0, bytes.size() * part / 40), {"x.safetensors"});
  refused(bytes.substr(0, bytes.size() - 1), {"tensor \"", "cut short"});
  refused(bytes + "x", {"1 bytes belong to no tensor"});
}

TEST_F(SafetensorsTest, HeadersThatLieAreRefusedByTensorName) {
  const std::string data(8, 'x');
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  refused(raw(entry("F32", "[3]", "[0,8]"), data), {"tensor \"w\"", "(3) needs 12 bytes"});
  refused(raw(entry("F32", "[2]", "[4,12]"), data), {"tensor \"w\"", "end at 12"});
  refused(raw(entry("F32", "[1]", "[4,8]"), data), {"tensor \"w\"", "begin at"});
  refused(raw(entry("F32", "[0,9223372036854775807,4]", "[0,0]"), data), {"impossible shape"});
  refused(raw(entry("F32", "[2.0]", "[0,8]"), data), {"tensor \"w\"", "header entry"});
  refused(raw(entry("F32", "[true,2]", "[0,8]"), data), {"tensor \"w\"", "header entry"});
  refused(raw(entry("F32", "[18446744073709551615]", "[0,8]"), data), {"tensor \"w\""});
  refused(raw(entry("F32", "[1e9,1e9]", "[0,8]"), data), {"tensor \"w\"", "header entry"});
  refused(raw(entry("F32", "[2]", "[9223372036854775800,9223372036854775807]"), data),
          {"tensor \"w\""});
  refused(raw(entry("U8", "[9223372036854775807]", "[-9223372036854775807,0]"), data),
          {"tensor \"w\""});
  refused(raw(entry("F32", "[" + std::string(199, '1').replace(1, 1, ",") + "]", "[0,8]"), data),
          {"tensor \"w\""});
  refused(raw(R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
              R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
              data),
          {"names \"w\" twice"});
  refused(raw(entry("F32", "[2]", "[-8,0]"), data), {"tensor \"w\"", "offsets"});
  refused(raw(entry("F32", "[2]", "[0]"), data), {"tensor \"w\"", "offsets"});
  refused(raw(entry("F32", "[-2]", "[0,8]"), data), {"tensor \"w\"", "impossible shape (-2)"});
  refused(raw(entry("F32", "[4611686018427387904,4611686018427387904]", "[0,8]"), data),
          {"tensor \"w\"", "impossible shape"});
  refused(raw(entry("F4", "[2]", "[0,8]"), data), {"tensor \"w\"", "\"F4\""});
  refused(raw(R"({"w":{"dtype":"F32"}})", data), {"tensor \"w\"", "header entry"});
  refused(
      raw(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
          data),
      {"tensor \"b\"", "begin at"});
  refused(raw(R"({"__metadata__":{"k":1}})"), {"__metadata__", "map of strings"});
  refused(raw("[1, 2]"), {"not a JSON object"});
  refused(raw("{\"w\": "), {"not a JSON object"});
  refused(raw("{}").substr(0, 7), {"7 bytes"});
  refused(std::string(8, '\xff') + "{}", {"not a whole safetensors file"});
}

TEST_F(SafetensorsTest, HeadersNestedDeepAreRefusedWithoutAStackOfThatDepth) {
  constexpr size_t kDepth = 1'000'000;
  for (const char* open : {"[", "{\"a\":"}) {
    std::string text = "{\"w\":";
    for (size_t i = 0; i < kDepth; ++i) text += open;
    refused(raw(text), {"nested more than 16 deep"});
  }
}

TEST_F(SafetensorsTest, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_ERROR(read_safetensors(path_), CheckpointError, "x.safetensors", "is a pipe");
  EXPECT_ERROR(read_safetensors_header("/dev/zero"), CheckpointError, "is a device");
}

// A small snapshot in all but its names: two tensors, some texts, digests.
std::string with_digests_of(const std::filesystem::path& path) {
  const TensorMap tensors{{"a", torch::arange(6, torch::kFloat32).view({2, 3})},
                          {"b", torch::ones({4}, torch::kFloat64)}};
  write_safetensors(path, tensors, with_digests(tensors, {{"format", "pt"}, {"step", "12"}}));
  return files::read_file(path);
}

TEST_F(SafetensorsTest, WithDigestsEveryBitOfTheFileIsChecked) {
  const std::string whole = with_digests_of(path_);
  EXPECT_EQ(read_safetensors(path_).metadata.at("step"), "12");
  for (size_t i = 0; i < 8 * whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i / 8] = static_cast<char>(damaged[i / 8] ^ (1 << (i % 8)));
    test::write_bytes(path_, damaged);
    EXPECT_THROW(read_safetensors(path_), CheckpointError) << "bit " << i;
  }
}

TEST_F(SafetensorsTest, WithDigestsAnotherShapeOfTheSameBytesIsRefusedAndADamagedTensorNamed) {
  std::string bytes = with_digests_of(path_);
  const size_t shape = bytes.find("[2,3]");
  bytes.replace(shape, 5, "[3,2]");
  refused(bytes, {"header", "digest differs"});
  bytes.replace(shape, 5, "[2,3]");
  bytes.back() ^= 1;  // float32 lies behind float64
  refused(bytes, {"tensor \"a\"", "digest differs"});
}

TEST_F(SafetensorsTest, FilesWithoutDigestsAreReadAndNoDamageCrashesTheReader) {
  write_safetensors(path_, every_type(), {{"step", "12"}});
  EXPECT_FALSE(has_digests(read_safetensors(path_).metadata));
  const std::string whole = files::read_file(path_);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int mask : {0x01, 0x10, 0x80}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      test::write_bytes(path_, damaged);
      try {
        read_safetensors(path_);
      } catch (const CheckpointError&) {
      }
    }
  }
}

TEST_F(SafetensorsTest, WhatCannotBeStoredIsNamedAndNothingIsWritten) {
  EXPECT_ERROR(write_safetensors(path_, {{"z", torch::zeros({1}, torch::kComplexFloat)}}),
               CheckpointError, "tensor \"z\"", "ComplexFloat");
  EXPECT_ERROR(write_safetensors(path_, {{"__metadata__", torch::zeros({1})}}), CheckpointError,
               "__metadata__");
  EXPECT_ERROR(write_safetensors(path_, {}, {{"k", "\xff"}}), CheckpointError, "x.safetensors",
               "UTF-8");
  EXPECT_ERROR(read_safetensors(path_), CheckpointError, "x.safetensors", "no such file");
  EXPECT_ERROR(read_safetensors(folder_.path()), CheckpointError, "is a folder");
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(SafetensorsTest, AFailedWriteIsACheckpointErrorAndKeepsTheOldFile) {
  write_safetensors(path_, {{"w", torch::ones({1})}});
  test::FaultLayer layer(3, test::FaultLayer::Fault::error, ENOSPC);
  EXPECT_ERROR(write_safetensors(path_, {{"w", torch::zeros({1})}}, {}, layer), CheckpointError,
               "No space left");
  EXPECT_EQ(read_safetensors(path_).tensors.at("w").item<float>(), 1);
}

}  // namespace
}  // namespace scorenet::checkpoint
