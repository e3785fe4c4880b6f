// Event files byte by byte, against published values and the wire format by hand. What TensorBoard
// itself makes of them: tests/launch/tensorboard_test.py.
#include "framework/dashboard/event.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "framework/dashboard/event_file.hpp"
#include "framework/dashboard/masked_crc32c.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::dashboard {
namespace {

using std::string_literals::operator""s;

TEST(Crc32c, IsThatOfRfc3720) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // appendix B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, IsMaskedByARotationAndASum) {
  // crc = 0xe3069283: its low 15 bits, 0x1283, come to the top; then 0xa282ead8 is added.
  const uint32_t rotated = (0xe3069283u >> 15) | (0xe3069283u << 17);
  EXPECT_EQ(masked_crc32c("123456789"), rotated + 0xa282ead8u);
}

TEST(Record, IsLengthChecksumBytesChecksum) {
  const std::string bytes = record("123456789");
  ASSERT_EQ(bytes.size(), 8u + 4u + 9u + 4u);
  EXPECT_EQ(bytes.substr(0, 8), "\x09\0\0\0\0\0\0\0"s);
  EXPECT_EQ(bytes.substr(12, 9), "123456789");
  const uint32_t sum = masked_crc32c("123456789");
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(static_cast<unsigned char>(bytes[21 + i]), sum >> (8 * i) & 255);
}

TEST(Event, AScalarByHand) {
  // wall_time 1.0: field 1, eight bytes. step 300: field 2, varint 0xac 0x02. summary: field 5.
  // In it field 1, a value: tag "a" is its field 1; 0.5 its field 2, four bytes.
  const std::string value = "\x0a\x01"s + "a" + "\x15\0\0\0\x3f"s;
  EXPECT_EQ(scalar_value("a", 0.5), value);
  EXPECT_EQ(summary_event(1.0, 300, {value}),
            "\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x2a\x0a"s + "\x0a\x08"s + value);
}

TEST(Event, AStartByHand) {
  // session_log: field 7, with status (field 1) START = 1.
  EXPECT_EQ(start_event(1.0, 5), "\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x3a\x02\x08\x01"s);
}

TEST(Event, WhatItCannotHoldIsRefused) {
  EXPECT_THROW(image_value("a", "GIF89a and more than 33 bytes of something"),
               std::invalid_argument);
  EXPECT_THROW(histogram_value("a", {0, 1}, {1, 1}), std::invalid_argument);
}

TEST(Event, APicturesSizeAndChannelsAreThoseOfItsHeader) {
  const std::string png =
      "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x07\0\0\0\x05\x08\0\0\0\0"s + "checksum and data";
  const std::string value = image_value("a", png);
  // tag, then field 4: height 5 (1), width 7 (2), one channel (3), the file (4).
  const std::string inner = "\x08\x05\x10\x07\x18\x01\x22"s + static_cast<char>(png.size()) + png;
  EXPECT_EQ(value, "\x0a\x01"s + "a\x22" + static_cast<char>(inner.size()) + inner);
}

class EventFileTest : public testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  }
  const test::TemporaryFolder folder_;
};

TEST_F(EventFileTest, LaterStartsWithinASecondHaveLaterNamesAndEachBeginsWithAStart) {
  EXPECT_TRUE(EventFile(folder_.path(), 0).is_first());
  EXPECT_FALSE(EventFile(folder_.path(), 20).is_first());
  EventFile(folder_.path(), 20).add(21, {scalar_value("a", 1)});
  const auto all = names();
  ASSERT_EQ(all.size(), 3u);
  const size_t head = record(version_event(0)).size() + record(start_event(0, 21)).size();
  const auto size = [&](size_t i) { return std::filesystem::file_size(folder_.path() / all[i]); };
  EXPECT_EQ(size(0), head);
  EXPECT_EQ(size(1), head);
  EXPECT_GT(size(2), size(1));
}

TEST_F(EventFileTest, AFileThatCannotBeWrittenIsAnError) {
  test::FaultLayer full(3, test::FaultLayer::Fault::error, ENOSPC);
  EventFile file(folder_.path(), 0, full);  // create, write
  EXPECT_THROW(file.add(1, {scalar_value("a", 1)}), files::FileError);
}

}  // namespace
}  // namespace scorenet::dashboard
