#include "framework/data/stored_marks.hpp"

#include "framework/data/file_tree.hpp"

namespace scorenet::data {

std::string Packing::text() const {
  const std::string sign = offset < 0 ? " - " : " + ";
  return "value = " + number_text(scale) + " * stored" +
         (offset == 0 ? "" : sign + number_text(offset < 0 ? -offset : offset)) +
         " (scale_factor, add_offset)";
}

// affine(a, b) is (x - a) / b.
std::string Packing::transform() const {
  const double a = offset == 0 ? 0 : -offset / scale;
  return "affine(" + number_text(a) + ", " + number_text(1 / scale) + ")";
}

std::optional<Packing> packing_of(const Hdf5File& file, const std::string& array) {
  const Packing packing{file.number_attribute(array, "scale_factor").value_or(1),
                        file.number_attribute(array, "add_offset").value_or(0)};
  if (packing.scale == 0 || (packing.scale == 1 && packing.offset == 0)) return std::nullopt;
  return packing;
}

std::optional<double> missing_mark_of(const Hdf5File& file, const std::string& array) {
  const auto mark = file.number_attribute(array, "_FillValue");
  return mark ? mark : file.number_attribute(array, "missing_value");
}

std::vector<std::string> unheeded_marks(const Hdf5File& file, const std::string& array,
                                        double least, double greatest, const HeededMarks& heeded) {
  std::vector<std::string> marks;
  const auto packing = packing_of(file, array);
  const bool unpacked = !heeded.transforms.empty() && heeded.transforms[0].starts_with("affine");
  if (packing && !unpacked) {
    marks.push_back(array + " is stored packed, " + packing->text() +
                    ", and is read as stored; for values in its units begin data.transforms "
                    "with " +
                    packing->transform());
  }
  const auto mark = missing_mark_of(file, array);
  if (mark && !heeded.missing && *mark >= least && *mark <= greatest) {
    marks.push_back(
        array + " marks missing values by " + number_text(*mark) +
        " (_FillValue), which are read as ordinary ones; set data.missing = " + number_text(*mark));
  }
  return marks;
}

}  // namespace scorenet::data
