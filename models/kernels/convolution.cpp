#include "models/kernels/convolution.hpp"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <type_traits>
#include <vector>

namespace scorenet::models::kernels {
namespace {

using at::BFloat16;

// The same bits under the name that each callee knows.
const float* bits(const float* p) { return p; }
float* bits(float* p) { return p; }
const uint16_t* bits(const BFloat16* p) { return reinterpret_cast<const uint16_t*>(p); }
uint16_t* bits(BFloat16* p) { return reinterpret_cast<uint16_t*>(p); }

template <class T>
constexpr bool kPaired = std::is_same_v<T, BFloat16>;

template <class T>
void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, bool add, const T* a, const T* b,
              float* c) {
  at::native::cpublas::brgemm(m, n, k, lda, n, n, add, a, b, c, kPaired<T>);
}

// Where the factor of one tap is found: for output pixel (n, y, x) at first + n image + y
// row + x pixel.
template <class T>
struct Tap {
  const T* first;
  int64_t pixel;
  int64_t row;
  int64_t image;
  int64_t depth;     // channels summed over
  const T* weights;  // depth x out channels, packed
};

template <class T>
struct Target {
  T* first;  // as Tap
  int64_t pixel;
  int64_t row;
  int64_t image;
  int64_t channels;
  const float* bias = nullptr;
  const float* per_image = nullptr;  // (B, channels)
  const T* residual = nullptr;       // strides as the target's
};

// Rows that one product may span where the rows of all taps are neighbours: the two border pixels
// between rows are computed and dropped. 32 pixels keep the micro-kernel busy on 7x7 images; 16 to
// 128 measured within noise of each other.
template <class T>
int64_t rows_at_once(const std::vector<Tap<T>>& taps, Area area) {
  for (const Tap<T>& tap : taps) {
    if (tap.row != (area.width + 2) * tap.pixel) return 1;
  }
  return std::clamp<int64_t>(32 / (area.width + 2), 1, area.height);
}

template <class T>
void store_rows(const float* sums, int64_t rows, int64_t y, int64_t n, Area area, const float* add,
                const Target<T>& target) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = n * target.image + (y + r) * target.row;
    store_pixels(sums + r * (area.width + 2) * target.channels, area.width, target.channels, add,
                 target.residual != nullptr ? bits(target.residual + at) : nullptr, target.pixel,
                 bits(target.first + at), target.pixel);
  }
}

template <class T>
void accumulate_image(const std::vector<Tap<T>>& taps, int64_t n, Area area, int64_t block,
                      const Target<T>& target, float* sums, float* add) {
  const bool adds = target.bias != nullptr || target.per_image != nullptr;
  for (int64_t c = 0; adds && c < target.channels; ++c) {
    add[c] = (target.bias != nullptr ? target.bias[c] : 0.0f) +
             (target.per_image != nullptr ? target.per_image[n * target.channels + c] : 0.0f);
  }
  for (int64_t y = 0; y < area.height; y += block) {
    const int64_t rows = std::min(block, area.height - y);
    // The pixels of these rows as one span, the border pixels between rows included.
    const int64_t pixels = rows * (area.width + 2) - 2;
    // The first tap's product overwrites what the block before left in sums; the others add.
    bool first = true;
    for (const Tap<T>& tap : taps) {
      multiply(pixels, target.channels, tap.depth, tap.pixel, !first,
               tap.first + n * tap.image + y * tap.row, tap.weights, sums);
      first = false;
    }
    store_rows(sums, rows, y, n, area, adds ? add : nullptr, target);
  }
}

template <class T>
void accumulate(const std::vector<Tap<T>>& taps, int64_t batch, Area area,
                const Target<T>& target) {
  const int64_t block = rows_at_once(taps, area);
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(static_cast<size_t>(block * (area.width + 2) * target.channels));
    std::vector<float> add(static_cast<size_t>(target.channels));
    for (int64_t n = begin; n < end; ++n) {
      accumulate_image(taps, n, area, block, target, sums.data(), add.data());
    }
    at::native::cpublas::brgemm_release(kPaired<T>);
  });
}

// Taps of a size x size kernel (3 or 1) on padded x.
template <class T>
void append_taps(const torch::Tensor& x, const torch::Tensor& packed, int64_t size,
                 int64_t out_channels, std::vector<Tap<T>>& taps) {
  const int64_t channels = x.size(3), row = x.size(2) * channels;
  const int64_t corner = size == 3 ? 0 : 1;  // a 1x1 kernel looks at the pixel itself
  for (int64_t i = 0; i < size * size; ++i) {
    taps.push_back(
        {x.const_data_ptr<T>() + (corner + i / size) * row + (corner + i % size) * channels,
         channels, row, x.size(1) * row, channels,
         packed.const_data_ptr<T>() + i * channels * out_channels});
  }
}

template <class T>
Target<T> target_in(const torch::Tensor& y) {
  const int64_t channels = y.size(3), row = y.size(2) * channels;
  return {y.data_ptr<T>() + row + channels, channels, row, y.size(1) * row, channels};
}

template <class T>
void apply_epilogue(const Epilogue& epilogue, const torch::Tensor& y, Target<T>& target) {
  if (epilogue.bias.defined()) target.bias = epilogue.bias.const_data_ptr<float>();
  if (epilogue.per_image.defined()) target.per_image = epilogue.per_image.const_data_ptr<float>();
  if (epilogue.residual.defined()) {
    target.residual =
        epilogue.residual.const_data_ptr<T>() + (target.first - y.const_data_ptr<T>());
  }
}

template <class F>
auto by_dtype(torch::Dtype dtype, const F& f) {
  return dtype == torch::kBFloat16 ? f(BFloat16{}) : f(float{});
}

torch::Tensor packed(const torch::Tensor& taps_in_out, torch::Dtype dtype) {
  const int64_t taps = taps_in_out.size(0), in = taps_in_out.size(1), out = taps_in_out.size(2);
  if (dtype != torch::kBFloat16) return taps_in_out.contiguous();
  return taps_in_out.to(dtype).view({taps, in / 2, 2, out}).transpose(2, 3).contiguous();
}

// Image rows of one product over pixels: both factors stay in the L1 cache.
constexpr int64_t kGradientRows = 4;

// One image's activations by channel, and the gradient in the order a right factor wants, for
// products over pixels.
template <class T>
class PixelFactors {
 public:
  PixelFactors(int64_t in_channels, int64_t out_channels, Area area)
      : in_(in_channels),
        out_(out_channels),
        area_(area),
        pixels_((area.height + 2) * (area.width + 2)),
        stride_((pixels_ + 2 + 15) / 16 * 16),
        left_(static_cast<size_t>(in_ * stride_)),
        right_(kPaired<T> ? static_cast<size_t>(pixels_ * out_) : 0) {}

  // x: the image's padded origin.
  void set_activations(const T* x) {
    transpose(bits(x), in_, pixels_, in_, bits(left_.data()), stride_);
  }
  // dy: rows of area.width pixels, width + 2 pixels apart with zeros between. Must live while
  // products are taken.
  void set_gradient(const T* dy) {
    dy_ = dy;
    if constexpr (kPaired<T>) {
      pair_pixels(bits(dy), out_, span(area_.height), out_, bits(right_.data()));
      dy_ = right_.data();
    }
  }
  // sum += x^T dy with x shifted by `offset` padded pixels: (in, out).
  void add_product(int64_t offset, float* sum) const {
    for (int64_t y = 0; y < area_.height; y += kGradientRows) {
      const int64_t first = y * (area_.width + 2);
      int64_t depth = span(std::min(kGradientRows, area_.height - y));
      if (kPaired<T>) depth += depth % 2;  // the partner of an odd last pixel is zero
      multiply(in_, out_, depth, stride_, true, left_.data() + offset + first, dy_ + first * out_,
               sum);
    }
  }

 private:
  int64_t span(int64_t rows) const { return rows * (area_.width + 2) - 2; }

  int64_t in_, out_;
  Area area_;
  int64_t pixels_, stride_;
  std::vector<T> left_, right_;
  const T* dy_ = nullptr;
};

// offsets: of every tap into the padded image. dy_image(n): the image's gradient as
// PixelFactors wants it.
template <class T, class Dy>
torch::Tensor tap_gradients(const torch::Tensor& x, int64_t out_channels,
                            const std::vector<std::vector<int64_t>>& offsets, const Dy& dy_image) {
  const int64_t in = x.size(3), taps = static_cast<int64_t>(offsets[0].size());
  const auto groups = static_cast<int64_t>(offsets.size());
  torch::Tensor sums = torch::zeros({groups * taps, in, out_channels}, torch::kFloat32);
  PixelFactors<T> factors(in, out_channels, area_of(x));
  for (int64_t n = 0; n < x.size(0); ++n) {
    factors.set_activations(x.const_data_ptr<T>() + n * x.stride(0));
    for (int64_t g = 0; g < groups; ++g) {
      factors.set_gradient(dy_image(n, g));
      // Threads share the taps, not the images: each sum has one owner, so its bits do not depend
      // on the number of threads.
      at::parallel_for(0, taps, 1, [&](int64_t begin, int64_t end) {
        for (int64_t tap = begin; tap < end; ++tap) {
          factors.add_product(offsets[static_cast<size_t>(g)][static_cast<size_t>(tap)],
                              sums.data_ptr<float>() + (g * taps + tap) * in * out_channels);
        }
        at::native::cpublas::brgemm_release(kPaired<T>);
      });
    }
  }
  return sums;
}

// Which entries k of a 3-tap kernel the tap a of output parity p sums, (p, a, k): parity 0
// reads the pixels y - 1 with k0 and y with k1 + k2, parity 1 the pixels y with k0 + k1 and
// y + 1 with k2.
torch::Tensor parity_sums() {
  return torch::tensor({1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1}, torch::kFloat32).view({2, 2, 3});
}

// (p, q, a, b) flattened to 16 taps, in, out.
torch::Tensor parity_kernels(const torch::Tensor& weight) {
  const torch::Tensor s = parity_sums();
  return torch::einsum("pak,qbl,oikl->pqabio", {s, s, weight})
      .reshape({16, weight.size(1), weight.size(0)});
}

}  // namespace

Area area_of(const torch::Tensor& padded) { return {padded.size(1) - 2, padded.size(2) - 2}; }

void zero_border(const torch::Tensor& padded) {
  const int64_t height = padded.size(1), width = padded.size(2);
  const auto bytes = [](const torch::Tensor& t) {
    return static_cast<size_t>(t.numel()) * t.element_size();
  };
  // Contiguous spans: the first row, the last row, and the pair (end of a row, start of the next)
  // between all rows.
  const size_t pixel = static_cast<size_t>(padded.size(3)) * padded.element_size();
  char* data = static_cast<char*>(padded.data_ptr());
  const size_t row = pixel * static_cast<size_t>(width);
  const size_t image = row * static_cast<size_t>(height);
  for (size_t at = 0; at < bytes(padded); at += image) {
    std::fill_n(data + at, row + pixel, char{0});
    for (int64_t y = 1; y + 1 < height; ++y) {
      std::fill_n(data + at + static_cast<size_t>(y + 1) * row - pixel, 2 * pixel, char{0});
    }
    std::fill_n(data + at + image - row, row, char{0});
  }
}

torch::Tensor empty_padded(int64_t batch, Area area, int64_t channels, torch::Dtype dtype) {
  const torch::Tensor padded =
      torch::empty({batch, area.height + 2, area.width + 2, channels}, torch::dtype(dtype));
  zero_border(padded);
  return padded;
}

torch::Tensor pack_kernel(const torch::Tensor& weight, torch::Dtype dtype) {
  return packed(weight.permute({2, 3, 1, 0}).flatten(0, 1), dtype);
}

torch::Tensor pack_transposed_kernel(const torch::Tensor& weight, torch::Dtype dtype) {
  return packed(weight.flip({2, 3}).permute({2, 3, 0, 1}).flatten(0, 1), dtype);
}

torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& packed, int64_t out_channels,
                       const std::vector<Shortcut>& shortcuts, const Epilogue& epilogue) {
  return by_dtype(x.scalar_type(), [&]<class T>(T) {
    const torch::Tensor y = empty_padded(x.size(0), area_of(x), out_channels, x.scalar_type());
    std::vector<Tap<T>> taps;
    append_taps(x, packed, 3, out_channels, taps);
    for (const Shortcut& s : shortcuts) append_taps(s.x, s.packed, 1, out_channels, taps);
    Target<T> target = target_in<T>(y);
    apply_epilogue(epilogue, y, target);
    accumulate(taps, x.size(0), area_of(x), target);
    return y;
  });
}

torch::Tensor convolve_1x1(const torch::Tensor& x, const torch::Tensor& packed,
                           int64_t out_channels) {
  return by_dtype(x.scalar_type(), [&]<class T>(T) {
    const torch::Tensor y = empty_padded(x.size(0), area_of(x), out_channels, x.scalar_type());
    std::vector<Tap<T>> taps;
    append_taps(x, packed, 1, out_channels, taps);
    accumulate(taps, x.size(0), area_of(x), target_in<T>(y));
    return y;
  });
}

torch::Tensor kernel_gradient(const torch::Tensor& x, const torch::Tensor& dy, int64_t size) {
  return by_dtype(x.scalar_type(), [&]<class T>(T) {
    const int64_t out = dy.size(3), row = x.size(2);
    std::vector<int64_t> offsets;
    for (int64_t i = 0; i < size * size; ++i) {
      offsets.push_back(size == 3 ? i / 3 * row + i % 3 : row + 1);
    }
    const auto dy_image = [&](int64_t n, int64_t) {
      return dy.const_data_ptr<T>() + n * dy.stride(0) + (row + 1) * out;
    };
    const torch::Tensor sums = tap_gradients<T>(x, out, {offsets}, dy_image);
    return sums.view({size, size, x.size(3), out}).permute({3, 2, 0, 1}).contiguous();
  });
}

torch::Tensor bias_gradient(const torch::Tensor& dy) {
  return by_dtype(dy.scalar_type(), [&]<class T>(T) {
    using Bits = std::remove_cvref_t<decltype(*bits(static_cast<const T*>(nullptr)))>;
    torch::Tensor sum = torch::zeros({dy.size(3)}, torch::kFloat64);
    for (int64_t n = 0; n < dy.size(0); ++n) {
      const Bits* image = bits(dy.const_data_ptr<T>() + n * dy.stride(0));
      add_channel_sums<Bits>({image, dy.size(3), dy.size(3)}, area_of(dy), sum.data_ptr<double>(),
                             nullptr);
    }
    return sum.to(torch::kFloat32);
  });
}

torch::Tensor upsample_convolve(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias) {
  return by_dtype(x.scalar_type(), [&]<class T>(T) {
    const Area area = area_of(x);
    const int64_t in = x.size(3), out = weight.size(0), row = x.size(2) * in;
    const torch::Tensor kernels = packed(parity_kernels(weight), x.scalar_type());
    const torch::Tensor y =
        empty_padded(x.size(0), {2 * area.height, 2 * area.width}, out, x.scalar_type());
    // Output pixels (2 i + p, 2 j + q) of one parity (p, q) are a 2x2 convolution of x.
    for (int64_t phase = 0; phase < 4; ++phase) {
      const int64_t p = phase / 2, q = phase % 2;
      std::vector<Tap<T>> taps;
      for (int64_t tap = 0; tap < 4; ++tap) {
        taps.push_back({x.const_data_ptr<T>() + (p + tap / 2) * row + (q + tap % 2) * in, in, row,
                        x.stride(0), in,
                        kernels.const_data_ptr<T>() + (phase * 4 + tap) * in * out});
      }
      Target<T> target = target_in<T>(y);
      target.first += p * target.row + q * target.pixel;
      target.row *= 2;
      target.pixel *= 2;
      target.bias = bias.const_data_ptr<float>();
      accumulate(taps, x.size(0), area, target);
    }
    return y;
  });
}

torch::Tensor upsample_convolve_input_gradient(const torch::Tensor& dy,
                                               const torch::Tensor& weight) {
  return by_dtype(dy.scalar_type(), [&]<class T>(T) {
    const int64_t in = weight.size(1), out = weight.size(0), row = dy.size(2) * out;
    const Area area{area_of(dy).height / 2, area_of(dy).width / 2};
    const torch::Tensor kernels = packed(parity_kernels(weight).transpose(1, 2), dy.scalar_type());
    std::vector<Tap<T>> taps;
    for (int64_t i = 0; i < 16; ++i) {
      // Input row y met output row 2 (y + 1 - p - a) + p through tap a of parity p; one more
      // in padded rows.
      const int64_t p = i / 8, q = i / 4 % 2, a = i / 2 % 2, b = i % 2;
      taps.push_back({dy.const_data_ptr<T>() + (3 - p - 2 * a) * row + (3 - q - 2 * b) * out,
                      2 * out, 2 * row, dy.stride(0), out,
                      kernels.const_data_ptr<T>() + i * in * out});
    }
    const torch::Tensor dx = empty_padded(dy.size(0), area, in, dy.scalar_type());
    accumulate(taps, dy.size(0), area, target_in<T>(dx));
    return dx;
  });
}

torch::Tensor upsample_convolve_kernel_gradient(const torch::Tensor& x, const torch::Tensor& dy) {
  return by_dtype(x.scalar_type(), [&]<class T>(T) {
    const Area area = area_of(x);
    const int64_t in = x.size(3), out = dy.size(3), row = x.size(2);
    std::vector<std::vector<int64_t>> offsets(4);
    for (int64_t i = 0; i < 16; ++i) {
      offsets[static_cast<size_t>(i / 4)].push_back((i / 8 + i / 2 % 2) * row + i / 4 % 2 + i % 2);
    }
    // Every parity's pixels of one image, rows width + 2 apart with zeros between.
    torch::Tensor gathered =
        torch::zeros({area.height, area.width + 2, out}, torch::dtype(x.scalar_type()));
    const torch::Tensor inside = gathered.narrow(1, 0, area.width);
    const auto dy_image = [&](int64_t n, int64_t phase) {
      inside.copy_(dy[n]
                       .slice(0, 1 + phase / 2, 1 + 2 * area.height, 2)
                       .slice(1, 1 + phase % 2, 1 + 2 * area.width, 2));
      return gathered.const_data_ptr<T>();
    };
    const torch::Tensor sums =
        tap_gradients<T>(x, out, offsets, dy_image).view({2, 2, 2, 2, in, out});
    const torch::Tensor s = parity_sums();
    return torch::einsum("pak,qbl,pqabio->oikl", {s, s, sums}).contiguous();
  });
}

}  // namespace scorenet::models::kernels
