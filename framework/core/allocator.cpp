#include "framework/core/allocator.hpp"

#include <malloc.h>

namespace scorenet {

void tune_allocator() {
#ifdef __GLIBC__
  // Below 1 GiB: from the heap, which is kept. A glibc before 2.35 takes no more than 32 MiB.
  if (mallopt(M_MMAP_THRESHOLD, 1 << 30) == 0) mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 0x7fffffff);  // never give the top of the heap back
  mallopt(M_TOP_PAD, 256 << 20);          // grow by 256 MiB at a time
#endif
}

}  // namespace scorenet
