#include "framework/comm/control_vector.hpp"

#include <algorithm>
#include <cmath>

#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

constexpr int kRanksPerWord = 32;

size_t slots_of(const ControlField& field, int size) {
  switch (field.kind) {
    case ControlField::Kind::sum:
      return size_t(field.count);
    case ControlField::Kind::flag:
      return size_t((size + kRanksPerWord - 1) / kRanksPerWord);
    case ControlField::Kind::gather:
      return size_t(field.count * size);
  }
  return 0;
}

}  // namespace

ControlVector::ControlVector(const std::vector<ControlField>& fields, int rank, int size)
    : rank_(rank), size_(size) {
  size_t total = 0;
  for (const ControlField& field : fields) {
    if (field.count < 1) {
      throw ConfigError("control vector: field " + field.name + " has " +
                        std::to_string(field.count) + " numbers; at least 1 is needed.");
    }
    if (!slots_.emplace(field.name, Slot{field, total}).second) {
      throw ConfigError("control vector: field " + field.name + " is given twice.");
    }
    total += slots_of(field, size);
  }
  values_.assign(total, 0.0);
}

void ControlVector::clear() { std::fill(values_.begin(), values_.end(), 0.0); }

void ControlVector::add(const std::string& field, double value, int64_t index) {
  values_[slot(field, ControlField::Kind::sum, index).first + size_t(index)] += value;
}

void ControlVector::raise(const std::string& field) {
  const FlagPlace place = own_flag(field);
  values_[place.first] = std::ldexp(1.0, place.bit);
}

ControlVector::FlagPlace ControlVector::own_flag(const std::string& field) const {
  const size_t first = slot(field, ControlField::Kind::flag, 0).first;
  return {first + size_t(rank_ / kRanksPerWord), rank_ % kRanksPerWord};
}

size_t ControlVector::first_of(const std::string& field) const {
  const auto found = slots_.find(field);
  if (found == slots_.end())
    throw CommError("control vector: no field " + field + " was declared.");
  return found->second.first;
}

int64_t ControlVector::flag_words() const {
  return int64_t(slots_of({"", ControlField::Kind::flag}, size_));
}

void ControlVector::set(const std::string& field, double value, int64_t index) {
  const Slot& s = slot(field, ControlField::Kind::gather, index);
  values_[s.first + size_t(rank_ * s.field.count + index)] = value;
}

Buffer ControlVector::buffer() {
  return {values_.data(), int64_t(values_.size()), DataType::float64};
}

Work ControlVector::exchange(Communicator& communicator) {
  return communicator.all_reduce(buffer(), ReduceOp::sum, "control vector");
}

double ControlVector::sum(const std::string& field, int64_t index) const {
  return values_[slot(field, ControlField::Kind::sum, index).first + size_t(index)];
}

std::vector<int> ControlVector::raised_by(const std::string& field) const {
  const size_t first = slot(field, ControlField::Kind::flag, 0).first;
  std::vector<int> ranks;
  for (int r = 0; r < size_; ++r) {
    const auto word = uint64_t(values_[first + size_t(r / kRanksPerWord)]);
    if ((word >> (r % kRanksPerWord) & 1) != 0) ranks.push_back(r);
  }
  return ranks;
}

std::vector<double> ControlVector::per_rank(const std::string& field, int64_t index) const {
  const Slot& s = slot(field, ControlField::Kind::gather, index);
  std::vector<double> result;
  for (int64_t r = 0; r < size_; ++r) {
    result.push_back(values_[s.first + size_t(r * s.field.count + index)]);
  }
  return result;
}

const ControlVector::Slot& ControlVector::slot(const std::string& field, ControlField::Kind kind,
                                               int64_t index) const {
  const auto found = slots_.find(field);
  if (found == slots_.end() || found->second.field.kind != kind) {
    throw CommError("control vector: no field " + field + " of this kind was declared.");
  }
  if (index < 0 || index >= found->second.field.count) {
    throw CommError("control vector: field " + field + " has no number " + std::to_string(index) +
                    ", only " + std::to_string(found->second.field.count) + ".");
  }
  return found->second;
}

}  // namespace scorenet::comm
