// A device that is not the CPU, for machines without one: linked into the program, it takes the
// place of the GPU.
//
// Its tensors live at addresses that no program can read, and each operation is LibTorch's own CPU
// kernel on a copy, so a result differs from the CPU's by rounding at most. What a GPU refuses is
// refused here: an operation whose tensors lie on two devices, and memory touched from the host. A
// test tool: never shipped, never benchmarked.
#include <ATen/EmptyTensor.h>
#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/detail/HPUHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "framework/core/device_graph.hpp"
#include "framework/core/device_words.hpp"
#include "framework/core/error.hpp"
#include "launch/device.hpp"

namespace {

// Module::to takes no private device type, and nobody builds this program for a Gaudi.
constexpr auto kType = c10::DeviceType::HPU;
const c10::Device kDevice(kType, 0);

// Not an address of this machine's: reading there ends the program.
constexpr uintptr_t kAway = uintptr_t{1} << 62;
void* away(void* host) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host) + kAway);
}
void* back(void* device) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device) - kAway);
}

class AwayAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* host = bytes ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : nullptr;
    if (bytes && !host) throw std::bad_alloc();
    return {host ? away(host) : nullptr, host, &std::free, kDevice};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(back(to), back(const_cast<void*>(from)), bytes);
  }
};
AwayAllocator allocator;

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::HPU);

bool is_away(const at::Tensor& t) { return t.device().type() == kType; }

// The same values as a CPU tensor: not a copy.
at::Tensor on_host(const at::Tensor& t) {
  if (!is_away(t)) return t.detach();
  void* data = t.numel() ? back(t.data_ptr()) : nullptr;
  return at::from_blob(data, t.sizes(), t.strides(), c10::TensorOptions(t.scalar_type()));
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &allocator, kKeys,
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size),
                                           C10_AS_INTARRAYREF_SLOW(stride), &allocator, kKeys,
                                           c10::dtype_or_default(dtype));
}

// Of work that a graph records (record_graph below): on this thread, and in backward passes that
// it started on others.
thread_local bool recording_here = false;
std::atomic<int> recordings{0};
bool records() {
  return recording_here || (recordings > 0 && torch::autograd::get_current_graph_task_id() != -1);
}
// An operation of this device itself, which computes on copies.
thread_local int computing = 0;
struct Computing {
  Computing() { ++computing; }
  ~Computing() { --computing; }
};
void refuse_the_host(const char* what) {
  TORCH_CHECK(computing > 0 || !records(), "recorded work ", what, ": a graph of a GPU cannot");
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  if (is_away(self) != is_away(to)) refuse_the_host("copies between host and device");
  on_host(to).copy_(on_host(self));
  return to;
}

const at::Tensor& resize(const at::Tensor& self, c10::SymIntArrayRef size,
                         std::optional<at::MemoryFormat>) {
  const auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  const auto bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * self.element_size();
  auto* impl = self.unsafeGetTensorImpl();
  if (impl->storage().nbytes() < bytes) {
    impl->storage().set_data_ptr_noswap(allocator.allocate(bytes));
    impl->storage().set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(sizes);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

at::Scalar local_scalar(const at::Tensor& self) {
  refuse_the_host("reads a number on the host");
  return on_host(self).item();
}

at::Tensor host_copy(const std::optional<at::Tensor>& t) {
  return t && t->defined() ? t->cpu() : at::Tensor();
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding,
                       c10::SymIntArrayRef dilation, bool transposed,
                       c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  const Computing scope;
  return at::convolution_symint(x.cpu(), w.cpu(), host_copy(b), stride, padding, dilation,
                                transposed, output_padding, groups)
      .to(kDevice);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
    c10::SymIntArrayRef output_padding, c10::SymInt groups, std::array<bool, 3> mask) {
  const Computing scope;
  const std::vector<c10::SymInt> bias{w.sym_size(transposed ? 1 : 0)};
  auto [dx, dw, db] =
      at::convolution_backward_symint(dy.cpu(), x.cpu(), w.cpu(), c10::SymIntArrayRef(bias), stride,
                                      padding, dilation, transposed, output_padding, groups, mask);
  const auto there = [](const at::Tensor& t) { return t.defined() ? t.to(kDevice) : t; };
  return {there(dx), there(dw), there(db)};
}

// A number without dimensions may come from the CPU, as on a GPU; indices too.
void check_tensor(const at::Tensor& t, const std::string& name) {
  if (!t.defined() || is_away(t) || t.dim() == 0) return;
  if (name.starts_with("aten::index") || name.starts_with("aten::_index")) return;
  TORCH_CHECK(false, name, ": tensors on two devices, ", t.device(), " among ", kDevice);
}

void check_one_device(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const std::string& name = op.schema().name();
  const size_t n = op.schema().arguments().size();
  for (const c10::IValue& value : at::ArrayRef(stack).slice(stack.size() - n)) {
    if (value.isTensor()) check_tensor(value.toTensor(), name);
    if (value.isTensorList())
      for (const at::Tensor& t : value.toTensorVector()) check_tensor(t, name);
  }
}

void on_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  check_one_device(op, *stack);
  const Computing scope;
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

// What backward asks before it starts a thread for the device.
struct Hooks final : at::HPUHooksInterface {
  void init() const override {}
  bool hasHPU() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
};

TORCH_LIBRARY_IMPL(_, HPU, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_cpu>());
}

// bf16 is left to real devices.
TORCH_LIBRARY_IMPL(_, AutocastHPU, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, HPU, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("resize_", resize);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
}

// Every operation is over when it returns, so an event has nothing to wait for.
struct Guard : c10::impl::NoOpDeviceGuardImpl<kType> {
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return getStream(kDevice); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(HPU, Guard);
const bool registered = [] {
  c10::SetAllocator(kType, &allocator);
  at::HPUHooksRegistry()->Register("HPUHooks",
                                   [](at::HPUHooksArgs) -> std::unique_ptr<at::HPUHooksInterface> {
                                     return std::make_unique<Hooks>();
                                   });
  return true;
}();

}  // namespace

// In place of launch/device.cpp.
namespace scorenet::launch {

torch::Device device_for_rank(const comm::Communicator&) { return kDevice; }

namespace {

// Carries this device's memory over the host's MPI, and as NCCL does nothing else: an address of
// the host is refused. (One of the device's that a host communicator is given ends the program.)
class AwayCommunicator final : public comm::Communicator {
 public:
  explicit AwayCommunicator(std::unique_ptr<comm::Communicator> inner) : inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  int local_rank() const override { return inner_->local_rank(); }
  int local_size() const override { return inner_->local_size(); }
  void set_phase(comm::Phase phase) override { inner_->set_phase(phase); }

  comm::Work all_reduce(comm::Buffer b, comm::ReduceOp op, std::string_view tag) override {
    return inner_->all_reduce(here(b, tag), op, tag);
  }
  comm::Work broadcast(comm::Buffer b, int root, std::string_view tag) override {
    return inner_->broadcast(here(b, tag), root, tag);
  }
  comm::Work reduce_scatter(comm::Buffer in, comm::Buffer out, comm::ReduceOp op,
                            std::string_view tag) override {
    return inner_->reduce_scatter(here(in, tag), here(out, tag), op, tag);
  }
  comm::Work all_gather(comm::Buffer in, comm::Buffer out, std::string_view tag) override {
    return inner_->all_gather(here(in, tag), here(out, tag), tag);
  }
  comm::Work all_to_all(comm::Buffer in, comm::Buffer out, std::string_view tag) override {
    return inner_->all_to_all(here(in, tag), here(out, tag), tag);
  }
  comm::Work barrier(std::string_view tag) override { return inner_->barrier(tag); }
  [[noreturn]] void abort(int exit_code) noexcept override {
    inner_->abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  static comm::Buffer here(comm::Buffer b, std::string_view tag) {
    if (b.count > 0 && reinterpret_cast<uintptr_t>(b.data) < kAway)
      throw CommError(std::string(tag) + ": host memory given to the device's carrier.");
    return {b.count > 0 ? back(b.data) : nullptr, b.count, b.type};
  }

  std::unique_ptr<comm::Communicator> inner_;
};

}  // namespace

std::unique_ptr<comm::Communicator> carrier_of_device_memory(
    torch::Device, const comm::MpiEnvironment& environment, const comm::MpiOptions& options) {
  return std::make_unique<AwayCommunicator>(comm::make_mpi_communicator(environment, options));
}

}  // namespace scorenet::launch

// In place of framework/core/device_words_*.cpp, so that what a GPU makes of random words is
// computed here too.
namespace scorenet {

bool draws_words_on(torch::Device device) { return device == kDevice; }

torch::Tensor philox_words(const torch::Tensor& key, const torch::Tensor& slots, int64_t count) {
  const torch::Tensor rows = on_host(slots);
  const auto seed = static_cast<uint64_t>(on_host(key).item<int64_t>());
  torch::Tensor words = torch::empty({slots.size(0), count}, slots.options());
  auto* out = on_host(words).data_ptr<int64_t>();
  for (int64_t row = 0; row < rows.size(0); ++row) {
    at::Philox4_32 engine(seed, static_cast<uint64_t>(rows[row].item<int64_t>()));
    for (int64_t i = 0; i < count; ++i) *out++ = engine();
  }
  return words;
}

// A recording that cannot go stale: the work runs anew at each launch, under a GPU's rule that it
// keeps to the device.
bool records_graphs(torch::Device device) { return device == kDevice; }

std::unique_ptr<DeviceGraph> record_graph(torch::Device, const std::function<void()>& work,
                                          const DeviceGraph*) {
  struct Rerun final : DeviceGraph {
    explicit Rerun(const std::function<void()>& all) : work(all) {}
    void launch() override {
      struct Scope {
        Scope() { recording_here = true, ++recordings; }
        ~Scope() { recording_here = false, --recordings; }
      } scope;
      work();
    }
    std::function<void()> work;
  };
  return std::make_unique<Rerun>(work);
}

}  // namespace scorenet
