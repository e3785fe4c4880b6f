#include "framework/data/virtual_sources.hpp"

#include <map>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/data/hdf5_links.hpp"

namespace scorenet::data {
namespace {

constexpr int kDeepest = 8;  // a virtual data set of virtual data sets; one of itself has no end
constexpr const char* kMend =
    ". HDF5 would read its fill value there. Put the sources back (HDF5_VDS_PREFIX names another "
    "folder), or make one file of them while they exist: h5repack -l CONTI IN OUT.";

template <typename Get>
std::string text_of(const Get& get) {
  const ssize_t length = get(nullptr, 0);
  if (length <= 0) return "";
  std::string text(static_cast<size_t>(length) + 1, '\0');
  get(text.data(), text.size());
  text.resize(static_cast<size_t>(length));
  return text;
}

struct Mapping {
  std::string file, array;
  Hdf5Handle target, source;  // selections
};

Mapping mapping_at(hid_t properties, size_t i) {
  Mapping m;
  m.file = text_of(
      [&](char* out, size_t size) { return H5Pget_virtual_filename(properties, i, out, size); });
  m.array = text_of(
      [&](char* out, size_t size) { return H5Pget_virtual_dsetname(properties, i, out, size); });
  m.target = own(H5Pget_virtual_vspace(properties, i), H5Sclose);
  m.source = own(H5Pget_virtual_srcspace(properties, i), H5Sclose);
  return m;
}

std::vector<hsize_t> extent_of(hid_t space) {
  std::vector<hsize_t> dims(static_cast<size_t>(std::max(0, H5Sget_simple_extent_ndims(space))));
  if (!dims.empty()) H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  return dims;
}

struct Slab {
  std::vector<hsize_t> start, stride, count, block;
  bool regular = false;
};

Slab slab_of(hid_t space) {
  const size_t rank = extent_of(space).size();
  Slab s{std::vector<hsize_t>(rank), std::vector<hsize_t>(rank), std::vector<hsize_t>(rank),
         std::vector<hsize_t>(rank)};
  s.regular = H5Sget_select_type(space) == H5S_SEL_HYPERSLABS &&
              H5Sis_regular_hyperslab(space) > 0 &&
              H5Sget_regular_hyperslab(space, s.start.data(), s.stride.data(), s.count.data(),
                                       s.block.data()) >= 0;
  return s;
}

// One past the last index along each axis that the mapping takes from its source; 0 along an
// axis without end.
std::vector<hsize_t> needed_extent(hid_t source) {
  std::vector<hsize_t> first(extent_of(source).size(), 0), last(first);
  if (H5Sget_select_bounds(source, first.data(), last.data()) >= 0) {
    for (hsize_t& end : last) ++end;
    return last;
  }
  const Slab s = slab_of(source);
  for (size_t axis = 0; s.regular && axis < last.size(); ++axis) {
    const bool endless = s.count[axis] == H5S_UNLIMITED || s.block[axis] == H5S_UNLIMITED;
    last[axis] = endless ? 0 : s.start[axis] + (s.count[axis] - 1) * s.stride[axis] + s.block[axis];
  }
  return last;
}

// A mapping of a whole source does not say its shape: there must be as many values as it covers.
void check_whole_source(const Mapping& m, const Hdf5Array& source, const std::string& where) {
  const auto values = c10::multiply_integers(source.info().shape);
  const hssize_t covered = H5Sget_select_npoints(m.target.id());
  if (covered < 0 || covered == values) return;
  throw DataError(where + ": its source " + source.where() + " has shape " +
                  shape_string(source.info().shape) + ", expected " + std::to_string(covered) +
                  " values" + kMend);
}

void check_long_enough(const Mapping& m, const Hdf5Array& source, const std::string& where) {
  if (H5Sget_select_type(m.source.id()) == H5S_SEL_ALL) return check_whole_source(m, source, where);
  const hssize_t taken = H5Sget_select_npoints(m.source.id());
  const hssize_t covered = H5Sget_select_npoints(m.target.id());
  if (taken >= 0 && covered >= 0 && taken != covered) {
    throw DataError(where + ": takes " + std::to_string(taken) + " values from " + source.where() +
                    " for " + std::to_string(covered) + " places. " + kDamaged);
  }
  const std::vector<hsize_t> needed = needed_extent(m.source.id());
  const std::vector<int64_t>& shape = source.info().shape;
  bool fits = needed.size() == shape.size();
  for (size_t axis = 0; fits && axis < shape.size(); ++axis)
    fits = needed[axis] <= static_cast<hsize_t>(shape[axis]);
  if (fits) return;
  throw DataError(where + ": its source " + source.where() + " has shape " + shape_string(shape) +
                  ", expected at least " +
                  shape_string(std::vector<int64_t>(needed.begin(), needed.end())) + kMend);
}

// A mapping without end, cut at the end of the array.
Hdf5Handle finite_target(const Mapping& m, const std::vector<hsize_t>& dims) {
  auto target =
      own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  Slab s = slab_of(m.target.id());
  if (!s.regular || s.start.size() != dims.size()) return target;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    const hsize_t left = dims[axis] - std::min(dims[axis], s.start[axis]);
    if (s.block[axis] == H5S_UNLIMITED) s.block[axis] = left;
    if (s.count[axis] == H5S_UNLIMITED)
      s.count[axis] = left < s.block[axis] ? 0 : (left - s.block[axis]) / s.stride[axis] + 1;
    if (s.count[axis] == 0 || s.block[axis] == 0) H5Sselect_none(target.id());
  }
  if (H5Sget_select_type(target.id()) != H5S_SEL_NONE)
    H5Sselect_hyperslab(target.id(), H5S_SELECT_SET, s.start.data(), s.stride.data(),
                        s.count.data(), s.block.data());
  return target;
}

bool is_endless(hid_t space) { return H5Sget_select_npoints(space) < 0; }

// The values that no mapping covers yet.
class Uncovered {
 public:
  explicit Uncovered(const Hdf5ArrayInfo& info) : dims_(info.shape.begin(), info.shape.end()) {
    left_ = own(H5Screate_simple(static_cast<int>(dims_.size()), dims_.data(), nullptr), H5Sclose);
    const std::vector<hsize_t> start(dims_.size(), 0);
    H5Sselect_hyperslab(left_.id(), H5S_SELECT_SET, start.data(), nullptr, dims_.data(), nullptr);
  }

  void remove(const Mapping& m) {
    if (H5Sget_select_type(m.target.id()) == H5S_SEL_ALL) H5Sselect_none(left_.id());
    if (H5Sget_select_npoints(left_.id()) == 0) return;
    const auto cut = is_endless(m.target.id()) ? finite_target(m, dims_) : Hdf5Handle();
    subtract(cut.valid() ? cut.id() : m.target.id());
  }

  /// The first row with a value that is not covered; -1 if all are.
  int64_t first_row() const {
    if (H5Sget_select_npoints(left_.id()) <= 0) return -1;
    std::vector<hsize_t> first(dims_.size()), last(dims_.size());
    H5Sget_select_bounds(left_.id(), first.data(), last.data());
    return static_cast<int64_t>(first[0]);
  }

 private:
  void subtract(hid_t covered) {
    if (H5Sget_select_npoints(covered) == 0) return;
    H5Smodify_select(left_.id(), H5S_SELECT_NOTB, covered);
  }

  std::vector<hsize_t> dims_;
  Hdf5Handle left_;
};

// Sources that are opened once, however many mappings name them.
class Sources {
 public:
  Sources(const Hdf5ArrayInfo& info, const std::string& where, int nesting)
      : own_file_(info.file), where_(where), nesting_(nesting) {}

  const Hdf5Array& find(const Mapping& m) {
    const auto key = std::make_pair(m.file, m.array);
    const auto known = arrays_.find(key);
    return known != arrays_.end() ? known->second : arrays_.emplace(key, open(m)).first->second;
  }

  std::vector<StoredFile> files() const {
    std::vector<StoredFile> all;
    for (const auto& [key, array] : arrays_)
      all.insert(all.end(), array.files().begin(), array.files().end());
    return all;
  }

 private:
  Hdf5Array open(const Mapping& m) const {
    const LinkedFile file = m.file == "." ? LinkedFile{own_file_, ""}
                                          : find_linked_file(m.file, own_file_, "HDF5_VDS_PREFIX");
    const std::string source =
        where_ + ": its source " + file.path + ", dataset \"" + m.array + "\"";
    if (!file.trouble.empty()) throw DataError(source + ": " + file.trouble + kMend);
    const Hdf5File opened = Hdf5File::open(file.path);
    if (!opened.has(m.array)) throw DataError(source + ": no such dataset" + kMend);
    return opened.array(m.array, nesting_ + 1);
  }

  std::string own_file_, where_;
  int nesting_;
  std::map<std::pair<std::string, std::string>, Hdf5Array> arrays_;
};

}  // namespace

std::vector<StoredFile> check_sources(hid_t properties, const Hdf5ArrayInfo& info,
                                      const std::string& where, int nesting) {
  if (nesting >= kDeepest) {
    throw DataError(where +
                    ": a virtual dataset with sources that are virtual in turn, more than " +
                    std::to_string(kDeepest) +
                    " levels deep. Make one file of them: h5repack -l CONTI IN OUT.");
  }
  Uncovered uncovered(info);
  Sources sources(info, where, nesting);
  size_t count = 0;
  H5Pget_virtual_count(properties, &count);
  for (size_t i = 0; i < count; ++i) {
    const Mapping m = mapping_at(properties, i);
    if (is_endless(m.target.id()) && (m.file + m.array).find('%') != std::string::npos) {
      throw DataError(
          where + ": names its sources by a pattern, " + m.file + " \"" + m.array +
          "\", so a missing source would not be noticed. Make one file of them: h5repack -l CONTI "
          "IN OUT.");
    }
    check_long_enough(m, sources.find(m), where);
    uncovered.remove(m);
  }
  if (const int64_t row = uncovered.first_row(); row >= 0)
    throw DataError(where + ": sample " + std::to_string(row) + " is in none of its sources" +
                    kMend);
  return sources.files();
}

}  // namespace scorenet::data
