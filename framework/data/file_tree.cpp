#include "framework/data/file_tree.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/data/data_map.hpp"
#include "framework/data/npy.hpp"
#include "framework/data/stored_marks.hpp"

namespace scorenet::data {
namespace {

// Links may go round in a circle.
constexpr int kDeepest = 12;
constexpr size_t kMostEntries = 1000;

TreeEntry entry_of(const Hdf5File& file, const std::string& name) {
  TreeEntry entry{name, {}};
  const auto info = file.look_at(name);
  if (!info) return entry;
  entry.info = *info;
  entry.fill_value = missing_mark_of(file, name);
  if (const auto packing = packing_of(file, name)) {
    entry.packing = packing->text();
    entry.unpacking = packing->transform();
  }
  entry.units = file.attribute(name, "units").value_or("");
  entry.is_axis = file.attribute(name, "CLASS") == "DIMENSION_SCALE";
  return entry;
}

void add_below(const Hdf5File& file, const std::string& group, int depth,
               std::vector<TreeEntry>& tree) {
  for (const std::string& child : file.children(group)) {
    if (tree.size() >= kMostEntries) return;
    const std::string name = (group == "/" ? "" : group) + "/" + child;
    if (!file.has(name) || !file.is_group(name))
      tree.push_back(entry_of(file, name));
    else if (depth < kDeepest)
      add_below(file, name, depth + 1, tree);
  }
}

TreeEntry entry_of_npy(const std::string& path) {
  const NpyFile file(path, /*every_type=*/true);
  TreeEntry entry{"", {}};
  entry.info.shape = file.shape();
  entry.info.type_name = file.type_name();
  entry.info.offset = file.offset();
  entry.info.bytes_are_native = true;
  entry.info.bytes = static_cast<int64_t>(c10::elementSize(file.dtype()));
  for (const int64_t size : file.shape()) entry.info.bytes *= size;
  return entry;
}

// CF conventions 1.11, sections 5 and 7.1: attributes of an array name those that describe it.
void mark_descriptions(const Hdf5File& file, std::vector<TreeEntry>& tree) {
  std::set<std::string> named;
  for (const TreeEntry& entry : tree) {
    if (entry.info.type_name.empty()) continue;
    const std::string group = entry.name.substr(0, entry.name.rfind('/') + 1);
    for (const char* key : {"coordinates", "bounds", "ancillary_variables"}) {
      std::istringstream names(file.attribute(entry.name, key).value_or(""));
      for (std::string name; names >> name;) named.insert(group + name);
    }
  }
  for (TreeEntry& entry : tree) entry.describes_others = named.count(entry.name) > 0;
}

}  // namespace

std::vector<TreeEntry> tree_of(const std::string& path) {
  if (is_npy(path)) return {entry_of_npy(path)};
  std::vector<TreeEntry> tree;
  const Hdf5File file = Hdf5File::open(path);
  add_below(file, "/", 0, tree);
  mark_descriptions(file, tree);
  return tree;
}

std::string number_text(double value) {
  char text[32];
  const auto single = static_cast<float>(value);
  const auto end = static_cast<double>(single) == value
                       ? std::to_chars(text, text + sizeof text, single)
                       : std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

std::string storage_text(const Hdf5ArrayInfo& info) {
  if (info.chunk.empty()) {
    return info.offset >= 0
               ? "contiguous at byte " + std::to_string(info.offset) +
                     (info.bytes_are_native ? ", mapped" : ", converted when it is read")
               : "in one piece, read through HDF5";
  }
  std::string text = "chunks of " + shape_string(info.chunk);
  for (const std::string& filter : info.filters) text += ", " + filter;
  return text +
         (info.missing_filter.empty() ? "" : "; this HDF5 library lacks " + info.missing_filter);
}

std::string tree_text(const std::vector<TreeEntry>& tree) {
  size_t width = 0;
  for (const TreeEntry& entry : tree) width = std::max(width, printable(entry.name).size());
  std::ostringstream out;
  for (const TreeEntry& entry : tree) {
    const std::string name = printable(entry.name);
    out << "  " << name << std::string(width - name.size() + 2, ' ');
    if (entry.info.type_name.empty()) {
      out << "broken link\n";
      continue;
    }
    out << shape_string(entry.info.shape) << ' ' << entry.info.type_name << ", "
        << storage_text(entry.info);
    if (!entry.units.empty()) out << "; in " << printable(entry.units);
    if (!entry.packing.empty()) out << "; packed: " << entry.packing;
    if (entry.fill_value) out << "; missing values are " << number_text(*entry.fill_value);
    out << (entry.is_axis            ? "; coordinates of an axis\n"
            : entry.describes_others ? "; describes other arrays\n"
                                     : "\n");
  }
  if (tree.size() >= kMostEntries) out << "  ... and more\n";
  return out.str();
}

}  // namespace scorenet::data
