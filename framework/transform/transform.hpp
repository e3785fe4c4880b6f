// A map from the values of a file to those that a network works on, one value at a time, and back.
//
// With y = f(x) a density of y is one of x: -log p(x) = -log p(y) - sum log |dy/dx|. Each transform
// knows the three of them. What a value is mapped by may depend on its place within the example
// (statistics of a pixel) and on numbers that the example brings (its energy).
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace scorenet::transform {

/// Numbers of each example by name: (B, K) float64 on the CPU, contiguous.
using Conditions = std::map<std::string, torch::Tensor>;

/// Some examples, (B, ...) float64 on the CPU, contiguous, and what they bring.
struct Values {
  torch::Tensor x;
  const Conditions& conditions;
};

/// Mean and standard deviation of the training split; (K) float64, each of a K-th of an example.
struct Statistics {
  torch::Tensor mean, std;
};

/// Plain loops, which wake no other threads: transforms run on the loader's thread, too.
class Transform {
 public:
  virtual ~Transform() = default;

  /// y, of x's shape. NaN or infinite where x is outside the domain.
  virtual torch::Tensor forward(const Values& x) const = 0;
  /// x. REQUIRES values that forward() may give.
  virtual torch::Tensor inverse(const Values& y) const = 0;
  /// log |dy/dx| at x, of x's shape.
  virtual torch::Tensor log_slope(const Values& x) const = 0;
  /// Whether each value is outside the domain: bool, of x's shape. NaN is.
  virtual torch::Tensor outside(const Values& x) const = 0;
  /// What it expects of a value: "values > -0.001".
  virtual std::string domain() const = 0;

  /// Numbers of the examples that it asks for, by name; "": none.
  virtual std::string condition() const { return ""; }

  /// How many statistics it needs of examples of this shape; 0: it has none.
  virtual int64_t statistics_of(c10::IntArrayRef example_shape) const {
    (void)example_shape;
    return 0;
  }
  /// Those it works with; null before they are measured or read.
  virtual const Statistics* statistics() const { return nullptr; }
  virtual void set_statistics(Statistics statistics) { (void)statistics; }
};

/// One entry of data.transforms: "log(1e-3)". `where` begins messages: "data.transforms[0]". Throws
/// ConfigError naming the entry, and the known ones where its name is none of them.
std::unique_ptr<Transform> parse_transform(const std::string& entry, const std::string& where);

/// "log(a), logit(a), ...": for messages.
std::string transform_names();

}  // namespace scorenet::transform
