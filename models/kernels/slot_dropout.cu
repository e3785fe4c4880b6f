// Dropout by slots: masks are functions of (key, slot), drawn where they are used.
#include "models/kernels/channels_last_packs.cuh"

namespace scorenet::models::kernels {
namespace {

// Block `block` of the generator for (key, slot): words 4 block .. 4 block + 3 of the slot.
__device__ uint4 philox(uint64_t key, uint64_t slot, uint64_t block) {
  uint4 c = make_uint4(static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                       static_cast<uint32_t>(slot), static_cast<uint32_t>(slot >> 32));
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// A thread: four neighbouring pixels of `kSize` channels. Where the pixels of an image are a
// multiple of four, the four share a block of words. Neighbouring threads have neighbouring
// channels.
template <class E, int kSize>
__global__ void drop(ImageShape shape, Dropout rule, const void* x, void* y) {
  using P = Pack<E, kSize>;
  // Of one image: 32 bits hold them, and divide faster.
  const auto columns = static_cast<uint32_t>(shape.channels / kSize);
  const auto quads = static_cast<uint32_t>((shape.pixels + 3) / 4);
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= quads * columns) return;
  const int64_t image = blockIdx.y, channel = int64_t{index % columns} * kSize;
  const int64_t first = int64_t{index / columns} * 4;
  const int64_t count = min(int64_t{4}, shape.pixels - first);
  const uint64_t key = static_cast<uint64_t>(*rule.key);
  const uint64_t slot = static_cast<uint64_t>(rule.slots[image]);

  uint32_t kept = 0;  // bit 4 j + i: channel j of pixel i
  for (int j = 0; j < kSize; ++j) {
    uint64_t block = ~uint64_t{0};
    uint4 words = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto word = static_cast<uint64_t>((channel + j) * shape.pixels + first + i);
      if (word / 4 != block) {
        block = word / 4;
        words = philox(key, slot, block);
      }
      const uint32_t lane = word % 4;
      const uint32_t bits = lane == 0   ? words.x
                            : lane == 1 ? words.y
                            : lane == 2 ? words.z
                                        : words.w;
      const bool keep = static_cast<float>(bits >> 8) * 0x1.0p-24f >= rule.probability;
      kept |= static_cast<uint32_t>(keep) << (4 * j + i);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= count) return;
    const auto element =
        static_cast<size_t>((image * shape.pixels + first + i) * shape.channels + channel);
    P pack;
    pack.load(x, element);
#pragma unroll
    for (int w = 0; w < P::kWords; ++w) {
      float values[P::kPerWord];
#pragma unroll
      for (int j = 0; j < P::kPerWord; ++j) {
        const bool keep = kept >> (4 * (w * P::kPerWord + j) + i) & 1u;
        values[j] = keep ? pack.value(w, j) * rule.scale : 0.0f;
      }
      pack.set(w, values);
    }
    pack.store(y, element);
  }
}

}  // namespace

LaunchError launch_dropout(const ImageShape& shape, const Dropout& rule, const void* x, void* y,
                           Stream stream) {
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    const bool packed = shape.channels % kWholePack<E> == 0 && is_aligned(x) && is_aligned(y);
    const int64_t columns = packed ? shape.channels / kWholePack<E> : shape.channels;
    const int64_t threads = (shape.pixels + 3) / 4 * columns;
    const dim3 blocks(static_cast<unsigned>((threads + kThreads - 1) / kThreads),
                      static_cast<unsigned>(shape.batch));
    auto* kernel = packed ? drop<E, kWholePack<E>> : drop<E, 1>;
    return launch(kernel, blocks, kThreads, 0, stream, shape, rule, x, y);
  });
}

}  // namespace scorenet::models::kernels
