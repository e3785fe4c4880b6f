// NumPy's array in a file: its header, its values in pieces, and as the images of a data set.
#include "framework/data/npy.hpp"

#include "framework/data/convert.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {

bool npy(std::string_view bytes) {
  const std::string path = workplace() / "x.npy";
  test::write_bytes(path, bytes);
  const bool taken = takes<DataError>([&] {
    data::NpyFile file(path, true);
    for (int64_t left = file.shape().at(0); left > 0;) {
      const int64_t count = std::min<int64_t>(left, 3);
      file.next_rows(count);
      left -= count;
    }
    file.rewind();
    file.next_rows(1);
  });
  if (!taken) return false;
  data::ConvertOptions options;
  options.out = workplace() / "npy.h5";
  options.overwrite = true;
  takes<DataError, ConfigError>(
      [&] { data::convert_npy(path, "", data::ChannelAxis::first, options); });
  return true;
}

}  // namespace scorenet::fuzz
