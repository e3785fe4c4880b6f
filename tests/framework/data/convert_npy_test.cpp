// NumPy arrays: every type, both places of the channels, and what does not fit.
#include <cmath>
#include <limits>

#include "framework/data/convert.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, NumpyArraysOfEveryTypeKeepTheirValues) {
  const auto floats = put("f4.npy", npy("<f4", "(3, 2)", bytes_of<float>({0, 1, 2, 3, 4, 5})));
  auto parts = options(1);
  parts.test = 1;
  convert_npy(floats, "", ChannelAxis::unsaid, parts);
  EXPECT_TRUE(torch::equal(opened("test").read({0}).examples, torch::tensor({{4.f, 5.f}})));
  EXPECT_EQ(opened("train").size(), 1);
  EXPECT_EQ(opened("validation").size(), 1);

  const auto doubles = put("f8.npy", npy("<f8", "(2, 2, 1)", bytes_of<double>({0, 1, 2, 0.1})));
  convert_npy(doubles, "", ChannelAxis::unsaid, options());
  EXPECT_EQ(opened("train").read({1}).examples[0][1][0].item<double>(), 0.1);

  const auto images = put("u1.npy", npy("|u1", "(2, 2, 3)", "abcdefghijkl"));
  for (const auto& [type, values] :
       {std::pair<std::string, std::string>{"<i8", bytes_of<int64_t>({4, 7})},
        {"<i4", bytes_of<int32_t>({4, 7})},
        {"<i2", bytes_of<int16_t>({4, 7})},
        {"|i1", bytes_of<int8_t>({4, 7})},
        {"|u1", bytes_of<uint8_t>({4, 7})}}) {
    convert_npy(images, put("labels.npy", npy(type, "(2,)", values)), ChannelAxis::unsaid,
                options());
    EXPECT_EQ(opened("train").example_shape(), (std::vector<int64_t>{1, 2, 3}));
    EXPECT_EQ(opened("train").read({1}).labels[0].item<int64_t>(), 7);
    EXPECT_EQ(opened("train").read({1}).examples[0][0][1][2].item<int64_t>(), 'l');
  }
}

TEST_F(ConvertTest, ChannelsLastIsTurnedRoundWhenSaidAndRefusedWhenNot) {
  std::string values;
  for (int i = 0; i < 2 * 5 * 6 * 3; ++i) values += static_cast<char>(i);
  const auto images = put("hwc.npy", npy("|u1", "(2, 5, 6, 3)", values));
  EXPECT_ERROR(convert_npy(images, "", ChannelAxis::unsaid, options()), DataError, "(2, 5, 6, 3)",
               "--channels-last");
  convert_npy(images, "", ChannelAxis::last, options());
  EXPECT_EQ(opened("train").example_shape(), (std::vector<int64_t>{3, 5, 6}));
  // Row 1, column 2, channel 1 of image 1: ((1 * 5 + 1) * 6 + 2) * 3 + 1 = 115.
  EXPECT_EQ(opened("train").read({1}).examples[0][1][1][2].item<int64_t>(), 115);
  EXPECT_ERROR(
      convert_npy(put("hw.npy", npy("|u1", "(1, 1, 1)", "a")), "", ChannelAxis::last, options()),
      DataError, "(N, H, W, C)");
}

TEST_F(ConvertTest, NumpyFilesThatDoNotFitAreNamed) {
  const auto refused = [this](const std::string& bytes, const std::string& labels = "") {
    convert_npy(put("x.npy", bytes), labels.empty() ? fs::path() : put("y.npy", labels),
                ChannelAxis::unsaid, options());
  };
  const std::string two = npy("<f4", "(2, 1)", bytes_of<float>({0, 1}));
  EXPECT_ERROR(refused("not numpy"), DataError, "x.npy", "expected a NumPy .npy file");
  EXPECT_ERROR(refused(npy("<f4", "(2, 1)", "abc")), DataError, "(2, 1)", "needs more bytes",
               "found 3");
  EXPECT_ERROR(refused(npy(">f4", "(2, 1)", "abcdefgh")), DataError, "\">f4\"");
  EXPECT_ERROR(refused(npy("<f4", "(2, 1)", "abcdefgh", "True")), DataError, "Fortran order");
  EXPECT_ERROR(refused(npy("<i4", "(2, 1)", "abcdefgh")), DataError, "int32",
               "expected uint8 images");
  EXPECT_ERROR(refused(npy("|u1", "(2, 1)", "ab")), DataError, "(N, C, H, W)");
  EXPECT_ERROR(refused(std::string("\x93NUMPY\x01\x00\x04\x00{'a}", 14)), DataError,
               "not that of a plain array");
  EXPECT_ERROR(refused(two, npy("<i8", "(1,)", bytes_of<int64_t>({1}))), DataError, "y.npy",
               "shape (2)");
  EXPECT_ERROR(refused(two, two), DataError, "y.npy", "expected integers");
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(refused(npy("<f4", "(2, 1)", bytes_of<float>({0, infinity}))), DataError, "x.npy",
               "sample 1 holds an infinity");
  EXPECT_TRUE(nothing_written());
}

TEST_F(ConvertTest, NumpyArraysKeepTheNaNThatMarkWhatIsMissing) {
  const auto array = put("x.npy", npy("<f4", "(1, 2)", bytes_of<float>({std::nanf(""), 3})));
  convert_npy(array, "", ChannelAxis::unsaid, options());
  EXPECT_TRUE(opened("train").read_values({0}).isnan()[0][0].item<bool>());
}

}  // namespace
}  // namespace scorenet::data
