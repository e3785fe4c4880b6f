#include "framework/data/condition_reader.hpp"

#include <algorithm>

#include "framework/core/check.hpp"
#include "framework/data/npy.hpp"
#include "framework/data/sample_arrays.hpp"

namespace scorenet::data {
namespace {

using Shape = std::vector<int64_t>;

int64_t product(const Shape& shape) { return static_cast<int64_t>(c10::multiply_integers(shape)); }

std::string array_name(const ConditionMap& condition, const SplitSource& source) {
  const std::string name = with_split(condition.array, source.split);
  return is_npy(name) || name.starts_with('/') ? name : "/" + name;
}

// As it is stored, in the first file.
Shape stored_shape(const SplitSource& source, const std::string& array) {
  if (is_npy(array)) return NpyFile(array, /*every_type=*/true).shape();
  return Hdf5File::open(source.files[0]).array(array).info().shape;
}

torch::Tensor all_values(const SplitSource& source, const std::string& array) {
  if (!is_npy(array)) return Hdf5File::open(source.files[0]).array(array).read_all(torch::kFloat64);
  NpyFile file(array, /*every_type=*/true);
  return file.next_rows(file.shape()[0]).to(torch::kFloat64);
}

// Stored axes of a sample of the map's arrays, without those that number the samples.
int64_t own_axes(const DataMap& map, const Shape& example_shape, const SampleArrays& samples) {
  const auto numbering = static_cast<int64_t>(map.sample_axes.size());
  if (!samples.empty()) return static_cast<int64_t>(samples[0]->storage().shape.size()) - numbering;
  return static_cast<int64_t>(example_shape.size()) - (map.channel_axis ? 0 : 1);
}

// The roles in an array without the axes that number the samples, behind one axis of length 1 in
// their place.
AxisRoles roles_of_constant(const DataMap& map, int64_t own, int64_t axes) {
  const auto numbering = static_cast<int64_t>(map.sample_axes.size());
  AxisRoles roles = roles_of_arrays(map, {own + numbering, axes + numbering}).back();
  const auto is_numbering = [&map](int64_t axis) {
    return std::count(map.sample_axes.begin(), map.sample_axes.end(), axis) > 0;
  };
  AxisRoles constant;
  constant.channel_axis.reset();
  constant.window = {":"};
  for (int64_t axis = 0; axis < axes + numbering; ++axis) {
    if (is_numbering(axis)) continue;
    const auto place = static_cast<int64_t>(constant.window.size());
    const auto at = static_cast<size_t>(axis);
    constant.window.push_back(at < roles.window.size() ? roles.window[at] : ":");
    const int64_t channel = roles.channel_axis.value_or(-1000);
    if (axis == (channel >= 0 ? channel : channel + axes + numbering))
      constant.channel_axis = place;
  }
  return constant;
}

// (F, ...): windows taken, the channel first.
torch::Tensor constant_field(const torch::Tensor& stored, const AxisRoles& roles,
                             const std::string& where) {
  torch::Tensor values = stored.unsqueeze(0);
  const SampleLayout layout(values.sizes().vec(), roles, where);
  for (size_t axis = 0; axis < layout.window().size(); ++axis) {
    const Places& places = layout.window()[axis];
    values = values.slice(static_cast<int64_t>(axis), places.first, places.at(places.count - 1) + 1,
                          places.step);
  }
  Shape order{0};
  for (const size_t axis : layout.own_axes()) order.push_back(static_cast<int64_t>(axis));
  return values.permute(order).reshape(layout.sample_shape()).contiguous();
}

// A field lies on the samples' grid where each of its places is a whole number of theirs.
void check_on_grid(const Shape& shape, const Shape& example_shape, const std::string& where) {
  bool fits = shape.size() == example_shape.size() && shape.size() > 1;
  for (size_t i = 1; fits && i < shape.size(); ++i)
    fits = shape[i] > 0 && example_shape[i] % shape[i] == 0;
  if (fits) return;
  throw DataError(
      where + ": a field of shape " + shape_string(shape) + " does not fit samples of shape " +
      shape_string(example_shape) +
      "; expected the same sizes after the channel axis, or sizes that divide them. Set kind = "
      "vector, or change data.window.");
}

using Indices = std::vector<int64_t>;

Indices steps_of(const ConditionMap& condition) {
  return condition.steps.empty() ? Indices{0} : condition.steps;
}

// Channels of one step behind the other.
Shape of_all_steps(Shape shape, const ConditionMap& condition) {
  shape[0] *= static_cast<int64_t>(steps_of(condition).size());
  return shape;
}

template <typename ReadStep>
std::function<torch::Tensor(const Indices&)> read_steps(const ConditionMap& condition,
                                                        ReadStep read_step) {
  return [steps = steps_of(condition), read_step](const Indices& indices) {
    std::vector<torch::Tensor> parts;
    for (const int64_t step : steps) parts.push_back(read_step(indices, step));
    return parts.size() == 1 ? parts[0] : torch::cat(parts, 1);
  };
}

}  // namespace

struct ConditionReaders::Opening {
  const DataMap& map;
  const SplitSource& source;
  const Shape& example_shape;
  const SampleArrays& samples;
  int64_t blocks;
  const ConditionListing& found;

  std::shared_ptr<ArrayView> view(const std::string& array, const AxisRoles& roles) const {
    return std::make_shared<ArrayView>(source, array, roles, blocks);
  }
  std::string where(const std::string& array) const {
    return source.files[0] + ", dataset \"" + array + "\"";
  }
  SampleArrays own_arrays() const {
    return samples.empty() ? open_sample_arrays(map, source, blocks) : samples;
  }
  // Whether an array of this shape has no axis that numbers samples.
  bool is_constant(const Shape& stored, const ConditionMap& condition, int64_t own) const {
    const auto axes = static_cast<int64_t>(stored.size());
    const auto numbering = static_cast<int64_t>(map.sample_axes.size());
    if (axes > own || axes < own - 1) return false;
    if (axes + 1 < own + numbering) return true;
    // (N, H, W) or (C, H, W): told apart by the number of samples, or of values.
    if (samples.empty()) return product(stored) == product(condition.shape);
    const auto& of_samples = samples[0]->storage().shape;
    const auto axis = static_cast<size_t>(map.sample_axes[0]);
    return stored[axis] != of_samples[axis];
  }
};

ConditionReaders::ConditionReaders(const std::vector<ConditionMap>& conditions, const DataMap& map,
                                   const SplitSource& source, const Shape& example_shape,
                                   SampleArrays samples, int64_t blocks,
                                   const ConditionListing& found) {
  if (!samples.empty()) {
    size_ = samples[0]->size();
    sized_by_ = samples[0]->where();
  }
  const Opening opening{map, source, example_shape, samples, blocks, found};
  for (const ConditionMap& condition : conditions)
    readers_[condition.name] = open(condition, opening);
}

void ConditionReaders::take_size(const ArrayView& view) {
  if (size_ < 0) sized_by_ = view.where();
  if (size_ < 0) size_ = view.size();
  if (view.size() == size_) return;
  throw DataError(view.where() + ": " + std::to_string(view.size()) + " samples, but " + sized_by_ +
                  " has " + std::to_string(size_) +
                  ". A condition has one row for each sample of the data.");
}

ConditionReaders::Reader ConditionReaders::open(const ConditionMap& condition,
                                                const Opening& opening) {
  if (condition.of_samples()) return open_samples(condition, opening);
  return condition.is_field() ? open_field(condition, opening) : open_vector(condition, opening);
}

ConditionReaders::Reader ConditionReaders::open_samples(const ConditionMap& condition,
                                                        const Opening& opening) {
  const SampleArrays arrays = opening.own_arrays();
  const Shape shape = opening.example_shape;
  take_size(*arrays[0]);
  check_on_grid(shape, shape, arrays[0]->where());  // points lie on none
  return {arrays[0]->where(), of_all_steps(shape, condition),
          read_steps(condition, [arrays, shape](const Indices& indices, int64_t step) {
            return read_stacked(arrays, indices, step, shape);
          })};
}

ConditionReaders::Reader ConditionReaders::open_vector(const ConditionMap& condition,
                                                       const Opening& opening) {
  const auto view = view_of(condition, roles_beside_samples(opening.map), opening);
  take_size(*view);
  return {view->where(), {product(view->sample_shape())}, [view](const Indices& indices) {
            const torch::Tensor values = view->read(indices);
            return values.reshape({values.size(0), -1});
          }};
}

ConditionReaders::Reader ConditionReaders::open_field(const ConditionMap& condition,
                                                      const Opening& opening) {
  const auto constant = opening.found.constants.find(condition.name);
  if (constant != opening.found.constants.end())
    return open_constant(condition, constant->second, opening);
  const std::string array = array_name(condition, opening.source);
  const auto known = opening.found.arrays.find(condition.name);
  const bool is_known = known != opening.found.arrays.end();
  const Shape stored =
      is_known ? known->second.files.front().storage.shape : stored_shape(opening.source, array);
  const auto axes = static_cast<int64_t>(stored.size());
  const int64_t own = own_axes(opening.map, opening.example_shape, opening.samples);
  if (!is_known && opening.is_constant(stored, condition, own)) {
    return open_constant(
        condition,
        constant_field(all_values(opening.source, array), roles_of_constant(opening.map, own, axes),
                       opening.where(array)),
        opening);
  }
  const auto numbering = static_cast<int64_t>(opening.map.sample_axes.size());
  const auto view =
      view_of(condition, roles_of_arrays(opening.map, {own + numbering, axes}).back(), opening);
  take_size(*view);
  check_on_grid(view->sample_shape(), opening.example_shape, view->where());
  return {view->where(), of_all_steps(view->sample_shape(), condition),
          read_steps(condition, [view](const Indices& indices, int64_t step) {
            return view->read(indices, step);
          })};
}

ConditionReaders::Reader ConditionReaders::open_constant(const ConditionMap& condition,
                                                         const torch::Tensor& field,
                                                         const Opening& opening) {
  const std::string where = opening.where(array_name(condition, opening.source));
  const Shape shape = field.sizes().vec();
  check_on_grid(shape, opening.example_shape, where);
  listing_.constants[condition.name] = field;
  return {where, shape, [field](const Indices& indices) {
            Shape full = field.sizes().vec();
            full.insert(full.begin(), static_cast<int64_t>(indices.size()));
            return field.unsqueeze(0).expand(full).contiguous();
          }};
}

std::shared_ptr<ArrayView> ConditionReaders::view_of(const ConditionMap& condition,
                                                     const AxisRoles& roles,
                                                     const Opening& opening) {
  const std::string array = array_name(condition, opening.source);
  const auto known = opening.found.arrays.find(condition.name);
  auto view = known == opening.found.arrays.end()
                  ? opening.view(array, roles)
                  : std::make_shared<ArrayView>(opening.source, array, roles, opening.blocks,
                                                known->second);
  listing_.arrays[condition.name] = view->listing();
  return view;
}

const Shape& ConditionReaders::shape(const std::string& name) const {
  return readers_.at(name).shape;
}

const std::string& ConditionReaders::where(const std::string& name) const {
  return readers_.at(name).where;
}

ConditionValues ConditionReaders::read(const std::vector<int64_t>& indices) {
  ConditionValues values;
  for (const auto& [name, reader] : readers_) values[name] = reader.read(indices);
  return values;
}

}  // namespace scorenet::data
