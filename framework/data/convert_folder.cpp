#include <algorithm>
#include <utility>
#include <vector>

#include "framework/data/convert.hpp"
#include "framework/data/convert_pictures.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

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
  const PictureReading reading{read_picture_header, read_picture,
                               [](const fs::path& path) { return path.string(); }, folder};
  // In sorted order: an odd one out is named.
  const Geometry geometry = common_geometry(reading, found.splits);
  const std::string rule = divide(folder, found, options, notes);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "folder of images");
  writer.set_attribute("split_rule", rule);
  if (!found.classes.empty()) writer.set_class_names(found.classes);
  write_pictures(writer, reading, geometry, found.splits, !found.classes.empty(), notes);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
