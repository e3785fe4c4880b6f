// Files as they lie become samples: every layout gives what index arithmetic says, whatever the
// storage, and every map that does not fit is one sentence.
#include "framework/data/array_view.hpp"

#include <torch/utils.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "framework/core/random.hpp"
#include "framework/data/image_dataset.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

using Shape = std::vector<int64_t>;

// How an array is written that our own writer would not write so.
struct Foreign {
  hid_t type = H5T_NATIVE_FLOAT;
  Shape chunk = {};  // empty: contiguous
  int gzip = 0;
  bool shuffle = false;
};

void write_foreign(const std::string& path, const std::string& name, const torch::Tensor& values,
                   const Foreign& how) {
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const std::vector<hsize_t> chunk(how.chunk.begin(), how.chunk.end());
  if (!chunk.empty()) H5Pset_chunk(properties.id(), static_cast<int>(chunk.size()), chunk.data());
  if (how.shuffle) H5Pset_shuffle(properties.id());
  if (how.gzip > 0) H5Pset_deflate(properties.id(), static_cast<unsigned>(how.gzip));
  const std::vector<hsize_t> dims(values.sizes().begin(), values.sizes().end());
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                         H5Sclose);
  const Hdf5Handle array(H5Dcreate2(file.id(), name.c_str(), how.type, space.id(), links.id(),
                                    properties.id(), H5P_DEFAULT),
                         H5Dclose);
  const auto doubles = values.to(torch::kFloat64).contiguous();
  ASSERT_GE(
      H5Dwrite(array.id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, doubles.data_ptr()),
      0);
}

void write_npy_values(const std::string& path, const std::string& type,
                      const torch::Tensor& values) {
  const auto held = values.contiguous();
  std::string shape;
  for (const int64_t size : held.sizes()) shape += std::to_string(size) + ", ";
  test::write_bytes(path, test::npy(type, "(" + shape + ")",
                                    {static_cast<const char*>(held.const_data_ptr()),
                                     static_cast<size_t>(held.nbytes())}));
}

torch::Tensor numbered(const Shape& shape) {
  const int64_t count =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return torch::arange(count, torch::kFloat32).view(shape);
}

// A map drawn at random for an array drawn at random, and the samples that it means by the axes'
// own arithmetic: windows by slices, axes by a permutation.
struct RandomCase {
  torch::Tensor stored;
  DataMap map;
  Shape chunk;
  torch::Tensor samples;

  explicit RandomCase(std::mt19937& draw) {
    const auto below = [&draw](int64_t n) {
      return static_cast<int64_t>(draw() % static_cast<uint32_t>(n));
    };
    const int64_t rank = 2 + below(4);
    Shape shape;
    for (int64_t i = 0; i < rank; ++i) shape.push_back(1 + below(i == 0 ? 9 : 5));
    stored = numbered(shape);
    Shape axes(static_cast<size_t>(rank));
    std::iota(axes.begin(), axes.end(), 0);
    std::shuffle(axes.begin(), axes.end(), draw);
    const int64_t numbering = 1 + below(std::min<int64_t>(2, rank - 1));
    map.sample_axes.assign(axes.begin(), axes.begin() + numbering);
    Shape own(axes.begin() + numbering, axes.end());
    map.channel_axis.reset();
    if (below(3) > 0) {
      map.channel_axis = below(2) ? own[0] : own[0] - rank;
      std::sort(own.begin() + 1, own.end());
    } else {
      std::sort(own.begin(), own.end());
    }
    torch::Tensor seen = stored;
    for (int64_t axis = 0; axis < rank; ++axis) {
      const int64_t size = shape[static_cast<size_t>(axis)];
      const int64_t start = below(size), step = 1 + below(3);
      const int64_t stop = start + 1 + below(size - start);
      const bool whole = below(2);
      map.window.push_back(whole ? ":"
                                 : std::to_string(start) + ":" + std::to_string(stop) + ":" +
                                       std::to_string(step));
      if (!whole) seen = seen.slice(axis, start, stop, step);
      chunk.push_back(1 + below(size));
    }
    Shape order = map.sample_axes;
    order.insert(order.end(), own.begin(), own.end());
    seen = seen.permute(order);
    Shape result{1};
    for (int64_t i = 0; i < numbering; ++i) result[0] *= seen.size(i);
    if (!map.channel_axis) result.push_back(1);
    for (int64_t i = numbering; i < rank; ++i) result.push_back(seen.size(i));
    samples = seen.reshape(result);
  }
};

class ArrayViewTest : public testing::Test {
 protected:
  std::string next(const std::string& ending = ".h5") {
    return folder_.file("data" + std::to_string(count_++) + ending);
  }
  std::string written(const torch::Tensor& values, const Foreign& how = {},
                      const std::string& name = "/fields") {
    const std::string path = next();
    write_foreign(path, name, values, how);
    return path;
  }
  // Of one file, every sample.
  static ArrayView view(const std::string& path, const DataMap& map,
                        const std::string& array = "fields", int64_t blocks = 3) {
    return {SplitSource{kAllSamples, {path}}, array, roles_of_samples(map), blocks};
  }

  test::TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(ArrayViewTest, RandomMapsOfRandomArraysGiveWhatIndexArithmeticSays) {
  std::mt19937 draw(7);
  for (int i = 0; i < 150; ++i) {
    const RandomCase c(draw);
    const std::string npy = next(".npy");
    write_npy_values(npy, "<f4", c.stored);
    const std::vector<std::string> paths = {
        written(c.stored), written(c.stored, {.chunk = c.chunk}),
        written(c.stored, {.chunk = c.chunk, .gzip = 1, .shuffle = i % 2 == 0}),
        written(c.stored, {.type = H5T_IEEE_F32BE}), npy};
    auto order =
        permutation({static_cast<uint64_t>(i), RandomStream::shuffle, 0}, c.samples.size(0));
    order.push_back(order.front());
    const auto expected = c.samples.index_select(0, torch::tensor(order));
    for (const std::string& path : paths) {
      ArrayView samples = view(path, c.map);
      ASSERT_EQ(samples.size(), c.samples.size(0)) << path;
      ASSERT_EQ(samples.sample_shape(), c.samples.sizes().slice(1).vec()) << path;
      ASSERT_TRUE(torch::equal(samples.read(order), expected)) << path << ", case " << i;
    }
  }
}

TEST_F(ArrayViewTest, GzipIsInflatedAlikeByAnyNumberOfThreads) {
  const int before = torch::get_num_threads();
  // Noise does not compress: such chunks are stored as they are, and marked.
  const auto noise = uniform_for_slots({2, RandomStream::synthetic_data, 0}, slot_range(0, 50),
                                       {11, 9}, torch::kFloat32);
  const auto smooth = numbered({50, 11, 9});
  for (const auto& values : {noise, smooth, torch::cat({noise, smooth})}) {
    for (const bool shuffle : {false, true}) {
      const std::string path = written(values, {.chunk = {7, 4, 9}, .gzip = 4, .shuffle = shuffle});
      const auto order = permutation({1, RandomStream::shuffle, 0}, values.size(0));
      for (const int threads : {1, 2, 5}) {
        torch::set_num_threads(threads);
        ArrayView samples = view(path, {}, "fields", 4);
        EXPECT_TRUE(torch::equal(samples.read(order), values.index_select(0, torch::tensor(order))))
            << threads << ' ' << shuffle;
      }
    }
  }
  torch::set_num_threads(before);
}

TEST_F(ArrayViewTest, ADamagedChunkIsFoundByTheThreadThatInflatesIt) {
  const int before = torch::get_num_threads();
  torch::set_num_threads(3);
  const auto values = uniform_for_slots({2, RandomStream::synthetic_data, 0}, slot_range(0, 64),
                                        {16, 16}, torch::kFloat32)
                          .mul(256)
                          .floor();
  const std::string path = written(values, {.chunk = {4, 16, 16}, .gzip = 4});
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) / 2));
  file.write(std::string(2000, '\xff').data(), 2000);
  file.close();
  EXPECT_ERROR(view(path, {}).read(slot_range(0, 64)), DataError, path, "/fields", "chunk at",
               "cannot be read", "damaged");
  torch::set_num_threads(before);
}

TEST_F(ArrayViewTest, EveryStoredTypeArrivesExactlyOrIsRefused) {
  const auto values = torch::tensor({0, 1, 2, 100, 101, 127}).view({3, 2});
  const auto whole = [&](hid_t type) { return written(values, {.type = type}); };
  const std::vector<std::pair<hid_t, torch::Dtype>> types = {
      {H5T_NATIVE_UINT8, torch::kUInt8},   {H5T_NATIVE_INT8, torch::kFloat32},
      {H5T_NATIVE_INT16, torch::kFloat32}, {H5T_NATIVE_UINT16, torch::kFloat32},
      {H5T_NATIVE_INT32, torch::kFloat64}, {H5T_NATIVE_UINT32, torch::kFloat64},
      {H5T_NATIVE_FLOAT, torch::kFloat32}, {H5T_NATIVE_DOUBLE, torch::kFloat64},
      {H5T_IEEE_F32BE, torch::kFloat32},   {H5T_STD_I16BE, torch::kFloat32}};
  for (const auto& [stored, delivered] : types) {
    ArrayView samples = view(whole(stored), {});
    EXPECT_EQ(samples.dtype(), delivered);
    EXPECT_TRUE(torch::equal(samples.read({0, 1, 2}), values.to(delivered)));
  }
  EXPECT_ERROR(view(whole(H5T_NATIVE_INT64), {}), DataError, "fields", "int64",
               "expected uint8, float32 or float64");
  // 16 bits: sign, 5 of exponent, 10 of fraction.
  const Hdf5Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(half.id(), 15, 10, 5, 0, 10);
  H5Tset_size(half.id(), 2);
  H5Tset_ebias(half.id(), 15);
  const auto fractions = torch::tensor({0.5, -1.25, 2048.0, 6.103515625e-05}).view({2, 2});
  ArrayView halves = view(written(fractions, {.type = half.id()}), {});
  EXPECT_EQ(halves.dtype(), torch::kFloat32);
  EXPECT_TRUE(torch::equal(halves.read({0, 1}), fractions.to(torch::kFloat32)));
}

TEST_F(ArrayViewTest, NpyFilesOfEveryTypeArriveExactly) {
  const auto values = torch::tensor({0, 1, 2, 100, 101, 127}).view({3, 2});
  const std::vector<std::tuple<std::string, torch::Dtype, torch::Dtype>> types = {
      {"|u1", torch::kUInt8, torch::kUInt8},     {"|i1", torch::kInt8, torch::kFloat32},
      {"<i2", torch::kInt16, torch::kFloat32},   {"<u2", torch::kUInt16, torch::kFloat32},
      {"<i4", torch::kInt32, torch::kFloat64},   {"<u4", torch::kUInt32, torch::kFloat64},
      {"<f2", torch::kFloat16, torch::kFloat32}, {"<f4", torch::kFloat32, torch::kFloat32},
      {"<f8", torch::kFloat64, torch::kFloat64}};
  for (const auto& [type, stored, delivered] : types) {
    const std::string path = next(".npy");
    write_npy_values(path, type, values.to(stored));
    ArrayView samples = view(path, {});
    EXPECT_EQ(samples.dtype(), delivered) << type;
    EXPECT_TRUE(torch::equal(samples.read({2, 0}),
                             values.index_select(0, torch::tensor({2, 0})).to(delivered)))
        << type;
  }
  const std::string large = next(".npy");
  write_npy_values(large, "<u2", torch::tensor({40000, 65535}).to(torch::kUInt16).view({2, 1}));
  EXPECT_EQ(view(large, {}).read({1})[0][0].item<float>(), 65535.0f);
}

TEST_F(ArrayViewTest, SamplesAreNumberedFileAfterFileAndCutByRanges) {
  std::vector<std::string> files;
  std::vector<torch::Tensor> parts;
  for (const int64_t count : {4, 1, 6}) {
    parts.push_back(numbered({count, 2}) + 100 * static_cast<double>(parts.size()));
    files.push_back(written(parts.back(), {.chunk = {3 < count ? 3 : count, 2}, .gzip = 1}));
  }
  const auto all = torch::cat(parts);
  const auto read_all = [&](const std::vector<std::string>& ranges) {
    ArrayView samples({"train", files, ranges}, "fields", {}, 2);
    return samples.read(slot_range(0, samples.size()));
  };
  EXPECT_TRUE(torch::equal(read_all({}), all));
  EXPECT_TRUE(torch::equal(read_all({"3:7"}), all.slice(0, 3, 7)));
  EXPECT_TRUE(torch::equal(read_all({"1::4"}), all.slice(0, 1, 11, 4)));
  EXPECT_TRUE(torch::equal(read_all({"-2:", "0:2"}),
                           torch::cat({all.slice(0, 9, 11), all.slice(0, 0, 2)})));
  for (const std::string range : {"0:12", "11:", "5:5", "-12:"})
    EXPECT_ERROR(read_all({range}), DataError, "11 samples", "train", range, "0:11");
  ArrayView samples({"train", files, {"3:7"}}, "fields", {}, 2);
  EXPECT_EQ(samples.file_of(0), 0u);
  EXPECT_EQ(samples.file_of(1), 1u);
  EXPECT_EQ(samples.file_of(2), 2u);
}

TEST_F(ArrayViewTest, MoreFilesThanStayOpenAreReadInAnyOrder) {
  std::vector<std::string> files;
  for (int i = 0; i < 80; ++i)
    files.push_back(written(torch::full({2, 3}, i, torch::kFloat32), {.chunk = {1, 3}}));
  ArrayView samples({kAllSamples, files}, "fields", {}, 4);
  const auto order = permutation({3, RandomStream::shuffle, 0}, samples.size());
  for (const int64_t index : order)
    ASSERT_EQ(samples.read({index})[0][1].item<float>(), static_cast<float>(index / 2));
  // The last ones read are open, and go on as they were; the first are opened again, and looked at.
  std::filesystem::copy_file(files[5], files[order.front() / 2],
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::resize_file(files[order.front() / 2], 10);
  EXPECT_ERROR(samples.read({order.front()}), DataError,
               files[static_cast<size_t>(order.front() / 2)], "another");
}

TEST_F(ArrayViewTest, FilesOfOneDataSetHoldSamplesOfOneShapeAndType) {
  const std::string first = written(numbered({2, 3}));
  const auto both = [&](const std::string& second) {
    return ArrayView({kAllSamples, {first, second}}, "fields", {}, 1);
  };
  EXPECT_ERROR(both(written(numbered({2, 4}))), DataError, "data1.h5", "(4)", "(3)");
  EXPECT_ERROR(both(written(numbered({2, 3}), {.type = H5T_NATIVE_DOUBLE})), DataError, "float64",
               "float32");
  EXPECT_ERROR(both(written(numbered({2, 3}), {}, "/other")), DataError, "data3.h5",
               "no dataset \"/fields\"");
}

TEST_F(ArrayViewTest, MapsThatDoNotFitTheArrayNameItsShape) {
  const std::string path = written(numbered({4, 3, 5}));
  const auto under = [&](const std::function<void(DataMap&)>& change) {
    DataMap map;
    change(map);
    return view(path, map);
  };
  EXPECT_ERROR(under([](DataMap& m) { m.sample_axes = {3}; }), DataError, "/fields", "(4, 3, 5)",
               "no axis 3", "data.sample_axes", "3 axes, counted from 0");
  EXPECT_ERROR(under([](DataMap& m) { m.channel_axis = -4; }), DataError, "(4, 3, 5)",
               "data.channel_axis", "\"none\"");
  EXPECT_ERROR(under([](DataMap& m) { m.channel_axis = -3; }), DataError, "axis of samples");
  EXPECT_ERROR(under([](DataMap& m) { m.window = {":", "2:4"}; }), DataError, "\"2:4\"", "axis 1",
               "0 to 2");
  EXPECT_ERROR(under([](DataMap& m) { m.window = {":", ":", ":", ":"}; }), DataError, "3 axes",
               "4 ranges");
}

TEST_F(ArrayViewTest, WhatBelongsToASampleIsReadByItsNumber) {
  // Trajectories and times number the samples; of the times every other one counts.
  const auto energies = numbered({3, 6, 2});
  DataMap map;
  map.path = {written(energies, {}, "/energies")};
  map.sample_axes = {1, 2};
  map.channel_axis.reset();
  map.window = {":", "1:3", "::2"};
  ArrayView beside(SplitSource{kAllSamples, map.path}, "energies", roles_beside_samples(map), 1);
  EXPECT_EQ(beside.size(), 6);
  EXPECT_EQ(beside.sample_shape(), Shape{2});
  EXPECT_TRUE(torch::equal(beside.read({0, 4}), torch::stack({energies[1][0], energies[2][2]})));
}

TEST_F(ArrayViewTest, ADataSetStacksArraysAndReshapesThem) {
  // As The Well stores scalars (trajectory, time, x, y) and vectors (..., 2).
  const auto density = numbered({2, 3, 4, 5}), velocity = -numbered({2, 3, 4, 5, 2});
  const std::string path = next();
  auto file = Hdf5File::create(path);
  file.write_array("/t0_fields/density", density);
  file.write_array("/t1_fields/velocity", velocity);
  file.close();
  DataMap map;
  map.path = {path};
  map.arrays = {"t0_fields/density", "t1_fields/velocity"};
  map.sample_axes = {0, 1};
  map.channel_axis = -1;
  map.window = {":", ":", "1:3"};
  map.splits = {{"train", {"0:4"}}, {"test", {"4:"}}};
  ImageDataset train(map, "train"), test(map, "test");
  EXPECT_EQ(train.size(), 4);
  EXPECT_EQ(train.example_shape(), (Shape{3, 2, 5}));
  const auto expected = torch::cat({density.unsqueeze(-1), velocity}, -1)
                            .slice(2, 1, 3)
                            .permute({0, 1, 4, 2, 3})
                            .reshape({6, 3, 2, 5});
  EXPECT_TRUE(torch::equal(train.read({0, 1, 2, 3}).examples, expected.slice(0, 0, 4)));
  EXPECT_TRUE(torch::equal(test.read({1}).examples[0], expected[5]));
  map.reshape = {1, -1};
  EXPECT_EQ(ImageDataset(map, "train").read({2}).examples.sizes().vec(), (Shape{1, 1, 30}));
  map.reshape = {7, -1};
  EXPECT_ERROR(ImageDataset(map, "train"), DataError, "(3, 2, 5)", "30 values", "(7, -1)");
  map.reshape = {};
  map.arrays = {"t1_fields/velocity", "t1_fields/velocity"};
  EXPECT_EQ(ImageDataset(map, "train").example_shape(), (Shape{4, 2, 5}));
}

TEST_F(ArrayViewTest, SplitsAreGroupsRangesOrFilesAndNothingIsGuessed) {
  DataMap map;
  map.path = {written(numbered({5, 2}))};
  map.arrays = {"fields"};
  EXPECT_EQ(ImageDataset(map, kAllSamples).size(), 5);
  EXPECT_ERROR(ImageDataset(map, "train"), ConfigError, "split train", "data.splits", "\"all\"");
  map.splits = {{"train", {"0:3"}}, {"test", {written(numbered({7, 2}))}}};
  EXPECT_EQ(ImageDataset(map, "train").size(), 3);
  EXPECT_EQ(ImageDataset(map, "test").size(), 7);
  EXPECT_ERROR(ImageDataset(map, "validation"), ConfigError, "validation", "test, train");
  // The split's name in a path and in an array.
  std::filesystem::create_directory(folder_.path() / "train");
  for (const char* name : {"b.h5", "a.h5"})
    write_foreign(folder_.file(std::string("train/") + name), "/x_train", numbered({2, 2}), {});
  DataMap named;
  named.path = {folder_.file("{split}/*.h5")};
  named.arrays = {"x_{split}"};
  ImageDataset train(named, "train");
  EXPECT_EQ(train.size(), 4);
  EXPECT_EQ(train.files()[0], folder_.file("train/a.h5"));
  EXPECT_ERROR(ImageDataset(named, "test"), DataError, "no file matches", "test/*.h5");
  named.path = {folder_.file("train/a.h5"), folder_.file("train/*.h5")};
  EXPECT_ERROR(ImageDataset(named, "train"), DataError, "a.h5", "named twice");
}

TEST_F(ArrayViewTest, LabelsFollowTheSamples) {
  const auto labels = torch::arange(12).view({3, 4});
  const std::string path = next();
  auto file = Hdf5File::create(path);
  file.write_array("/u", numbered({3, 4, 2}));
  file.write_array("/class", labels);
  file.write_array("/short", torch::arange(3));
  file.close();
  DataMap map;
  map.path = {path};
  map.arrays = {"u"};
  map.sample_axes = {0, 1};
  map.channel_axis = 2;
  map.window = {"1:", "::3"};
  map.splits = {{"train", {"1:"}}};
  map.labels_array = "class";
  ImageDataset dataset(map, "train");
  EXPECT_TRUE(torch::equal(dataset.labels(), torch::tensor({7, 8, 11})));
  map.labels_array = "short";
  EXPECT_ERROR(ImageDataset(map, "train"), DataError, "/short", "shape (3)", "4 values");
  map.labels_array = "none";
  EXPECT_ERROR(ImageDataset(map, "train"), DataError, "no dataset \"/none\"");
  EXPECT_NO_THROW(ImageDataset(map, "train", {.labels = false}));
}

TEST_F(ArrayViewTest, TheFingerprintIsThatOfTheSamplesAndNamesTheFilesTheyAreIn) {
  const auto whole = numbered({6, 1, 2, 2});
  DataMap plain;
  plain.path = {written(whole, {}, "/train/images")};
  const auto fingerprint = ImageDataset(plain, "train").fingerprint();
  // (N, H, W, C) without a conversion: the same samples.
  DataMap last;
  last.path = {written(whole.permute({0, 2, 3, 1}))};
  last.arrays = {"fields"};
  last.channel_axis = -1;
  EXPECT_EQ(ImageDataset(last, kAllSamples).fingerprint(), fingerprint);
  DataMap parts;
  parts.arrays = {"fields"};
  parts.path = {written(whole.slice(0, 0, 4)), written(whole.slice(0, 4, 6))};
  const auto before = ImageDataset(parts, kAllSamples).summary();
  EXPECT_EQ(before.fingerprint, fingerprint);
  ASSERT_EQ(before.files.size(), 2u);
  auto other = whole.slice(0, 4, 6).clone();
  other[1][0][1][1] += 1;
  parts.path[1] = written(other);
  const auto after = ImageDataset(parts, kAllSamples).summary();
  EXPECT_NE(after.fingerprint, before.fingerprint);
  EXPECT_EQ(after.files[0].fingerprint, before.files[0].fingerprint);
  EXPECT_NE(after.files[1].fingerprint, before.files[1].fingerprint);
  EXPECT_EQ(after.files[1].name, std::filesystem::path(parts.path[1]).filename().string());
  // 0 to 23 and one larger by one: mean 23/2 + 1/24.
  EXPECT_NEAR(after.mean, 11.5 + 1.0 / 24, 1e-6);
  EXPECT_NEAR(before.deviation, std::sqrt((24.0 * 24 - 1) / 12), 1e-6);
}

TEST_F(ArrayViewTest, BytesWithTheChannelsLastAreImages) {
  const auto pixels = numbered({3, 4, 5, 2}).remainder(256).to(torch::kUInt8);
  DataMap map;
  map.path = {written(pixels, {.type = H5T_NATIVE_UINT8})};
  map.arrays = {"fields"};
  map.channel_axis = -1;
  ImageDataset dataset(map, kAllSamples);
  EXPECT_EQ(dataset.kind(), DataKind::discrete);
  EXPECT_TRUE(torch::equal(dataset.read({2, 1}).examples,
                           pixels.permute({0, 3, 1, 2}).index_select(0, torch::tensor({2, 1}))));
}

TEST_F(ArrayViewTest, FilesThatAreNotReadAreToldWithTheWayOut) {
  const std::string classic = next(".nc");
  test::write_bytes(classic, std::string("CDF\x01\0\0\0\0", 8) + std::string(200, '\0'));
  EXPECT_ERROR(view(classic, {}), DataError, classic, "netCDF-3", "nccopy -k nc4");
  const std::string fortran = next(".npy");
  test::write_bytes(fortran, test::npy("<f4", "(2, 2)", std::string(16, '\0'), "True"));
  EXPECT_ERROR(view(fortran, {}), DataError, "Fortran order");
  const std::string text = next(".npy");
  test::write_bytes(text, test::npy("<U4", "(2, 2)", std::string(64, '\0')));
  EXPECT_ERROR(view(text, {}), DataError, "<U4");
}

}  // namespace
}  // namespace scorenet::data
