// Which instruction sets the kernels of this folder are compiled for. Included before Highway, by
// every file that is compiled once for each.
#pragma once

// AVX2, AVX-512 and NEON, beside the baseline of the platform, on which the executor does not run.
// Newer forms of AVX-512 have nothing that float32 uses; vectors of SVE may not stand in arrays.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
