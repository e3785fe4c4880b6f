#include "framework/data/convert_parts.hpp"

#include <zlib.h>

#include <array>
#include <memory>
#include <tuple>
#include <vector>

namespace scorenet::data {

std::string read_maybe_gzip(const std::filesystem::path& path) {
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), &gzclose);
  if (!file || std::filesystem::is_directory(path)) {
    throw DataError(path.string() + ": no such file, or not readable. Check the path.");
  }
  std::string bytes;
  std::vector<char> part(1 << 20);
  int count = 0;
  while ((count = gzread(file.get(), part.data(), static_cast<unsigned>(part.size()))) > 0) {
    bytes.append(part.data(), static_cast<size_t>(count));
  }
  int code = Z_OK;
  const std::string reason = gzerror(file.get(), &code);
  if (count < 0 || code == Z_BUF_ERROR) {
    throw DataError(path.string() + ": damaged or cut short after " + std::to_string(bytes.size()) +
                    " decoded bytes (zlib: " + reason + "). Fetch the file again.");
  }
  return bytes;
}

SplitSizes split_sizes(int64_t total, int64_t validation, int64_t test) {
  if (validation < 0 || test < 0 || validation + test >= total) {
    throw ConfigError("--validation " + std::to_string(validation) + " and --test " +
                      std::to_string(test) + ": the source has " + std::to_string(total) +
                      " samples, and at least one must be left to train on. Give smaller numbers.");
  }
  return {total - validation - test, validation, test};
}

std::string split_rule(const SplitSizes& sizes, const std::string& source) {
  std::string rule;
  int64_t first = 0;
  for (const auto& [name, size] :
       {std::pair{"train", sizes.train}, {"validation", sizes.validation}, {"test", sizes.test}}) {
    if (size == 0) continue;
    rule += (rule.empty() ? "" : "; ") + std::string(name) + ": samples " + std::to_string(first) +
            " to " + std::to_string(first + size - 1) + " of " + source;
    first += size;
  }
  return rule;
}

void write_splits(DatasetWriter& writer, const SplitSizes& sizes, const torch::Tensor& images,
                  const torch::Tensor& labels) {
  int64_t first = 0;
  for (const auto& [name, size] :
       {std::pair{"train", sizes.train}, {"validation", sizes.validation}, {"test", sizes.test}}) {
    if (size == 0) continue;
    writer.write_split(name, images.narrow(0, first, size),
                       labels.defined() ? labels.narrow(0, first, size) : labels);
    first += size;
  }
}

}  // namespace scorenet::data
