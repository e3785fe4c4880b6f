#include "framework/train/batches_over_ranks.hpp"

#include <algorithm>
#include <vector>

namespace scorenet::train {

torch::Tensor rows_over_ranks(comm::Communicator& comm, int64_t n, c10::IntArrayRef row_shape,
                              int64_t batch, const ComputeRows& compute) {
  std::vector<int64_t> shape{n};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  torch::Tensor all = torch::zeros(shape, torch::kFloat64);
  for (int64_t first = comm.rank() * batch; first < n; first += comm.size() * batch) {
    const int64_t count = std::min(batch, n - first);
    all.narrow(0, first, count).copy_(compute(first, count));
  }
  comm.all_reduce({all.data_ptr(), all.numel(), comm::DataType::float64}, comm::ReduceOp::sum,
                  "rows of all ranks")
      .wait();
  return all;
}

}  // namespace scorenet::train
