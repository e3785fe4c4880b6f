// Settings of the C library's allocator, so that it keeps the memory that a training step frees.
#pragma once

namespace scorenet {

/// With glibc's defaults every step returns its activations' memory to the kernel and gets it back
/// page by page: up to 29,000 page faults and 2 ms of system time an image. After this call the
/// process keeps its memory and never shrinks. Call it once at the start of main, before the first
/// large allocation. It does nothing where the C library is not glibc.
void tune_allocator();

}  // namespace scorenet
