#include "framework/comm/communicator.hpp"

#include "framework/core/error.hpp"

namespace scorenet::comm {

int64_t size_in_bytes(DataType type) {
  switch (type) {
    case DataType::uint8:
      return 1;
    case DataType::float16:
    case DataType::bfloat16:
      return 2;
    case DataType::int32:
    case DataType::float32:
      return 4;
    case DataType::int64:
    case DataType::float64:
      return 8;
  }
  throw CommError("size_in_bytes: unknown data type " + std::to_string(int(type)) + ".");
}

const char* name(DataType type) {
  switch (type) {
    case DataType::uint8:
      return "uint8";
    case DataType::int32:
      return "int32";
    case DataType::int64:
      return "int64";
    case DataType::float16:
      return "float16";
    case DataType::bfloat16:
      return "bfloat16";
    case DataType::float32:
      return "float32";
    case DataType::float64:
      return "float64";
  }
  return "unknown";
}

const char* name(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return "sum";
    case ReduceOp::max:
      return "max";
    case ReduceOp::min:
      return "min";
  }
  return "unknown";
}

const char* name(Phase phase) {
  switch (phase) {
    case Phase::start:
      return "start";
    case Phase::train:
      return "train";
    case Phase::evaluate:
      return "evaluate";
    case Phase::save:
      return "save";
  }
  return "unknown";
}

double PhaseLimits::of(Phase phase) const {
  switch (phase) {
    case Phase::start:
      return start;
    case Phase::train:
      return train;
    case Phase::evaluate:
      return evaluate;
    case Phase::save:
      return save;
  }
  return start;
}

}  // namespace scorenet::comm
