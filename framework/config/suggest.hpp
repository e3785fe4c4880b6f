// "Did you mean ...?": the known name that a wrong one stands for, if one is near enough to say so.
#pragma once

#include <string>
#include <vector>

namespace scorenet::config {

/// A wrong name and what it usually means here: {"lr", "train.learning_rate"}.
struct Synonym {
  const char* wrong;
  const char* known;
};

/// The known key that `name` ("train.lr", "trian.steps", "lr") stands for: one whose last part is
/// that of `name`, else a synonym of its last part, else one whose last part differs by a slip or
/// two. "" where none is near.
std::string suggest_key(const std::string& name, const std::vector<std::string>& known);

/// The same for names without parts: metrics, samplers, schedules, values of a key.
std::string suggest_name(const std::string& name, const std::vector<std::string>& known);

/// " Did you mean 'SUGGESTION'?", or "" for "".
std::string did_you_mean(const std::string& suggestion);

}  // namespace scorenet::config
