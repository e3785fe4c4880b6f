#include "framework/data/array_view.hpp"

#include <torch/utils.h>

#include <algorithm>

#include "framework/core/check.hpp"

namespace scorenet::data {
namespace {

// Each takes a file descriptor, or a piece of the address space.
constexpr size_t kMostOpen = 32;

std::string dataset_text(const std::string& path, const std::string& array) {
  return is_npy(path) ? "" : ", dataset \"" + array + "\"";
}

}  // namespace

std::string and_more_files(size_t count) {
  return " and " + std::to_string(count) + " more file" + (count > 1 ? "s" : "");
}

ArrayView::ArrayView(const SplitSource& source, const std::string& array, const AxisRoles& roles,
                     int64_t blocks)
    : split_(source.split),
      array_(with_split(array, source.split)),
      roles_(roles),
      files_(source.files),
      cache_(blocks),
      threads_(torch::get_num_threads()) {
  if (is_npy(array_)) files_ = {array_};
  if (!array_.starts_with('/')) array_ = "/" + array_;
  look_at_files();
  take_ranges(source.ranges);
  if (source.history > 0) leave_out_without(source.history);
}

std::string ArrayView::where() const {
  const size_t more = files_.size() - 1;
  return files_[0] + (more > 0 ? and_more_files(more) : "") + dataset_text(files_[0], array_);
}

void ArrayView::look_at_files() {
  begins_ = {0};
  for (size_t file = 0; file < files_.size(); ++file) {
    const SampleReader& reader = opened(file);
    seen_.push_back(reader.files().front());
    if (file == 0) {
      sample_shape_ = reader.layout().sample_shape();
      dtype_ = reader.dtype();
      storage_ = reader.storage();
      block_rows_ = reader.block_rows();
    }
    check_like_first(reader, files_[file]);
    begins_.push_back(begins_.back() + reader.layout().samples());
    const SampleLayout& layout = reader.layout();
    trajectories_.push_back(layout.window()[layout.sample_axes().back()].count);
  }
}

void ArrayView::check_like_first(const SampleReader& reader, const std::string& path) const {
  const auto& shape = reader.layout().sample_shape();
  const std::string what = path + dataset_text(path, array_) + ": ";
  if (shape != sample_shape_) {
    throw DataError(what + "samples of shape " + shape_string(shape) + ", but those of " +
                    files_[0] + " have " + shape_string(sample_shape_) +
                    ". Files of one data set hold samples of one shape.");
  }
  if (reader.dtype() == dtype_) return;
  throw DataError(what + "type " + reader.storage().type_name + ", but " + files_[0] + " has " +
                  storage_.type_name + ". Files of one data set hold one type.");
}

void ArrayView::take_ranges(const std::vector<std::string>& ranges) {
  const int64_t all = begins_.back();
  if (ranges.empty()) add_places({0, all, 1});
  for (const std::string& text : ranges) {
    const auto range = parse_range(text);
    const auto places = range ? places_on(*range, all) : std::nullopt;
    if (!places) {
      throw DataError(where() + ": " + std::to_string(all) + " samples, but data.splits gives " +
                      split_ + " the range \"" + text +
                      "\", expected one that lies in 0:" + std::to_string(all) +
                      ". Correct it, or take the split \"" + kAllSamples + "\".");
    }
    add_places(*places);
  }
}

void ArrayView::add_places(const Places& places) {
  ranges_.push_back({size_, places});
  size_ += places.count;
}

// Each range is cut at the beginnings of trajectories.
void ArrayView::leave_out_without(int64_t history) {
  const std::vector<Range> ranges = std::move(ranges_);
  ranges_.clear();
  size_ = 0;
  for (const auto& [begin, places] : ranges) {
    for (int64_t i = 0; i < places.count;) {
      const int64_t place = places.at(i);
      const auto next = std::upper_bound(begins_.begin(), begins_.end(), place);
      const auto file = static_cast<size_t>(next - begins_.begin()) - 1;
      const int64_t length = trajectories_[file], offset = (place - begins_[file]) % length;
      // The first of the range at or behind `target`.
      const auto reach = [&](int64_t target) {
        return i + (target - place + places.step - 1) / places.step;
      };
      const int64_t end = std::min(places.count, reach(place - offset + length));
      const int64_t first = offset < history ? reach(place - offset + history) : i;
      if (first < end) add_places({places.at(first), end - first, places.step});
      i = end;
    }
  }
  if (size_ > 0) return;
  throw DataError(where() + ": no sample has " + std::to_string(history) +
                  " samples before it in its trajectory of " + std::to_string(trajectories_[0]) +
                  ", which the steps of a [condition.NAME] ask for. Ask for fewer.");
}

int64_t ArrayView::place_of(int64_t index) const {
  const auto next =
      std::upper_bound(ranges_.begin(), ranges_.end(), index,
                       [](int64_t wanted, const Range& range) { return wanted < range.begin; });
  const Range& range = *std::prev(next);
  return range.places.at(index - range.begin);
}

size_t ArrayView::file_of(int64_t index) const {
  const auto next = std::upper_bound(begins_.begin(), begins_.end(), place_of(index));
  return static_cast<size_t>(next - begins_.begin()) - 1;
}

SampleReader& ArrayView::opened(size_t file) {
  const auto found = std::find_if(open_.begin(), open_.end(),
                                  [file](const Opened& one) { return one.file == file; });
  if (found != open_.end()) {
    open_.splice(open_.begin(), open_, found);
    return *open_.front().reader;
  }
  if (file < seen_.size()) check_same_file(seen_[file]);
  open_.push_front({file, open_samples(files_[file], array_, roles_, {cache_, threads_},
                                       static_cast<int64_t>(file))});
  if (open_.size() > kMostOpen) open_.pop_back();
  return *open_.front().reader;
}

torch::Tensor ArrayView::read(const std::vector<int64_t>& indices, int64_t shift) {
  std::vector<int64_t> shape{static_cast<int64_t>(indices.size())};
  shape.insert(shape.end(), sample_shape_.begin(), sample_shape_.end());
  torch::Tensor batch = torch::empty(shape, dtype_);
  std::vector<std::vector<SampleReader::Wanted>> wanted(files_.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    const size_t file = file_of(indices[i]);
    wanted[file].push_back({place_of(indices[i]) + shift - begins_[file], static_cast<int64_t>(i)});
  }
  for (size_t file = 0; file < files_.size(); ++file)
    if (!wanted[file].empty()) opened(file).read(wanted[file], batch);
  return batch;
}

}  // namespace scorenet::data
