// What this folder's MPI sources share. Not for other folders: it includes <mpi.h>.
#pragma once

#include <mpi.h>

#include <array>
#include <string>

#include "framework/comm/operation.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {

inline std::string mpi_error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), size_t(length)};
}

/// Throws CommError with MPI's text unless the call succeeded.
inline void check(int code, const std::string& what) {
  if (code != MPI_SUCCESS) throw CommError(what + ": " + mpi_error_text(code) + ".");
}

inline void check(int code, const Operation& operation) {
  if (code != MPI_SUCCESS) check(code, describe(operation));
}

/// The types MPI cannot add travel as 16-bit words and are reduced by our own operations.
inline MPI_Datatype mpi_type(DataType type) {
  switch (type) {
    case DataType::uint8:
      return MPI_UINT8_T;
    case DataType::int32:
      return MPI_INT32_T;
    case DataType::int64:
      return MPI_INT64_T;
    case DataType::float16:
    case DataType::bfloat16:
      return MPI_UINT16_T;
    case DataType::float32:
      return MPI_FLOAT;
    case DataType::float64:
      return MPI_DOUBLE;
  }
  throw CommError("MPI: unknown data type " + std::to_string(int(type)) + ".");
}

}  // namespace scorenet::comm
