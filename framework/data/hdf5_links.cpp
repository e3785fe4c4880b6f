#include "framework/data/hdf5_links.hpp"

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

// The places in HDF5's own order (H5F_prefix_open_file).
std::vector<fs::path> places_of(const std::string& name, const std::string& parent,
                                const char* prefix_variable) {
  const fs::path folder = fs::path(parent).parent_path();
  std::vector<fs::path> places;
  fs::path wanted = name;
  if (wanted.is_absolute()) {
    places.push_back(wanted);
    wanted = wanted.filename();
  }
  const char* prefixes = std::getenv(prefix_variable);
  std::istringstream list(prefixes ? prefixes : "");
  for (std::string prefix; std::getline(list, prefix, ':');) {
    if (prefix.starts_with("${ORIGIN}")) prefix = folder.string() + prefix.substr(9);
    if (!prefix.empty()) places.push_back(fs::path(prefix) / wanted);
  }
  places.push_back(folder / wanted);
  places.push_back(wanted);
  std::error_code no_matter;
  places.push_back(fs::canonical(parent, no_matter).parent_path() / wanted);
  return places;
}

herr_t refuse_what_is_no_file(const char* parent, const char*, const char* child, const char*,
                              unsigned*, hid_t, void*) {
  try {
    return find_linked_file(child, parent, "HDF5_EXT_PREFIX").trouble.empty() ? 0 : -1;
  } catch (const std::exception&) {
    return -1;
  }
}

std::string describe_external(hid_t location, const std::vector<char>& value) {
  unsigned flags = 0;
  const char *file = nullptr, *object = nullptr;
  if (H5Lunpack_elink_val(value.data(), value.size(), &flags, &file, &object) < 0)
    return "a damaged external link";
  const LinkedFile found = find_linked_file(file, file_of_object(location), "HDF5_EXT_PREFIX");
  return "an external link to \"" + std::string(object) + "\" in " + found.path + " (" +
         (found.trouble.empty() ? "which has no such object" : found.trouble) + ")";
}

}  // namespace

LinkedFile find_linked_file(const std::string& name, const std::string& parent,
                            const char* prefix_variable) {
  LinkedFile found{name, "no such file"};
  for (const fs::path& place : places_of(name, parent, prefix_variable)) {
    const std::string trouble = files::unreadable_because(place);
    if (trouble == "no such file") continue;
    found = {place.string(), trouble};
    std::error_code no_matter;
    if (trouble.empty() || !fs::is_directory(place, no_matter)) return found;
  }
  return found;
}

Hdf5Handle careful_access(hid_t property_class) {
  auto properties = own(H5Pcreate(property_class), H5Pclose);
  H5Pset_elink_cb(properties.id(), refuse_what_is_no_file, nullptr);
  return properties;
}

std::string describe_link(hid_t location, const std::string& name) {
  const auto access = careful_access(H5P_LINK_ACCESS);
  H5L_info_t info{};
  if (H5Lget_info(location, name.c_str(), &info, access.id()) < 0) return "";
  if (info.type != H5L_TYPE_SOFT && info.type != H5L_TYPE_EXTERNAL) return "";
  std::vector<char> value(info.u.val_size + 1, '\0');
  if (H5Lget_val(location, name.c_str(), value.data(), info.u.val_size, access.id()) < 0) return "";
  value.resize(info.u.val_size);
  if (info.type == H5L_TYPE_EXTERNAL) return describe_external(location, value);
  return "a link to \"" + std::string(value.data()) + "\" (which is not there)";
}

}  // namespace scorenet::data
