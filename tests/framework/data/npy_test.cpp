// .npy files whose header says what their bytes cannot hold, and labels that number no class are
// refused in a sentence, before anything is made of the numbers.
#include "framework/data/npy.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <limits>

#include "framework/data/convert.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

using test::bytes_of;
using test::npy;

class NpyTest : public testing::Test {
 protected:
  std::string put(const std::string& name, const std::string& bytes) const {
    test::write_bytes(folder_.path() / name, bytes);
    return folder_.file(name);
  }
  void open(const std::string& bytes) const { NpyFile(put("x.npy", bytes)); }
  void convert(const std::string& images, const std::string& labels = "",
               ChannelAxis channels = ChannelAxis::unsaid) const {
    ConvertOptions options;
    options.out = folder_.file("out.h5");
    options.overwrite = true;
    options.validation = 0;
    convert_npy(images, labels, channels, options);
  }
  ImageDataset converted() const { return ImageDataset(folder_.file("out.h5"), "train"); }

  test::TemporaryFolder folder_;
};

// The longest that version 1.0 can say.
constexpr size_t kLongHeader = 65400;

TEST_F(NpyTest, ALongHeaderIsReadToItsEnd) {
  const auto path =
      put("x.npy", npy("<f4", "(1, 2)", bytes_of<float>({3, 4}), "False", kLongHeader));
  NpyFile file(path);
  EXPECT_TRUE(torch::equal(file.next_rows(1), torch::tensor({{3.f, 4.f}})));
}

TEST_F(NpyTest, ALongHeaderOfNonsenseIsRefusedInAShortSentence) {
  const auto shown = [&](const std::string& shape) {
    try {
      open(npy("|u1", shape, ""));
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  std::string ones = "(";
  for (int i = 0; i < 20000; ++i) ones += "1, ";
  for (const std::string& shape :
       {std::string(60000, '('), "(" + std::string(60000, ' ') + "(", "'" + std::string(60000, 'x'),
        std::string(60000, '9'), ones + ")"}) {
    EXPECT_THAT(shown(shape), testing::HasSubstr("not that of a plain array"));
    EXPECT_LT(shown(shape).size(), 400u);
  }
}

TEST_F(NpyTest, DeclaredBytesAreHeldAgainstTheFilesSize) {
  // 3e12 bytes: more than any memory, so that asking for it would throw something else.
  for (const std::string shape : {"(1000000, 3, 1000, 1000)", "(3000000000000, 1, 1, 1)"}) {
    EXPECT_ERROR(open(npy("|u1", shape, "abc")), DataError, "x.npy", shape.substr(0, 8),
                 "needs more bytes, found 3");
    EXPECT_ERROR(convert(put("x.npy", npy("|u1", shape, "abc"))), DataError, "needs more bytes");
  }
  // One row that fits and many declared: nothing may be made for all of them.
  EXPECT_ERROR(open(npy("<f8", "(375000000000, 1)", bytes_of<double>({1}))), DataError,
               "needs more bytes, found 8");
}

TEST_F(NpyTest, ShapesThatNoArrayHasAreRefused) {
  for (const std::string shape : {"(-1, 1, 2, 2)", "(1, -1)", "(-9223372036854775808,)",
                                  "(9223372036854775808, 1)", "(1e3,)", "(1.0, 2)", "(0x10,)"}) {
    EXPECT_ERROR(open(npy("|u1", shape, "abcd")), DataError, "not that of a plain array");
  }
  // Products beyond 2^63, those that wrap round to 0 and to 4 among them.
  for (const std::string shape :
       {"(4294967296, 4294967296)", "(9223372036854775807, 9223372036854775807)",
        "(4294967296, 4294967296, 4)", "(4611686018427387905, 4)"}) {
    EXPECT_ERROR(open(npy("|u1", shape, "abcd")), DataError, "needs more bytes, found 4");
    EXPECT_ERROR(open(npy("<f8", shape, "abcdefgh")), DataError, "needs more bytes, found 8");
  }
  EXPECT_ERROR(open(npy("|u1", "(0, 9223372036854775807, 4)", "")), DataError, "axis of length 0");
  EXPECT_ERROR(open(npy("|u1", "()", "a")), DataError, "samples on the first");
}

TEST_F(NpyTest, APipeIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo(folder_.file("pipe.npy").c_str(), 0600), 0);
  const auto images = put("x.npy", npy("<f4", "(1, 2)", bytes_of<float>({3, 4})));
  ::alarm(20);  // waiting for a writer would end the test so
  EXPECT_ERROR(convert(folder_.file("pipe.npy")), DataError, "pipe.npy", "is a pipe");
  EXPECT_ERROR(convert(images, folder_.file("pipe.npy")), DataError, "pipe.npy", "is a pipe");
  ::alarm(0);
}

TEST_F(NpyTest, LabelsThatNumberNoClassAreRefusedByPlaceAndValue) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1, kLimit = std::numeric_limits<int64_t>::max();
  const auto images = put("x.npy", npy("|u1", "(3, 1, 2, 2)", "abcdefghijkl"));
  const auto labels = [&](int64_t third) {
    return put("y.npy", npy("<i8", "(3,)", bytes_of<int64_t>({0, 1, third})));
  };
  for (const int64_t wrong : {kMost + 1, kLimit, int64_t{-1}, -kLimit - 1}) {
    EXPECT_ERROR(convert(images, labels(wrong)), DataError, "y.npy",
                 "label " + std::to_string(wrong) + " at index 2", "0 to 2147483647");
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out.h5"));
  convert(images, labels(kMost));
  EXPECT_EQ(converted().labels()[2].item<int64_t>(), kMost);
  EXPECT_THAT(describe_file(folder_.file("out.h5")), testing::HasSubstr("0 to 2147483647"));
}

// float32 (2, 5, 6, 3), numbered in the order of its bytes.
TEST_F(NpyTest, FloatsWithTheChannelsLastAreTurnedRoundOnceSaid) {
  std::vector<float> values(2 * 5 * 6 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const auto images = put("hwc.npy", npy("<f4", "(2, 5, 6, 3)", bytes_of(values)));
  EXPECT_ERROR(convert(images), DataError, "float32 of shape (2, 5, 6, 3)", "--channels-last",
               "--channels-first");
  convert(images, "", ChannelAxis::last);
  EXPECT_EQ(converted().example_shape(), (std::vector<int64_t>{3, 5, 6}));
  // Row 1, column 2, channel 1 of image 1: ((1 * 5 + 1) * 6 + 2) * 3 + 1 = 115.
  EXPECT_EQ(converted().read({1}).examples[0][1][1][2].item<float>(), 115);
  convert(images, "", ChannelAxis::first);
  EXPECT_EQ(converted().example_shape(), (std::vector<int64_t>{5, 6, 3}));
  EXPECT_EQ(converted().read({1}).examples[0][1][2][1].item<float>(), 115);
}

}  // namespace
}  // namespace scorenet::data
