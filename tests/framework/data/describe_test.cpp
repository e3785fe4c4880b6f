// What `data info` says of files: of any file its arrays and a [data] block that reads it, of a map
// the statistics that one would compute by hand, and a picture of samples of one, two or three
// axes.
#include "framework/data/describe.hpp"

#include <cmath>
#include <filesystem>

#include "framework/data/channel_statistics.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/propose_map.hpp"
#include "framework/data/sample_picture.hpp"
#include "framework/data/stored_marks.hpp"
#include "framework/data/twins.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

using Shape = std::vector<int64_t>;
using testing::AllOf;
using testing::HasSubstr;

class DescribeTest : public testing::Test {
 protected:
  std::string twin(const std::string& kind, int64_t samples, const Shape& shape,
                   const std::string& ending = ".h5") {
    ConvertOptions options;
    options.out = folder_.file(kind + ending);
    options.overwrite = true;
    write_twin({kind, samples, shape, 5}, options);
    return options.out.string();
  }
  static DataMap proposed(const std::string& path) {
    return propose_map(path, tree_of(path)).value().map;
  }

  // An attribute that is a number, as netCDF writes it: our own writer has texts alone.
  static void put_number(const std::string& path, const char* array, const char* key,
                         double value) {
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const hsize_t one = 1;
    const Hdf5Handle space(H5Screate_simple(1, &one, nullptr), H5Sclose);
    const Hdf5Handle made(H5Acreate_by_name(file.id(), array, key, H5T_IEEE_F32LE, space.id(),
                                            H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                          H5Aclose);
    H5Awrite(made.id(), H5T_NATIVE_DOUBLE, &value);
  }

  test::TemporaryFolder folder_;
};

TEST_F(DescribeTest, EveryTwinIsRecognisedAndItsSamplesHaveTheRightShape) {
  struct Case {
    const char* kind;
    Shape shape, sample;
    int64_t train;
    const char* ending;
  };
  for (const Case& c :
       {Case{"calo", {45, 16, 9}, {1, 45, 16, 9}, 36, ".h5"},
        Case{"calo", {4, 3, 2}, {24}, 36, ".h5"}, Case{"well", {3, 8, 6}, {1, 8, 6}, 108, ".h5"},
        Case{"weather", {3, 8, 10}, {3, 8, 10}, 36, ".h5"},
        Case{"cmd", {8, 10}, {1, 8, 10}, 36, ".npy"},
        Case{"nhwc", {8, 10}, {3, 8, 10}, 36, ".h5"}}) {
    const std::string path = twin(c.kind, 40, c.shape, c.ending);
    const DataMap map = proposed(path);
    ImageDataset train(map, "train");
    EXPECT_EQ(train.example_shape(), c.sample) << c.kind;
    EXPECT_EQ(train.size(), c.train) << c.kind;
    EXPECT_EQ(ImageDataset(map, "test").size(), c.train / 18) << c.kind;
    const std::string text = describe_file(path);
    EXPECT_THAT(text,
                AllOf(HasSubstr("[data]"), HasSubstr("splits = { train = \"0:"), HasSubstr("mean")))
        << c.kind;
    EXPECT_NO_THROW(draw_samples(map, {}, 5, folder_.file("picture.png"))) << c.kind;
    EXPECT_GT(std::filesystem::file_size(folder_.file("picture.png")), 100u);
  }
}

TEST_F(DescribeTest, ATwinIsAFunctionOfItsSeedAndSampleNumber) {
  const auto few = twin("weather", 3, {2, 4, 6});
  const auto first = ImageDataset(proposed(few), kAllSamples).read({0, 1, 2}).examples;
  const auto more = twin("weather", 300, {2, 4, 6});
  EXPECT_TRUE(
      torch::equal(ImageDataset(proposed(more), kAllSamples).read({0, 1, 2}).examples, first));
}

TEST_F(DescribeTest, TheWeathersFieldsHaveTheLawThatStandsBesideThem) {
  const int64_t n = 4000;
  const std::string path = twin("weather", n, {2, 4, 6});
  const Hdf5File file = Hdf5File::open(path);
  const auto all = [&](const char* name) { return file.array(name).read_all(torch::kFloat64); };
  const auto spectrum = all("/spectrum");
  // Of mean square one: the mean of the modes' variances.
  EXPECT_NEAR(spectrum.mean().item<double>(), 1, 1e-12);
  const auto x =
      (all("/fields") - all("/means").view({1, 2, 1, 1})) / all("/deviations").view({1, 2, 1, 1});
  const auto modes = at::fft_fft2(x) / std::sqrt(24.0);
  const auto found = at::abs(modes).square().mean({0, 1});
  // A mean of 2 n squares of normals, complex or real, scatters by at most sqrt(2 / (2 n)), times
  // sqrt(1 + 2 0.48^2) since neighbours go together.
  EXPECT_LT(((found / spectrum - 1).abs().max().item<double>()), 6 * std::sqrt(1.0 / n));
  const auto next = at::real(modes.slice(0, 1) * modes.slice(0, 0, n - 1).conj()).mean({0, 1});
  EXPECT_LT((next / spectrum - 0.48).abs().max().item<double>(), 6 * std::sqrt(1.0 / n));
  EXPECT_GT(spectrum.max().item<double>(), 2 * spectrum.min().item<double>());
}

TEST_F(DescribeTest, ShowersKeepLessThanTheirEnergyAndDepositDeeperWhereItIsHigher) {
  const std::string path = twin("calo", 200, {45, 4, 3});
  const Hdf5File file = Hdf5File::open(path);
  EXPECT_EQ(file.look_at("/showers")->filters, std::vector<std::string>{"gzip 4"});
  EXPECT_EQ(file.look_at("/incident_energies")->shape, (Shape{200, 1}));
  const auto energy = file.array("/incident_energies").read_all(torch::kFloat64).squeeze(1);
  const auto showers = file.array("/showers").read_all(torch::kFloat64);
  EXPECT_GE(showers.min().item<double>(), 0);
  const auto share = showers.sum(1) / energy;
  EXPECT_LT(share.mean().item<double>(), 1);
  EXPECT_GT(share.mean().item<double>(), 0.7);
  const auto by_layer = showers.view({200, 45, 12}).sum(2);
  const auto depth = (by_layer * torch::arange(45)).sum(1) / by_layer.sum(1);
  const auto together = torch::corrcoef(torch::stack({depth, energy.log()}));
  EXPECT_GT(together[0][1].item<double>(), 0.8);
}

TEST_F(DescribeTest, StatisticsLeaveOutWhatIsMissingHoweverTheyArrive) {
  auto values = torch::arange(24, torch::kFloat32).view({4, 2, 3}).clone();
  values[1][0][2] = NAN;
  values[2][1][0] = 1e20f;
  values[3][1][1] = -INFINITY;
  for (const int64_t rows : {4, 3, 1}) {
    ChannelStatistics found(1e20);
    for (int64_t first = 0; first < 4; first += rows)
      found.add(values.narrow(0, first, std::min(rows, 4 - first)));
    // Channel 0: 0 1 2, 6 7, 12 13 14, 18 19 20; channel 1: 3 4 5, 9 10 11, 16 17, 21 23.
    EXPECT_NEAR(found.mean()[0].item<double>(), 112.0 / 11, 1e-12) << rows;
    EXPECT_NEAR(found.mean()[1].item<double>(), 119.0 / 10, 1e-12);
    EXPECT_NEAR(found.deviation()[1].item<double>(), std::sqrt(1867.0 / 10 - 11.9 * 11.9), 1e-9);
    EXPECT_EQ(found.least()[1].item<double>(), 3);
    EXPECT_EQ(found.greatest()[1].item<double>(), 23);
    EXPECT_NEAR(found.missing_share()[0].item<double>(), 1.0 / 12, 1e-12);
    EXPECT_NEAR(found.missing_share()[1].item<double>(), 2.0 / 12, 1e-12);
  }
}

TEST_F(DescribeTest, NetCdfsMarksAndAxesAreUnderstood) {
  const std::string path = folder_.file("ocean.nc");
  {
    auto file = Hdf5File::create(path);
    auto tos = torch::arange(2 * 20 * 3, torch::kFloat32).view({20, 2, 3}).clone();
    tos.select(1, 0).fill_(-1073741824.0f);
    file.write_array("/tos", tos);
    file.set_attribute("/tos", "units", "K");
    // Larger, but what it says is where the other's values lie.
    file.write_array("/nav_lat", torch::zeros({20, 2, 30}));
    file.set_attribute("/tos", "coordinates", "nav_lat time");
    file.write_array("/time", torch::arange(20, torch::kFloat64));
    file.set_attribute("/time", "CLASS", "DIMENSION_SCALE");
    file.close();
  }
  put_number(path, "/tos", "_FillValue", -1073741824.0);
  EXPECT_THAT(describe_file(path),
              AllOf(HasSubstr("/time"), HasSubstr("coordinates of an axis"), HasSubstr("in K"),
                    HasSubstr("netCDF variable"), HasSubstr("channel_axis = \"none\""),
                    HasSubstr("arrays = [\"tos\"]"), HasSubstr("describes other arrays"),
                    HasSubstr("missing = -1073741824"), HasSubstr("50 % missing"),
                    HasSubstr("transforms = [\"standardise(channel)\"]")));
  // The same where the keys say nothing of it.
  DataMap map;
  map.path = {path};
  map.arrays = {"tos"};
  map.channel_axis.reset();
  EXPECT_THAT(describe_map(map, {}), AllOf(HasSubstr("marks them by -1073741824"),
                                           HasSubstr("50 % missing"), HasSubstr("3 to 119")));
}

// value = 0.25 * stored - 2, so that affine(8, 4) gives it: (stored - 8) / 4.
TEST_F(DescribeTest, PackedValuesAreNamedWithTheTransformThatUnpacksThem) {
  const std::string path = folder_.file("packed.nc");
  {
    auto file = Hdf5File::create(path);
    file.write_array("/sst", torch::arange(120).view({20, 2, 3}).to(torch::kInt32));
    file.write_array("/train/images", torch::arange(120).view({20, 6}).to(torch::kInt32));
    file.close();
  }
  for (const char* array : {"/sst", "/train/images"}) {
    put_number(path, array, "scale_factor", 0.25);
    put_number(path, array, "add_offset", -2);
    put_number(path, array, "_FillValue", 119);
  }
  const std::string packed = "value = 0.25 * stored - 2 (scale_factor, add_offset)";
  EXPECT_THAT(describe_file(path),
              AllOf(HasSubstr("packed:      " + packed), HasSubstr("marks them by 119")));
  EXPECT_THAT(to_toml(*propose_map(path, {tree_of(path)[0]})),
              AllOf(HasSubstr(packed), HasSubstr("\"affine(8, 4)\"")));
  const auto file = Hdf5File::open(path);
  const auto marks = unheeded_marks(file, "/sst", 0, 119, {});
  ASSERT_EQ(marks.size(), 2u);
  EXPECT_THAT(marks[0], AllOf(HasSubstr(packed), HasSubstr("affine(8, 4)")));
  EXPECT_THAT(marks[1], HasSubstr("set data.missing = 119"));
  // What keys say, or what is not among the values, needs no word.
  EXPECT_THAT(unheeded_marks(file, "/sst", 0, 118, {false, {"affine(8, 4)"}}), testing::IsEmpty());
  EXPECT_THAT(unheeded_marks(file, "/sst", 0, 119, {true, {"affine(8, 4)"}}), testing::IsEmpty());
}

// Whether NaN marks missing values a key says; a file's description is not the place to refuse it.
TEST_F(DescribeTest, AFileOfOursThatHoldsNaNIsDescribed) {
  const std::string path = folder_.file("holes.h5");
  auto values = torch::zeros({4, 1, 5, 5});
  values[1][0][2].fill_(std::nan(""));
  auto file = Hdf5File::create(path);
  file.write_array("/train/images", values);
  file.close();
  EXPECT_THAT(describe_file(path), HasSubstr("5 % are NaN: set data.missing = \"nan\""));
}

TEST_F(DescribeTest, AFileThatCannotBeReadIsDescribedAllTheSame) {
  const std::string path = folder_.file("odd.h5");
  {
    auto file = Hdf5File::create(path);
    file.write_array("/counts", torch::arange(12).view({4, 3}));
    file.write_strings("/names", {"a", "b"});
    file.close();
  }
  EXPECT_THAT(describe_file(path), AllOf(HasSubstr("/counts"), HasSubstr("(4, 3) int64"),
                                         HasSubstr("/names"), HasSubstr("nothing to train on")));
}

TEST_F(DescribeTest, PicturesShowWhatTheSamplesHold) {
  // Bytes as they are, each pixel 16 times as large.
  const auto pixels = torch::arange(12).view({1, 1, 3, 4}).to(torch::kUInt8);
  const auto picture = picture_of_samples(pixels);
  EXPECT_EQ(picture.sizes().vec(), (Shape{1, 1, 48, 64}));
  EXPECT_EQ(picture[0][0][33][50].item<int>(), 11);
  // Real numbers from the least, black, to the greatest, white; what is none is black.
  const auto reals = torch::tensor({-5.0, 0.0, 5.0, std::nan("")}).view({1, 1, 2, 2});
  const auto grey = picture_of_samples(reals);
  EXPECT_EQ(grey[0][0][0][0].item<int>(), 0);
  EXPECT_EQ(grey[0][0][0][63].item<int>(), 128);
  EXPECT_EQ(grey[0][0][63][0].item<int>(), 255);
  EXPECT_EQ(grey[0][0][63][63].item<int>(), 0);
  // A rising series: from the bottom left to the top right, one pixel a column or more.
  const auto curve = picture_of_samples(torch::arange(65, torch::kFloat32).view({1, 65}))[0][0];
  EXPECT_EQ(curve[63][0].item<int>(), 255);
  EXPECT_EQ(curve[0][curve.size(1) - 1].item<int>(), 255);
  EXPECT_EQ(curve.amax(0).min().item<int>(), 255);
  // Slices of a volume: as many as it has, at most six.
  EXPECT_EQ(picture_of_samples(torch::zeros({2, 1, 45, 16, 9})).size(1), 6);
  EXPECT_EQ(picture_of_samples(torch::zeros({2, 2, 3, 8, 8})).size(1), 6);
  EXPECT_ERROR(picture_of_samples(torch::zeros({2})), ShapeError, "(2)");
}

}  // namespace
}  // namespace scorenet::data
