#include "framework/dashboard/event.hpp"

#include <bit>
#include <cmath>
#include <stdexcept>

#include "framework/dashboard/masked_crc32c.hpp"

namespace scorenet::dashboard {
namespace {

// The wire format has four kinds of fields, of which three are used here.
enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <typename T>
std::string little_endian(T value) {
  std::string out;
  for (size_t byte = 0; byte < sizeof value; ++byte, value = static_cast<T>(value >> 8))
    out += static_cast<char>(value & 255);
  return out;
}

// Seven bits a byte, the lowest first; the high bit says that more follow.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>((value & 127) | 128);
  return out + static_cast<char>(value);
}

std::string key(int number, Wire wire) {
  return varint(static_cast<uint64_t>(number) << 3 | static_cast<uint64_t>(wire));
}

std::string integer(int number, int64_t value) {
  return key(number, Wire::varint) + varint(static_cast<uint64_t>(value));
}

std::string real(int number, double value) {
  return key(number, Wire::fixed64) + little_endian(std::bit_cast<uint64_t>(value));
}

std::string real32(int number, float value) {
  return key(number, Wire::fixed32) + little_endian(std::bit_cast<uint32_t>(value));
}

// A text, a message in a message, or a packed list.
std::string bytes(int number, std::string_view value) {
  return key(number, Wire::bytes) + varint(value.size()) + std::string(value);
}

// The plugin that shows a value.
std::string shown_by(std::string_view plugin) { return bytes(9, bytes(1, bytes(1, plugin))); }

std::string event(double wall_time, int64_t step, const std::string& what) {
  return real(1, wall_time) + integer(2, step) + what;
}

struct PngHead {
  uint32_t width = 0, height = 0;
  int64_t channels = 0;
};

uint32_t big_endian32(std::string_view png, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(png[at + i]);
  return value;
}

// PNG: signature, then a header chunk with width, height, bit depth and colour type (ISO 15948).
PngHead head_of(std::string_view png) {
  constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
  if (png.size() < 33 || png.substr(0, 8) != kSignature)
    throw std::invalid_argument("image_value: these bytes are no PNG file");
  const int colour = png[25];
  return {big_endian32(png, 16), big_endian32(png, 20),
          colour == 0   ? 1
          : colour == 4 ? 2
          : colour == 6 ? 4
                        : 3};
}

}  // namespace

std::string scalar_value(const std::string& tag, double value) {
  return bytes(1, tag) + real32(2, static_cast<float>(value));
}

std::string image_value(const std::string& tag, std::string_view png) {
  const PngHead head = head_of(png);
  return bytes(1, tag) + bytes(4, integer(1, head.height) + integer(2, head.width) +
                                      integer(3, head.channels) + bytes(4, png));
}

// Rows (left, right, height). The older message HistogramProto is no choice: readers widen its
// outer bars over neighbours that are empty.
std::string histogram_value(const std::string& tag, const std::vector<double>& edges,
                            const std::vector<double>& heights) {
  if (edges.size() != heights.size() + 1 || heights.empty())
    throw std::invalid_argument("histogram_value: expected one edge more than heights");
  constexpr int kDouble = 2;  // DataType.DT_DOUBLE
  std::string rows;
  for (size_t i = 0; i < heights.size(); ++i) {
    for (const double value : {edges[i], edges[i + 1], heights[i]})
      rows += little_endian(std::bit_cast<uint64_t>(value));
  }
  const auto axis = [](size_t size) { return bytes(2, integer(1, static_cast<int64_t>(size))); };
  return bytes(1, tag) + shown_by("histograms") +
         bytes(8, integer(1, kDouble) + bytes(2, axis(heights.size()) + axis(3)) + bytes(4, rows));
}

// A string tensor without axes.
std::string text_value(const std::string& tag, std::string_view text) {
  constexpr int kString = 7;  // DataType.DT_STRING
  return bytes(1, tag) + shown_by("text") +
         bytes(8, integer(1, kString) + bytes(2, "") + bytes(8, text));
}

std::string version_event(double wall_time) {
  return event(wall_time, 0, bytes(3, "brain.Event:2"));
}

std::string start_event(double wall_time, int64_t step) {
  constexpr int kStart = 1;  // SessionLog.START
  return event(wall_time, step, bytes(7, integer(1, kStart)));
}

std::string summary_event(double wall_time, int64_t step, const std::vector<std::string>& values) {
  std::string summary;
  for (const std::string& value : values) summary += bytes(1, value);
  return event(wall_time, step, bytes(5, summary));
}

std::string record(std::string_view message) {
  const std::string length = little_endian(static_cast<uint64_t>(message.size()));
  return length + little_endian(masked_crc32c(length)) + std::string(message) +
         little_endian(masked_crc32c(message));
}

}  // namespace scorenet::dashboard
