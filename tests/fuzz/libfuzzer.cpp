// One target as libFuzzer calls it.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  scorenet::fuzz::SCORENET_FUZZ_TARGET({reinterpret_cast<const char*>(bytes), count});
  return 0;
}
