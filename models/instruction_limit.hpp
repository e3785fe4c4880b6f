// How many of the CPU's instruction sets this process may use: the limits that LibTorch keeps, kept
// by our own kernels too.
//
//     ATEN_CPU_CAPABILITY   default, avx2 or avx512: vectors of LibTorch's kernels
//     ONEDNN_MAX_CPU_ISA    AVX2, AVX512_CORE, AVX512_CORE_BF16, ...: its convolutions and products
//
// Under the first, ranks on unlike machines can be made to round alike. A limit is no promise:
// whether the CPU has the instructions is asked elsewhere.
#pragma once

#include <string>

namespace scorenet::models {

struct InstructionLimit {
  bool avx2 = true;    // the CPU executor needs it, or NEON
  bool avx512 = true;  // also below it
  bool bf16 = true;    // products in bfloat16, by avx512_bf16 or AMX
  bool fp16 = true;    // products in float16
  bool amx = true;     // tiles, of any type
};

/// What these values of ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA leave; "": not set. Values that
/// LibTorch or oneDNN ignores limit nothing.
InstructionLimit instruction_limit(const std::string& capability, const std::string& isa);

/// This process's, as the environment was when it was first asked for.
const InstructionLimit& instruction_limit();

/// " within ATEN_CPU_CAPABILITY=avx2", say, behind a statement on what the CPU has; "" without a
/// limit.
std::string within_instruction_limit();

/// Tells LibTorch's oneDNN and MKL of ATEN_CPU_CAPABILITY, which these do not know, unless they
/// have been told of a limit of their own. To be called before LibTorch computes.
void extend_instruction_limit();

}  // namespace scorenet::models
