// "Did you mean ...?": the known name nearest to a wrong one, if it is near enough.
#pragma once

#include <string>
#include <vector>

namespace scorenet::config {

/// A wrong name and what it usually means here: {"lr", "train.learning_rate"}.
struct Synonym {
  const char* wrong;
  const char* known;
};

/// The known key that `name` ("train.lr", "trian.steps", "lr") probably means. Tried in this order:
/// a key with the same last part, a synonym of the last part, a key whose last part differs by one
/// or two letters. "" if there is none.
std::string suggest_key(const std::string& name, const std::vector<std::string>& known);

/// The same for names without parts: metrics, samplers, schedules, values of a key.
std::string suggest_name(const std::string& name, const std::vector<std::string>& known);

/// " Did you mean 'SUGGESTION'?", or "" for "".
std::string did_you_mean(const std::string& suggestion);

}  // namespace scorenet::config
