#include "framework/diffusion/likelihood/result.hpp"

#include <algorithm>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {

std::string name_of(ResultKind kind) {
  switch (kind) {
    case ResultKind::bound:
      return "bound";
    case ResultKind::estimate:
      return "estimate";
    case ResultKind::exact:
      break;
  }
  return "exact";
}

ResultKind weaker(ResultKind a, ResultKind b) { return std::min(a, b); }

const torch::Tensor& LikelihoodResult::term(const std::string& name) const {
  std::string known;
  for (const auto& [term_name, values] : terms) {
    if (term_name == name) return values;
    known += " " + term_name;
  }
  throw ConfigError("likelihood term \"" + name + "\": expected one of" + known + ".");
}

}  // namespace scorenet::diffusion
