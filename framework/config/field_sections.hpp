// The table of fields, section by section: each adds its rows, pointing into `c`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/config/fields.hpp"

namespace scorenet::config {

using Names = std::vector<std::string>;

void data_fields(DataConfig& c, std::vector<Field>& out);
void condition_fields(data::ConditionMap& c, std::vector<Field>& out);
void model_fields(ModelConfig& c, std::vector<Field>& out);
void diffusion_fields(DiffusionConfig& c, std::vector<Field>& out);
void train_fields(TrainConfig& c, std::vector<Field>& out);
void ema_fields(EmaConfig& c, std::vector<Field>& out);
void checkpoint_fields(CheckpointConfig& c, std::vector<Field>& out);
void eval_fields(EvalConfig& c, std::vector<Field>& out);
void comm_fields(CommConfig& c, std::vector<Field>& out);
void run_fields(RunConfig& c, std::vector<Field>& out);

/// A field whose value is one of these names.
inline Field one_of(std::string name, std::string* value, std::string help, Names names) {
  Field field{std::move(name), value, std::move(help)};
  field.choices = std::move(names);
  return field;
}

/// A field of which it matters whether it was given.
inline Field noticed(Field field, bool* given) {
  field.given = given;
  return field;
}

/// Both lists, one behind the other.
inline Names with(Names names, const Names& more) {
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

}  // namespace scorenet::config
