#include "models/cpu/backward_pass.hpp"

#include <algorithm>
#include <utility>

namespace scorenet::models::cpu {
namespace {

// Images of one sum of gradients, where several threads make several sums.
constexpr int64_t kImagesOfSum = 16;

}  // namespace

// Where gradients of weights are added; null: none is wanted.
struct BackwardPass::Sums {
  float* weights = nullptr;
  double* vectors = nullptr;
  bool are_new = false;  // nothing is in `weights` yet
};

BackwardPass::BackwardPass(const Network& network, const Arenas& gradients, const Arenas& sums,
                           int64_t images_at_once, BackwardInput input)
    : network_(network),
      gradients_(gradients),
      arena_of_sums_(sums),
      at_once_(images_at_once),
      in_(std::move(input)) {
  way_.parameters = numbers_of(in_.parameters);
  way_.packed = in_.state.packed.get();
  way_.values = in_.state.values;
  way_.statistics = in_.state.statistics;
  way_.masks = in_.state.masks;
  way_.dropout = in_.dropout;
  way_.d_shifts = torch::zeros({in_.x.size(0), network_.shifts()}, torch::kFloat32);
  way_.d_y = in_.d_y.contiguous();
  if (in_.wanted.x) way_.d_x = torch::empty_like(in_.x, at::MemoryFormat::Contiguous);
}

void BackwardPass::to(int64_t layer) {
  if (layer == network_.layers() - 1) start();
  if (last_.images > 0) network_.backward(last_, layer);
  if (layer == 0) finish();
}

void BackwardPass::start() {
  const int64_t batch = in_.x.size(0);
  if (!in_.wanted.parameters) {
    over_batch(batch, at_once_,
               [&](int64_t first, int64_t images) { back_over(first, images, {}); });
  } else if (batch > kImagesOfSum && !network_.has_many_weights()) {
    sum_in_parts();
  } else {
    sum_once();
  }
}

// Sums of a fixed number of images each, added in their order: no bit depends on the threads.
void BackwardPass::sum_in_parts() {
  const int64_t batch = in_.x.size(0), floats = whole_blocks(network_.sum_floats());
  const int64_t numbers = network_.vector_numbers();
  const int64_t parts = (batch + kImagesOfSum - 1) / kImagesOfSum;
  const int64_t together = parts >= free_threads() ? free_threads() : 1;
  for (int64_t part = 0; part < parts; part += together) {
    const int64_t now = std::min(together, parts - part);
    const torch::Tensor some =
        arena_of_sums_.lend(now * floats).narrow(0, 0, now * floats).view({now, floats});
    const torch::Tensor some_vectors = torch::zeros({now, numbers}, torch::kFloat64);
    const auto run = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t from = (part + i) * kImagesOfSum,
                      until = std::min(from + kImagesOfSum, batch);
        for (int64_t n = from; n < until; n += at_once_) {
          back_over(n, std::min(at_once_, until - n),
                    {some.data_ptr<float>() + i * floats,
                     some_vectors.data_ptr<double>() + i * numbers, n == from});
        }
      }
    };
    if (now > 1) {
      at::parallel_for(0, now, 1, run);
    } else {
      run(0, now);
    }
    for (int64_t i = 0; i < now; ++i) {
      sums_ = part + i == 0 ? some[0] : sums_.add_(some[i]);
      vectors_ = part + i == 0 ? some_vectors[0] : vectors_.add_(some_vectors[i]);
    }
  }
}

// One sum of all images; the last ones are left to go through layer by layer.
void BackwardPass::sum_once() {
  const int64_t batch = in_.x.size(0);
  sums_ = arena_of_sums_.lend(whole_blocks(network_.sum_floats()));
  vectors_ = torch::zeros({network_.vector_numbers()}, torch::kFloat64);
  const auto sums = [&](int64_t first) {
    return Sums{sums_.data_ptr<float>(), vectors_.data_ptr<double>(), first == 0};
  };
  int64_t first = 0;
  for (; first + at_once_ < batch; first += at_once_) back_over(first, at_once_, sums(first));
  first_of_last_ = first;
  last_ = pass_of(first, batch - first, sums(first), memory_of_last_);
}

Pass BackwardPass::pass_of(int64_t first, int64_t images, const Sums& sums,
                           torch::Tensor& memory) const {
  Pass pass = way_.pass(network_, first, images);
  pass.sums = sums.weights;
  pass.vectors = sums.vectors;
  pass.first_of_sums = sums.are_new;
  pass.input_wanted = way_.d_x.defined();
  memory = gradients_.lend(images * network_.gradient_floats());
  pass.gradients = {memory.data_ptr<float>(), network_.gradient_floats()};
  const View out = pass.gradients.view(network_.output_gradient());
  const int64_t channels = way_.d_y.size(1), numbers = channels * out.area.pixels();
  for (int64_t n = 0; n < images; ++n)
    copy_in(way_.d_y.const_data_ptr<float>() + (first + n) * numbers, channels, out.from_image(n));
  return pass;
}

void BackwardPass::back_over(int64_t first, int64_t images, const Sums& sums) const {
  torch::Tensor memory;
  const Pass pass = pass_of(first, images, sums, memory);
  network_.backward(pass);
  copy_input_gradient(pass, first);
}

void BackwardPass::copy_input_gradient(const Pass& pass, int64_t first) const {
  if (!way_.d_x.defined()) return;
  const View in = pass.gradients.view(network_.input_gradient());
  const int64_t channels = in_.x.size(1), numbers = channels * in.area.pixels();
  for (int64_t n = 0; n < pass.images; ++n)
    copy_out(in.from_image(n), channels, way_.d_x.data_ptr<float>() + (first + n) * numbers);
}

void BackwardPass::finish() {
  if (last_.images > 0) copy_input_gradient(last_, first_of_last_);
  if (!in_.wanted.parameters && !in_.wanted.time) return;
  const int64_t batch = in_.x.size(0);
  Pass pass = way_.pass(network_, 0, batch);
  pass.sums = in_.wanted.parameters ? sums_.data_ptr<float>() : nullptr;
  pass.vectors = in_.wanted.parameters ? vectors_.data_ptr<double>() : nullptr;
  const torch::Tensor d_time =
      torch::empty({batch, whole_blocks(network_.time_channels())}, torch::kFloat32);
  network_.project_time_backward(pass, padded_time(in_.time).data_ptr<float>(),
                                 d_time.data_ptr<float>());
  if (in_.wanted.time) d_time_ = d_time.narrow(1, 0, in_.time.size(1));
}

std::vector<torch::Tensor> BackwardPass::parameters(int64_t layer) const {
  const std::vector<int64_t>& of_layer = network_.parameters_of(layer);
  std::vector<torch::Tensor> gradients(of_layer.size());
  if (!in_.wanted.parameters) return gradients;
  std::vector<float*> to(in_.parameters.size());
  for (size_t i = 0; i < of_layer.size(); ++i) {
    const auto p = static_cast<size_t>(of_layer[i]);
    gradients[i] = torch::empty_like(in_.parameters[p], at::MemoryFormat::Contiguous);
    to[p] = gradients[i].data_ptr<float>();
  }
  network_.write_gradients(layer, sums_.const_data_ptr<float>(), vectors_.const_data_ptr<double>(),
                           to);
  return gradients;
}

}  // namespace scorenet::models::cpu
