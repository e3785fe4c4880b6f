// What a network is told of an example beside x and its noise level: a label, numbers, fields.
//
// Any of them may be left out, for one example or for all: so a network learns the conditional and
// the unconditional score at once, which classifier-free guidance needs (Ho & Salimans 2022,
// 2207.12598). A label that is left out is num_classes. Numbers and fields that are left out are 0,
// and `told` says that they are no real zeros.
#pragma once

#include <torch/types.h>

#include <utility>

namespace scorenet::models {

/// Of a batch of B examples. Undefined: none is told.
struct Conditions {
  /// Labels alone are so common that a tensor of them converts.
  Conditions(torch::Tensor labels_in = {}) : labels(std::move(labels_in)) {}  // NOLINT
  Conditions(torch::Tensor labels_in, torch::Tensor numbers_in, torch::Tensor fields_in,
             torch::Tensor told_in, torch::Tensor augment_in = {})
      : labels(std::move(labels_in)),
        numbers(std::move(numbers_in)),
        fields(std::move(fields_in)),
        told(std::move(told_in)),
        augment(std::move(augment_in)) {}

  torch::Tensor labels;   // (B) int64 in [0, num_classes]; num_classes: no label
  torch::Tensor numbers;  // (B, ConditionSizes::numbers) of all vectors, one behind the other
  torch::Tensor fields;   // (B, ConditionSizes::channels, ...) on x's grid
  torch::Tensor told;     // (B) 1 or 0: whether numbers and fields are there; undefined: 1
  torch::Tensor augment;  // (B, ConditionSizes::augment); undefined: 0, as of plain examples

  /// Whether anything is told.
  bool any() const { return labels.defined() || numbers.defined() || fields.defined(); }

  /// Each defined part through f.
  template <typename F>
  Conditions mapped(const F& f) const {
    const auto part = [&f](const torch::Tensor& t) { return t.defined() ? f(t) : t; };
    return {part(labels), part(numbers), part(fields), part(told), part(augment)};
  }
};

}  // namespace scorenet::models
