// The options of `evaluate` that say how a likelihood is computed. The help of each begins with the
// metrics that heed it.
#pragma once

#include <CLI/CLI.hpp>

#include "framework/evaluate/evaluation_options.hpp"

namespace scorenet::launch {

/// The options must live as long as the verb.
void add_metric_options(CLI::App* verb, evaluate::EvaluationOptions& options);

}  // namespace scorenet::launch
