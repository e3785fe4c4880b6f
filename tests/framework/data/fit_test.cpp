// A data set against what a model expects: each difference is one sentence.
#include "framework/data/fit.hpp"

#include <cmath>

#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

class FitTest : public testing::Test {
 protected:
  ImageDataset dataset(const torch::Tensor& images, const torch::Tensor& labels = {}) {
    const std::string path = folder_.file("data" + std::to_string(count_++) + ".h5");
    auto file = Hdf5File::create(path);
    file.write_array("/test/images", images);
    if (labels.defined()) file.write_array("/test/labels", labels);
    file.close();
    return {path, "test"};
  }
  void check(const ExpectedData& expected, const torch::Tensor& images,
             const torch::Tensor& labels = {}, int64_t n = 0) {
    auto data = dataset(images, labels);
    check_fit(expected, data, n);
  }

  test::TemporaryFolder folder_;
  int count_ = 0;
  const torch::Tensor bytes_ = torch::arange(128).to(torch::kUInt8).view({8, 1, 4, 4});
  const ExpectedData discrete_{"net", {1, 4, 4}, {DataKind::discrete, {}}, 0};
  const ExpectedData continuous_{"net", {1, 4, 4}, {DataKind::continuous, ValueRange{-1, 1}}, 0};
};

TEST_F(FitTest, DataLikeThoseOfTrainingFit) {
  EXPECT_NO_THROW(check(discrete_, bytes_));
  EXPECT_NO_THROW(check(continuous_, bytes_ / 64. - 1));
  EXPECT_NO_THROW(check({"older net", {1, 4, 4}, {}, 0}, bytes_));
}

TEST_F(FitTest, AnotherShapeIsNamed) {
  EXPECT_ERROR(check(discrete_, torch::zeros({8, 1, 5, 5}, torch::kUInt8)), DataError, "(1, 5, 5)",
               "(1, 4, 4)", "net");
  EXPECT_ERROR(check(continuous_, torch::zeros({8, 16})), DataError, "(16)", "(1, 4, 4)");
}

TEST_F(FitTest, BytesAndRealNumbersAreNotTakenForEachOther) {
  EXPECT_ERROR(check(discrete_, bytes_.to(torch::kFloat32)), DataError, "float32", "8-bit", "net");
  EXPECT_ERROR(check(continuous_, bytes_), DataError, "8-bit", "continuous");
}

TEST_F(FitTest, DataOfOtherLevelsAreNotTakenForEachOther) {
  DatasetOptions two;
  two.levels = 2;
  const auto bits = bytes_.to(torch::kFloat32).remainder(2);
  const auto read = [&](const torch::Tensor& values, const DatasetOptions& options) {
    const auto path = folder_.file("levels" + std::to_string(count_++) + ".h5");
    auto file = Hdf5File::create(path);
    file.write_array("/test/images", values);
    file.close();
    return ImageDataset(path, "test", options);
  };
  auto of_bits = read(bits, two);
  EXPECT_EQ(of_bits.levels(), 2);
  const ExpectedData expected{"net", {1, 4, 4}, {DataKind::discrete, {}, 2}, 0};
  EXPECT_NO_THROW(check_fit(expected, of_bits, 0));
  EXPECT_ERROR(check_fit(discrete_, of_bits, 0), DataError, "data of 2 levels", "8-bit", "net");
  EXPECT_ERROR(check(expected, bytes_), DataError, "8-bit", "whole numbers below 2");
  auto halves = read(bits / 2, two);
  EXPECT_ERROR(check_fit(expected, halves, 0), DataError, "sample 0", "none of the levels 0 to 1");
  auto beyond = read(bytes_.remainder(3), two);
  EXPECT_ERROR(check_fit(expected, beyond, 0), DataError, "none of the levels 0 to 1");
  DatasetOptions none;
  none.levels = 0;  // bytes as real numbers
  auto real = read(bytes_, none);
  EXPECT_EQ(real.kind(), DataKind::continuous);
  EXPECT_EQ(real.summary().range->greatest, 127);
}

TEST_F(FitTest, MissingValuesAreInNoRange) {
  for (const double mark : {std::nan(""), 1e6}) {
    auto values = torch::linspace(-1, 1, 128).view({8, 1, 4, 4}).clone();
    values.slice(0, 0, 7).fill_(mark);
    DatasetOptions options;
    options.missing = mark;
    const auto path = folder_.file("missing" + std::to_string(count_++) + ".h5");
    {
      auto file = Hdf5File::create(path);
      file.write_array("/test/images", values);
      file.close();
    }
    ImageDataset data(path, "test", options);
    EXPECT_NO_THROW(check_fit(continuous_, data, 0));
    EXPECT_EQ(data.summary().range->greatest, 1);
    EXPECT_GT(data.summary().range->least, 0.7);
  }
}

TEST_F(FitTest, AnotherUnitIsNoticedAndAFewOutliersAreNot) {
  EXPECT_ERROR(check(continuous_, bytes_.to(torch::kFloat32).mul(2)), DataError, "0 to 254",
               "-1 to 1");
  auto outliers = torch::zeros({8, 1, 4, 4});
  outliers[3] = 1e6;
  EXPECT_NO_THROW(check(continuous_, outliers));
}

TEST_F(FitTest, LabelsMustBeThereAndNumberClassesOfTheModel) {
  ExpectedData classes = discrete_;
  classes.num_classes = 4;
  EXPECT_NO_THROW(check(classes, bytes_, torch::arange(8).remainder(4)));
  EXPECT_ERROR(check(classes, bytes_, torch::arange(8).remainder(5)), DataError, "label 4",
               "index 4");
  EXPECT_ERROR(check(classes, bytes_), DataError, "missing", "4 classes");
  EXPECT_NO_THROW(check(discrete_, bytes_, torch::arange(8).remainder(5)));  // not asked for
}

TEST_F(FitTest, ANumberThatIsNoneIsFoundAmongTheSamplesThatWillBeUsed) {
  auto values = torch::zeros({8, 1, 4, 4});
  values[5][0][1][2] = std::nan("");
  EXPECT_ERROR(check(continuous_, values), DataError, "sample 5", "NaN");
  EXPECT_NO_THROW(check(continuous_, values, {}, 5));
  EXPECT_ERROR(check(continuous_, values, {}, 6), DataError, "sample 5");
}

TEST_F(FitTest, TraitsSurviveASnapshotsText) {
  EXPECT_EQ(to_text({}), "");
  EXPECT_FALSE(traits_from_text("").kind);
  EXPECT_EQ(traits_from_text(to_text({DataKind::discrete, {}})).kind, DataKind::discrete);
  EXPECT_EQ(to_text({DataKind::discrete, {}}), "discrete");  // as before there were other levels
  EXPECT_EQ(traits_from_text("discrete").levels, 256);
  EXPECT_EQ(traits_from_text(to_text({DataKind::discrete, {}, 65536})).levels, 65536);
  const auto traits = traits_from_text(to_text({DataKind::continuous, ValueRange{-0.1, 1e300}}));
  EXPECT_EQ(traits.kind, DataKind::continuous);
  EXPECT_EQ(traits.range->least, -0.1);
  EXPECT_EQ(traits.range->greatest, 1e300);
  EXPECT_FALSE(traits_from_text("continuous nonsense").range);
  EXPECT_FALSE(traits_from_text("something new").kind);
}

TEST_F(FitTest, OnlyImagesHaveAWidthToMirror) {
  EXPECT_NO_THROW(check_has_width(dataset(bytes_)));
  EXPECT_NO_THROW(check_has_width(dataset(torch::zeros({4, 1, 3, 3}))));
  for (const auto& shape : std::vector<std::vector<int64_t>>{{4, 2}, {4, 3, 5}, {4, 2, 1, 1}})
    EXPECT_ERROR(check_has_width(dataset(torch::zeros(shape))), ConfigError, "data.flip", "width");
}

TEST_F(FitTest, LabelsThatNumberNoClassAreNamed) {
  const int64_t greatest = std::numeric_limits<int64_t>::max();
  auto labels = torch::zeros({8}, torch::kInt64);
  labels[6] = greatest;
  EXPECT_ERROR(dataset(bytes_, labels), DataError, "/test/labels", std::to_string(greatest),
               "index 6");
  // The same from uint64, which HDF5 would cut down to the largest int64 in silence.
  const auto path = folder_.file("uint64.h5");
  {
    auto file = Hdf5File::create(path);
    file.write_array("/test/images", bytes_);
    file.close();
    const Hdf5Handle open(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const hsize_t dims[1] = {8};
    const Hdf5Handle space(H5Screate_simple(1, dims, nullptr), H5Sclose);
    const Hdf5Handle array(H5Dcreate2(open.id(), "/test/labels", H5T_NATIVE_UINT64, space.id(),
                                      H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Dclose);
    const uint64_t values[8] = {0, 1, 2, uint64_t{1} << 63, 0, 0, 0, 0};
    H5Dwrite(array.id(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  }
  EXPECT_ERROR(ImageDataset(path, "test"), DataError, "/test/labels", "index 3");
}

}  // namespace
}  // namespace scorenet::data
