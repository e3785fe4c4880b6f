// What the sanitizers are told about other people's libraries. Linked into every program of a
// build with SCORENET_SANITIZE.
//
// LibTorch, MPI, HDF5 and the OpenMP runtime come compiled without the sanitizers: what they do
// inside is not seen, so locks and barriers of theirs look as if they were not there.
#if defined(__SANITIZE_THREAD__)

extern "C" const char* __tsan_default_options() {
  // Memory that two threads touch only inside such libraries is theirs to order.
  return "ignore_noninstrumented_modules=1";
}

extern "C" const char* __tsan_default_suppressions() {
  return
      // The OpenMP runtime hands work over by futexes that are not seen.
      "called_from_lib:libgomp\n"
      // Open MPI's progress threads, and PMIx's, which end while the program ends.
      "race:libmpi.so\n"
      "race:libopen-\n"
      "race:mca_\n"
      "race:libpmix\n"
      "race:libevent\n"
      "deadlock:libmpi.so\n"
      "deadlock:libopen-\n"
      "deadlock:libpmix\n"
      "mutex:libpmix\n";
}

#elif defined(__SANITIZE_ADDRESS__)

extern "C" const char* __lsan_default_suppressions() {
  return
      // Open MPI and what it loads keep their tables until the process ends.
      "leak:libmpi.so\n"
      "leak:libopen-\n"
      "leak:mca_\n"
      "leak:libpmix\n"
      "leak:libhwloc\n"
      "leak:libevent\n";
}

#endif
