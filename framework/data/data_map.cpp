#include "framework/data/data_map.hpp"

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "framework/core/error.hpp"
#include "framework/data/address.hpp"

namespace scorenet::data {
namespace {

constexpr const char* kSplit = "{split}";

bool has_pattern(const std::string& path) { return path.find_first_of("*?[") != std::string::npos; }

bool names_split(const std::vector<std::string>& texts) {
  return std::any_of(texts.begin(), texts.end(), [](const std::string& text) {
    return text.find(kSplit) != std::string::npos;
  });
}

// A file of that very name comes before what its name would match as a pattern.
std::vector<std::string> matches(const std::string& path) {
  std::error_code no_matter;
  if (is_remote(path) || !has_pattern(path) || std::filesystem::exists(path, no_matter))
    return {path};
  glob_t found{};
  std::vector<std::string> files;
  if (::glob(path.c_str(), 0, nullptr, &found) == 0)
    files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return files;
}

std::vector<std::string> expanded(const std::vector<std::string>& paths, const std::string& split) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    const auto more = matches(with_split(path, split));
    if (more.empty()) {
      throw DataError("data.path: no file matches " + with_split(path, split) +
                      ". Check the folder and the pattern.");
    }
    files.insert(files.end(), more.begin(), more.end());
  }
  std::sort(files.begin(), files.end());
  const auto twice = std::adjacent_find(files.begin(), files.end());
  if (twice == files.end()) return files;
  throw DataError("data.path: " + *twice + " is named twice. Name each file once.");
}

std::string list_text(const std::vector<int64_t>& values) {
  std::string text;
  for (const int64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "[" + text + "]";
}

void check_axes(const DataMap& map, std::vector<std::string>& out) {
  const std::set<int64_t> axes(map.sample_axes.begin(), map.sample_axes.end());
  if (map.sample_axes.empty()) {
    out.push_back(
        "data.sample_axes = []: expected at least the axis that numbers the samples, "
        "for example [0].");
  } else if (axes.size() < map.sample_axes.size()) {
    out.push_back("data.sample_axes = " + list_text(map.sample_axes) +
                  ": an axis is named twice. Name each once, the slowest first.");
  }
  if (map.channel_axis && axes.count(*map.channel_axis)) {
    out.push_back("data.channel_axis = " + std::to_string(*map.channel_axis) +
                  ": data.sample_axes = " + list_text(map.sample_axes) +
                  " names that axis too. An axis numbers samples or channels; where there is no "
                  "channel axis, set data.channel_axis = \"none\".");
  }
}

void check_reshape(const DataMap& map, std::vector<std::string>& out) {
  const auto open = std::count(map.reshape.begin(), map.reshape.end(), -1);
  if (open <= 1 && std::count(map.reshape.begin(), map.reshape.end(), 0) == 0) return;
  out.push_back("data.reshape = " + list_text(map.reshape) +
                ": expected sizes >= 1, and -1 at most once.");
}

void check_splits(const DataMap& map, std::vector<std::string>& out) {
  for (const auto& [split, entries] : map.splits) {
    const auto ranges = std::count_if(entries.begin(), entries.end(), [](const auto& entry) {
      return parse_range(entry).has_value();
    });
    const std::string key = "data.splits, " + split + ": ";
    if (entries.empty())
      out.push_back(key + "is empty. Give a range such as \"0:1000\", or a file.");
    else if (ranges > 0 && ranges < static_cast<std::ptrdiff_t>(entries.size()))
      out.push_back(key + "holds both ranges and files. Give only one kind.");
  }
}

}  // namespace

bool is_own_layout(const DataMap& map) {
  DataMap own;
  own.path = map.path;
  return map == own;
}

std::vector<std::string> problems(const DataMap& map) {
  std::vector<std::string> out;
  if (map.arrays.empty()) {
    out.push_back(
        "data.arrays = []: expected the name of at least one data set, for example "
        "[\"{split}/images\"].");
  }
  check_axes(map, out);
  check_reshape(map, out);
  check_splits(map, out);
  for (const std::string& range : map.window) {
    if (parse_range(range)) continue;
    out.push_back(
        "data.window: \"" + range +
        "\" is no range. Write start:stop:step, as in Python: \":\", \"16:80\", \"::2\".");
  }
  return out;
}

std::string with_split(std::string text, const std::string& split) {
  const std::string name = kSplit;
  for (size_t at = text.find(name); at != std::string::npos;
       at = text.find(name, at + split.size()))
    text.replace(at, name.size(), split);
  return text;
}

bool are_ranges(const std::vector<std::string>& entries) {
  return std::all_of(entries.begin(), entries.end(),
                     [](const std::string& entry) { return parse_range(entry).has_value(); });
}

std::string path_text(const DataMap& map) {
  constexpr size_t kShown = 2;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, map.path.size()); ++i)
    text += (i == 0 ? "" : ", ") + map.path[i];
  if (map.path.size() <= kShown) return text;
  return text + " and " + std::to_string(map.path.size() - kShown) + " more";
}

bool is_npy(const std::string& path) { return path.ends_with(".npy"); }

SplitSource source_of(const DataMap& map, const std::string& split) {
  if (map.path.empty()) {
    throw DataError(
        "data.path is empty. Name the data with data.path = \"FILE.h5\" or --data.path.");
  }
  const auto entry = map.splits.find(split);
  if (entry == map.splits.end()) {
    SplitSource all{split, expanded(map.path, split)};
    const bool unnamed = std::all_of(all.files.begin(), all.files.end(), is_npy);
    const bool said = names_split(map.path) || (names_split(map.arrays) && !unnamed);
    if (said || split == kAllSamples) return all;
    std::string known;
    for (const auto& [name, entries] : map.splits) known += (known.empty() ? "" : ", ") + name;
    throw ConfigError("split " + split + " of " + path_text(map) +
                      ": no key or group says which samples it has; data.splits names " +
                      (known.empty() ? "none" : known) +
                      ". Name one of these, give data.splits = { " + split +
                      " = \"0:1000\" } or a file, or take split \"" + kAllSamples + "\".");
  }
  if (!are_ranges(entry->second)) return {split, expanded(entry->second, split)};
  return {split, expanded(map.path, split), entry->second};
}

std::vector<std::string> files_of(const DataMap& map) {
  std::set<std::string> files;
  const auto add = [&files](const std::vector<std::string>& paths, const std::string& split) {
    for (const std::string& path : paths) {
      const auto more = matches(with_split(path, split));
      files.insert(more.begin(), more.end());
    }
  };
  add(map.path, "*");
  for (const auto& [split, entries] : map.splits)
    if (!are_ranges(entries)) add(entries, split);
  return {files.begin(), files.end()};
}

}  // namespace scorenet::data
