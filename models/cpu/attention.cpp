#include "models/cpu/attention.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/cpu/bf16_attention.hpp"
#include "models/cpu/softmax.hpp"
#include "models/cpu/tiles.hpp"

namespace scorenet::models::cpu {
namespace {

// One head of one image as plain matrices. `width` is the head's channels in whole blocks.
class HeadMatrices {
 public:
  HeadMatrices(Area area, int64_t channels)
      : tokens_(area.pixels()),
        keys_(whole_blocks(tokens_)),
        channels_(channels),
        width_(whole_blocks(channels)),
        scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(channels)))) {}

  // mixed = softmax(q k^T scale) v.
  void forward(const View& q, const View& k, const View& v, const View& mixed) {
    make_weights(q, k);
    gather_by_blocks(v, blocks_);
    multiply(weights_, keys_, tokens_, blocks_, width_, rows_);
    scatter(rows_, mixed);
  }

  void backward(const View& q, const View& k, const View& v, const View& d_mixed, const View& d_q,
                const View& d_k, const View& d_v) {
    make_weights(q, k);
    gather(d_mixed, d_rows_);
    outer(weights_, d_rows_, d_v);
    transpose(v, transposed_);
    multiply(d_rows_, width_, channels_, transposed_, keys_, d_weights_);
    softmax_gradient_rows(weights_.data(), d_weights_.data(), tokens_, tokens_, keys_, scale_);
    outer(d_weights_, rows_, d_k);  // rows_ still holds q
    gather_by_blocks(k, blocks_);
    multiply(d_weights_, keys_, tokens_, blocks_, width_, rows_);
    scatter(rows_, d_q);
  }

 private:
  using Matrix = std::vector<float>;

  void make_weights(const View& q, const View& k) {
    gather(q, rows_);
    transpose(k, transposed_);
    multiply(rows_, width_, channels_, transposed_, keys_, weights_);
    softmax_rows(weights_.data(), tokens_, tokens_, keys_, scale_);
  }

  static void resize(Matrix& m, int64_t floats) { m.resize(static_cast<size_t>(floats)); }

  // f(token, its channels).
  template <class F>
  void for_tokens(const View& x, const F& f) const {
    for (int64_t y = 0, token = 0; y < x.area.height; ++y)
      for (int64_t i = 0; i < x.area.width; ++i) f(token++, x.pixel + y * x.row + i * x.step);
  }

  // (tokens, width)
  void gather(const View& x, Matrix& to) const {
    resize(to, tokens_ * width_);
    for_tokens(x, [&](int64_t token, const float* from) {
      float* row = to.data() + token * width_;
      std::fill(std::copy_n(from, channels_, row), row + width_, 0.0f);
    });
  }
  // (tokens, width) as the weights of a product over tokens: 16 columns after the other.
  void gather_by_blocks(const View& x, Matrix& to) const {
    resize(to, tokens_ * width_);
    for_tokens(x, [&](int64_t token, const float* from) {
      for (int64_t c = 0; c < width_; ++c) {
        to[static_cast<size_t>((c / kBlock * tokens_ + token) * kBlock + c % kBlock)] =
            c < channels_ ? from[c] : 0.0f;
      }
    });
  }
  // (channels, tokens) as the weights of a product over channels.
  void transpose(const View& x, Matrix& to) const {
    to.assign(static_cast<size_t>(keys_ * channels_), 0.0f);
    for_tokens(x, [&](int64_t token, const float* from) {
      float* column = to.data() + token / kBlock * channels_ * kBlock + token % kBlock;
      for (int64_t c = 0; c < channels_; ++c) column[c * kBlock] = from[c];
    });
  }
  void scatter(const Matrix& from, const View& x) const {
    for_tokens(x, [&](int64_t token, float* to) {
      std::copy_n(from.data() + token * width_, channels_, to);
    });
  }

  // (tokens, depth of `row`) times weights (depth, columns).
  void multiply(const Matrix& a, int64_t row, int64_t depth, const Matrix& weights, int64_t columns,
                Matrix& to) const {
    resize(to, tokens_ * columns);
    const Tap tap{a.data(), row, 0, depth, weights.data(), depth * kBlock};
    Target target;
    target.pixel = to.data();
    target.step = columns;
    multiply_taps(&tap, 1, {1, tokens_}, 0, columns / kBlock, target);
  }
  // a^T b, a: (tokens, keys), b: (tokens, width).
  void outer(const Matrix& a, const Matrix& b, const View& to) {
    resize(sums_, tokens_ * width_);
    const OuterProduct product{a.data(), b.data(), sums_.data()};
    OuterShape shape;
    shape.x_step = keys_;
    shape.d_step = shape.sum_row = width_;
    shape.rows = tokens_;
    shape.blocks = width_ / kBlock;
    shape.first = true;
    add_outer_products(&product, 1, {1, tokens_}, shape);
    scatter(sums_, to);
  }

  int64_t tokens_, keys_, channels_, width_;
  float scale_;
  Matrix rows_, d_rows_, transposed_, blocks_, weights_, d_weights_, sums_;
};

View head_of(const View& x, int64_t n, int64_t head, const Heads& heads) {
  View v = x.from_image(n);
  v.pixel += head * heads.channels;
  return v;
}

// f(matrices, image, head) for all of them, on ATen's threads.
template <class Matrices, class F>
void for_heads(Area area, const Heads& heads, int64_t images, const F& f) {
  at::parallel_for(0, images * heads.count, 1, [&](int64_t begin, int64_t end) {
    Matrices matrices(area, heads.channels);
    for (int64_t i = begin; i < end; ++i) f(matrices, i / heads.count, i % heads.count);
  });
}

template <class Matrices>
void attend_by(const AttentionViews& t, const Heads& heads, int64_t images) {
  for_heads<Matrices>(t.q.area, heads, images, [&](Matrices& m, int64_t n, int64_t h) {
    m.forward(head_of(t.q, n, h, heads), head_of(t.k, n, h, heads), head_of(t.v, n, h, heads),
              head_of(t.mixed, n, h, heads));
  });
}

template <class Matrices>
void attend_gradient_by(const AttentionViews& t, const AttentionViews& g, const Heads& heads,
                        int64_t images) {
  for_heads<Matrices>(t.q.area, heads, images, [&](Matrices& m, int64_t n, int64_t h) {
    m.backward(head_of(t.q, n, h, heads), head_of(t.k, n, h, heads), head_of(t.v, n, h, heads),
               head_of(g.mixed, n, h, heads), head_of(g.q, n, h, heads), head_of(g.k, n, h, heads),
               head_of(g.v, n, h, heads));
  });
}

}  // namespace

void attend(const AttentionViews& t, const Heads& heads, Arithmetic arithmetic, int64_t images) {
  arithmetic == Arithmetic::bfloat16 ? attend_by<Bf16HeadMatrices>(t, heads, images)
                                     : attend_by<HeadMatrices>(t, heads, images);
}

void attend_gradient(const AttentionViews& t, const AttentionViews& g, const Heads& heads,
                     Arithmetic arithmetic, int64_t images) {
  arithmetic == Arithmetic::bfloat16 ? attend_gradient_by<Bf16HeadMatrices>(t, g, heads, images)
                                     : attend_gradient_by<HeadMatrices>(t, g, heads, images);
}

}  // namespace scorenet::models::cpu
