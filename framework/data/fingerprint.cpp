// ImageDataset::summary: one pass over a split's values before a run.
#include <algorithm>
#include <cmath>

#include "framework/core/check.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/random.hpp"
#include "framework/data/image_dataset.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kReadBytes = int64_t{256} << 20;  // larger splits are looked at in places
constexpr int64_t kPieceBytes = int64_t{1} << 18;
constexpr int64_t kFewestPieces = 64;

// Consecutive rows that are read together; the first and the last are always among those looked at.
struct Pieces {
  int64_t rows;   // of one piece
  int64_t all;    // pieces of the split
  int64_t taken;  // of them, evenly spread

  Pieces(int64_t size, int64_t row_bytes, int64_t block_rows)
      : rows(std::max(block_rows, kPieceBytes / row_bytes + 1)), all((size - 1) / rows + 1) {
    taken = std::min(all, std::max(kFewestPieces, kReadBytes / (rows * row_bytes)));
  }
  int64_t first_row(int64_t i) const {
    // all - 1 = q (taken - 1) + r: no product leaves 64 bits.
    if (taken == 1) return 0;
    const int64_t q = (all - 1) / (taken - 1), r = (all - 1) % (taken - 1);
    return (i * q + i * r / (taken - 1)) * rows;
  }
};

}  // namespace

DatasetSummary ImageDataset::summary() {
  DatasetSummary summary{"",
                         kind(),
                         {},
                         std::to_string(size()) + " examples of shape " +
                             shape_string(example_shape_) + ", " + info_.type_name +
                             (has_labels() ? ", labels" : ""),
                         levels()};
  const std::string head = summary.description + ", blocks of " + std::to_string(block_rows());
  Digest digest;
  digest.add(head.data(), head.size());
  const auto row_bytes = dims() * static_cast<int64_t>(c10::elementSize(dtype()));
  const Pieces pieces(size(), row_bytes, block_rows());
  ValueRange range{INFINITY, -INFINITY};
  for (int64_t i = 0; i < pieces.taken; ++i) {
    const int64_t first = pieces.first_row(i);
    const Batch batch = read(slot_range(first, std::min(pieces.rows, size() - first)));
    digest.add(batch.examples.data_ptr(), batch.examples.nbytes());
    if (kind() == DataKind::discrete) continue;
    const torch::Tensor values = present(batch.examples);
    if (values.numel() == 0) continue;
    const auto [least, greatest] = torch::aminmax(values);
    range = {std::min(range.least, least.item<double>()),
             std::max(range.greatest, greatest.item<double>())};
  }
  if (kind() == DataKind::continuous && range.least <= range.greatest) summary.range = range;
  if (has_labels()) digest.add(labels_.data_ptr(), labels_.nbytes());
  summary.fingerprint = digest.hex();
  return summary;
}

std::string ImageDataset::fingerprint() { return summary().fingerprint; }

}  // namespace scorenet::data
