// Reading data files: every storage gives the same values, every damage gives one clear sentence.
#include "framework/data/image_dataset.hpp"

#include <cmath>
#include <filesystem>
#include <thread>

#include "framework/core/random.hpp"
#include "framework/data/dataset_writer.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

// Image i is filled with the byte i; its label is i mod 3.
torch::Tensor numbered_images(int64_t n) {
  return torch::arange(n, torch::kInt64)
      .to(torch::kUInt8)
      .view({n, 1, 1, 1})
      .expand({n, 1, 4, 3})
      .contiguous();
}
torch::Tensor numbered_labels(int64_t n) { return torch::arange(n, torch::kInt64).remainder(3); }

class ImageDatasetTest : public testing::Test {
 protected:
  // A file with the arrays given, under the names given.
  std::string file_with(const std::vector<std::pair<std::string, torch::Tensor>>& arrays,
                        const Hdf5Storage& storage = {}) {
    const std::string path = folder_.file("data" + std::to_string(count_++) + ".h5");
    auto file = Hdf5File::create(path);
    for (const auto& [name, values] : arrays) file.write_array(name, values, storage);
    file.close();
    return path;
  }
  std::string numbered_file(int64_t n, const Hdf5Storage& storage = {}) {
    return file_with({{"/train/images", numbered_images(n)}, {"/train/labels", numbered_labels(n)}},
                     storage);
  }

  test::TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(ImageDatasetTest, EveryStorageGivesTheRowsAskedForInTheOrderAskedFor) {
  const std::vector<int64_t> indices{199, 0, 7, 7, 100, 64, 63};
  for (const Hdf5Storage storage :
       {Hdf5Storage{0, 0}, Hdf5Storage{1, 0}, Hdf5Storage{64, 0}, Hdf5Storage{64, 4}}) {
    ImageDataset dataset(numbered_file(200, storage), "train", {.cached_blocks = 2});
    const Batch batch = dataset.read(indices);
    EXPECT_TRUE(
        torch::equal(batch.examples, numbered_images(200).index_select(0, torch::tensor(indices))));
    EXPECT_TRUE(torch::equal(batch.labels, torch::tensor(indices).remainder(3)));
    EXPECT_EQ(batch.indices, indices);
    EXPECT_EQ(dataset.storage().chunk.empty(), storage.chunk_rows == 0);
    EXPECT_EQ(dataset.storage().offset >= 0, storage.chunk_rows == 0);
  }
}

TEST_F(ImageDatasetTest, ManyBlocksPassThroughASmallCacheUnharmed) {
  // 2,000 rows of 1,200 bytes in chunks of 300: 7 blocks, of which the cache holds 2.
  const auto images = torch::arange(2000, torch::kInt64)
                          .to(torch::kFloat32)
                          .view({2000, 1})
                          .expand({2000, 300})
                          .contiguous();
  ImageDataset dataset(file_with({{"/train/images", images}}, {300, 1}), "train",
                       {.cached_blocks = 2});
  EXPECT_GE(2000 / dataset.block_rows(), 3);
  const auto order = permutation({1, RandomStream::shuffle, 0}, 2000);
  for (size_t first = 0; first < order.size(); first += 250) {
    const std::vector<int64_t> part(order.begin() + static_cast<std::ptrdiff_t>(first),
                                    order.begin() + static_cast<std::ptrdiff_t>(first) + 250);
    ASSERT_TRUE(torch::equal(dataset.read(part).examples.select(1, 7),
                             torch::tensor(part).to(torch::kFloat32)));
  }
}

TEST_F(ImageDatasetTest, SaysWhatItHolds) {
  ImageDataset images(numbered_file(5), "train");
  EXPECT_EQ(images.size(), 5);
  EXPECT_EQ(images.example_shape(), (std::vector<int64_t>{1, 4, 3}));
  EXPECT_EQ(images.dims(), 12);
  EXPECT_EQ(images.kind(), DataKind::discrete);
  EXPECT_EQ(images.num_classes(), 3);
  ImageDataset points(file_with({{"/test/images", torch::zeros({4, 2}, torch::kFloat64)}}), "test");
  EXPECT_EQ(points.kind(), DataKind::continuous);
  EXPECT_EQ(points.dtype(), torch::kFloat64);
  EXPECT_EQ(points.num_classes(), 0);
  EXPECT_FALSE(points.read({1}).labels.defined());
  EXPECT_FALSE(ImageDataset(numbered_file(5), "train", {.labels = false}).has_labels());
}

TEST_F(ImageDatasetTest, AnEmptyShareIsAnEmptyBatchOfTheRightShape) {
  for (const int64_t chunk : {0, 2}) {
    ImageDataset dataset(numbered_file(5, {chunk, 0}), "train");
    EXPECT_EQ(dataset.read({}).examples.sizes(), (std::vector<int64_t>{0, 1, 4, 3}));
    EXPECT_EQ(dataset.read({}).labels.sizes(), (std::vector<int64_t>{0}));
  }
}

TEST_F(ImageDatasetTest, LabelsOfAnyIntegerTypeAreRead) {
  for (const auto dtype : {torch::kUInt8, torch::kInt32, torch::kInt64}) {
    ImageDataset dataset(file_with({{"/train/images", numbered_images(4)},
                                    {"/train/labels", numbered_labels(4).to(dtype)}}),
                         "train");
    EXPECT_TRUE(torch::equal(dataset.labels(), numbered_labels(4)));
  }
}

TEST_F(ImageDatasetTest, AFileThatIsNotThereOrNotHdf5IsNamed) {
  EXPECT_ERROR(ImageDataset(folder_.file("none.h5"), "train"), DataError, "none.h5",
               "no such file");
  test::write_bytes(folder_.file("text.h5"), "hello");
  EXPECT_ERROR(ImageDataset(folder_.file("text.h5"), "train"), DataError, "text.h5",
               "expected an HDF5 file");
  test::write_bytes(folder_.file("empty.h5"), "");
  EXPECT_ERROR(ImageDataset(folder_.file("empty.h5"), "train"), DataError, "empty.h5",
               "expected an HDF5 file");
  EXPECT_ERROR(ImageDataset(folder_.path().string(), "train"), DataError,
               "expected a readable HDF5 file");
}

TEST_F(ImageDatasetTest, AMissingSplitNamesThoseThatExist) {
  const auto path =
      file_with({{"/train/images", numbered_images(2)}, {"/test/images", numbered_images(2)}});
  EXPECT_ERROR(ImageDataset(path, "validation"), DataError, "/validation/images", "test, train");
  EXPECT_ERROR(ImageDataset(file_with({{"/other", numbered_images(2)}}), "train"), DataError,
               "splits found: none");
}

TEST_F(ImageDatasetTest, AnotherShapeOrTypeIsNamedWithWhatWasExpected) {
  const auto opened = [this](const torch::Tensor& images) {
    ImageDataset(file_with({{"/train/images", images}}), "train");
  };
  EXPECT_ERROR(opened(torch::zeros({5, 4, 4}, torch::kUInt8)), DataError, "/train/images", "uint8",
               "(5, 4, 4)", "expected (N, C, H, W)");
  EXPECT_ERROR(opened(torch::zeros({5}, torch::kFloat32)), DataError, "float32", "shape (5)",
               "(N, ...)");
  EXPECT_ERROR(opened(torch::zeros({0, 1, 4, 4}, torch::kUInt8)), DataError, "(0, 1, 4, 4)",
               "at least one sample");
  EXPECT_ERROR(opened(torch::zeros({5, 1, 0, 4}, torch::kUInt8)), DataError, "(5, 1, 0, 4)",
               "at least one");
  EXPECT_ERROR(opened(torch::zeros({5, 1, 4, 4}, torch::kInt64)), DataError, "int64",
               "(5, 1, 4, 4)", "expected uint8, float32 or float64");
}

TEST_F(ImageDatasetTest, AGroupInThePlaceOfADatasetIsNamedAsOne) {
  EXPECT_ERROR(ImageDataset(file_with({{"/train/images/a", torch::zeros({5, 1, 4, 4})}}), "train"),
               DataError, "\"/train/images\" is a group", "expected a dataset");
}

TEST_F(ImageDatasetTest, LabelsThatDoNotFitAreNamed) {
  const auto opened = [this](const torch::Tensor& labels) {
    return ImageDataset(
        file_with({{"/train/images", numbered_images(4)}, {"/train/labels", labels}}), "train");
  };
  EXPECT_ERROR(opened(numbered_labels(3)), DataError, "/train/labels", "shape (3)", "expected (4)");
  EXPECT_ERROR(opened(torch::zeros({4}, torch::kFloat32)), DataError, "float32",
               "expected integers");
  EXPECT_ERROR(opened(torch::tensor({0, 1, -2, 0})), DataError, "label -2 at index 2");
  EXPECT_ERROR(opened(torch::tensor({0, 1, 7, 0})).check_labels(7), DataError, "label 7 at index 2",
               "below 7", "num_classes = 8");
  EXPECT_NO_THROW(opened(torch::tensor({0, 1, 7, 0})).check_labels(8));
  EXPECT_ERROR(
      ImageDataset(file_with({{"/train/images", numbered_images(4)}}), "train").check_labels(2),
      DataError, "missing", "2 classes");
}

TEST_F(ImageDatasetTest, ATruncatedFileIsRefusedWhereverItIsCut) {
  for (const Hdf5Storage storage : {Hdf5Storage{0, 0}, Hdf5Storage{16, 0}}) {
    const auto whole = numbered_file(200, storage);
    const auto size = std::filesystem::file_size(whole);
    for (int part = 1; part <= 10; ++part) {
      const auto cut = folder_.file("cut.h5");
      std::filesystem::copy_file(whole, cut, std::filesystem::copy_options::overwrite_existing);
      std::filesystem::resize_file(cut, size * static_cast<uintmax_t>(part) / 11);
      EXPECT_ERROR(ImageDataset(cut, "train"), DataError, "cut.h5");
    }
    std::filesystem::copy_file(whole, folder_.file("short.h5"),
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder_.file("short.h5"), size - 1);
    EXPECT_ERROR(ImageDataset(folder_.file("short.h5"), "train"), DataError, "short.h5",
                 "truncated or damaged");
  }
}

TEST_F(ImageDatasetTest, ADamagedChunkIsFoundWhenItIsRead) {
  // Noise does not compress, so the deflate stream fills the file; overwriting its middle
  // breaks the stream.
  const auto noise = uniform_for_slots({1, RandomStream::synthetic_data, 0}, slot_range(0, 64),
                                       {1, 16, 16}, torch::kFloat32)
                         .mul(256)
                         .to(torch::kUInt8);
  const auto path = file_with({{"/train/images", noise}}, {64, 1});
  ImageDataset(path, "train").read({0});
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) / 2));
  file.write(std::string(2000, '\xff').data(), 2000);
  file.close();
  EXPECT_ERROR(ImageDataset(path, "train").read({0}), DataError, "/train/images", "cannot be read",
               "damaged");
}

TEST_F(ImageDatasetTest, ValuesThatAreNotFiniteAreNamedWhenRead) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const double bad : {std::nan(""), HUGE_VAL}) {
      auto points = torch::zeros({9, 2, 3}, dtype);
      points[6][1][2] = bad;
      ImageDataset dataset(file_with({{"/train/images", points}}), "train");
      EXPECT_NO_THROW(dataset.read({0, 5, 7}));
      EXPECT_ERROR(dataset.read({5, 6}), DataError, "sample 6", "NaN or an infinity");
    }
  }
}

// An array with properties that our own writer never sets.
std::string foreign_file(const std::string& path, hid_t stored_type, const Hdf5Handle& properties,
                         const torch::Tensor& values) {
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle group(H5Gcreate2(file.id(), "/train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         H5Gclose);
  const std::vector<hsize_t> dims(values.sizes().begin(), values.sizes().end());
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                         H5Sclose);
  const Hdf5Handle array(H5Dcreate2(group.id(), "images", stored_type, space.id(), H5P_DEFAULT,
                                    properties.id(), H5P_DEFAULT),
                         H5Dclose);
  EXPECT_GE(
      H5Dwrite(array.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data_ptr()), 0);
  return path;
}

TEST_F(ImageDatasetTest, NumbersOfAnotherByteOrderAreConvertedAndNotMapped) {
  const Hdf5Handle plain(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const auto values = torch::arange(12, torch::kFloat32).view({4, 3});
  ImageDataset dataset(foreign_file(folder_.file("big_endian.h5"), H5T_IEEE_F32BE, plain, values),
                       "train");
  EXPECT_GE(dataset.storage().offset, 0);
  EXPECT_FALSE(dataset.storage().bytes_are_native);
  EXPECT_TRUE(torch::equal(dataset.read({3, 0, 1}).examples,
                           values.index_select(0, torch::tensor({3, 0, 1}))));
}

TEST_F(ImageDatasetTest, AMissingFilterIsNamedWhenTheFileIsOpened) {
  constexpr H5Z_filter_t kZstandard =
      32015;  // its number in HDF5's list of filters; not part of the library
  if (H5Zfilter_avail(kZstandard) > 0) GTEST_SKIP() << "this machine has the Zstandard plugin";
  const Hdf5Handle chunked(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const hsize_t chunk[2] = {2, 3};
  H5Pset_chunk(chunked.id(), 2, chunk);
  H5Pset_filter(chunked.id(), kZstandard, H5Z_FLAG_OPTIONAL, 0, nullptr);
  const auto path =
      foreign_file(folder_.file("zstd.h5"), H5T_IEEE_F32LE, chunked, torch::zeros({4, 3}));
  EXPECT_ERROR(ImageDataset(path, "train"), DataError, "zstd.h5", "filter 32015", "(zstd)",
               "HDF5_PLUGIN_PATH");
}

TEST_F(ImageDatasetTest, AnIndexOutsideIsNamed) {
  ImageDataset dataset(numbered_file(5), "train");
  EXPECT_ERROR(dataset.read({0, 5}), DataError, "sample 5", "0 to 4");
  EXPECT_ERROR(dataset.read({-1}), DataError, "sample -1");
}

TEST_F(ImageDatasetTest, FingerprintIsTheSameForACopyAndChangesWithPixelsLabelsAndSize) {
  const auto original = numbered_file(50);
  const auto fingerprint = ImageDataset(original, "train").fingerprint();
  EXPECT_EQ(fingerprint.size(), 32u);
  std::filesystem::copy_file(original, folder_.file("copy.h5"));
  EXPECT_EQ(ImageDataset(folder_.file("copy.h5"), "train").fingerprint(), fingerprint);

  auto images = numbered_images(50);
  images[49][0][3][2] = 7;
  EXPECT_NE(
      ImageDataset(file_with({{"/train/images", images}, {"/train/labels", numbered_labels(50)}}),
                   "train")
          .fingerprint(),
      fingerprint);
  auto labels = numbered_labels(50);
  labels[20] = 9;
  EXPECT_NE(
      ImageDataset(file_with({{"/train/images", numbered_images(50)}, {"/train/labels", labels}}),
                   "train")
          .fingerprint(),
      fingerprint);
  EXPECT_NE(ImageDataset(numbered_file(51), "train").fingerprint(), fingerprint);
  EXPECT_NE(ImageDataset(file_with({{"/train/images", numbered_images(50).bitwise_not()},
                                    {"/train/labels", numbered_labels(50)}}),
                         "train")
                .fingerprint(),
            fingerprint);
  EXPECT_EQ(ImageDataset(numbered_file(1), "train").fingerprint().size(), 32u);
}

TEST_F(ImageDatasetTest, FingerprintSeesAnySampleAndNoOtherSplit) {
  const auto images = numbered_images(5000);
  const auto changed = images.clone();
  changed[2345][0][1][1] += 1;
  for (const int64_t chunk : {0, 64}) {
    const auto of = [&](const std::vector<std::pair<std::string, torch::Tensor>>& arrays) {
      return ImageDataset(file_with(arrays, {chunk, 0}), "train").fingerprint();
    };
    const auto original = of({{"/train/images", images}});
    EXPECT_NE(of({{"/train/images", changed}}), original);
    EXPECT_EQ(of({{"/train/images", images}, {"/test/images", changed}}), original);
  }
}

TEST_F(ImageDatasetTest, TwoFilesCanBeReadFromTwoThreads) {
  // As in training: the loader's thread reads one split while the evaluation reads another.
  ImageDataset a(numbered_file(200, {16, 1}), "train", {.cached_blocks = 1});
  ImageDataset b(numbered_file(200, {16, 1}), "train", {.cached_blocks = 1});
  const auto read_all = [](ImageDataset& dataset) {
    for (int64_t i = 0; i < 200; ++i) {
      ASSERT_EQ(dataset.read({(i * 77) % 200}).examples[0][0][0][0].item<int64_t>(),
                (i * 77) % 200);
    }
  };
  std::jthread other([&] { read_all(b); });
  read_all(a);
}

TEST_F(ImageDatasetTest, ScalarsAttributesAndPartsOfArraysComeBack) {
  const auto path = folder_.file("small.h5");
  {
    auto file = Hdf5File::create(path);
    file.write_array("/a/b/numbers", torch::arange(6, torch::kFloat64).view({3, 2}));
    file.set_attribute("/a", "note", "täst");
    file.set_attribute("/a", "empty", "");
    file.close();
  }
  const auto file = Hdf5File::open(path);
  EXPECT_TRUE(torch::equal(file.array("/a/b/numbers").read_rows(1, 2, torch::kFloat32),
                           torch::tensor({{2.f, 3.f}, {4.f, 5.f}})));
  EXPECT_EQ(file.attribute("/a", "note"), "täst");
  EXPECT_EQ(file.attribute("/a", "empty"), "");
  EXPECT_EQ(file.attribute("/a", "none"), std::nullopt);
  EXPECT_EQ(file.attribute("/missing", "note"), std::nullopt);
  EXPECT_FALSE(file.has("/x/y/z"));
  EXPECT_ERROR(file.array("/a/c"), DataError, "small.h5", "/a/c");
  EXPECT_ERROR(file.array("/a/b"), DataError, "/a/b", "is a group");
  EXPECT_ERROR(file.array("/a/b/numbers").read_rows(2, 2, torch::kFloat64), DataError,
               "rows 2 to 4", "(3, 2)");
  EXPECT_ERROR(Hdf5File::create(folder_.file("no/such/folder.h5")), DataError, "no/such",
               "cannot be created");
}

TEST_F(ImageDatasetTest, WhatIsNoGroupOrHoldsNoStringsIsNamed) {
  const std::string path = folder_.file("x.h5");
  {
    auto file = Hdf5File::create(path);
    file.write_array("/group/numbers", torch::arange(3));
    file.close();
  }
  const auto file = Hdf5File::open(path);
  EXPECT_EQ(file.children("/group"), std::vector<std::string>{"numbers"});
  EXPECT_ERROR(file.children("/absent"), DataError, path, "no group \"/absent\"");
  EXPECT_ERROR(file.children("/group/numbers"), DataError, path, "no group \"/group/numbers\"");
  EXPECT_ERROR(file.read_strings("/group/numbers"), DataError, path, "/group/numbers", "int64",
               "expected strings");
}

TEST_F(ImageDatasetTest, RowsThatDoNotFitAreNotWritten) {
  auto file = Hdf5File::create(folder_.file("small.h5"));
  auto array = file.create_array("/x", {4, 2}, torch::kFloat32);
  EXPECT_ERROR(array.write_rows(3, torch::zeros({2, 2})), DataError, "(2, 2) at row 3", "(4, 2)");
  EXPECT_ERROR(array.write_rows(0, torch::zeros({1, 3})), DataError, "(1, 3)");
  EXPECT_ERROR(file.write_array("/y", torch::zeros({2}, torch::kBool)), DataError, "Bool",
               "not stored");
}

}  // namespace
}  // namespace scorenet::data
