#include "models/torchscript_archive.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/torchscript_file.hpp"
#include "tests/support/zip_bytes.hpp"

namespace scorenet::models {
namespace {

using testing::HasSubstr;

std::string network() {
  return test::bytes_of(test::script(test::kPerceptron, test::perceptron_weights(4)));
}

TEST(TorchScriptArchive, OfPyTorchIsOne) { EXPECT_EQ(no_torchscript_because(network()), ""); }

TEST(TorchScriptArchive, IsCompressedOrNotAndMayHaveWideFields) {
  for (const bool deflate : {false, true}) {
    for (const bool zip64 : {false, true}) {
      const std::string bytes = test::zip_file(
          {{"net/constants.pkl", std::string(999, 'a'), deflate, 0, 0, zip64}, {"net/x", "y"}});
      EXPECT_EQ(no_torchscript_because(bytes), "") << deflate << zip64;
    }
  }
}

TEST(TorchScriptArchive, WhatIsNoneIsSaidWhat) {
  EXPECT_THAT(no_torchscript_because(""), HasSubstr("is empty"));
  EXPECT_THAT(no_torchscript_because("\x80\x02 and so on"), HasSubstr("is a pickle"));
  EXPECT_THAT(no_torchscript_because("no network"), HasSubstr("is no zip archive"));
  EXPECT_THAT(no_torchscript_because(test::zip_file({{"archive/data.pkl", "x"}})),
              HasSubstr("is a file of torch.save"));
  EXPECT_THAT(no_torchscript_because(test::zip_file({{"a.png", "x"}})),
              HasSubstr("not one of TorchScript"));
}

TEST(TorchScriptArchive, ACutFileIsRefusedAtEveryLength) {
  const std::string whole = network();
  for (size_t size = 4; size < whole.size(); size += 97)
    EXPECT_NE(no_torchscript_because(whole.substr(0, size)), "") << size << " bytes";
  EXPECT_THAT(no_torchscript_because(whole.substr(0, whole.size() / 2)), HasSubstr("was cut off"));
}

// One bit of the weights: every number of the file is still plausible.
TEST(TorchScriptArchive, AChangedBitNamesItsPart) {
  std::string bytes = test::zip_file({{"net/constants.pkl", "c"}, {"net/data/0", "0123456789"}});
  bytes[bytes.find("0123456789") + 4] ^= 1;
  EXPECT_THAT(no_torchscript_because(bytes), HasSubstr("damaged in its part net/data/0"));
}

TEST(TorchScriptArchive, NumbersThatLieAreNotBelieved) {
  const auto said = [](test::ZipEntry entry) {
    return no_torchscript_because(test::zip_file({{"net/constants.pkl", "c"}, std::move(entry)}));
  };
  const std::string text(200, 'a');
  EXPECT_THAT(said({"net/a", text, false, 0, 1}), HasSubstr("damaged in its part net/a"));
  for (const bool deflate : {false, true}) {
    for (const uint64_t size : {uint64_t{10}, uint64_t{1} << 31}) {  // too few, far too many
      EXPECT_THAT(said({"net/a", text, deflate, 0, 0, false, size}),
                  HasSubstr("damaged in its part net/a"));
    }
  }
}

}  // namespace
}  // namespace scorenet::models
