#include "framework/diffusion/hbar_shape.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

using Point = std::pair<double, double>;

std::string text_of(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

void check(const std::vector<Point>& points) {
  if (points.empty())
    throw ConfigError(
        "hbar schedule: no point is given. Write t:value pairs such as 0:0,0.5:1, or leave it "
        "out.");
  for (size_t i = 0; i < points.size(); ++i) {
    const auto& [t, value] = points[i];
    if (!(value >= 0) || !std::isfinite(value) || !std::isfinite(t)) {
      throw ConfigError("hbar schedule: value " + text_of(value) + " at t = " + text_of(t) +
                        "; values must be finite and at least 0.");
    }
    if (i > 0 && t < points[i - 1].first) {
      throw ConfigError("hbar schedule: t = " + text_of(t) + " follows t = " +
                        text_of(points[i - 1].first) + "; order the points by rising t.");
    }
  }
}

// The whole of `text` as a number.
bool read_number(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0';
}

}  // namespace

double hbar_at(const HbarShape& shape, double hbar, double t) {
  const double value = shape ? hbar * shape(t) : hbar;
  if (value >= 0 && std::isfinite(value)) return value;
  throw ConfigError("hbar(t = " + text_of(t) + ") = " + text_of(value) +
                    ": must be finite and at least 0.");
}

torch::Tensor hbar_at(const HbarShape& shape, double hbar, const torch::Tensor& t) {
  auto values = t.to(torch::kCPU, torch::kFloat64).clone().contiguous();
  double* const first = values.data_ptr<double>();
  std::transform(first, first + values.numel(), first,
                 [&](double time) { return hbar_at(shape, hbar, time); });
  return values.to(t.device());
}

HbarShape piecewise_hbar(std::vector<Point> points) {
  check(points);
  return [points = std::move(points)](double t) {
    // The first point behind t; those before it are at or before t.
    const auto after =
        std::upper_bound(points.begin(), points.end(), t,
                         [](double time, const Point& point) { return time < point.first; });
    if (after == points.begin()) return points.front().second;
    const auto before = after - 1;
    if (after == points.end()) return before->second;
    const double share = (t - before->first) / (after->first - before->first);
    return before->second + share * (after->second - before->second);
  };
}

HbarShape parse_hbar_shape(const std::string& text) {
  std::string plain = text;
  std::erase_if(plain, [](unsigned char c) { return std::isspace(c) != 0; });
  std::vector<Point> points;
  std::istringstream parts(plain);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t colon = part.find(':');
    Point point;
    if (colon == std::string::npos || !read_number(part.substr(0, colon), point.first) ||
        !read_number(part.substr(colon + 1), point.second)) {
      throw ConfigError("hbar schedule \"" + text + "\": \"" + part +
                        "\" is no t:value pair. Write for example 0:0,0.5:1.");
    }
    points.push_back(point);
  }
  return piecewise_hbar(std::move(points));
}

}  // namespace scorenet::diffusion
