// The layout of EDM's and StyleGAN's dataset_tool.py: 00000/img00000000.png, ..., and dataset.json
// with {"labels": [["00000/img00000000.png", 6], ...]}, or null in place of the list.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/core/error.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_pictures.hpp"
#include "framework/data/zip_archive.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kLabels = "dataset.json";
constexpr int64_t kMostOfPicture = int64_t{1} << 28;
constexpr int64_t kMostOfLabels = int64_t{1} << 30;
constexpr int64_t kMostClasses = int64_t{1} << 20;

// {"labels": [[NAME, NUMBER]]} is three deep. Deeper text would fill the memory before it is
// looked at.
Json parsed(const ZipArchive& archive) {
  const auto names = archive.names();
  if (!std::binary_search(names.begin(), names.end(), kLabels)) {
    throw DataError(archive.where(kLabels) +
                    ": no such file in the archive, expected one as EDM's dataset_tool.py writes. "
                    "Unpack pictures without it, and give the folder with --folder.");
  }
  bool deep = false;
  const auto shallow = [&deep](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > 8;
    return !deep;
  };
  const std::string text = archive.read(kLabels, kMostOfLabels);
  Json json = Json::parse(text, shallow, /*allow_exceptions=*/false);
  if (!json.is_discarded() && !deep && json.is_object() && json.contains("labels")) return json;
  throw DataError(archive.where(kLabels) +
                  ": is no JSON object with the key labels, expected {\"labels\": [[NAME, CLASS], "
                  "...]} or {\"labels\": null}. Make the archive again.");
}

// Labels by the names of pictures; empty: there are none.
std::map<std::string, int64_t> labels_of(const ZipArchive& archive) {
  const Json json = parsed(archive);
  const Json& list = json["labels"];
  std::map<std::string, int64_t> labels;
  if (list.is_null()) return labels;
  const auto refuse = [&archive](const std::string& entry, const std::string& why) {
    throw DataError(archive.where(kLabels) + ": label " + entry + " " + why +
                    ", expected [NAME, CLASS] with a class from 0 to " +
                    std::to_string(kMostClasses - 1) + ". Make the archive again.");
  };
  if (!list.is_array()) refuse("list", "is no list");
  for (const Json& entry : list) {
    const std::string number = std::to_string(labels.size());
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() ||
        !entry[1].is_number_integer())
      refuse(number, "is another thing");
    const bool fits = entry[1].is_number_unsigned()
                          ? entry[1].get<uint64_t>() < static_cast<uint64_t>(kMostClasses)
                          : entry[1].get<int64_t>() >= 0;
    if (!fits) refuse(number, "is out of range");
    if (!labels.emplace(entry[0].get<std::string>(), entry[1].get<int64_t>()).second)
      refuse(number, "names a picture that has one");
  }
  return labels;
}

// The pictures in sorted order, each with its label.
PictureSplit pictures_of(const ZipArchive& archive, const std::map<std::string, int64_t>& labels,
                         Notes& notes) {
  PictureSplit all{"", "", {}};
  for (const std::string& name : archive.names()) {
    if (name == kLabels) continue;
    if (!has_picture_ending(name) || name.starts_with("__MACOSX/")) {
      notes.add("no pictures, left out", printable(name));
      continue;
    }
    const auto label = labels.find(name);
    if (!labels.empty() && label == labels.end()) {
      throw DataError(archive.where(name) +
                      ": has no label, and others have. Make the archive again, or set labels to "
                      "null.");
    }
    all.files.push_back({name, labels.empty() ? 0 : label->second});
  }
  if (all.files.empty()) {
    throw DataError(archive.where("*.png") +
                    ": no picture in the archive. Give one as EDM's dataset_tool.py writes.");
  }
  for (const auto& [name, label] : labels) {
    const auto& names = archive.names();
    if (std::binary_search(names.begin(), names.end(), name)) continue;
    throw DataError(archive.where(kLabels) + ": a label for " + printable(name) +
                    ", which is not in the archive. Make the archive again.");
  }
  return all;
}

}  // namespace

std::vector<std::string> convert_zip(const fs::path& path, const ConvertOptions& options) {
  const ZipArchive archive(path);
  const auto labels = labels_of(archive);
  Notes notes;
  PictureSplit all = pictures_of(archive, labels, notes);
  const auto where = [&archive](const fs::path& name) { return archive.where(name.string()); };
  const auto bytes_of = [&archive](const fs::path& name) {
    return archive.read(name.string(), kMostOfPicture);
  };
  const PictureReading reading{
      [&](const fs::path& name) { return picture_header_of(where(name), bytes_of(name)); },
      [&](const fs::path& name) { return picture_of(where(name), bytes_of(name)); }, where, ""};
  const Geometry geometry = common_geometry(reading, {all});
  const auto total = static_cast<int64_t>(all.files.size());
  const auto sizes = split_sizes(
      total, options.validation.value_or(usual_validation(total - options.test)), options.test);
  if (!options.validation)
    tell_hold_out(notes, sizes.validation, total, "the last after shuffling with seed 0");
  all.files = shuffled(all.files);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "zip of images");
  writer.set_attribute("split_rule",
                       split_rule(sizes, "the files in sorted order, shuffled with seed 0"));
  write_pictures(writer, reading, geometry, cut(all, sizes), !labels.empty(), notes);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
