#include "framework/transform/transform.hpp"

#include <charconv>
#include <optional>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/transform/elementwise.hpp"

namespace scorenet::transform {
namespace {

std::string number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// ---- the same formula for every value

template <typename Formula>
class Fixed final : public Elementwise<Fixed<Formula>> {
 public:
  Fixed(Formula formula, std::string domain) : formula_(formula), domain_(std::move(domain)) {}
  auto formula_at(const Values&, int64_t) const {
    return [formula = formula_](const Place&) { return formula; };
  }
  std::string domain() const override { return domain_; }

 private:
  Formula formula_;
  std::string domain_;
};

// ---- one for each part of an example

enum class Part { channel, pixel, all };

class Standardise final : public Elementwise<Standardise> {
 public:
  explicit Standardise(Part part) : part_(part) {}

  auto formula_at(const Values&, int64_t dims) const {
    if (!statistics_) throw Error(ExitCode::usage, "standardise: used before it was measured.");
    const int64_t of_each = dims / statistics_->mean.numel();
    return [of_each, mean = statistics_->mean.const_data_ptr<double>(),
            std = statistics_->std.const_data_ptr<double>()](const Place& place) {
      return Affine{mean[place.value / of_each], std[place.value / of_each]};
    };
  }
  std::string domain() const override { return "finite values"; }

  int64_t statistics_of(c10::IntArrayRef example_shape) const override {
    if (part_ == Part::all) return 1;
    if (part_ == Part::channel) return example_shape.empty() ? 1 : example_shape[0];
    return c10::multiply_integers(example_shape);
  }
  const Statistics* statistics() const override { return statistics_ ? &*statistics_ : nullptr; }
  void set_statistics(Statistics statistics) override {
    statistics_ = Statistics{statistics.mean.to(torch::kFloat64).contiguous(),
                             statistics.std.to(torch::kFloat64).contiguous()};
  }

 private:
  Part part_;
  std::optional<Statistics> statistics_;
};

class Divide final : public Elementwise<Divide> {
 public:
  explicit Divide(std::string name) : name_(std::move(name)) {}

  // K numbers of an example: of a K-th of its values each.
  auto formula_at(const Values& values, int64_t dims) const {
    const auto found = values.conditions.find(name_);
    const bool fits = found != values.conditions.end() &&
                      found->second.size(0) == values.x.size(0) &&
                      dims % found->second.size(1) == 0;
    if (!fits) {
      throw ShapeError("divide(" + name_ + "): needs the vector condition " + name_ +
                       " of each example, of a length that divides its " + std::to_string(dims) +
                       " values.");
    }
    const int64_t length = found->second.size(1);
    return [length, of_each = dims / length,
            c = found->second.const_data_ptr<double>()](const Place& place) {
      return Affine{0, c[place.example * length + place.value / of_each]};
    };
  }
  std::string domain() const override { return "finite values and divisors other than 0"; }
  std::string condition() const override { return name_; }

 private:
  std::string name_;
};

// ---- from text

struct Entry {
  std::string text, where;  // as it stands, and whose it is: "data.transforms[0]"
  std::string name;
  std::vector<std::string> arguments;

  [[noreturn]] void refuse(const std::string& why) const {
    throw ConfigError(where + " = \"" + text + "\": " + why);
  }
  double number(size_t at) const {
    const std::string& argument = arguments[at];
    double value = 0;
    const char* const end = argument.data() + argument.size();
    const auto read = std::from_chars(argument.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end || !std::isfinite(value))
      refuse("\"" + argument + "\" is no finite number.");
    return value;
  }
};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? ""
                                    : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

Entry split(const std::string& text, const std::string& where) {
  Entry entry{text, where, {}, {}};
  const size_t open = text.find('('), close = text.rfind(')');
  const bool brackets = open != std::string::npos && close != std::string::npos && open < close &&
                        trimmed(text.substr(close + 1)).empty();
  entry.name = trimmed(text.substr(0, open));
  if (!brackets) return entry;
  std::istringstream in(text.substr(open + 1, close - open - 1));
  for (std::string part; std::getline(in, part, ',');) entry.arguments.push_back(trimmed(part));
  return entry;
}

using Made = std::unique_ptr<Transform>;

Made make_log(const Entry& e) {
  const double a = e.number(0);
  return std::make_unique<Fixed<Log>>(Log{a}, "values > " + number(-a));
}

Made make_logit(const Entry& e) {
  const double a = e.number(0);
  if (a < 0 || a >= 0.5) e.refuse("expected 0 <= a < 0.5 in logit(a).");
  return std::make_unique<Fixed<Logit>>(Logit{a}, "values between " + number(-a / (1 - 2 * a)) +
                                                      " and " + number((1 - a) / (1 - 2 * a)) +
                                                      ", these themselves left out");
}

Made make_arcsinh(const Entry& e) {
  const double a = e.number(0);
  if (a <= 0) e.refuse("expected a > 0 in arcsinh(a).");
  return std::make_unique<Fixed<Arcsinh>>(Arcsinh{a}, "finite values");
}

Made make_affine(const Entry& e) {
  const double a = e.number(0), b = e.number(1);
  if (b == 0) e.refuse("expected b other than 0 in affine(a, b), (x - a) / b.");
  return std::make_unique<Fixed<Affine>>(Affine{a, b}, "finite values");
}

Made make_standardise(const Entry& e) {
  const std::string& of = e.arguments[0];
  if (of == "channel") return std::make_unique<Standardise>(Part::channel);
  if (of == "pixel") return std::make_unique<Standardise>(Part::pixel);
  if (of == "all") return std::make_unique<Standardise>(Part::all);
  e.refuse("\"" + of + "\" is not known; expected channel, pixel or all.");
}

Made make_divide(const Entry& e) {
  if (e.arguments[0].empty()) e.refuse("expected the name of a vector condition.");
  return std::make_unique<Divide>(e.arguments[0]);
}

struct Kind {
  const char* name;
  const char* form;
  size_t arguments;
  Made (*make)(const Entry&);
};
constexpr Kind kKinds[] = {
    {"log", "log(a)", 1, make_log},
    {"logit", "logit(a)", 1, make_logit},
    {"arcsinh", "arcsinh(a)", 1, make_arcsinh},
    {"affine", "affine(a, b)", 2, make_affine},
    {"standardise", "standardise(channel | pixel | all)", 1, make_standardise},
    {"divide", "divide(NAME)", 1, make_divide}};

}  // namespace

std::string transform_names() {
  std::string names;
  for (const Kind& kind : kKinds) names += (names.empty() ? "" : ", ") + std::string(kind.form);
  return names;
}

std::unique_ptr<Transform> parse_transform(const std::string& text, const std::string& where) {
  const Entry entry = split(text, where);
  for (const Kind& kind : kKinds) {
    if (entry.name != kind.name) continue;
    if (entry.arguments.size() != kind.arguments)
      entry.refuse("expected " + std::string(kind.form) + ".");
    return kind.make(entry);
  }
  entry.refuse("unknown transform; known are " + transform_names() + ".");
}

}  // namespace scorenet::transform
