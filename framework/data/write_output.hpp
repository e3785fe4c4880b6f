// HDF5 files that hold results: a failed write there is an error of the output, not of the data.
#pragma once

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::data {

/// Runs `write`. A DataError of it leaves as files::FileError, whose exit code is that
/// of unwritable output.
template <typename Write>
void write_output(Write write) {
  try {
    write();
  } catch (const DataError& error) {
    throw files::FileError(error.what());
  }
}

}  // namespace scorenet::data
