// A data file appears whole, or not at all.
#include "framework/data/dataset_writer.hpp"

#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

TEST(DatasetWriter, ASplitThatEndsEarlyAppearsNowhere) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("points.h5");
  {
    DatasetWriter writer(path, {}, false);
    writer.begin_split({"train", 3, {2}, torch::kFloat32, false});
    writer.append(torch::zeros({2, 2}), {});
    EXPECT_ERROR(writer.commit(), DataError, path, "split train: 2 of 3 samples written");
    EXPECT_ERROR(writer.begin_split({"test", 1, {2}, torch::kFloat32, false}), DataError,
                 "split train: 2 of 3");
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.append(torch::zeros({1, 2}), {});
    writer.commit();
  }
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace scorenet::data
