#include "framework/data/convert_parts.hpp"

#include <algorithm>
#include <array>
#include <tuple>

#include "framework/data/byte_source.hpp"

namespace scorenet::data {

std::string read_maybe_gzip(const std::filesystem::path& path) {
  constexpr size_t kPart = size_t{1} << 20;
  ByteSource source(path);
  std::string bytes;
  while (true) {
    const std::string part = source.read_string(kPart);
    bytes += part;
    if (part.size() < kPart) return bytes;
  }
}

int64_t usual_validation(int64_t total) {
  constexpr int64_t kMost = 5000;
  return total < 2 ? 0 : std::clamp<int64_t>(total / 10, 1, kMost);
}

void tell_hold_out(Notes& notes, int64_t count, int64_t total, const std::string& which) {
  notes.tell(count == 0
                 ? "no validation split: one sample is too few to hold one out"
                 : "validation split: " + std::to_string(count) + " of " + std::to_string(total) +
                       " samples held out, " + which + "; choose with --validation N (0: none)");
}

SplitSizes split_sizes(int64_t total, int64_t validation, int64_t test) {
  if (validation < 0 || test < 0 || validation + test >= total) {
    throw ConfigError("--validation " + std::to_string(validation) + " and --test " +
                      std::to_string(test) + ": the source has " + std::to_string(total) +
                      " samples, and at least one must be left to train on. Give smaller numbers.");
  }
  return {total - validation - test, validation, test};
}

SplitSizes train_sizes(int64_t total, const ConvertOptions& options, Notes& notes) {
  const auto sizes = split_sizes(total, options.validation.value_or(usual_validation(total)), 0);
  if (!options.validation) tell_hold_out(notes, sizes.validation, total, "the last");
  return sizes;
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
