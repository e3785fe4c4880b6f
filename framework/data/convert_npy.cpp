// Arrays stream from the .npy file to the data file, so that they may be larger than the memory.
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"
#include "framework/data/npy.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kBytesAtOnce = int64_t{64} << 20;
constexpr int64_t kLargestLabel = (int64_t{1} << 31) - 1;

// From the file's axes to ours.
enum class Axes { as_stored, add_channel, channel_last };

// Few values on the last axis and more on the second: almost surely (N, H, W, C), which would train
// on nonsense without a word.
bool looks_channels_last(const std::vector<int64_t>& shape) {
  return shape.size() >= 4 && shape.back() <= 4 && shape[1] > 4;
}

Axes axes_of(const NpyFile& images, ChannelAxis said) {
  const auto& shape = images.shape();
  const bool discrete = images.dtype() == torch::kUInt8;
  if (!discrete && !(c10::isFloatingType(images.dtype()) && shape.size() >= 2)) {
    throw DataError(images.where() + ", expected uint8 images, or float32 or float64 (N, ...).");
  }
  if (said == ChannelAxis::last) {
    if (discrete ? shape.size() == 4 : shape.size() >= 3) return Axes::channel_last;
    throw DataError(images.where() + " with --channels-last, expected (N, H, W, C).");
  }
  if (said == ChannelAxis::unsaid && looks_channels_last(shape)) {
    throw DataError(images.where() +
                    ", expected (N, C, H, W). If the channels are its last axis, give "
                    "--channels-last; if it is right as it is, give --channels-first.");
  }
  if (!discrete || shape.size() == 4) return Axes::as_stored;
  if (shape.size() == 3) return Axes::add_channel;
  throw DataError(images.where() +
                  ", expected (N, C, H, W) or (N, H, W), or (N, H, W, C) with --channels-last.");
}

torch::Tensor with_axes(const torch::Tensor& rows, Axes axes) {
  if (axes == Axes::add_channel) return rows.unsqueeze(1);
  return axes == Axes::channel_last ? rows.movedim(-1, 1).contiguous() : rows;
}

std::vector<int64_t> example_shape(const NpyFile& images, Axes axes) {
  std::vector<int64_t> shape(images.shape().begin() + 1, images.shape().end());
  if (axes == Axes::add_channel) shape.insert(shape.begin(), 1);
  if (axes == Axes::channel_last) std::rotate(shape.begin(), shape.end() - 1, shape.end());
  return shape;
}

// (N) int64, or undefined.
torch::Tensor read_labels(const std::filesystem::path& path, int64_t size) {
  if (path.empty()) return {};
  NpyFile file(path);
  if (c10::isFloatingType(file.dtype()) || file.shape() != std::vector<int64_t>{size}) {
    throw DataError(file.where() + ", expected integers of shape (" + std::to_string(size) +
                    "), one label for each image.");
  }
  const auto labels = file.next_rows(size).to(torch::kInt64);
  const auto wrong = labels.lt(0).logical_or(labels.gt(kLargestLabel)).nonzero();
  if (wrong.size(0) > 0) {
    const auto index = wrong[0][0].item<int64_t>();
    throw DataError(path.string() + ": label " + std::to_string(labels[index].item<int64_t>()) +
                    " at index " + std::to_string(index) + ", expected classes from 0 to " +
                    std::to_string(kLargestLabel) + ". Number the classes from 0.");
  }
  return labels;
}

// The samples of a split: rows [first, first + size), or those marked in `chosen`, (N) bool.
struct Part {
  std::string name;
  int64_t size = 0;
  torch::Tensor chosen;
};

// Rows of `whole` that lie in the part, of which this call sees those from `first` on.
torch::Tensor chosen_of(const torch::Tensor& whole, const Part& part, int64_t first) {
  return whole.index_select(0, part.chosen.narrow(0, first, whole.size(0)).nonzero().squeeze(1));
}

// NaN may mark missing values; nothing has an infinity on purpose.
void check_no_infinity(const torch::Tensor& rows, const NpyFile& images, int64_t first) {
  if (!rows.is_floating_point()) return;
  const auto wrong = rows.flatten(1).isinf().any(1).nonzero();
  if (wrong.size(0) == 0) return;
  throw DataError(images.where() + ": sample " +
                  std::to_string(first + wrong[0][0].item<int64_t>()) +
                  " holds an infinity, expected finite values. Remove or repair it.");
}

void write_part(DatasetWriter& writer, NpyFile& images, const torch::Tensor& labels, Axes axes,
                const Part& part) {
  writer.begin_split(
      {part.name, part.size, example_shape(images, axes), images.dtype(), labels.defined()});
  images.rewind();
  const int64_t size = images.shape()[0];
  const auto& shape = images.shape();
  const int64_t row_bytes =
      std::accumulate(shape.begin() + 1, shape.end(),
                      static_cast<int64_t>(c10::elementSize(images.dtype())), std::multiplies<>());
  const int64_t at_once = std::clamp<int64_t>(kBytesAtOnce / row_bytes, 1, size);
  for (int64_t first = 0; first < size; first += at_once) {
    const int64_t count = std::min(at_once, size - first);
    const auto all = images.next_rows(count);
    check_no_infinity(all, images, first);
    const auto rows = chosen_of(all, part, first);
    if (rows.size(0) == 0) continue;
    writer.append(
        with_axes(rows, axes),
        labels.defined() ? chosen_of(labels.narrow(0, first, count), part, first) : labels);
  }
}

// By index: train, validation, test.
std::vector<Part> parts_in_order(const SplitSizes& sizes, int64_t total) {
  std::vector<Part> parts;
  int64_t first = 0;
  for (const auto& [name, size] :
       {std::pair{"train", sizes.train}, {"validation", sizes.validation}, {"test", sizes.test}}) {
    auto chosen = torch::zeros({total}, torch::kBool);
    chosen.narrow(0, first, size).fill_(true);
    if (size > 0) parts.push_back({name, size, chosen});
    first += size;
  }
  return parts;
}

// Nobody said which: drawn, since arrays are often sorted by class, and the last ones would all
// be of one.
std::vector<Part> parts_by_draw(const SplitSizes& sizes, int64_t total) {
  auto parts = parts_in_order({sizes.train + sizes.validation, 0, sizes.test}, total);
  auto held_out = torch::zeros({total}, torch::kBool);
  const auto order = permutation({0, RandomStream::shuffle, 0}, sizes.train + sizes.validation);
  for (int64_t i = 0; i < sizes.validation; ++i) {
    held_out.data_ptr<bool>()[order[static_cast<size_t>(i)]] = true;
  }
  parts[0].chosen = parts[0].chosen.logical_and(held_out.logical_not());
  parts[0].size = sizes.train;
  if (sizes.validation > 0) {
    parts.insert(parts.begin() + 1, Part{"validation", sizes.validation, held_out});
  }
  return parts;
}

std::string drawn_rule(const SplitSizes& sizes, const std::string& source) {
  const int64_t last = sizes.train + sizes.validation - 1;
  return "validation: " + std::to_string(sizes.validation) + " of samples 0 to " +
         std::to_string(last) + " of " + source + ", drawn with seed 0; train: the others" +
         (sizes.test > 0 ? "; test: samples " + std::to_string(last + 1) + " to " +
                               std::to_string(last + sizes.test)
                         : "");
}

}  // namespace

std::vector<std::string> convert_npy(const std::filesystem::path& images_path,
                                     const std::filesystem::path& labels_path, ChannelAxis channels,
                                     const ConvertOptions& options) {
  Notes notes;
  NpyFile images(images_path);
  const Axes axes = axes_of(images, channels);
  const int64_t total = images.shape()[0];
  const auto labels = read_labels(labels_path, total);
  const auto sizes = split_sizes(
      total, options.validation.value_or(usual_validation(total - options.test)), options.test);
  if (!options.validation) tell_hold_out(notes, sizes.validation, total, "drawn with seed 0");
  const bool drawn = !options.validation && sizes.validation > 0;
  const std::string name = printable(images_path.filename().string());
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "NumPy array " + name);
  writer.set_attribute("split_rule", drawn ? drawn_rule(sizes, name) : split_rule(sizes, name));
  for (const auto& part : drawn ? parts_by_draw(sizes, total) : parts_in_order(sizes, total)) {
    write_part(writer, images, labels, axes, part);
  }
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
