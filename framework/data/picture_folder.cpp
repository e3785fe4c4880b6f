#include "framework/data/picture_folder.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "framework/core/error.hpp"
#include "framework/data/picture.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLevels = 40;
const char* const kExpected =
    "Expected FOLDER/CLASS/*.png, .jpg or .webp, or FOLDER/train, val and "
    "test with such class folders";

// A folder with pictures in it or below it. What holds none is no part of the tree.
struct Tree {
  fs::path path;
  std::vector<fs::path> pictures;  // directly in it, sorted
  std::vector<Tree> folders;       // sorted
  std::string name() const { return path.filename().string(); }
  bool empty() const { return pictures.empty() && folders.empty(); }
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// What systems and programs put beside a user's pictures.
bool is_hidden(const fs::path& path) {
  constexpr std::array<std::string_view, 7> kNames{"__macosx",     "thumbs.db",
                                                   "ehthumbs.db",  "@eadir",
                                                   "$recycle.bin", "system volume information",
                                                   "desktop.ini"};
  const std::string name = lower(path.filename().string());
  return name.starts_with('.') || std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Walks one folder; notes what it leaves out by its name relative to `root`.
class Walk {
 public:
  Walk(fs::path root, Notes& notes) : root_(std::move(root)), notes_(notes) {}

  Tree tree(const fs::path& folder, int level = 0) {
    if (level > kMostLevels) {
      throw DataError(folder.string() + ": more than " + std::to_string(kMostLevels) +
                      " folders deep. Remove the link that leads back to a folder above it.");
    }
    Tree tree{folder, {}, {}};
    for (const auto& entry : sorted_entries(folder)) {
      if (is_hidden(entry)) {
        notes_.add("hidden files and folders left out", relative(entry));
      } else if (fs::is_directory(entry)) {
        add_folder(tree, entry, level);
      } else if (has_picture_ending(entry)) {
        tree.pictures.push_back(entry);
      } else {
        notes_.add(other_kind(entry), relative(entry));
      }
    }
    return tree;
  }

  std::string relative(const fs::path& path) const {
    return path.lexically_relative(root_).string();
  }

 private:
  static std::vector<fs::path> sorted_entries(const fs::path& folder) {
    std::vector<fs::path> entries;
    try {
      for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
    } catch (const fs::filesystem_error& error) {
      throw DataError(folder.string() + ": cannot be listed (" + error.code().message() +
                      "). Check the path and its permissions.");
    }
    std::sort(entries.begin(), entries.end());
    return entries;
  }

  void add_folder(Tree& tree_above, const fs::path& folder, int level) {
    auto below = tree(folder, level + 1);
    if (below.empty()) {
      notes_.add("folders without a picture", relative(folder));
    } else {
      tree_above.folders.push_back(std::move(below));
    }
  }

  static std::string other_kind(const fs::path& file) {
    const std::string ending = lower(file.extension().string());
    return (ending.empty() ? "files without an ending" : ending + " files") +
           " left out (PNG, JPEG and WebP are read)";
  }

  fs::path root_;
  Notes& notes_;
};

// "validation" for "val"; nothing for what is no split's name.
std::optional<std::string> split_named(const std::string& folder) {
  static const std::map<std::string, std::string> kNames{
      {"train", "train"},     {"training", "train"},   {"validation", "validation"},
      {"val", "validation"},  {"valid", "validation"}, {"dev", "validation"},
      {"eval", "validation"}, {"test", "test"},        {"testing", "test"}};
  const auto found = kNames.find(lower(folder));
  if (found == kNames.end()) return std::nullopt;
  return found->second;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + printable(name);
  return text;
}

// The folders below one, told apart by name.
struct Kinds {
  std::vector<std::string> splits, others;
  bool pictures_in_splits = false;  // a split's folder holds pictures itself
  bool classes_in_splits = false;   // a split's folder holds folders with pictures
  bool one_is_validation = false;
};

Kinds kinds_of(const Tree& top) {
  Kinds kinds;
  for (const auto& folder : top.folders) {
    const auto split = split_named(folder.name());
    (split ? kinds.splits : kinds.others).push_back(folder.name());
    if (!split) continue;
    kinds.pictures_in_splits |= !folder.pictures.empty();
    kinds.classes_in_splits |= !folder.folders.empty();
    kinds.one_is_validation |= *split == "validation";
  }
  return kinds;
}

[[noreturn]] void fail_two_ways(const Tree& top, const std::string& seen) {
  throw DataError(top.path.string() + ": " + seen +
                  ". Say what the folders are: --layout classes or --layout splits.");
}

// Content decides: a split holds class folders, a class holds pictures.
FolderLayout told_by_content(const Tree& top) {
  const Kinds kinds = kinds_of(top);
  if (kinds.splits.empty()) return FolderLayout::classes;
  if (!kinds.others.empty()) {
    if (!kinds.classes_in_splits) return FolderLayout::classes;
    fail_two_ways(top, joined(kinds.splits) + " are named as splits and hold folders, " +
                           joined(kinds.others) + " are not named so");
  }
  if (kinds.classes_in_splits || kinds.one_is_validation) return FolderLayout::splits;
  fail_two_ways(top, joined(kinds.splits) +
                         " are named as splits but hold pictures themselves, as classes do");
}

void check_utf8(const Tree& folder) {
  // Enough to refuse Latin-1: continuation bytes in the number that each first byte says.
  int open = 0;
  for (const char c : folder.name()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool goes_on = byte >= 0x80 && byte < 0xc0;
    if (goes_on != (open > 0) || byte >= 0xf8) {
      open = 1;
      break;
    }
    open = goes_on ? open - 1 : byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
  }
  if (open == 0) return;
  throw DataError(folder.path.string() +
                  ": a class name that is not UTF-8, which other programs could not read. Rename "
                  "the folder.");
}

// bottle/train, bottle/test: reading these as one class would train on test data.
void check_no_splits_inside(const Tree& class_folder) {
  std::set<std::string> splits;
  for (const auto& folder : class_folder.folders) {
    const auto split = split_named(folder.name());
    if (!split) return;
    splits.insert(*split);
  }
  if (splits.size() < 2) return;
  throw DataError(class_folder.path.string() +
                  ": holds splits inside a class. Expected FOLDER/SPLIT/CLASS: give this folder "
                  "itself, or move its folders.");
}

class Collector {
 public:
  Collector(const Walk& walk, Notes& notes) : walk_(walk), notes_(notes) {}

  /// Pictures of class folders, labelled by `classes`; those beside the folders are left out.
  std::vector<PictureFile> labelled(const Tree& above, const std::vector<std::string>& classes) {
    std::vector<PictureFile> files;
    for (const auto& picture : above.pictures) {
      notes_.add("pictures outside the class folders left out", walk_.relative(picture));
    }
    for (const auto& folder : above.folders) {
      const auto place = std::lower_bound(classes.begin(), classes.end(), folder.name());
      add(folder, place - classes.begin(), 0, files);
    }
    return files;
  }

  /// All pictures, without a class.
  std::vector<PictureFile> unlabelled(const Tree& above) {
    std::vector<PictureFile> files;
    add(above, 0, 0, files);
    return files;
  }

 private:
  void add(const Tree& folder, int64_t label, int level, std::vector<PictureFile>& files) {
    for (const auto& picture : folder.pictures) {
      files.push_back({picture, label});
      if (level > 0) notes_.add("pictures in deeper folders, read", walk_.relative(picture));
    }
    for (const auto& deeper : folder.folders) add(deeper, label, level + 1, files);
  }

  const Walk& walk_;
  Notes& notes_;
};

std::vector<std::string> class_names(const std::vector<const Tree*>& above) {
  std::set<std::string> names;
  for (const auto* tree : above) {
    for (const auto& folder : tree->folders) {
      check_utf8(folder);
      check_no_splits_inside(folder);
      names.insert(folder.name());
    }
  }
  return {names.begin(), names.end()};
}

void note_untrained_classes(const PictureFolder& found, Notes& notes) {
  for (const auto& split : found.splits) {
    if (split.name != "train") continue;
    std::set<int64_t> seen;
    for (const auto& file : split.files) seen.insert(file.label);
    for (size_t i = 0; i < found.classes.size(); ++i) {
      if (!seen.count(static_cast<int64_t>(i))) {
        notes.add("classes without a picture to train on", found.classes[i]);
      }
    }
  }
}

// Each split once, in the order train, validation, test.
std::vector<std::pair<std::string, const Tree*>> named_splits(const Tree& top) {
  std::vector<std::pair<std::string, const Tree*>> splits;
  for (const std::string name : {"train", "validation", "test"}) {
    const Tree* known = nullptr;
    for (const auto& folder : top.folders) {
      if (split_named(folder.name()) != name) continue;
      if (known != nullptr) {
        throw DataError(folder.path.string() + ": a second folder for the split " + name +
                        " beside " + known->name() + ". Keep one.");
      }
      known = &folder;
      splits.emplace_back(name, known);
    }
  }
  return splits;
}

PictureFolder read_splits(const Tree& top, Collector& collect, const Walk& walk, Notes& notes) {
  for (const auto& folder : top.folders) {
    if (split_named(folder.name())) continue;
    throw DataError(
        folder.path.string() +
        ": is not the name of a split. Expected train, val (validation, valid, dev) or test: "
        "rename the folder or move it away.");
  }
  for (const auto& picture : top.pictures) {
    notes.add("pictures outside the split folders left out", walk.relative(picture));
  }
  const auto splits = named_splits(top);
  std::vector<const Tree*> trees;
  for (const auto& split : splits) trees.push_back(split.second);
  PictureFolder found{class_names(trees), {}};
  for (const auto& [name, tree] : splits) {
    auto files =
        found.classes.empty() ? collect.unlabelled(*tree) : collect.labelled(*tree, found.classes);
    if (files.empty()) {
      throw DataError(tree->path.string() +
                      ": its pictures lie in no class folder, those of other splits do. Sort them "
                      "into class folders, or move the folder away.");
    }
    found.splits.push_back({name, tree->name(), std::move(files)});
  }
  note_untrained_classes(found, notes);
  return found;
}

}  // namespace

PictureFolder find_pictures(const fs::path& folder, FolderLayout layout, Notes& notes) {
  if (!fs::is_directory(folder)) {
    throw DataError(folder.string() + ": no such folder. " + kExpected + ".");
  }
  Walk walk(folder, notes);
  const Tree top = walk.tree(folder);
  if (top.empty()) {
    std::string left_out;
    for (const auto& line : notes.lines()) left_out += "; " + line;
    throw DataError(folder.string() + ": no picture found" + left_out + ". " + kExpected + ".");
  }
  Collector collect(walk, notes);
  if (top.folders.empty() && layout == FolderLayout::automatic) {
    return {{}, {PictureSplit{"", "", collect.unlabelled(top)}}};
  }
  if (layout == FolderLayout::automatic) layout = told_by_content(top);
  if (layout == FolderLayout::splits) return read_splits(top, collect, walk, notes);
  const auto classes = class_names({&top});
  auto files = collect.labelled(top, classes);
  if (files.empty()) {
    throw DataError(folder.string() + ": no folder with pictures, so no class. " + kExpected + ".");
  }
  return {classes, {PictureSplit{"", "", std::move(files)}}};
}

}  // namespace scorenet::data
