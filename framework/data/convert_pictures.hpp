// Pictures of one size as splits: what the converters of folders and of zip files share.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/data/convert_parts.hpp"
#include "framework/data/picture.hpp"
#include "framework/data/picture_folder.hpp"

namespace scorenet::data {

/// How pictures are read, by the path or the name that their PictureFile holds.
struct PictureReading {
  std::function<PictureHeader(const std::filesystem::path&)> header;
  std::function<Picture(const std::filesystem::path&)> whole;
  /// How messages name one.
  std::function<std::string(const std::filesystem::path&)> where;
  std::filesystem::path root;  // notes name pictures relative to it
};

/// What all pictures are brought to.
struct Geometry {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;
  int64_t largest = 0;  // value in the pictures of more than 8 bits
};

/// One size for all, colour as soon as one has it. Throws DataError naming the first of another
/// size, and as the reading.
Geometry common_geometry(const PictureReading& reading, const std::vector<PictureSplit>& splits);

/// In an order that is always the same.
std::vector<PictureFile> shuffled(const std::vector<PictureFile>& files);

/// The files of one split as train, validation and test, in this order.
std::vector<PictureSplit> cut(const PictureSplit& split, const SplitSizes& sizes);

/// Writes all splits, and notes what pictures lose on the way.
void write_pictures(DatasetWriter& writer, const PictureReading& reading, const Geometry& geometry,
                    const std::vector<PictureSplit>& splits, bool labels, Notes& notes);

}  // namespace scorenet::data
