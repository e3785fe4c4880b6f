// The C library's allocator, told to keep what a training step frees.
#pragma once

namespace scorenet {

/// With glibc's defaults every step returns its activations to the kernel and faults them in again:
/// up to 29,000 page faults and 2 ms of system time an image. Keeps memory instead; the process
/// never shrinks. Call once at the start of main, before the first large allocation. Does nothing
/// where the C library is another.
void tune_allocator();

}  // namespace scorenet
