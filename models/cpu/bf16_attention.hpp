// One head of attention whose products are bfloat16's.
#pragma once

#include <vector>

#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

class Bf16HeadMatrices {
 public:
  /// channels: of the head.
  Bf16HeadMatrices(Area area, int64_t channels);

  /// Views of the head's channels of one image. mixed = softmax(q k^T / sqrt(channels)) v.
  void forward(const View& q, const View& k, const View& v, const View& mixed);
  void backward(const View& q, const View& k, const View& v, const View& d_mixed, const View& d_q,
                const View& d_k, const View& d_v);

 private:
  // A factor's rows in chunks of 32 numbers, (chunks, rows, 32), whole tiles of rows: zero where
  // nothing was written.
  struct Rows {
    std::vector<Bf16> numbers;
    int64_t rows = 0, chunks = 0;

    void resize(int64_t of_rows, int64_t of_chunks);
    int64_t chunk() const { return rows * kDepth; }
  };
  // A factor's columns as products read them: block of 16 columns, 32 rows, pairs of rows, columns.
  struct Columns {
    std::vector<Bf16> numbers;
    int64_t block = 0;
  };
  using Matrix = std::vector<float>;

  void make_weights(const View& q, const View& k);
  void round(const View& x, Rows& to) const;
  void round(const Matrix& keys_wide, Rows& to) const;
  void as_columns(const Rows& x, Columns& to) const;  // x^T
  void by_tokens(const Rows& x, Columns& to) const;   // x
  void turn(const Rows& x, Rows& to) const;           // x^T as rows
  void multiply(const Rows& a, const Columns& b, int64_t columns, Matrix& to) const;
  void scatter(const Matrix& from, const View& x) const;

  int64_t tokens_, token_rows_, keys_, channels_, width_;
  float scale_;
  Rows q_, k_, v_, d_, p_, turned_;
  Columns columns_;
  Matrix weights_, d_weights_, made_;
};

}  // namespace scorenet::models::cpu
