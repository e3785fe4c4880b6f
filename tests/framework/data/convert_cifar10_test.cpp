// CIFAR-10's records: pixels, labels and what does not fit.
#include "framework/data/convert.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, CifarRecordsBecomeChannelsRowsAndColumns) {
  // Record r: label r mod 10, pixel p = (r + p / 1024) mod 256: the same over a channel.
  const auto batch = [](int first, int count) {
    std::string bytes;
    for (int r = first; r < first + count; ++r) {
      bytes += static_cast<char>(r % 10);
      for (int p = 0; p < 3072; ++p) bytes += static_cast<char>(r + p / 1024);
    }
    return bytes;
  };
  for (int i = 0; i < 5; ++i)
    put("cifar/data_batch_" + std::to_string(i + 1) + ".bin", batch(4 * i, 4));
  put("cifar/test_batch.bin", batch(100, 3));
  convert_cifar10(folder_.path() / "cifar", options(5));
  EXPECT_EQ(opened("train").size(), 15);
  const auto sample = opened("validation").read({4});  // record 19
  EXPECT_EQ(sample.labels[0].item<int64_t>(), 9);
  EXPECT_EQ(sample.examples.sizes(), (std::vector<int64_t>{1, 3, 32, 32}));
  EXPECT_TRUE(sample.examples[0][2].eq(21).all().item<bool>());
  EXPECT_TRUE(opened("test").read({0}).examples[0][0].eq(100).all().item<bool>());

  put("cifar/test_batch.bin", batch(0, 1).substr(1));
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError, "test_batch.bin",
               "3072 bytes", "3073");
  std::string wrong = batch(0, 1);
  wrong[0] = 10;
  put("cifar/test_batch.bin", wrong);
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError, "label 10",
               "0 to 9");
  fs::remove(folder_.path() / "cifar/data_batch_3.bin");
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError,
               "data_batch_3.bin");
}

}  // namespace
}  // namespace scorenet::data
