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
    : split_(source.split), roles_(roles), cache_(blocks), threads_(torch::get_num_threads()) {
  name_files(source, array);
  look_at_files();
  count_samples();
  take_ranges(source.ranges);
  if (source.history > 0) leave_out_without(source.history);
}

ArrayView::ArrayView(const SplitSource& source, const std::string& array, const AxisRoles& roles,
                     int64_t blocks, ArrayListing listing)
    : split_(source.split),
      roles_(roles),
      listing_(std::move(listing)),
      cache_(blocks),
      threads_(torch::get_num_threads()) {
  name_files(source, array);
  count_samples();
  take_ranges(source.ranges);
  if (source.history > 0) leave_out_without(source.history);
}

void ArrayView::name_files(const SplitSource& source, const std::string& array) {
  array_ = with_split(array, source.split);
  files_ = is_npy(array_) ? std::vector<std::string>{array_} : source.files;
  if (!array_.starts_with('/')) array_ = "/" + array_;
}

std::string ArrayView::where() const {
  const size_t more = files_.size() - 1;
  return files_[0] + (more > 0 ? and_more_files(more) : "") + dataset_text(files_[0], array_);
}

std::string ArrayView::file_where(size_t file) const {
  return is_npy(files_[file]) ? files_[file]
                              : array_text(files_[file], array_, listing_.files[file].storage);
}

void ArrayView::look_at_files() {
  for (size_t file = 0; file < files_.size(); ++file) {
    const SampleReader& reader = opened(file);
    listing_.files.push_back({reader.files(), reader.storage()});
    if (file == 0) listing_.block_rows = reader.block_rows();
  }
}

void ArrayView::count_samples() {
  begins_ = {0};
  for (size_t file = 0; file < files_.size(); ++file) {
    const SampleLayout layout =
        sample_layout(listing_.files[file].storage, roles_, file_where(file));
    if (file == 0) {
      sample_shape_ = layout.sample_shape();
      dtype_ = *delivered_type(storage().type_name);
    }
    check_like_first(layout.sample_shape(), file);
    begins_.push_back(begins_.back() + layout.samples());
    trajectories_.push_back(layout.window()[layout.sample_axes().back()].count);
  }
}

void ArrayView::check_like_first(const std::vector<int64_t>& sample_shape, size_t file) const {
  const std::string what = files_[file] + dataset_text(files_[file], array_) + ": ";
  if (sample_shape != sample_shape_) {
    throw DataError(what + "samples of shape " + shape_string(sample_shape) + ", but those of " +
                    files_[0] + " have " + shape_string(sample_shape_) +
                    ". Files of one data set hold samples of one shape.");
  }
  const std::string& type = listing_.files[file].storage.type_name;
  if (delivered_type(type) == dtype_) return;
  throw DataError(what + "type " + type + ", but " + files_[0] + " has " + storage().type_name +
                  ". Files of one data set hold one type.");
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
  for (const Range& range : ranges) {
    const auto& places = range.places;
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
                  ", but the steps of a [condition.NAME] need them. Use fewer steps.");
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
  FileListing* const known = file < listing_.files.size() ? &listing_.files[file] : nullptr;
  if (known)
    for (StoredFile& one : known->files) one = check_same_file(one);
  open_.push_front({file, open_samples(files_[file], array_, roles_, {cache_, threads_},
                                       static_cast<int64_t>(file), known)});
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
