// What the sanitizers are told about other people's libraries. Linked into every program of a
// build with SCORENET_SANITIZE.
#if defined(__SANITIZE_THREAD__)

// Open MPI, PMIx and the OpenMP runtime are compiled without the sanitizer. Their locks and
// barriers are not seen, so what happens inside them says nothing: without this line the order of
// two locks of mca_btl_tcp is reported.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

#endif
