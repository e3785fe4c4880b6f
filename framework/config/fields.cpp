#include "framework/config/fields.hpp"

#include "framework/config/field_sections.hpp"

namespace scorenet::config {

std::vector<Field> fields(Config& config) {
  std::vector<Field> all;
  data_fields(config.data, all);
  for (data::ConditionMap& condition : config.conditions) condition_fields(condition, all);
  model_fields(config.model, all);
  diffusion_fields(config.diffusion, all);
  train_fields(config.train, all);
  ema_fields(config.ema, all);
  checkpoint_fields(config.checkpoint, all);
  eval_fields(config.eval, all);
  comm_fields(config.comm, all);
  run_fields(config.run, all);
  return all;
}

}  // namespace scorenet::config
