// An invertible map between the values of a file and those of the network, one value at a time.
//
// With y = f(x), a density of y gives one of x: -log p(x) = -log p(y) - sum log |dy/dx|. Each
// transform knows f, its inverse and log |dy/dx|. The map may depend on the value's place in
// the example (statistics of a pixel) and on conditions of the example (its energy).
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace scorenet::transform {

/// Numbers of each example by name: (B, K) float64 on the CPU, contiguous.
using Conditions = std::map<std::string, torch::Tensor>;

/// Some examples, (B, ...) float64 on the CPU, contiguous, and their conditions.
struct Values {
  torch::Tensor x;
  const Conditions& conditions;
};

/// Mean and standard deviation of the training split, (K) float64, one per part of an example: each
/// part is dims / K consecutive values.
struct Statistics {
  torch::Tensor mean, std;
};

/// Implementations use plain loops, which wake no other threads: the loader's thread runs them.
class Transform {
 public:
  virtual ~Transform() = default;

  /// y, of x's shape. NaN or infinite where x is outside the domain.
  virtual torch::Tensor forward(const Values& x) const = 0;
  /// x, of y's shape. REQUIRES values that forward() can return.
  virtual torch::Tensor inverse(const Values& y) const = 0;
  /// log |dy/dx| at x, of x's shape.
  virtual torch::Tensor log_slope(const Values& x) const = 0;
  /// Whether each value is outside the domain: bool, of x's shape. NaN always is.
  virtual torch::Tensor outside(const Values& x) const = 0;
  /// The values that it accepts, for messages: "values > -0.001".
  virtual std::string domain() const = 0;

  /// Name of the condition that it needs; "": none.
  virtual std::string condition() const { return ""; }

  /// How many statistics K it needs for examples of this shape; 0: none.
  virtual int64_t statistics_of(c10::IntArrayRef example_shape) const {
    (void)example_shape;
    return 0;
  }
  /// Its statistics; null before they are measured or read.
  virtual const Statistics* statistics() const { return nullptr; }
  virtual void set_statistics(Statistics statistics) { (void)statistics; }
};

/// One entry of data.transforms: "log(1e-3)". `where` begins messages: "data.transforms[0]". Throws
/// ConfigError naming the entry, and the known names if its name is unknown.
std::unique_ptr<Transform> parse_transform(const std::string& entry, const std::string& where);

/// "log(a), logit(a), ...": for messages.
std::string transform_names();

}  // namespace scorenet::transform
