// What every kernel of this folder computes with: a block of channels, or as much of one as the
// instruction set's vectors hold. Included inside HWY_NAMESPACE, once for each instruction set.

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kBlock>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
