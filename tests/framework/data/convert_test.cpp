// What all converters have in common: the hold-out, the target, options that do not fit.
#include "framework/data/convert.hpp"

#include <set>

#include "framework/core/random.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, ValidationIsHeldOutByDefaultAndTold) {
  put_mnist([](const std::string& bytes) { return bytes; }, "");
  auto unsaid = options();
  unsaid.validation.reset();
  EXPECT_THAT(convert_idx(folder_.path() / "mnist", unsaid),
              testing::Contains(testing::HasSubstr("1 of 10 samples held out")));
  EXPECT_EQ(opened("validation").size(), 1);
  // Sorted by class, as arrays often are: the last tenth would be of one class.
  std::vector<float> values(200);
  for (size_t i = 0; i < 200; ++i) values[i] = static_cast<float>(i);
  const auto sorted = put("sorted.npy", npy("<f4", "(200, 1)", bytes_of<float>(values)));
  EXPECT_THAT(convert_npy(sorted, "", ChannelAxis::unsaid, unsaid),
              testing::Contains(testing::HasSubstr("20 of 200 samples held out")));
  EXPECT_THAT(attribute("split_rule"), testing::HasSubstr("20 of samples 0 to 199"));
  std::set<float> seen;
  for (const std::string split : {"train", "validation"}) {
    auto dataset = opened(split);
    EXPECT_EQ(dataset.size(), split == "train" ? 180 : 20);
    const auto rows = dataset.read(slot_range(0, dataset.size())).examples;
    if (split == "validation") {
      EXPECT_LT(rows.min().item<float>(), 100);
    }
    for (int64_t i = 0; i < rows.size(0); ++i) seen.insert(rows[i].item<float>());
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_THAT(convert_npy(sorted, "", ChannelAxis::unsaid, options(0)), testing::IsEmpty());
  EXPECT_EQ(splits_of(Hdf5File::open(folder_.file("out.h5"))), std::vector<std::string>{"train"});
}

TEST_F(ConvertTest, AnExistingTargetIsKeptUnlessForced) {
  auto careful = options();
  careful.overwrite = false;
  put("out.h5", "precious");
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, careful), DataError, "out.h5",
               "exists already", "--force");
  EXPECT_EQ(fs::file_size(folder_.path() / "out.h5"), 8u);
  careful.overwrite = true;
  synthesize("gaussian", {{"train", 5}}, 0, careful);
  EXPECT_EQ(opened("train").size(), 5);
}

TEST_F(ConvertTest, OptionsThatDoNotFitAreNamed) {
  auto compressed = options();
  compressed.storage.gzip_level = 3;
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, compressed), ConfigError, "gzip level 3",
               "--chunk");
  EXPECT_ERROR(synthesize("spiral", {{"train", 5}}, 0, options()), ConfigError, "spiral",
               "swiss-roll");
  EXPECT_ERROR(synthesize("gaussian", {{"trial", 5}}, 0, options()), ConfigError, "trial");
  EXPECT_ERROR(synthesize("gaussian", {{"train", 0}}, 0, options()), ConfigError, "--train 0");
  EXPECT_ERROR(rechunk(folder_.path() / "none.h5", options()), DataError, "none.h5");
  auto nowhere = options();
  nowhere.out = folder_.path() / "no/folder/out.h5";
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, nowhere), DataError, "no/folder",
               "cannot be created");
  EXPECT_TRUE(nothing_written());
}

}  // namespace
}  // namespace scorenet::data
