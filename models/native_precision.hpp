// The precisions that a device computes in hardware, and the choice of train.precision = auto.
//
// A processor without bfloat16 arithmetic still computes in bfloat16: LibTorch widens and rounds
// around float32, many times slower than float32 alone.
#pragma once

#include <torch/types.h>

#include <string>

#include "models/instruction_limit.hpp"

namespace scorenet::models {

/// The types that a CPU multiplies natively. Every CPU does so for float32.
struct CpuArithmetic {
  bool bf16 = false;
  bool fp16 = false;
};

/// flags: as Linux lists them, "fpu sse2 avx2 avx512_bf16 ...". What the limit excludes, LibTorch
/// and we leave unused.
CpuArithmetic cpu_arithmetic(const std::string& flags, const InstructionLimit& limit);

/// Value of `key` for the first processor of a text in the form of /proc/cpuinfo; "" if
/// there is none.
std::string cpuinfo_value(const std::string& cpuinfo, const std::string& key);

/// This machine's, from /proc/cpuinfo and the environment. Where there is no such file
/// nothing is native.
CpuArithmetic this_cpu();
/// "Intel(R) Xeon(R) Processor @ 2.80GHz"; "unknown CPU" where the system does not say.
std::string cpu_name();

/// Those of a list of flags that multiply vectors or matrices of floating-point numbers, in the
/// order in which they were introduced: "avx2, avx512f, avx512_bf16"; "none" if there is none.
std::string vector_units(const std::string& flags);
/// This machine's.
std::string vector_units_here();

/// Whether a CPU of these flags and this limit, as above, computes bf16 faster than fp32. Intel's
/// avx512_bf16 alone does not: half of fp32's speed, measured with AMX left unused.
bool bf16_is_faster(const std::string& flags, const InstructionLimit& limit,
                    const std::string& vendor);

/// "bf16" where training in it is faster than in fp32 on `device`, else "fp32": a CPU with AMX, one
/// of another maker than Intel with avx512_bf16, a CUDA device of compute capability 8.0 on.
std::string auto_precision(torch::Device device);

/// One sentence on what computing in `precision` costs on a device that has no such arithmetic; ""
/// where it is native.
std::string cost_of_precision(const std::string& precision, torch::Device device);

}  // namespace scorenet::models
