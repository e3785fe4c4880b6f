#include "framework/data/propose_map.hpp"

#include <algorithm>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/data/sample_reader.hpp"

namespace scorenet::data {
namespace {

using Tree = std::vector<TreeEntry>;

bool is_numbers(const TreeEntry& entry, size_t least_axes) {
  return entry.info.shape.size() >= least_axes && delivered_type(entry.info.type_name) &&
         std::count(entry.info.shape.begin(), entry.info.shape.end(), 0) == 0 && !entry.is_axis;
}

const TreeEntry* find(const Tree& tree, const std::string& name) {
  const auto found = std::find_if(tree.begin(), tree.end(),
                                  [&](const TreeEntry& entry) { return entry.name == name; });
  return found == tree.end() ? nullptr : &*found;
}

// Corners of cells, as netCDF files name them: nothing to train on.
bool is_bounds(const std::string& name) {
  return name.ends_with("_bnds") || name.ends_with("_bounds");
}

const TreeEntry* largest(const Tree& tree, size_t least_axes) {
  const TreeEntry* best = nullptr;
  for (const TreeEntry& entry : tree) {
    if (is_numbers(entry, least_axes) && !is_bounds(entry.name) && !entry.describes_others &&
        (!best || entry.info.bytes > best->info.bytes))
      best = &entry;
  }
  return best;
}

// Few values on the last axis and more on the one after the samples: (N, H, W, C).
bool channels_last(const std::vector<int64_t>& shape) {
  return shape.size() >= 4 && shape.back() <= 4 && shape[1] > 4;
}

std::string without_slash(const std::string& name) { return name.substr(name.empty() ? 0 : 1); }

std::string range_text(int64_t first, int64_t last) {
  return std::to_string(first) + ":" + std::to_string(last);
}

void split_by_number(ProposedMap& proposed, const std::vector<int64_t>& shape) {
  int64_t all = 1;
  for (const int64_t axis : proposed.map.sample_axes) all *= shape[static_cast<size_t>(axis)];
  const int64_t held_out = all / 20;
  if (held_out == 0) {
    proposed.map.splits = {{"train", {range_text(0, all)}}};
    proposed.notes.push_back("too few samples to hold some out for evaluation: set eval.every = 0");
    return;
  }
  const int64_t train = all - 2 * held_out;
  proposed.map.splits = {{"train", {range_text(0, train)}},
                         {"validation", {range_text(train, train + held_out)}},
                         {"test", {range_text(train + held_out, all)}}};
}

// https://github.com/PolymathicAI/the_well: fields of order 0 are (trajectory, time, x, y[, z]),
// those of order 1 have their components on a last axis.
std::optional<ProposedMap> the_well(const Tree& tree) {
  ProposedMap proposed;
  proposed.map.arrays.clear();
  proposed.map.sample_axes = {0, 1};
  proposed.map.channel_axis.reset();
  const TreeEntry* first = nullptr;
  for (const TreeEntry& entry : tree) {
    if (!entry.name.starts_with("/t0_fields/") || !is_numbers(entry, 4)) continue;
    if (!first) first = &entry;
    if (entry.info.shape == first->info.shape)
      proposed.map.arrays.push_back(without_slash(entry.name));
  }
  if (!first) return std::nullopt;
  for (const TreeEntry& entry : tree) {
    auto shape = first->info.shape;
    shape.push_back(static_cast<int64_t>(shape.size()) - 2);
    if (!entry.name.starts_with("/t1_fields/") || entry.info.shape != shape) continue;
    proposed.map.channel_axis = -1;
    proposed.map.arrays.push_back(without_slash(entry.name));
  }
  proposed.what = "The Well: trajectories and times number the samples";
  proposed.notes.push_back("all times are taken; thin them with window = [\":\", \"::4\"]");
  split_by_number(proposed, first->info.shape);
  return proposed;
}

// CaloChallenge 2022: voxels in one row, radius fastest, then angle, then layer.
std::optional<ProposedMap> showers(const Tree& tree) {
  const TreeEntry* found = find(tree, "/showers");
  if (!found || found->info.shape.size() != 2) return std::nullopt;
  ProposedMap proposed;
  proposed.map.arrays = {"showers"};
  proposed.what = "calorimeter showers, a row of voxels each";
  if (found->info.shape[1] == 6480) proposed.map.reshape = {1, 45, 16, 9};
  if (found->info.shape[1] == 40500) proposed.map.reshape = {1, 45, 50, 18};
  split_by_number(proposed, found->info.shape);
  return proposed;
}

ProposedMap from_array(const TreeEntry& entry, bool netcdf) {
  ProposedMap proposed;
  const auto& shape = entry.info.shape;
  if (!entry.name.empty()) proposed.map.arrays = {without_slash(entry.name)};
  proposed.what = entry.name.empty() ? "a NumPy array" : "the largest array";
  if (netcdf) proposed.what = "a netCDF variable, its first axis the samples";
  if (channels_last(shape)) {
    proposed.map.channel_axis = -1;
    proposed.what += ", channels last";
  } else if (shape.size() == 3) {
    proposed.map.channel_axis.reset();
    proposed.what += ", without channels";
  } else if (shape.size() > 3) {
    proposed.what += ", axis 1 the channels";
  }
  proposed.missing = entry.fill_value;
  if (!entry.packing.empty())
    proposed.notes.push_back("packed, " + entry.packing + ": begin transforms with \"" +
                             entry.unpacking + "\" for values in its units");
  split_by_number(proposed, shape);
  return proposed;
}

bool is_netcdf(const Tree& tree) {
  return std::any_of(tree.begin(), tree.end(),
                     [](const TreeEntry& entry) { return entry.is_axis; });
}

// Arrays with as many rows as there are samples may be conditions.
void note_others(const Tree& tree, ProposedMap& proposed) {
  const TreeEntry* main = find(tree, "/" + proposed.map.arrays[0]);
  for (const TreeEntry& entry : tree) {
    const auto& arrays = proposed.map.arrays;
    if (!main || entry.info.shape.empty() || entry.is_axis || entry.describes_others ||
        is_bounds(entry.name) || entry.info.shape[0] != main->info.shape[0])
      continue;
    if (std::find(arrays.begin(), arrays.end(), without_slash(entry.name)) != arrays.end())
      continue;
    proposed.notes.push_back(entry.name + " " + shape_string(entry.info.shape) +
                             " has as many rows");
  }
}

template <typename T>
std::string list(const std::vector<T>& values, const std::string& quote = "") {
  std::ostringstream out;
  for (size_t i = 0; i < values.size(); ++i) out << (i ? ", " : "") << quote << values[i] << quote;
  return "[" + out.str() + "]";
}

}  // namespace

std::optional<ProposedMap> propose_map(const std::string& path, const Tree& tree) {
  std::optional<ProposedMap> proposed = the_well(tree);
  if (!proposed) proposed = showers(tree);
  if (!proposed) {
    const TreeEntry* array = largest(tree, is_npy(path) ? 2 : 3);
    if (!array) array = largest(tree, 2);
    if (!array) return std::nullopt;
    proposed = from_array(*array, is_netcdf(tree));
  }
  proposed->map.path = {path};
  if (!is_npy(path)) note_others(tree, *proposed);
  return proposed;
}

std::string to_toml(const ProposedMap& proposed) {
  const DataMap& map = proposed.map;
  const DataMap defaults;
  std::ostringstream out;
  out << "[data]\npath = \"" << map.path[0] << "\"\n";
  if (map.arrays != defaults.arrays) out << "arrays = " << list(map.arrays, "\"") << "\n";
  if (map.sample_axes != defaults.sample_axes)
    out << "sample_axes = " << list(map.sample_axes) << "\n";
  if (!map.channel_axis)
    out << "channel_axis = \"none\"\n";
  else if (map.channel_axis != defaults.channel_axis)
    out << "channel_axis = " << *map.channel_axis << "\n";
  if (!map.reshape.empty()) out << "reshape = " << list(map.reshape) << "\n";
  out << "splits = {";
  bool first = true;
  for (const char* split : {"train", "validation", "test"}) {
    const auto entry = map.splits.find(split);
    if (entry == map.splits.end()) continue;
    out << (first ? " " : ", ") << split << " = \"" << entry->second[0] << "\"";
    first = false;
  }
  out << " }\n";
  if (proposed.missing) out << "missing = " << number_text(*proposed.missing) << "\n";
  if (!proposed.transforms.empty())
    out << "transforms = " << list(proposed.transforms, "\"") << "\n";
  for (const std::string& note : proposed.notes) out << "# " << note << "\n";
  return out.str();
}

}  // namespace scorenet::data
