// ImageDataset::summary: one pass over a split's values before a run.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "framework/core/check.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/random.hpp"
#include "framework/data/array_view.hpp"
#include "framework/data/bytes.hpp"
#include "framework/data/image_dataset.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kReadBytes = int64_t{256} << 20;  // larger splits are looked at in places
constexpr int64_t kPieceBytes = int64_t{1} << 18;
constexpr int64_t kFewestPieces = 64;

// Samples of the split that lie in one file, one after the other.
struct Run {
  size_t file;
  int64_t first, size;
};

// Consecutive rows that are read together; the first and the last of a run are always among those
// looked at.
struct Pieces {
  int64_t rows;   // of one piece
  int64_t all;    // pieces of the run
  int64_t taken;  // of them, evenly spread

  // runs: of the whole data set, which share what is read.
  Pieces(int64_t size, int64_t row_bytes, int64_t block_rows, int64_t runs)
      : rows(std::max(block_rows, kPieceBytes / row_bytes + 1)), all((size - 1) / rows + 1) {
    const int64_t fewest = std::max<int64_t>(2, kFewestPieces / runs);
    taken = std::min(all, std::max(fewest, kReadBytes / runs / (rows * row_bytes)));
  }
  int64_t first_row(int64_t i) const {
    // all - 1 = q (taken - 1) + r: no product leaves 64 bits.
    if (taken == 1) return 0;
    const int64_t q = (all - 1) / (taken - 1), r = (all - 1) % (taken - 1);
    return (i * q + i * r / (taken - 1)) * rows;
  }
};

std::vector<Run> runs_of(const ArrayView& samples) {
  if (samples.files().size() == 1) return {{0, 0, samples.size()}};
  std::vector<Run> runs;
  for (int64_t i = 0; i < samples.size(); ++i) {
    const size_t file = samples.file_of(i);
    if (runs.empty() || runs.back().file != file) runs.push_back({file, i, 0});
    ++runs.back().size;
  }
  return runs;
}

// Mean and deviation of values that come in parts (Chan, Golub and LeVeque 1983, eq. 2.1).
class Moments {
 public:
  void add(const torch::Tensor& values) {
    const auto [variance, mean] = torch::var_mean(
        values.is_floating_point() ? values : values.to(torch::kFloat64), /*unbiased=*/false);
    const auto more = static_cast<double>(values.numel());
    const double shift = mean.item<double>() - mean_;
    squares_ += variance.item<double>() * more + shift * shift * count_ * more / (count_ + more);
    count_ += more;
    mean_ += shift * more / count_;
  }
  double mean() const { return mean_; }
  double count() const { return count_; }
  double deviation() const { return std::sqrt(squares_ / count_); }

 private:
  double count_ = 0, mean_ = 0, squares_ = 0;
};

}  // namespace

std::string DatasetSummary::to_bytes() const {
  ByteWriter out;
  out.text(fingerprint);
  out.number(static_cast<int64_t>(kind));
  out.number(range.has_value());
  out.real(range ? range->least : 0);
  out.real(range ? range->greatest : 0);
  out.text(description);
  out.number(levels);
  out.real(mean);
  out.real(deviation);
  out.real(missing);
  out.number(static_cast<int64_t>(files.size()));
  for (const File& file : files) {
    out.text(file.name);
    out.text(file.fingerprint);
  }
  return out.bytes();
}

DatasetSummary DatasetSummary::from_bytes(const std::string& bytes) {
  ByteReader in(bytes);
  DatasetSummary summary;
  summary.fingerprint = in.text();
  summary.kind = static_cast<DataKind>(in.number());
  const bool has_range = in.number() != 0;
  const double least = in.real(), greatest = in.real();
  if (has_range) summary.range = {least, greatest};
  summary.description = in.text();
  summary.levels = in.number();
  summary.mean = in.real();
  summary.deviation = in.real();
  summary.missing = in.real();
  summary.files.resize(in.count());
  for (File& file : summary.files) file = {in.text(), in.text()};
  return summary;
}

DatasetSummary ImageDataset::summary() {
  if (!on_one_rank_) return look_through();
  return DatasetSummary::from_bytes(on_one_rank_([this] { return look_through().to_bytes(); }));
}

DatasetSummary ImageDataset::look_through() {
  DatasetSummary summary{"",
                         kind(),
                         {},
                         std::to_string(size()) + " examples of shape " +
                             shape_string(example_shape_) + ", " + storage().type_name +
                             (has_labels() ? ", labels" : ""),
                         levels()};
  const std::string head = summary.description + ", blocks of " + std::to_string(block_rows());
  Digest digest;
  digest.add(head.data(), head.size());
  const auto row_bytes = dims() * static_cast<int64_t>(c10::elementSize(dtype()));
  ValueRange range{INFINITY, -INFINITY};
  Moments moments;
  double looked_at = 0;
  const std::vector<Run> runs = runs_of(*arrays_[0]);
  std::vector<Digest> of_files(files().size());
  for (const Run& run : runs) {
    const Pieces pieces(run.size, row_bytes, block_rows(), static_cast<int64_t>(runs.size()));
    for (int64_t i = 0; i < pieces.taken; ++i) {
      const int64_t first = pieces.first_row(i);
      const Batch batch =
          read(slot_range(run.first + first, std::min(pieces.rows, run.size - first)));
      digest.add(batch.examples.data_ptr(), batch.examples.nbytes());
      for (const auto& [name, values] : batch.conditions)
        digest.add(values.data_ptr(), values.nbytes());
      if (runs.size() > 1)
        of_files[run.file].add(batch.examples.data_ptr(), batch.examples.nbytes());
      if (kind() == DataKind::discrete) continue;
      looked_at += static_cast<double>(batch.examples.numel());
      const torch::Tensor values = present(batch.examples);
      if (values.numel() == 0) continue;
      const auto [least, greatest] = torch::aminmax(values);
      range = {std::min(range.least, least.item<double>()),
               std::max(range.greatest, greatest.item<double>())};
      moments.add(values);
    }
  }
  if (looked_at > 0) summary.missing = 1 - moments.count() / looked_at;
  if (kind() == DataKind::continuous && range.least <= range.greatest) {
    summary.range = range;
    summary.mean = moments.mean();
    summary.deviation = moments.deviation();
  }
  if (has_labels()) digest.add(labels_.data_ptr(), labels_.nbytes());
  summary.fingerprint = digest.hex();
  for (size_t file = 0; runs.size() > 1 && file < files().size(); ++file) {
    const std::string name = std::filesystem::path(files()[file]).filename().string();
    summary.files.push_back({name, of_files[file].hex()});
  }
  return summary;
}

std::string ImageDataset::fingerprint() { return summary().fingerprint; }

std::string ImageDataset::glance() {
  Digest digest;
  for (const int64_t index : {int64_t{0}, size() - 1}) {
    const torch::Tensor examples = read_values({index});
    digest.add(examples.const_data_ptr(), examples.nbytes());
  }
  return digest.hex();
}

}  // namespace scorenet::data
