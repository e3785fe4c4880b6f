#include "models/cpu/bf16_attention.hpp"

#include <algorithm>
#include <cmath>

#include "models/cpu/row_passes.hpp"
#include "models/cpu/softmax.hpp"

namespace scorenet::models::cpu {
void Bf16HeadMatrices::Rows::resize(int64_t of_rows, int64_t of_chunks) {
  rows = of_rows;
  chunks = of_chunks;
  numbers.resize(static_cast<size_t>(rows * chunks * kDepth));
}

Bf16HeadMatrices::Bf16HeadMatrices(Area area, int64_t channels)
    : tokens_(area.pixels()),
      token_rows_(whole_depths(tokens_)),
      keys_(whole_blocks(tokens_)),
      channels_(channels),
      width_(whole_blocks(channels)),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(channels)))) {
  for (Rows* rows : {&q_, &k_, &v_, &d_})
    rows->resize(token_rows_, whole_depths(channels) / kDepth);
  p_.resize(token_rows_, token_rows_ / kDepth);
  turned_ = p_;
}

template <class Head>
void Bf16HeadMatrices::make_weights(const Head& q, const Head& k) {
  round(q, q_);
  round(k, k_);
  as_columns(k_, columns_);
  multiply(q_, columns_, keys_, weights_);
  softmax_rows(weights_.data(), tokens_, tokens_, keys_, scale_);
}

template <class Head, class Target>
void Bf16HeadMatrices::mix(const Head& q, const Head& k, const Head& v, const Target& mixed) {
  const Bf16Scope scope;
  make_weights(q, k);
  round(weights_, p_);
  round(v, v_);
  by_tokens(v_, columns_);
  multiply(p_, columns_, width_, made_);
  scatter(made_, mixed);
}

template <class Head, class Target>
void Bf16HeadMatrices::mix_gradient(const Head& q, const Head& k, const Head& v,
                                    const Head& d_mixed, const Target& d_q, const Target& d_k,
                                    const Target& d_v) {
  const Bf16Scope scope;
  make_weights(q, k);
  round(weights_, p_);
  round(d_mixed, d_);
  turn(p_, turned_);
  by_tokens(d_, columns_);
  multiply(turned_, columns_, width_, made_);  // p^T d
  scatter(made_, d_v);
  round(v, v_);
  as_columns(v_, columns_);
  multiply(d_, columns_, keys_, d_weights_);  // d v^T
  softmax_gradient_rows(weights_.data(), d_weights_.data(), tokens_, tokens_, keys_, scale_);
  round(d_weights_, p_);
  by_tokens(k_, columns_);
  multiply(p_, columns_, width_, made_);
  scatter(made_, d_q);
  turn(p_, turned_);
  by_tokens(q_, columns_);
  multiply(turned_, columns_, width_, made_);
  scatter(made_, d_k);
}

void Bf16HeadMatrices::forward(const View& q, const View& k, const View& v, const View& mixed) {
  mix(q, k, v, mixed);
}
void Bf16HeadMatrices::backward(const View& q, const View& k, const View& v, const View& d_mixed,
                                const View& d_q, const View& d_k, const View& d_v) {
  mix_gradient(q, k, v, d_mixed, d_q, d_k, d_v);
}
void Bf16HeadMatrices::forward(const Bf16Head& q, const Bf16Head& k, const Bf16Head& v,
                               const Bf16HeadTarget& mixed) {
  mix(q, k, v, mixed);
}
void Bf16HeadMatrices::backward(const Bf16Head& q, const Bf16Head& k, const Bf16Head& v,
                                const Bf16Head& d_mixed, const Bf16HeadTarget& d_q,
                                const Bf16HeadTarget& d_k, const Bf16HeadTarget& d_v) {
  mix_gradient(q, k, v, d_mixed, d_q, d_k, d_v);
}

void Bf16HeadMatrices::round(const Bf16Head& x, Rows& to) const {
  round_behind_bias(x.rows, x.step, {tokens_, channels_}, x.bias, to.numbers.data(), to.chunk());
}

void Bf16HeadMatrices::scatter(const Matrix& from, const Bf16HeadTarget& x) const {
  round_rows(from.data(), width_, {tokens_, channels_}, x.rows, x.step, x.sums);
}

void Bf16HeadMatrices::round(const View& x, Rows& to) const {
  for (int64_t y = 0; y < x.area.height; ++y) {
    round_pixels(x.at(0, y, 0), x.step, x.area.width, channels_,
                 to.numbers.data() + y * x.area.width * kDepth, to.chunk());
  }
}

void Bf16HeadMatrices::round(const Matrix& keys_wide, Rows& to) const {
  round_pixels(keys_wide.data(), keys_, tokens_, keys_, to.numbers.data(), to.chunk());
}

void Bf16HeadMatrices::as_columns(const Rows& x, Columns& to) const {
  to.block = x.chunks * kPairTile;
  to.numbers.resize(static_cast<size_t>(x.rows / kBlock * to.block));
  for (int64_t block = 0; block < x.rows / kBlock; ++block) {
    for (int64_t j = 0; j < x.chunks; ++j) {
      pairs_of_rows(x.numbers.data() + j * x.chunk() + block * kPairTile,
                    to.numbers.data() + block * to.block + j * kPairTile);
    }
  }
}

void Bf16HeadMatrices::by_tokens(const Rows& x, Columns& to) const {
  to.block = x.rows * kBlock;
  to.numbers.resize(static_cast<size_t>(2 * x.chunks * to.block));
  for (int64_t j = 0; j < x.chunks; ++j) {
    pair_pixels(x.numbers.data() + j * x.chunk(), x.rows, to.numbers.data() + 2 * j * to.block,
                to.block);
  }
}

// Rows are cut into chunks again: number 32 i + l of row r of x^T is number l of its chunk i.
void Bf16HeadMatrices::turn(const Rows& x, Rows& to) const {
  for (int64_t i = 0; i < x.rows; i += kDepth) {
    for (int64_t j = 0; j < x.chunks; ++j) {
      transpose_pixels(x.numbers.data() + j * x.chunk() + i * kDepth, kDepth,
                       to.numbers.data() + i / kDepth * to.chunk() + j * kDepth * kDepth, kDepth);
    }
  }
}

// to: (rows of a, columns).
void Bf16HeadMatrices::multiply(const Rows& a, const Columns& b, int64_t columns,
                                Matrix& to) const {
  to.resize(static_cast<size_t>(a.rows * columns));
  std::vector<int64_t> offsets(static_cast<size_t>(a.chunks));
  for (size_t j = 0; j < offsets.size(); ++j) offsets[j] = static_cast<int64_t>(j) * a.chunk();
  Bf16Product p;
  p.a_row = kDepth;
  p.offsets = offsets.data();
  p.steps = a.chunks;
  p.b_block = b.block;
  p.c_row = columns;
  p.row_tiles = 2;
  for (int64_t block = 0; block < columns / kBlock; block += 2) {
    p.b = b.numbers.data() + block * b.block;
    p.blocks = std::min<int64_t>(2, columns / kBlock - block);
    for (int64_t row = 0; row < tokens_; row += 2 * kTile) {
      p.a = a.numbers.data() + row * kDepth;
      p.c = to.data() + row * columns + block * kBlock;
      cpu::multiply(p);
    }
  }
}

void Bf16HeadMatrices::scatter(const Matrix& from, const View& x) const {
  const float* row = from.data();
  for (int64_t y = 0; y < x.area.height; ++y)
    for (int64_t i = 0; i < x.area.width; ++i, row += width_)
      std::copy_n(row, channels_, x.at(0, y, i));
}

}  // namespace scorenet::models::cpu
