// Options whose value is a number.
#pragma once

#include <CLI/CLI.hpp>

namespace scorenet::launch {

/// Accepts finite numbers above 0.
CLI::Validator positive_number();

/// Accepts finite numbers from 0 on.
CLI::Validator non_negative_number();

/// Lets every option of the program whose value is a number refuse what is none: text, a fraction
/// for a whole number, a whole number beyond 64 bits, which would become the largest, a negative
/// one for one without sign, which would wrap around, and NaN, which is in every range. Call once,
/// when all options are there.
void refuse_what_is_no_number(CLI::App& app);

}  // namespace scorenet::launch
