#include "framework/data/convert_pictures.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "framework/core/random.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBytesAtOnce = int64_t{64} << 20;

// Widened by one picture: one size for all, colour as soon as one has it.
void widen(Geometry& geometry, const PictureReading& reading, const fs::path& path) {
  const auto header = reading.header(path);
  if (geometry.height == 0) geometry = {header.height, header.width, 1, 0};
  if (header.height != geometry.height || header.width != geometry.width) {
    throw DataError(reading.where(path) + ": " + std::to_string(header.width) + " x " +
                    std::to_string(header.height) + " pixels, the first picture has " +
                    std::to_string(geometry.width) + " x " + std::to_string(geometry.height) +
                    ". Resize all to one size first.");
  }
  if (header.colour) geometry.channels = 3;
  if (header.bits > 8) {
    geometry.largest = std::max(geometry.largest, reading.whole(path).pixels.max().item<int64_t>());
  }
}

// Writes splits, and notes what pictures lose on the way.
class PictureWriter {
 public:
  PictureWriter(DatasetWriter& writer, const PictureReading& reading, const Geometry& geometry,
                bool labels, Notes& notes)
      : writer_(writer), reading_(reading), geometry_(geometry), labels_(labels), notes_(notes) {
    // 12-bit cameras store 0 to 4095 in 16 bits: the range in use is the one that becomes 0 to 255.
    const auto used = static_cast<int>(std::bit_width(static_cast<uint64_t>(geometry.largest)));
    const int bits = std::max(8, used);
    white_ = (int64_t{1} << bits) - 1;
    reduced_ = "pictures of more than 8 bits reduced to 8 (0 to " + std::to_string(white_) +
               " became 0 to 255; their largest value is " + std::to_string(geometry.largest) + ")";
  }

  void write(const std::string& split, const std::vector<PictureFile>& files) {
    writer_.begin_split({split,
                         static_cast<int64_t>(files.size()),
                         {geometry_.channels, geometry_.height, geometry_.width},
                         torch::kUInt8,
                         labels_});
    const int64_t bytes = geometry_.channels * geometry_.height * geometry_.width;
    const auto at_once = static_cast<size_t>(std::clamp<int64_t>(kBytesAtOnce / bytes, 1, 256));
    std::vector<torch::Tensor> rows;
    std::vector<int64_t> labels;
    for (size_t i = 0; i < files.size(); ++i) {
      rows.push_back(row(files[i].path));
      labels.push_back(files[i].label);
      if (rows.size() < at_once && i + 1 < files.size()) continue;
      writer_.append(torch::stack(rows), torch::tensor(labels));
      rows.clear();
      labels.clear();
    }
  }

 private:
  // (C, H, W) uint8.
  torch::Tensor row(const fs::path& path) {
    const auto picture = reading_.whole(path);
    note(picture, path.lexically_relative(reading_.root).string());
    auto pixels = picture.pixels;
    if (pixels.scalar_type() != torch::kUInt8) {
      pixels = torch::floor_divide(pixels.to(torch::kInt64) * 255 + white_ / 2, white_)
                   .to(torch::kUInt8);
    }
    if (pixels.size(0) != geometry_.height || pixels.size(1) != geometry_.width) {
      throw DataError(reading_.where(path) +
                      ": has changed since the conversion began. Start it again.");
    }
    return pixels.permute({2, 0, 1})
        .expand({geometry_.channels, geometry_.height, geometry_.width})
        .contiguous();
  }

  void note(const Picture& picture, const std::string& name) {
    if (picture.turned) notes_.add("pictures turned by their EXIF orientation", name);
    if (picture.laid_over_white) notes_.add("transparent pictures laid over white", name);
    if (picture.more_frames) notes_.add("animations of which the first frame was taken", name);
    if (picture.cmyk) notes_.add("CMYK pictures turned to RGB without a colour profile", name);
    if (picture.pixels.scalar_type() != torch::kUInt8) notes_.add(reduced_, name);
  }

  DatasetWriter& writer_;
  const PictureReading& reading_;
  Geometry geometry_;
  bool labels_;
  Notes& notes_;
  int64_t white_ = 255;
  std::string reduced_;
};

}  // namespace

Geometry common_geometry(const PictureReading& reading, const std::vector<PictureSplit>& splits) {
  Geometry geometry;
  for (const auto& split : splits) {
    for (const auto& file : split.files) widen(geometry, reading, file.path);
  }
  return geometry;
}

std::vector<PictureFile> shuffled(const std::vector<PictureFile>& files) {
  std::vector<PictureFile> result;
  for (const int64_t i :
       permutation({0, RandomStream::shuffle, 0}, static_cast<int64_t>(files.size()))) {
    result.push_back(files[static_cast<size_t>(i)]);
  }
  return result;
}

// Rows of one split as train, validation and test, in this order.
std::vector<PictureSplit> cut(const PictureSplit& split, const SplitSizes& sizes) {
  std::vector<PictureSplit> parts;
  auto next = split.files.begin();
  for (const auto& [name, size] :
       {std::pair{"train", sizes.train}, {"validation", sizes.validation}, {"test", sizes.test}}) {
    if (size > 0) parts.push_back({name, split.folder, {next, next + size}});
    next += size;
  }
  return parts;
}

void write_pictures(DatasetWriter& writer, const PictureReading& reading, const Geometry& geometry,
                    const std::vector<PictureSplit>& splits, bool labels, Notes& notes) {
  PictureWriter pictures(writer, reading, geometry, labels, notes);
  for (const auto& split : splits) pictures.write(split.name, split.files);
}

}  // namespace scorenet::data
