// Finds the pictures of a folder, and whether its folders are classes or splits.
//
//   FOLDER/CLASS/...               classes; deeper folders belong to the class they lie in
//   FOLDER/SPLIT/CLASS/...         splits, known by their names and by holding folders of pictures
//   FOLDER/*.png                   no folders with pictures: no classes
//   FOLDER/SPLIT/*.png             splits without classes, if one is named val or layout says so
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "framework/data/notes.hpp"

namespace scorenet::data {

enum class FolderLayout { automatic, classes, splits };

struct PictureFile {
  std::filesystem::path path;
  int64_t label = 0;
};

struct PictureSplit {
  std::string name;    // "train", "validation" or "test"; "" where the folder has no splits
  std::string folder;  // "val": as the source calls it
  std::vector<PictureFile> files;  // in the order of their sorted names
};

struct PictureFolder {
  std::vector<std::string> classes;  // sorted, each with a picture; empty: no labels
  std::vector<PictureSplit> splits;  // train before validation before test
};

/// Hidden files and folders, files of other kinds and pictures outside the classes are left
/// out and noted. Throws DataError: no such folder, no picture, or a structure that can be
/// read in two ways.
PictureFolder find_pictures(const std::filesystem::path& folder, FolderLayout layout, Notes& notes);

}  // namespace scorenet::data
