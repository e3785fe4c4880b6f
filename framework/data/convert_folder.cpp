#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"
#include "framework/data/picture.hpp"
#include "framework/data/picture_folder.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBytesAtOnce = int64_t{64} << 20;

// What all pictures are brought to.
struct Geometry {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;
  int64_t largest = 0;  // value in the pictures of more than 8 bits
};

// Widened by one picture: one size for all, colour as soon as one has it.
void widen(Geometry& geometry, const fs::path& path) {
  const auto header = read_picture_header(path);
  if (geometry.height == 0) geometry = {header.height, header.width, 1, 0};
  if (header.height != geometry.height || header.width != geometry.width) {
    throw DataError(path.string() + ": " + std::to_string(header.width) + " x " +
                    std::to_string(header.height) + " pixels, the first picture has " +
                    std::to_string(geometry.width) + " x " + std::to_string(geometry.height) +
                    ". Resize all to one size first.");
  }
  if (header.colour) geometry.channels = 3;
  if (header.bits > 8) {
    geometry.largest = std::max(geometry.largest, read_picture(path).pixels.max().item<int64_t>());
  }
}

Geometry common_geometry(const PictureFolder& found) {
  Geometry geometry;
  for (const auto& split : found.splits) {
    for (const auto& file : split.files) widen(geometry, file.path);
  }
  return geometry;
}

// Writes splits, and notes what pictures lose on the way.
class PictureWriter {
 public:
  PictureWriter(DatasetWriter& writer, const fs::path& root, const Geometry& geometry, bool labels,
                Notes& notes)
      : writer_(writer), root_(root), geometry_(geometry), labels_(labels), notes_(notes) {
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
    const auto picture = read_picture(path);
    note(picture, path.lexically_relative(root_).string());
    auto pixels = picture.pixels;
    if (pixels.scalar_type() != torch::kUInt8) {
      pixels = torch::floor_divide(pixels.to(torch::kInt64) * 255 + white_ / 2, white_)
                   .to(torch::kUInt8);
    }
    if (pixels.size(0) != geometry_.height || pixels.size(1) != geometry_.width) {
      throw DataError(path.string() + ": has changed since the conversion began. Start it again.");
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
  fs::path root_;
  Geometry geometry_;
  bool labels_;
  Notes& notes_;
  int64_t white_ = 255;
  std::string reduced_;
};

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

std::string rule_of(const std::vector<PictureSplit>& splits) {
  std::string rule;
  for (const auto& split : splits) {
    rule += (rule.empty() ? "" : "; ") + split.name + ": the folder " + printable(split.folder);
  }
  return rule;
}

bool has_split(const PictureFolder& found, const std::string& name) {
  return std::any_of(found.splits.begin(), found.splits.end(),
                     [&name](const PictureSplit& split) { return split.name == name; });
}

void check_options(const fs::path& folder, const PictureFolder& found,
                   const ConvertOptions& options) {
  const bool has_its_own = has_split(found, "validation") || !has_split(found, "train");
  if ((has_its_own && options.validation.value_or(0) > 0) || options.test > 0) {
    throw ConfigError(folder.string() + ": has folders for its splits, so " +
                      (options.test > 0 ? "--test" : "--validation") +
                      " does not apply. Leave it out.");
  }
}

// Cuts what the folder has not cut itself. Returns the attribute split_rule.
std::string divide(const fs::path& folder, PictureFolder& found, const ConvertOptions& options,
                   Notes& notes) {
  const bool whole = found.splits.front().name.empty();
  if (!whole) check_options(folder, found, options);
  std::string rule = whole ? "" : rule_of(found.splits);
  for (auto& split : found.splits) split.files = shuffled(split.files);
  if (!whole && (has_split(found, "validation") || !has_split(found, "train"))) return rule;
  const PictureSplit first = found.splits.front();  // everything, or the folder train
  const auto total = static_cast<int64_t>(first.files.size());
  const auto sizes = split_sizes(
      total, options.validation.value_or(usual_validation(total - options.test)), options.test);
  if (!options.validation) {
    tell_hold_out(notes, sizes.validation, total, "the last after shuffling with seed 0");
  }
  found.splits.erase(found.splits.begin());
  const auto parts = cut(first, sizes);
  found.splits.insert(found.splits.begin(), parts.begin(), parts.end());
  const std::string order = "files in sorted order, shuffled with seed 0";
  if (whole) return split_rule(sizes, "the " + order);
  const std::vector<PictureSplit> others(found.splits.begin() + static_cast<int64_t>(parts.size()),
                                         found.splits.end());
  return split_rule(sizes, "the folder " + printable(first.folder) + "'s " + order) +
         (others.empty() ? "" : "; ") + rule_of(others);
}

}  // namespace

std::vector<std::string> convert_folder(const fs::path& folder, const ConvertOptions& options) {
  Notes notes;
  auto found = find_pictures(folder, options.layout, notes);
  const Geometry geometry = common_geometry(found);  // in sorted order: an odd one out is named
  const std::string rule = divide(folder, found, options, notes);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "folder of images");
  writer.set_attribute("split_rule", rule);
  if (!found.classes.empty()) writer.set_class_names(found.classes);
  PictureWriter pictures(writer, folder, geometry, !found.classes.empty(), notes);
  for (const auto& split : found.splits) pictures.write(split.name, split.files);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
