// Zip files of pictures: EDM's layout, and what strangers' archives may be instead. The archives
// are written by hand, byte by byte.
#include "tests/framework/data/convert_case.hpp"
#include "tests/support/zip_bytes.hpp"

namespace scorenet::data {
namespace {

using Entry = test::ZipEntry;
using test::zip_file;

// A grey 4 x 4 picture, all of one value.
std::string grey(int value, int side = 4) {
  const auto rows = static_cast<size_t>(side);
  std::string lines;
  for (size_t row = 0; row < rows; ++row)
    lines += '\0' + std::string(rows, static_cast<char>(value));
  return test::png_file(
      test::big_endian(side) + test::big_endian(side) + '\x08' + std::string(4, '\0'), lines, "");
}

const char* const kLabels =
    R"({"labels": [["00000/img00000000.png", 7], ["00000/img00000001.png", 2],
                   ["00001/img00000002.png", 7]]})";

class ConvertZip : public ConvertTest {
 protected:
  static std::vector<Entry> pictures() {
    return {{"00000/img00000000.png", grey(10)},
            {.name = "00000/img00000001.png", .bytes = grey(20), .deflate = true},
            {.name = "00001/img00000002.png", .bytes = grey(30), .zip64 = true}};
  }
  static std::vector<Entry> with(Entry last, std::vector<Entry> entries = pictures()) {
    entries.push_back(std::move(last));
    return entries;
  }
  void convert(const std::string& bytes) { convert_zip(put("a.zip", bytes), options()); }
  void expect_refused(const std::string& bytes, const std::string& part) {
    EXPECT_ERROR(convert(bytes), DataError, "a.zip", part);
    EXPECT_TRUE(nothing_written()) << part;
  }
};

TEST_F(ConvertZip, PicturesAndLabelsOfEdmsLayout) {
  convert(zip_file(with({.name = "dataset.json", .bytes = kLabels, .deflate = true})));
  ImageDataset train = opened("train");
  const Batch all = train.read({0, 1, 2});
  std::vector<std::pair<int, int64_t>> found;
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(all.examples[i].eq(all.examples[i].flatten()[0]).all().item<bool>());
    found.emplace_back(all.examples[i].flatten()[0].item<int>(), all.labels[i].item<int64_t>());
  }
  EXPECT_THAT(found,
              testing::UnorderedElementsAre(std::pair(10, 7), std::pair(20, 2), std::pair(30, 7)));
  EXPECT_EQ(train.example_shape(), (std::vector<int64_t>{1, 4, 4}));
  EXPECT_EQ(attribute("source"), "zip of images");
}

TEST_F(ConvertZip, WithoutLabelsAndWithOtherFiles) {
  const auto path =
      put("a.zip",
          zip_file(with({"README.txt", "text"}, with({"dataset.json", R"({"labels": null})"}))));
  EXPECT_THAT(convert_zip(path, options()),
              testing::Contains(testing::HasSubstr("no pictures, left out: 1 (README.txt)")));
  EXPECT_EQ(opened("train").size(), 3);
  EXPECT_FALSE(opened("train").has_labels());
}

TEST_F(ConvertZip, EverySecondTryIsTheSameAndHoldsOut) {
  std::vector<Entry> many{{"dataset.json", R"({"labels": null})"}};
  for (int i = 0; i < 20; ++i) many.push_back({"p" + std::to_string(i) + ".png", grey(i)});
  const auto path = put("a.zip", zip_file(many));
  auto chosen = options(4);
  chosen.test = 3;
  convert_zip(path, chosen);
  const auto first = opened("train").read({0, 1, 2}).examples;
  convert_zip(path, chosen);
  EXPECT_TRUE(torch::equal(opened("train").read({0, 1, 2}).examples, first));
  EXPECT_EQ(opened("train").size(), 13);
  EXPECT_EQ(opened("validation").size(), 4);
  EXPECT_EQ(opened("test").size(), 3);
}

TEST_F(ConvertZip, ArchivesThatAreNotWholeAreOneSentence) {
  const std::string whole = zip_file(with({"dataset.json", kLabels}));
  expect_refused(whole.substr(0, whole.size() - 30), "cannot be read as a zip file");
  expect_refused("no zip", "cannot be read as a zip file");
  expect_refused("", "cannot be read as a zip file");
  const Entry labels{"dataset.json", kLabels};
  const auto of_first = [&](Entry first) {
    auto entries = with(labels);
    entries[0] = std::move(first);
    return zip_file(entries);
  };
  const std::string name = "00000/img00000000.png";
  expect_refused(of_first({.name = name, .bytes = grey(10), .wrong_crc = 1}),
                 "cannot be unpacked (CRC error)");
  expect_refused(of_first({.name = name, .bytes = grey(10), .deflate = true, .wrong_crc = 1}),
                 "cannot be unpacked (CRC error)");
  expect_refused(of_first({.name = name, .bytes = grey(10), .flags = 1}), "is encrypted");
  expect_refused(of_first({.name = name, .bytes = "no picture"}), "cannot be decoded");
  expect_refused(of_first({.name = name, .bytes = grey(10, 5)}),
                 "4 x 4 pixels, the first picture has 5 x 5");
}

TEST_F(ConvertZip, BombsAreRefusedBeforeTheyAreUnpacked) {
  const Entry bomb{.name = "00000/img00000000.png",
                   .bytes = std::string(size_t{64} << 20, '\0'),
                   .deflate = true};
  expect_refused(zip_file({bomb, {"dataset.json", R"({"labels": null})"}}),
                 "more than any picture");
  Entry liar{.name = "00000/img00000000.png", .bytes = grey(10), .deflate = true};
  liar.said_size = uint64_t{1} << 31;
  expect_refused(zip_file({liar, {"dataset.json", R"({"labels": null})"}}),
                 "that become 2147483648");
  liar.said_size = 20;  // less than there is
  expect_refused(zip_file({liar, {"dataset.json", R"({"labels": null})"}}), "cannot be unpacked");
}

TEST_F(ConvertZip, LabelsThatDoNotFitAreOneSentence) {
  const auto labelled = [&](const std::string& json) {
    return zip_file(with({"dataset.json", json}));
  };
  const std::string two = R"(["00000/img00000000.png", 7], ["00000/img00000001.png", 2])";
  const std::string third = R"(["00001/img00000002.png", 7])";
  expect_refused(zip_file(pictures()), "dataset.json: no such file in the archive");
  expect_refused(labelled("{\"labels\": [" + two + "]}"), "img00000002.png: has no label");
  expect_refused(labelled("{\"labels\": [" + two + ", " + third + R"(, ["x.png", 1]]})"),
                 "a label for x.png, which is not in the archive");
  for (const char* json : {"[1", "{}", "[]", "7", ""})
    expect_refused(labelled(json), "is no JSON object with the key labels");
  expect_refused(labelled(std::string(100'000, '[')), "is no JSON object");
  for (const char* label :
       {R"("a")", "[1, 2]", R"(["a.png", 0.5])", R"(["a.png", "6"])", R"(["a.png", [0.1, 0.2]])"})
    expect_refused(labelled(std::string("{\"labels\": [") + label + "]}"),
                   "label 0 is another thing");
  for (const char* number : {"-1", "1048576", "18446744073709551615"})
    expect_refused(
        labelled("{\"labels\": [[\"00000/img00000000.png\", " + std::string(number) + "]]}"),
        "label 0 is out of range");
  expect_refused(labelled("{\"labels\": 5}"), "is no list");
  expect_refused(labelled("{\"labels\": [" + two + ", " + two + "]}"),
                 "label 2 names a picture that has one");
  expect_refused(zip_file({{"dataset.json", R"({"labels": null})"}}), "no picture in the archive");
  expect_refused(
      zip_file(with({"00000/img00000000.png", grey(1)}, with({"dataset.json", kLabels}))),
      "cannot be read as a zip file (File already exists)");
}

}  // namespace
}  // namespace scorenet::data
