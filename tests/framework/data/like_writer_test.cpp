// A file like another: what a data set reads from it under the same map is what was written.
#include "framework/data/like_writer.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include "framework/data/image_dataset.hpp"
#include "framework/data/npy.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

class LikeWriterTest : public testing::Test {
 protected:
  void write_like(const std::vector<std::pair<std::string, torch::Tensor>>& arrays) {
    auto file = Hdf5File::create(like_);
    for (const auto& [name, values] : arrays) file.write_array(name, values, {3, 2});
    file.set_attribute("/", "experiment", "twin");
    file.set_attribute(arrays[0].first, "units", "K");
    file.close();
  }
  // Seven samples in two pieces, read back.
  torch::Tensor there_and_back(DataMap map, const torch::Tensor& x) {
    map.path = {like_};
    LikeWriter writer(like_, map, "train", out_, x.size(0));
    EXPECT_EQ(writer.example_shape(), x.sizes().slice(1).vec());
    writer.write(4, x.slice(0, 4));
    writer.write(0, x.slice(0, 0, 4));
    writer.close();
    map.path = {out_};
    ImageDataset read(map, "train");
    EXPECT_EQ(read.size(), x.size(0));
    std::vector<int64_t> all;
    for (int64_t i = 0; i < x.size(0); ++i) all.push_back(i);
    return read.read(all).examples;
  }

  test::TemporaryFolder folder_;
  const std::string like_ = folder_.file("like.h5"), out_ = folder_.file("out.h5");
};

TEST_F(LikeWriterTest, TheOwnLayoutKeepsTypeChunksFiltersAndAttributes) {
  write_like({{"/train/images", torch::zeros({20, 1, 4, 5}, torch::kUInt8)}});
  const auto x = torch::arange(7 * 20).remainder(256).to(torch::kUInt8).view({7, 1, 4, 5});
  EXPECT_TRUE(torch::equal(there_and_back({}, x.to(torch::kFloat64)), x));
  const auto out = Hdf5File::open(out_);
  const auto info = out.array("/train/images").info();
  EXPECT_EQ(info.type_name, "uint8");
  EXPECT_EQ(info.chunk, (std::vector<int64_t>{3, 1, 4, 5}));
  EXPECT_TRUE(info.compressed);
  EXPECT_EQ(out.attribute("/", "experiment"), "twin");
  EXPECT_EQ(out.attribute("/train/images", "units"), "K");
}

TEST_F(LikeWriterTest, ChunksAreNoLargerThanTheFile) {
  write_like({{"/train/images", torch::zeros({20, 2, 2, 2})}});
  const auto x = torch::rand({1, 2, 2, 2});
  DataMap map;
  map.path = {like_};
  LikeWriter writer(like_, map, "train", out_, 1);
  writer.write(0, x);
  writer.close();
  EXPECT_EQ(Hdf5File::open(out_).array("/train/images").info().chunk[0], 1);
}

TEST_F(LikeWriterTest, WholeNumberTypesGetTheNearest) {
  write_like({{"/train/images", torch::zeros({20, 1, 1, 2}, torch::kUInt8)}});
  const auto x = torch::tensor({1.6, 2.4}, torch::kFloat64).view({1, 1, 1, 2});
  DataMap map;
  map.path = {like_};
  LikeWriter writer(like_, map, "train", out_, 1);
  writer.write(0, x);
  writer.close();
  const auto stored = Hdf5File::open(out_).array("/train/images").read_all(torch::kInt64).flatten();
  EXPECT_TRUE(torch::equal(stored, torch::tensor({2, 2})));
}

TEST_F(LikeWriterTest, AxesAndChannelsGoBackToTheirArrays) {
  // Samples on the second axis, channels last in one array, no channel axis in the other.
  write_like({{"/p", torch::zeros({4, 20, 5})}, {"/v", torch::zeros({4, 20, 5, 2})}});
  DataMap map;
  map.arrays = {"p", "v"};
  map.sample_axes = {1};
  map.channel_axis = -1;
  map.splits = {{"train", {"0:7"}}};
  torch::manual_seed(0);
  const auto x = torch::rand({7, 3, 4, 5});
  EXPECT_TRUE(torch::equal(there_and_back(map, x), x));
  const auto out = Hdf5File::open(out_);
  const auto p = out.array("/p").read_all(torch::kFloat32);
  const auto v = out.array("/v").read_all(torch::kFloat32);
  EXPECT_TRUE(torch::equal(p, x.select(1, 0).permute({1, 0, 2})));
  EXPECT_TRUE(torch::equal(v, x.slice(1, 1, 3).permute({2, 0, 3, 1})));
}

TEST_F(LikeWriterTest, AReshapeIsUndone) {
  write_like({{"/showers", torch::zeros({20, 12})}});
  DataMap map;
  map.arrays = {"showers"};
  map.channel_axis.reset();
  map.reshape = {1, -1, 4};
  map.splits = {{"train", {"0:7"}}};
  const auto x = torch::rand({7, 1, 3, 4});
  EXPECT_TRUE(torch::equal(there_and_back(map, x), x));
  EXPECT_EQ(Hdf5File::open(out_).array("/showers").info().shape, (std::vector<int64_t>{7, 12}));
}

// The Well: (trajectory, time, x, y) and, of vectors, a last axis.
TEST_F(LikeWriterTest, SamplesOfTrajectoriesAreTrajectoriesOfOneTime) {
  write_like({{"/p", torch::zeros({4, 6, 5, 3})}, {"/v", torch::zeros({4, 6, 5, 3, 2})}});
  DataMap map;
  map.arrays = {"p", "v"};
  map.channel_axis = -1;
  map.sample_axes = {0, 1};
  map.splits = {{"train", {"0:7"}}};
  const auto x = torch::rand({7, 3, 5, 3});
  EXPECT_TRUE(torch::equal(there_and_back(map, x), x));
  const auto out = Hdf5File::open(out_);
  EXPECT_EQ(out.array("/p").info().shape, (std::vector<int64_t>{7, 1, 5, 3}));
  EXPECT_EQ(out.array("/v").info().shape, (std::vector<int64_t>{7, 1, 5, 3, 2}));
}

TEST_F(LikeWriterTest, OfAWindowTheFileHasThePlacesThatCount) {
  write_like({{"/t", torch::zeros({20, 6, 8})}});
  DataMap map;
  map.path = {like_};
  map.arrays = {"t"};
  map.channel_axis.reset();
  map.window = {":", "1:5", "::2"};
  const auto x = torch::rand({3, 1, 4, 4});
  LikeWriter writer(like_, map, "train", out_, 3);
  writer.write(0, x);
  writer.close();
  EXPECT_TRUE(
      torch::equal(Hdf5File::open(out_).array("/t").read_all(torch::kFloat32), x.squeeze(1)));
}

TEST_F(LikeWriterTest, ANpyFileIsWrittenLikeOne) {
  const std::string like = folder_.file("like.npy"), out = folder_.file("out.npy");
  const auto written = [&](const char* type, const DataMap& map, const torch::Tensor& x,
                           const std::string& shape, size_t bytes) {
    test::write_bytes(like, test::npy(type, shape, std::string(bytes, '\0')));
    LikeWriter writer(like, map, "train", out, x.size(0));
    writer.write(1, x.slice(0, 1));
    writer.write(0, x.slice(0, 0, 1));
    writer.close();
    NpyFile file(out, /*every_type=*/true);
    EXPECT_EQ(file.dtype(), NpyFile(like, true).dtype());
    return file.next_rows(file.shape()[0]);
  };
  DataMap maps;
  maps.channel_axis.reset();
  const auto x = torch::rand({3, 1, 4, 2});
  EXPECT_TRUE(torch::equal(written("<f4", maps, x, "(5, 4, 2)", 160), x.squeeze(1)));
  DataMap last;
  last.channel_axis = -1;
  const auto colours = 255 * torch::rand({2, 3, 4, 2});
  EXPECT_TRUE(torch::equal(written("|u1", last, colours, "(5, 4, 2, 3)", 120),
                           colours.round().to(torch::kUInt8).permute({0, 2, 3, 1})));
  DataMap second = maps;
  second.sample_axes = {1};
  EXPECT_ERROR(LikeWriter(like, second, "train", out, 2), DataError, "first axis");
}

TEST_F(LikeWriterTest, AnArrayThatIsNotThereIsRefused) {
  write_like({{"/t", torch::zeros({4, 20, 5, 5})}});
  DataMap map;
  map.arrays = {"none"};
  EXPECT_ERROR(LikeWriter(like_, map, "train", out_, 2), DataError, "/none", "trained on");
}

}  // namespace
}  // namespace scorenet::data
