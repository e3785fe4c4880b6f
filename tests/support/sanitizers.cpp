// What the sanitizers are told about other people's libraries. Linked into every program of a
// build with SCORENET_SANITIZE.
#if defined(__SANITIZE_THREAD__)
#include <pthread.h>
#include <time.h>

// Open MPI, PMIx and the OpenMP runtime are compiled without the sanitizer. Their locks and
// barriers are not seen, so what happens inside them says nothing: without this line the order of
// two locks of mca_btl_tcp is reported.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

// What std::condition_variable::wait_for calls, and GCC 12's sanitizer does not know: it would
// think that a waiting thread keeps the lock. The call that it knows wants another clock.
extern "C" int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                      clockid_t clock, const timespec* until) {
  constexpr long kSecond = 1'000'000'000;
  timespec now{}, real{};
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &real);
  const long nanoseconds = real.tv_nsec + until->tv_nsec - now.tv_nsec + kSecond;  // 0 to 3 s
  real.tv_sec += until->tv_sec - now.tv_sec - 1 + nanoseconds / kSecond;
  real.tv_nsec = nanoseconds % kSecond;
  return pthread_cond_timedwait(condition, mutex, &real);
}

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
