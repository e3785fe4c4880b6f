// What `scorenet data info` prints of a file that was converted.
#include "framework/data/describe.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, InfoTellsShapesStorageLabelsAndFingerprint) {
  auto chunked = options();
  chunked.storage = {4, 1};
  synthesize("gaussians25", {{"train", 50}}, 1, chunked);
  const std::string text = describe_file(folder_.file("out.h5"));
  for (const std::string part : {"train", "(50, 2) float64 (continuous)",
                                 "chunks of (4, 2), gzip 1", "25 classes", ": 2 2 2", "seed 1"}) {
    EXPECT_THAT(text, testing::HasSubstr(part));
  }
  EXPECT_THAT(text, testing::HasSubstr(opened("train").fingerprint()));
  test::write_bytes(folder_.file("text.h5"), "hello");
  EXPECT_ERROR(describe_file(folder_.file("text.h5")), DataError, "text.h5");
}

}  // namespace
}  // namespace scorenet::data
