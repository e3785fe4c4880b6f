#include "framework/score/network_call.hpp"

namespace scorenet::score {
namespace {

void refill_rows(const torch::Tensor& kept, const torch::Tensor& now) {
  if (kept.defined()) kept.detach().narrow(0, 0, now.size(0)).copy_(now);
}

}  // namespace

CallKind kind_of(const NetworkCall& call, torch::Dtype compute_dtype) {
  return {call.x.sizes().slice(1).vec(),
          compute_dtype,
          call.log_snr.scalar_type(),
          {call.given.labels.defined(), call.given.numbers.defined(), call.given.fields.defined(),
           call.given.told.defined(), call.given.augment.defined()}};
}

void refill(const NetworkCall& kept, const NetworkCall& now) {
  refill_rows(kept.x, now.x);
  refill_rows(kept.log_snr, now.log_snr);
  refill_rows(kept.given.labels, now.given.labels);
  refill_rows(kept.given.numbers, now.given.numbers);
  refill_rows(kept.given.fields, now.given.fields);
  refill_rows(kept.given.told, now.given.told);
  refill_rows(kept.given.augment, now.given.augment);
}

}  // namespace scorenet::score
