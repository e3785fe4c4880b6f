#include "models/cpu/taps.hpp"

#include <utility>

namespace scorenet::models::cpu {
namespace {

TapRules rules_without_step(Form form, Area area) {
  TapRules rules;
  rules.grid = area;
  const int64_t reach = form == Form::same ? 1 : 0;
  Phase there, back;
  for (int64_t y = -reach; y <= reach; ++y) {
    for (int64_t x = -reach; x <= reach; ++x) {
      const int64_t entry = form == Form::same ? (y + 1) * 3 + x + 1 : 0;
      there.taps.push_back({y, x, {entry}});
      back.taps.push_back({-y, -x, {entry}});
      rules.gradient.push_back({y, x, 0, 0, {entry}});
    }
  }
  rules.forward = {there};
  rules.backward = {back};
  return rules;
}

TapRules rules_of_halving(Area area, int64_t padding) {
  TapRules rules;
  rules.grid = {area.height / 2, area.width / 2};
  rules.x_step = 2;
  Phase there;
  there.in_step = 2;
  for (int64_t y = 0; y < 3; ++y) {
    for (int64_t x = 0; x < 3; ++x) {
      there.taps.push_back({y - padding, x - padding, {y * 3 + x}});
      rules.gradient.push_back({y - padding, x - padding, 0, 0, {y * 3 + x}});
    }
  }
  rules.forward = {there};
  // Input place 2 j + p met result place j + s through entry k where 2 s + k - padding = p.
  const auto meetings = [padding](int64_t p) {
    std::vector<std::pair<int64_t, int64_t>> all;  // (s, k)
    for (int64_t k = 0; k < 3; ++k)
      if ((p + padding - k) % 2 == 0) all.emplace_back((p + padding - k) / 2, k);
    return all;
  };
  for (int64_t p = 0; p < 2; ++p) {
    for (int64_t q = 0; q < 2; ++q) {
      Phase back;
      back.out_step = 2;
      back.out_y = p;
      back.out_x = q;
      for (const auto& [y, ky] : meetings(p))
        for (const auto& [x, kx] : meetings(q)) back.taps.push_back({y, x, {ky * 3 + kx}});
      rules.backward.push_back(back);
    }
  }
  return rules;
}

TapRules rules_of_doubling(Area area) {
  TapRules rules;
  rules.grid = area;
  rules.d_step = 2;
  using Taps = std::vector<std::pair<int64_t, std::vector<int64_t>>>;  // place, entries of 3
  const auto product = [](const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    std::vector<int64_t> entries;
    for (const int64_t y : a)
      for (const int64_t x : b) entries.push_back(y * 3 + x);
    return entries;
  };
  // Results 2 i read places i - 1 by k0 and i by k1 + k2; results 2 i + 1 read i by k0 + k1 and
  // i + 1 by k2.
  const Taps parity[2] = {{{-1, {0}}, {0, {1, 2}}}, {{0, {0, 1}}, {1, {2}}}};
  for (int64_t p = 0; p < 2; ++p) {
    for (int64_t q = 0; q < 2; ++q) {
      Phase there;
      there.out_step = 2;
      there.out_y = p;
      there.out_x = q;
      for (const auto& [y, a] : parity[p]) {
        for (const auto& [x, b] : parity[q]) {
          there.taps.push_back({y, x, product(a, b)});
          rules.gradient.push_back({y, x, p, q, product(a, b)});
        }
      }
      rules.forward.push_back(there);
    }
  }
  // Read from the input: place i met results 2 i - 1 by k2, 2 i by k1 + k2, and so on.
  const Taps met = {{-1, {2}}, {0, {1, 2}}, {1, {0, 1}}, {2, {0}}};
  Phase back;
  back.in_step = 2;
  for (const auto& [y, a] : met)
    for (const auto& [x, b] : met) back.taps.push_back({y, x, product(a, b)});
  rules.backward = {back};
  return rules;
}

}  // namespace

int64_t taps_in(const std::vector<Phase>& phases) {
  int64_t taps = 0;
  for (const Phase& phase : phases) taps += taps_in(phase);
  return taps;
}

TapRules tap_rules(Form form, Area area) {
  switch (form) {
    case Form::half:
      return rules_of_halving(area, 1);
    case Form::half_behind:
      return rules_of_halving(area, 0);
    case Form::twice:
      return rules_of_doubling(area);
    default:
      return rules_without_step(form, area);
  }
}

}  // namespace scorenet::models::cpu
