#include "framework/report/pictures.hpp"

#include <optional>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::report {
namespace {

constexpr size_t kMostGrids = 6;
constexpr uintmax_t kMostBytes = 4 << 20;  // of one picture

std::optional<std::string> png_bytes(const std::filesystem::path& file, RunRecord& run) {
  const std::string name = "samples/" + file.filename().string();
  std::error_code failed;
  const uintmax_t size = std::filesystem::file_size(file, failed);
  if (!failed && size > kMostBytes) {
    run.missing.push_back(name + " has more than 4 MiB, too many for a page.");
    return std::nullopt;
  }
  try {
    std::string bytes = files::read_file(file);
    if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return bytes;
    run.missing.push_back(name + " is no PNG file.");
  } catch (const Error& error) {
    run.missing.push_back(error.what());
  }
  return std::nullopt;
}

Html picture(const std::filesystem::path& file, const std::string& caption, RunRecord& run) {
  const auto bytes = png_bytes(file, run);
  if (!bytes) return {};
  const Html image =
      Html("<img alt=\"") + text(caption) + Html("\" src=\"" + png_address(*bytes) + "\">");
  return element("figure", image + element("figcaption", text(caption))) + Html("\n");
}

// n of `count` places, evenly spread, the last among them.
std::vector<size_t> spread(size_t count, size_t n) {
  std::vector<size_t> places;
  n = std::min(n, count);
  for (size_t i = 1; i <= n; ++i) places.push_back(i * count / n - 1);
  return places;
}

}  // namespace

Html pictures(std::vector<RunRecord>& runs) {
  Html all;
  for (RunRecord& run : runs) {
    Html row;
    for (const size_t place : spread(run.grids.size(), kMostGrids)) {
      const GridRecord& grid = run.grids[place];
      row += picture(grid.file, "step " + std::to_string(grid.step), run);
    }
    if (run.reals && !row.code.empty()) row += picture(*run.reals, "the data", run);
    if (row.code.empty()) continue;
    if (runs.size() > 1) all += element("h3", text(run.name));
    all += element("div", row, "pictures");
  }
  return all;
}

}  // namespace scorenet::report
