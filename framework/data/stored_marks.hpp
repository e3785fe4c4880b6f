// What netCDF's attributes say of stored values. Values are read as they are stored; keys of [data]
// say what to make of them, and these functions which keys those are.
//
// CF conventions 1.11, section 8.1: value = scale_factor * stored + add_offset. Section 2.5.1:
// _FillValue, or missing_value, stands for a value that is missing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

struct Packing {
  double scale = 1, offset = 0;

  /// "value = 0.001 * stored + 5 (scale_factor, add_offset)".
  std::string text() const;
  /// The transform from stored values to those that they stand for: "affine(-5000, 1000)".
  std::string transform() const;
};

/// Nothing where the array is not packed.
std::optional<Packing> packing_of(const Hdf5File& file, const std::string& array);

/// The number that marks missing values. Nothing where there is none.
std::optional<double> missing_mark_of(const Hdf5File& file, const std::string& array);

/// Which of the marks above the keys leave unheeded, a sentence each.
struct HeededMarks {
  bool missing = false;                 // data.missing is set
  std::vector<std::string> transforms;  // data.transforms
};
/// least, greatest: of the stored values; a mark that is not among them needs no key. Reads the
/// file's attributes alone.
std::vector<std::string> unheeded_marks(const Hdf5File& file, const std::string& array,
                                        double least, double greatest, const HeededMarks& heeded);

}  // namespace scorenet::data
