// One head of attention with products in bfloat16: softmax(q k^T / sqrt(channels)) v, and its
// gradient. Sums and the softmax are float32.
#pragma once

#include <vector>

#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// A head's rows (tokens, channels) in bfloat16, `step` numbers apart.
struct Bf16Head {
  const Bf16* rows;
  int64_t step;
  const float* bias = nullptr;  // added on reading; null: none
};
struct Bf16HeadTarget {
  Bf16* rows;
  int64_t step;
  float* sums = nullptr;  // over the rows, before they are rounded; null: not wanted
};

/// Attention for one head at a time, with the memory that it needs. Not for several threads.
class Bf16HeadMatrices {
 public:
  /// For heads of `channels` channels over area.pixels() tokens.
  Bf16HeadMatrices(Area area, int64_t channels);

  /// Views of the head's channels of one image, float32. Writes mixed; backward writes d_q, d_k and
  /// d_v.
  void forward(const View& q, const View& k, const View& v, const View& mixed);
  void backward(const View& q, const View& k, const View& v, const View& d_mixed, const View& d_q,
                const View& d_k, const View& d_v);

  /// The same for heads in bfloat16.
  void forward(const Bf16Head& q, const Bf16Head& k, const Bf16Head& v,
               const Bf16HeadTarget& mixed);
  void backward(const Bf16Head& q, const Bf16Head& k, const Bf16Head& v, const Bf16Head& d_mixed,
                const Bf16HeadTarget& d_q, const Bf16HeadTarget& d_k, const Bf16HeadTarget& d_v);

 private:
  // The rows of a factor in chunks of 32 numbers: (chunks, rows, 32), in whole tiles of rows. Zero
  // where nothing was written.
  struct Rows {
    std::vector<Bf16> numbers;
    int64_t rows = 0, chunks = 0;

    void resize(int64_t of_rows, int64_t of_chunks);
    int64_t chunk() const { return rows * kDepth; }
  };
  // The columns of a factor as the tiles of Bf16Product: by 16 columns, then by 32 rows.
  struct Columns {
    std::vector<Bf16> numbers;
    int64_t block = 0;
  };
  using Matrix = std::vector<float>;

  template <class Head, class Target>
  void mix(const Head& q, const Head& k, const Head& v, const Target& mixed);
  template <class Head, class Target>
  void mix_gradient(const Head& q, const Head& k, const Head& v, const Head& d_mixed,
                    const Target& d_q, const Target& d_k, const Target& d_v);
  template <class Head>
  void make_weights(const Head& q, const Head& k);
  void round(const View& x, Rows& to) const;
  void round(const Bf16Head& x, Rows& to) const;
  void round(const Matrix& keys_wide, Rows& to) const;
  void as_columns(const Rows& x, Columns& to) const;  // x^T
  void by_tokens(const Rows& x, Columns& to) const;   // x
  void turn(const Rows& x, Rows& to) const;           // x^T as rows
  void multiply(const Rows& a, const Columns& b, int64_t columns, Matrix& to) const;
  void scatter(const Matrix& from, const View& x) const;
  void scatter(const Matrix& from, const Bf16HeadTarget& x) const;

  int64_t tokens_, token_rows_, keys_, channels_, width_;
  float scale_;
  Rows q_, k_, v_, d_, p_, turned_;
  Columns columns_;
  Matrix weights_, d_weights_, made_;
};

}  // namespace scorenet::models::cpu
