#include "models/cpu/convolution.hpp"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "models/cpu/tiles.hpp"
#include "models/cpu/winograd.hpp"

namespace scorenet::models::cpu {
namespace {

// f(i) for 0 <= i < n, on ATen's threads; in one of its parallel regions on this thread alone.
template <class F>
void for_each(int64_t n, const F& f) {
  at::parallel_for(0, n, 1, [&f](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// Blocks of results that one pass over the images makes: their weights stay in the L2 cache.
constexpr int64_t kBlocksAtOnce = 4;
// Rows of an image that the gradient of the weights takes at once: both factors stay near.
constexpr int64_t kGradientRows = 4;
// Fewer channels leave too little work to each plane, and fewer columns too few tiles.
constexpr int64_t kWinogradChannels = 32;
constexpr int64_t kWinogradWidth = 4;
// The fewest tiles of a strip: a plane's product then has some full register tiles.
constexpr int64_t kStripTiles = 32;

bool fits_winograd(const ConvolutionShape& s, int64_t out_channels) {
  const auto in = std::count_if(s.in.begin(), s.in.end(), [](int64_t c) { return c >= 0; });
  return s.form == Form::same && s.in.size() % kBlock == 0 && in >= kWinogradChannels &&
         out_channels >= kWinogradChannels && s.area.height % 2 == 0 && s.area.width % 2 == 0 &&
         s.area.width >= kWinogradWidth;
}

// Tile rows of all images, cut into strips. A strip moves `passes` times its planes of weights,
// in x out numbers, and its own, in + out a tile: about as much of both.
struct Strips {
  Strips(Area area, int64_t images, int64_t in, int64_t out, int64_t passes)
      : tiles(area.width / 2), rows_of_image(area.height / 2), rows(images * rows_of_image) {
    const int64_t wanted = std::max(passes * in * out / (in + out), kStripTiles);
    at_once = std::clamp<int64_t>((wanted + tiles - 1) / tiles, 1, std::max<int64_t>(rows, 1));
  }
  int64_t count() const { return (rows + at_once - 1) / at_once; }

  int64_t tiles;  // of a row
  int64_t rows_of_image;
  int64_t rows;
  int64_t at_once;  // rows of a strip
};

// Room for the planes of a strip. Some more between planes: their addresses would else share the
// same few lines of the cache.
struct Planes {
  Planes(int64_t tiles, int64_t width)
      : channels(width),
        plane(tiles * width + 2 * kBlock),
        memory(torch::empty({kWinogradPlanes * plane}, torch::kFloat32)),
        first(memory.data_ptr<float>()) {}
  TileRow row(int64_t tiles) const { return {tiles, channels, plane}; }
  float* at(int64_t tile) const { return first + tile * channels; }

  int64_t channels, plane;
  torch::Tensor memory;  // for its alignment
  float* first;
};

const float* at(const View& v, int64_t n, int64_t y, int64_t x) {
  return v.pixel + n * v.image + y * v.row + x * v.step;
}

// k G^T or, applied twice, G k G^T: three numbers become four.
template <class Out>
void winograd_weights(const float* k0, const float* k1, const float* k2, const Out& out) {
  for (int64_t l = 0; l < kBlock; ++l) {
    const float a = k0[l], b = k1[l], c = k2[l];
    out(0, l) = a;
    out(1, l) = 0.5f * (a + b + c);
    out(2, l) = 0.5f * (a - b + c);
    out(3, l) = c;
  }
}

}  // namespace

Convolution::Convolution(ConvolutionShape shape) : shape_(std::move(shape)) {
  int64_t out = 0;
  for (const Part& part : shape_.out) {
    out_depth_ = std::max(out_depth_, part.position + part.channels);
    out += part.channels;
  }
  winograd_ = fits_winograd(shape_, out);
  const int64_t in = in_channels();
  if (winograd_) {
    grid_ = shape_.area;
    forward_floats_ = kWinogradPlanes * in * shape_.out_channels;
    backward_floats_ = forward_floats_;
    sum_floats_ = forward_floats_;
  } else {
    make_phases();
    forward_floats_ = place_weights(forward_, in, shape_.out_channels);
    backward_floats_ = place_weights(backward_, out_depth_, in_whole());
    sum_floats_ = static_cast<int64_t>(gradient_.size()) * in * shape_.out_channels;
  }
  forward_floats_ += bias_floats();
}

void Convolution::make_phases() {
  grid_ = shape_.area;
  if (shape_.form == Form::half || shape_.form == Form::half_behind)
    return make_halving_phases(shape_.form == Form::half ? 1 : 0);
  if (shape_.form == Form::twice) return make_doubling_phases();
  const int64_t reach = shape_.form == Form::same ? 1 : 0;
  Phase there, back;
  for (int64_t y = -reach; y <= reach; ++y) {
    for (int64_t x = -reach; x <= reach; ++x) {
      const int64_t entry = shape_.form == Form::same ? (y + 1) * 3 + x + 1 : 0;
      there.taps.push_back({y, x, {entry}});
      back.taps.push_back({-y, -x, {entry}});
      gradient_.push_back({y, x, 0, 0, {entry}});
    }
  }
  forward_ = {there};
  backward_ = {back};
}

void Convolution::make_halving_phases(int64_t padding) {
  grid_ = {shape_.area.height / 2, shape_.area.width / 2};
  Phase there;
  there.in_step = x_step_ = 2;
  for (int64_t y = 0; y < 3; ++y) {
    for (int64_t x = 0; x < 3; ++x) {
      there.taps.push_back({y - padding, x - padding, {y * 3 + x}});
      gradient_.push_back({y - padding, x - padding, 0, 0, {y * 3 + x}});
    }
  }
  forward_ = {there};
  // Input place 2 j + p met result place j + s through entry k where 2 s + k - padding = p.
  const auto meetings = [padding](int64_t p) {
    std::vector<std::pair<int64_t, int64_t>> all;  // (s, k)
    for (int64_t k = 0; k < 3; ++k)
      if ((p + padding - k) % 2 == 0) all.emplace_back((p + padding - k) / 2, k);
    return all;
  };
  for (int64_t p = 0; p < 2; ++p) {
    for (int64_t q = 0; q < 2; ++q) {
      Phase back;
      back.out_step = 2;
      back.out_y = p;
      back.out_x = q;
      for (const auto& [y, ky] : meetings(p))
        for (const auto& [x, kx] : meetings(q)) back.taps.push_back({y, x, {ky * 3 + kx}});
      backward_.push_back(back);
    }
  }
}

void Convolution::make_doubling_phases() {
  d_step_ = 2;
  using Taps = std::vector<std::pair<int64_t, std::vector<int64_t>>>;  // place, entries of 3
  const auto product = [](const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    std::vector<int64_t> entries;
    for (const int64_t y : a)
      for (const int64_t x : b) entries.push_back(y * 3 + x);
    return entries;
  };
  // Results 2 i read places i - 1 by k0 and i by k1 + k2; results 2 i + 1 read i by k0 + k1 and
  // i + 1 by k2.
  const Taps parity[2] = {{{-1, {0}}, {0, {1, 2}}}, {{0, {0, 1}}, {1, {2}}}};
  for (int64_t p = 0; p < 2; ++p) {
    for (int64_t q = 0; q < 2; ++q) {
      Phase there;
      there.out_step = 2;
      there.out_y = p;
      there.out_x = q;
      for (const auto& [y, a] : parity[p]) {
        for (const auto& [x, b] : parity[q]) {
          there.taps.push_back({y, x, product(a, b)});
          gradient_.push_back({y, x, p, q, product(a, b)});
        }
      }
      forward_.push_back(there);
    }
  }
  // Read from the input: place i met results 2 i - 1 by k2, 2 i by k1 + k2, and so on.
  const Taps met = {{-1, {2}}, {0, {1, 2}}, {1, {0, 1}}, {2, {0}}};
  Phase back;
  back.in_step = 2;
  for (const auto& [y, a] : met)
    for (const auto& [x, b] : met) back.taps.push_back({y, x, product(a, b)});
  backward_ = {back};
}

int64_t Convolution::place_weights(std::vector<Phase>& phases, int64_t depth,
                                   int64_t channels) const {
  int64_t at = 0;
  for (Phase& phase : phases) {
    phase.weights = at;
    at += static_cast<int64_t>(phase.taps.size()) * depth * channels;
  }
  return at;
}

std::vector<const float*> Convolution::out_rows(const std::vector<const float*>& parameters) const {
  const auto in =
      std::count_if(shape_.in.begin(), shape_.in.end(), [](int64_t c) { return c >= 0; });
  std::vector<const float*> rows(static_cast<size_t>(shape_.out_channels), nullptr);
  for (const Part& part : shape_.out) {
    const float* weight = parameters[static_cast<size_t>(part.weight)];
    for (int64_t o = 0; o < part.channels; ++o)
      rows[static_cast<size_t>(part.position + o)] = weight + o * in * kernel_entries();
  }
  return rows;
}

void Convolution::pack_forward(const std::vector<const float*>& parameters, float* to) const {
  const std::vector<const float*> rows = out_rows(parameters);
  const int64_t entries = kernel_entries();
  if (winograd_) pack_planes(rows, /*backward=*/false, to);
  for (const Phase& phase : forward_) {
    const auto taps = static_cast<int64_t>(phase.taps.size());
    for (int64_t o = 0; o < out_depth_; ++o) {
      if (rows[static_cast<size_t>(o)] == nullptr) continue;
      float* block = to + phase.weights + o / kBlock * taps * in_channels() * kBlock + o % kBlock;
      for (int64_t i = 0; i < in_channels(); ++i) {
        if (shape_.in[static_cast<size_t>(i)] < 0) continue;
        const float* w = rows[static_cast<size_t>(o)] + shape_.in[static_cast<size_t>(i)] * entries;
        for (int64_t t = 0; t < taps; ++t) {
          float sum = 0;
          for (const int64_t e : phase.taps[static_cast<size_t>(t)].entries) sum += w[e];
          block[(t * in_channels() + i) * kBlock] = sum;
        }
      }
    }
  }
  float* bias = to + forward_floats_ - bias_floats();
  for (const Part& part : shape_.out) {
    for (int64_t o = 0; o < part.channels; ++o) {
      bias[part.position + o] = parameters[static_cast<size_t>(part.bias)][o];
      if (part.more_bias >= 0)
        bias[part.position + o] += parameters[static_cast<size_t>(part.more_bias)][o];
    }
  }
}

void Convolution::pack_backward(const std::vector<const float*>& parameters, float* to) const {
  const std::vector<const float*> rows = out_rows(parameters);
  const int64_t entries = kernel_entries();
  if (winograd_) pack_planes(rows, /*backward=*/true, to);
  for (const Phase& phase : backward_) {
    const auto taps = static_cast<int64_t>(phase.taps.size());
    for (int64_t o = 0; o < out_depth_; ++o) {
      if (rows[static_cast<size_t>(o)] == nullptr) continue;
      for (int64_t i = 0; i < in_channels(); ++i) {
        if (shape_.in[static_cast<size_t>(i)] < 0) continue;
        const float* w = rows[static_cast<size_t>(o)] + shape_.in[static_cast<size_t>(i)] * entries;
        float* block =
            to + phase.weights + (i / kBlock * taps * out_depth_ + o) * kBlock + i % kBlock;
        for (int64_t t = 0; t < taps; ++t) {
          float sum = 0;
          for (const int64_t e : phase.taps[static_cast<size_t>(t)].entries) sum += w[e];
          block[t * out_depth_ * kBlock] = sum;
        }
      }
    }
  }
}

// U = G k G^T: plane p, block of results, position read, 16 results. Backward the kernel is
// flipped, and what it reads are the results.
void Convolution::pack_planes(const std::vector<const float*>& rows, bool backward,
                              float* to) const {
  const int64_t read = backward ? shape_.out_channels : in_channels();
  const int64_t made = backward ? in_channels() : shape_.out_channels;
  const auto kernel_of = [&](int64_t k, int64_t n) -> const float* {
    const float* row = rows[static_cast<size_t>(backward ? k : n)];
    const int64_t in = shape_.in[static_cast<size_t>(backward ? n : k)];
    return row == nullptr || in < 0 ? nullptr : row + in * 9;
  };
  for (int64_t block = 0; block < made / kBlock; ++block) {
    for (int64_t k = 0; k < read; ++k) {
      alignas(64) float w[9][kBlock] = {}, u[3][4][kBlock];
      for (int64_t l = 0; l < kBlock; ++l) {
        const float* kernel = kernel_of(k, block * kBlock + l);
        for (int64_t e = 0; kernel != nullptr && e < 9; ++e) w[backward ? 8 - e : e][l] = kernel[e];
      }
      for (int64_t x = 0; x < 3; ++x) {
        winograd_weights(w[x], w[3 + x], w[6 + x],
                         [&](int64_t y, int64_t l) -> float& { return u[x][y][l]; });
      }
      for (int64_t y = 0; y < 4; ++y) {
        float* plane = to + 4 * y * read * made + (block * read + k) * kBlock;
        winograd_weights(u[0][y], u[1][y], u[2][y], [&](int64_t x, int64_t l) -> float& {
          return plane[x * read * made + l];
        });
      }
    }
  }
}

void Convolution::run(const std::vector<Phase>& phases, const float* packed, const Grid& grid,
                      const View& x, const View& y, int64_t images,
                      const Epilogue& epilogue) const {
  const int64_t blocks = grid.channels / kBlock;
  const int64_t groups = (blocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  for (const Phase& phase : phases) {
    const auto count = static_cast<int64_t>(phase.taps.size());
    for_each(groups * images, [&](int64_t item) {
      const int64_t group = item / images, n = item % images;
      Tap taps[kMostTaps];
      for (int64_t t = 0; t < count; ++t) {
        const TapRule& rule = phase.taps[static_cast<size_t>(t)];
        taps[t] = {at(x, n, rule.y, rule.x),
                   phase.in_step * x.step,
                   phase.in_step * x.row,
                   grid.depth,
                   packed + phase.weights + t * grid.depth * kBlock,
                   count * grid.depth * kBlock};
      }
      Target target;
      target.pixel = y.pixel + n * y.image + phase.out_y * y.row + phase.out_x * y.step;
      target.step = phase.out_step * y.step;
      target.row = phase.out_step * y.row;
      if (epilogue.add != nullptr) target.add = epilogue.add + n * epilogue.add_image;
      if (epilogue.residual != nullptr) {
        const View& r = *epilogue.residual;
        target.residual = at(r, n, phase.out_y, phase.out_x);
        target.residual_step = phase.out_step * r.step;
        target.residual_row = phase.out_step * r.row;
      }
      multiply_taps(taps, count, grid.area, group * kBlocksAtOnce,
                    std::min((group + 1) * kBlocksAtOnce, blocks), target);
    });
  }
}

void Convolution::run_winograd(const float* packed, const View& x, const View& y, int64_t images,
                               const Epilogue& epilogue) const {
  const int64_t read = x.channels, made = y.channels;
  const Strips strips(grid_, images, read, made, 1);
  at::parallel_for(0, strips.count(), 1, [&](int64_t begin, int64_t end) {
    const Planes v(strips.at_once * strips.tiles, read), m(strips.at_once * strips.tiles, made);
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * strips.at_once;
      const int64_t rows = std::min(strips.at_once, strips.rows - first);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = (first + r) / strips.rows_of_image;
        const int64_t top = 2 * ((first + r) % strips.rows_of_image);
        winograd_input(v.row(strips.tiles), at(x, n, top - 1, -1), x.step, x.row,
                       v.at(r * strips.tiles));
      }
      for (int64_t p = 0; p < kWinogradPlanes; ++p) {
        const Tap tap{v.at(0) + p * v.plane,    read,         0, read,
                      packed + p * read * made, read * kBlock};
        Target target;
        target.pixel = m.at(0) + p * m.plane;
        target.step = made;
        multiply_taps(&tap, 1, {1, rows * strips.tiles}, 0, made / kBlock, target);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = (first + r) / strips.rows_of_image;
        const int64_t top = 2 * ((first + r) % strips.rows_of_image);
        WinogradTarget target;
        target.corner = y.pixel + n * y.image + top * y.row;
        target.step = y.step;
        target.row = y.row;
        if (epilogue.add != nullptr) target.add = epilogue.add + n * epilogue.add_image;
        if (epilogue.residual != nullptr) {
          target.residual = at(*epilogue.residual, n, top, 0);
          target.residual_step = epilogue.residual->step;
          target.residual_row = epilogue.residual->row;
        }
        winograd_output(m.row(strips.tiles), m.at(r * strips.tiles), target);
      }
    }
  });
}

void Convolution::forward(const float* packed, const View& x, const View& y, int64_t images,
                          const Epilogue& epilogue) const {
  if (winograd_) return run_winograd(packed, x, y, images, epilogue);
  run(forward_, packed, {grid_of(y), in_channels(), shape_.out_channels}, x, y, images, epilogue);
}

void Convolution::input_gradient(const float* packed, const View& d_y, const View& d_x,
                                 int64_t images, const View* residual) const {
  Epilogue epilogue;
  epilogue.residual = residual;
  if (winograd_) return run_winograd(packed, d_y, d_x, images, epilogue);
  run(backward_, packed, {grid_of(d_y), out_depth_, in_whole()}, d_y, d_x, images, epilogue);
}

void Convolution::add_weight_gradient(const View& x, const View& d_y, int64_t images,
                                      float* sums) const {
  if (winograd_) return add_winograd_gradient(x, d_y, images, sums);
  OuterShape shape;
  shape.x_step = x_step_ * x.step;
  shape.x_row = x_step_ * x.row;
  shape.d_step = d_step_ * d_y.step;
  shape.d_row = d_step_ * d_y.row;
  shape.sum_row = shape_.out_channels;
  shape.rows = in_channels();
  shape.blocks = shape_.out_channels / kBlock;
  const Area grid = grid_of(d_y);
  const auto taps = static_cast<int64_t>(gradient_.size());
  at::parallel_for(0, taps, 1, [&](int64_t begin, int64_t end) {
    OuterProduct products[kMostTaps];
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t top = 0; top < grid.height; top += kGradientRows) {
        for (int64_t t = begin; t < end; ++t) {
          const GradientTap& tap = gradient_[static_cast<size_t>(t)];
          products[t - begin] = {at(x, n, x_step_ * top + tap.x_y, tap.x_x),
                                 at(d_y, n, d_step_ * top + tap.d_y, tap.d_x),
                                 sums + t * in_channels() * shape_.out_channels};
        }
        const int64_t rows = std::min(kGradientRows, grid.height - top);
        add_outer_products(products, end - begin, {rows, grid.width}, shape);
      }
    }
  });
}

void Convolution::add_winograd_gradient(const View& x, const View& d_y, int64_t images,
                                        float* sums) const {
  const int64_t in = x.channels, out = d_y.channels;
  const Strips strips(grid_, images, in, out, 2);  // sums are read and written
  const Planes v(strips.at_once * strips.tiles, in), z(strips.at_once * strips.tiles, out);
  OuterShape shape;
  shape.x_step = in;
  shape.d_step = out;
  shape.sum_row = out;
  shape.rows = in;
  shape.blocks = out / kBlock;
  for (int64_t first = 0; first < strips.rows; first += strips.at_once) {
    const int64_t rows = std::min(strips.at_once, strips.rows - first);
    for_each(rows, [&](int64_t r) {
      const int64_t n = (first + r) / strips.rows_of_image;
      const int64_t top = 2 * ((first + r) % strips.rows_of_image);
      winograd_input(v.row(strips.tiles), at(x, n, top - 1, -1), x.step, x.row,
                     v.at(r * strips.tiles));
      winograd_gradient(z.row(strips.tiles), at(d_y, n, top, 0), d_y.step, d_y.row,
                        z.at(r * strips.tiles));
    });
    for_each(kWinogradPlanes, [&](int64_t p) {
      const OuterProduct product{v.at(0) + p * v.plane, z.at(0) + p * z.plane, sums + p * in * out};
      add_outer_products(&product, 1, {1, rows * strips.tiles}, shape);
    });
  }
}

void Convolution::write_weight_gradient(const float* sums,
                                        const std::vector<float*>& gradients) const {
  const auto in =
      std::count_if(shape_.in.begin(), shape_.in.end(), [](int64_t c) { return c >= 0; });
  const int64_t entries = kernel_entries();
  std::vector<float*> rows(static_cast<size_t>(shape_.out_channels), nullptr);
  for (const Part& part : shape_.out) {
    float* to = gradients[static_cast<size_t>(part.weight)];
    for (int64_t o = 0; o < part.channels; ++o)
      rows[static_cast<size_t>(part.position + o)] = to + o * in * entries;
  }
  if (winograd_) return write_winograd_gradient(sums, rows);
  const auto taps = static_cast<int64_t>(gradient_.size());
  for (int64_t o = 0; o < out_depth_; ++o) {
    float* row = rows[static_cast<size_t>(o)];
    if (row == nullptr) continue;
    std::fill_n(row, in * entries, 0.0f);
    for (int64_t i = 0; i < in_channels(); ++i) {
      if (shape_.in[static_cast<size_t>(i)] < 0) continue;
      float* kernel = row + shape_.in[static_cast<size_t>(i)] * entries;
      for (int64_t t = 0; t < taps; ++t) {
        const float sum = sums[(t * in_channels() + i) * shape_.out_channels + o];
        for (const int64_t e : gradient_[static_cast<size_t>(t)].entries) kernel[e] += sum;
      }
    }
  }
}

// dk = G^T dU G, 16 results at a time.
void Convolution::write_winograd_gradient(const float* sums,
                                          const std::vector<float*>& rows) const {
  const int64_t in = in_channels(), out = shape_.out_channels;
  const auto back = [](float a, float b, float c, float d, int64_t k) {
    return k == 0 ? a + 0.5f * (b + c) : k == 1 ? 0.5f * (b - c) : 0.5f * (b + c) + d;
  };
  for (int64_t i = 0; i < in; ++i) {
    if (shape_.in[static_cast<size_t>(i)] < 0) continue;
    for (int64_t block = 0; block < out; block += kBlock) {
      const float* u = sums + i * out + block;
      alignas(64) float t[3][4][kBlock], k[9][kBlock];
      for (int64_t y = 0; y < 3; ++y) {
        for (int64_t x = 0; x < 4; ++x) {
          for (int64_t l = 0; l < kBlock; ++l) {
            t[y][x][l] = back(u[x * in * out + l], u[(4 + x) * in * out + l],
                              u[(8 + x) * in * out + l], u[(12 + x) * in * out + l], y);
          }
        }
        for (int64_t x = 0; x < 3; ++x) {
          for (int64_t l = 0; l < kBlock; ++l)
            k[3 * y + x][l] = back(t[y][0][l], t[y][1][l], t[y][2][l], t[y][3][l], x);
        }
      }
      for (int64_t l = 0; l < kBlock; ++l) {
        float* row = rows[static_cast<size_t>(block + l)];
        if (row == nullptr) continue;
        for (int64_t e = 0; e < 9; ++e) row[shape_.in[static_cast<size_t>(i)] * 9 + e] = k[e][l];
      }
    }
  }
}

}  // namespace scorenet::models::cpu
