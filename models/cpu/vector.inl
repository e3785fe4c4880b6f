// What every kernel of this folder computes with: a block of channels, or as much of one as the
// instruction set's vectors hold. Included inside HWY_NAMESPACE, once for each instruction set.

// Highway's guard: it changes with the instruction set.
#if defined(SCORENET_CPU_VECTOR) == defined(HWY_TARGET_TOGGLE)
#ifdef SCORENET_CPU_VECTOR
#undef SCORENET_CPU_VECTOR
#else
#define SCORENET_CPU_VECTOR
#endif

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kBlock>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

#endif
