// What the sanitizers are told about other people's libraries. Linked into every program of a
// build with SCORENET_SANITIZE.
#if defined(__SANITIZE_THREAD__)

// Open MPI, PMIx and the OpenMP runtime are compiled without the sanitizer. Their locks and
// barriers are not seen, so what happens inside them says nothing: without this line the order of
// two locks of mca_btl_tcp is reported.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

#elif defined(__SANITIZE_ADDRESS__)

// Open MPI unloads its plugins with all that they hold. They stay, so that what they leak has a
// name.
extern "C" int dlclose(void*) { return 0; }

// HDF5 asks for as much memory as a damaged file says, and meets a null.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

// What Open MPI and the libraries below it keep until the process ends. They call asprintf, and are
// compiled without frame pointers: there the caller has no name. We do not call it.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libmpi.so\n"
         "leak:libopen-rte.so\n"
         "leak:libopen-pal.so\n"
         "leak:mca_\n"
         "leak:libpmix\n"
         "leak:libhwloc\n"
         "leak:libevent\n"
         "leak:libucs\n"
         "leak:libucp\n"
         "leak:libfabric\n"
         "leak:libibverbs\n"
         "leak:libpsm\n"
         "leak:libnl\n"
         "leak:libefa\n"
         "leak:__vasprintf_internal\n";
}

#endif
