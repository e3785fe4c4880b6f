// A device that is not the CPU, for machines without one: linked into the program, it takes the
// place of the GPU.
//
// Its tensors live at addresses that no program can read, and each operation is LibTorch's own CPU
// kernel on a copy, so a result differs from the CPU's by rounding at most. What a GPU refuses is
// refused here: an operation whose tensors lie on two devices, and memory touched from the host. A
// test tool: never shipped, never benchmarked.
//
// A graph holds the operations with the tensors and numbers that they were given, and a launch does
// them anew: what work reads from the host is old then, as on a GPU. Recording leaves all memory as
// it was. An operation between ranks is done at the last moment, when it is joined; one that nobody
// joins is refused.
//
// FAKE_SUMS, of operations between ranks that are recorded: "between" (the carrier says that they
// cannot be), "refused on rank N" (it says that they can, and on that rank it throws), "frozen on
// rank N" (that rank is still at the twentieth for ever).
// FAKE_RECORDINGS: a file that gets a line of counts for each recording.
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/detail/CUDAHooksInterface.h>
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
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/library.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <new>
#include <thread>

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

// An operation of this device itself, which computes on copies.
thread_local int computing = 0;
struct Computing {
  Computing() { ++computing; }
  ~Computing() { --computing; }
};

using Bytes = std::vector<char>;
struct Span {
  char* data;  // of the host
  size_t bytes;
  Bytes copy() const { return {data, data + bytes}; }
};

// What a graph holds. While it is recorded it travels with the thread's state into backward passes
// that the thread starts on others.
class Recording final : public c10::DebugInfoBase {
 public:
  static auto kind() { return c10::DebugInfoKind::TEST_INFO; }

  // The one that this operation belongs to, or null.
  static Recording* here() {
    if (computing > 0) return nullptr;
    return static_cast<Recording*>(c10::ThreadLocalDebugInfo::get(kind()));
  }

  void add(std::function<void()> work) {
    ++kernels_;
    if (joined_ < away_.size()) ++meanwhile_;
    work_.push_back(std::move(work));
  }

  // Before an operation writes to a tensor of this device.
  void keep(const at::Tensor& written) {
    const c10::Storage& storage = written.storage();
    if (storage.nbytes() == 0 || kept_.contains(storage.unsafeGetStorageImpl())) return;
    const Span all{static_cast<char*>(back(storage.mutable_data())), storage.nbytes()};
    kept_.emplace(storage.unsafeGetStorageImpl(), Kept{storage, all, all.copy()});
  }

  // An operation between ranks: leaves here, and is done when somebody joins it or a later one.
  size_t leaves(std::vector<Span> buffers, std::function<void()> done) {
    away_.push_back({std::move(buffers), {}, std::move(done), false, false});
    const size_t number = away_.size() - 1;
    work_.emplace_back([this, number] {
      Away& a = away_[number];
      a.seen.clear();
      for (const Span& span : a.buffers) a.seen.push_back(span.copy());
      a.under_way = true;
    });
    return number;
  }
  void joins(size_t number) {
    away_[number].joined = true;
    ++joined_;
    work_.emplace_back([this, number] {
      for (size_t i = 0; i <= number; ++i) arrive(away_[i]);
    });
  }

  void tell() const {
    const char* const path = std::getenv("FAKE_RECORDINGS");
    if (path)
      std::ofstream(path, std::ios::app) << "kernels " << kernels_ << " sums " << away_.size()
                                         << " meanwhile " << meanwhile_ << "\n";
  }
  void undo() {
    for (auto& [storage, kept] : kept_)
      std::memcpy(kept.all.data, kept.before.data(), kept.before.size());
    kept_.clear();
  }
  void check_all_joined() const {
    for (const Away& a : away_)
      TORCH_CHECK(a.joined,
                  "recorded work does not join all that travels: a GPU refuses its graph");
  }
  void launch() const {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const Computing scope;
    for (const auto& work : work_) work();
  }

 private:
  struct Kept {
    c10::Storage storage;
    Span all;
    Bytes before;
  };
  struct Away {
    std::vector<Span> buffers;
    std::vector<Bytes> seen;
    std::function<void()> done;
    bool joined, under_way;
  };

  static void arrive(Away& a) {
    if (!a.under_way) return;
    a.under_way = false;
    for (size_t i = 0; i < a.buffers.size(); ++i)
      TORCH_CHECK(a.seen[i] == a.buffers[i].copy(), "recorded work touches memory that travels");
    a.done();
  }

  std::vector<std::function<void()>> work_;
  std::vector<Away> away_;
  // Kernels, those of them that come between a departure and its joining, and what is joined.
  size_t kernels_ = 0, meanwhile_ = 0, joined_ = 0;
  std::map<c10::StorageImpl*, Kept> kept_;
};

void refuse_the_host(const char* what) {
  TORCH_CHECK(Recording::here() == nullptr, "recorded work ", what, ": a graph of a GPU cannot");
}

// The same memory with today's sizes: the caller may later change those of a tensor in place.
at::Tensor as_it_is(const at::Tensor& t) {
  if (!t.defined()) return t;
  return at::Tensor(t.unsafeGetTensorImpl()->shallow_copy_and_detach(
      c10::VariableVersion(0), /*allow_tensor_metadata_change=*/true));
}

std::vector<at::Tensor> as_they_are(std::vector<at::Tensor> tensors) {
  std::transform(tensors.begin(), tensors.end(), tensors.begin(), as_it_is);
  return tensors;
}

// Gives what `work` makes; recorded, each launch makes it anew in the same place.
std::vector<at::Tensor> made(const std::function<std::vector<at::Tensor>()>& work) {
  Recording* const recording = Recording::here();
  const Computing scope;
  const std::vector<at::Tensor> results = work();
  if (!recording) return results;
  recording->add([work, places = as_they_are(results)] {
    const std::vector<at::Tensor> fresh = work();
    for (size_t i = 0; i < fresh.size(); ++i) {
      if (!fresh[i].defined() || fresh[i].numel() == 0) continue;
      if (fresh[i].data_ptr() == places[i].data_ptr()) continue;
      on_host(places[i]).copy_(on_host(fresh[i]));
    }
  });
  return results;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  if (is_away(self) != is_away(to)) refuse_the_host("copies between host and device");
  if (Recording* const recording = Recording::here()) recording->keep(to);
  return made([self, to] {
    on_host(to).copy_(on_host(self));
    return std::vector{to};
  })[0];
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
  const auto strides = stride.vec(), paddings = padding.vec(), dilations = dilation.vec(),
             more = output_padding.vec();
  return made([=] {
    return std::vector{at::convolution_symint(x.cpu(), w.cpu(), host_copy(b), strides, paddings,
                                              dilations, transposed, more, groups)
                           .to(kDevice)};
  })[0];
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
    c10::SymIntArrayRef output_padding, c10::SymInt groups, std::array<bool, 3> mask) {
  const auto strides = stride.vec(), paddings = padding.vec(), dilations = dilation.vec(),
             more = output_padding.vec();
  const std::vector<c10::SymInt> bias{w.sym_size(transposed ? 1 : 0)};
  const auto all = made([=] {
    auto [dx, dw, db] = at::convolution_backward_symint(
        dy.cpu(), x.cpu(), w.cpu(), c10::SymIntArrayRef(bias), strides, paddings, dilations,
        transposed, more, groups, mask);
    const auto there = [](const at::Tensor& t) { return t.defined() ? t.to(kDevice) : t; };
    return std::vector{there(dx), there(dw), there(db)};
  });
  return {all[0], all[1], all[2]};
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

void add_tensors(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) tensors.push_back(value.toTensor());
  if (value.isTensorList())
    for (const at::Tensor& t : value.toTensorVector()) tensors.push_back(t);
}

// A number of the host goes into a recording by its value; what is written to is kept.
void prepare_recording(const c10::OperatorHandle& op, torch::jit::Stack& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::vector<at::Tensor> tensors;
    add_tensors(arguments[i], tensors);
    const auto* alias = op.schema().arguments()[i].alias_info();
    for (const at::Tensor& t : tensors)
      if (t.defined() && is_away(t) && alias && alias->isWrite()) Recording::here()->keep(t);
    if (arguments[i].isTensor() && tensors[0].defined() && !is_away(tensors[0]))
      arguments[i] = tensors[0].clone();
  }
}

void take_as_they_are(torch::jit::Stack& arguments) {
  for (c10::IValue& value : arguments) {
    if (value.isTensor()) value = as_it_is(value.toTensor());
    if (value.isTensorList()) value = as_they_are(value.toTensorVector());
  }
}

void on_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  check_one_device(op, *stack);
  if (!Recording::here()) {
    const Computing scope;
    return at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  }
  const size_t n = op.schema().arguments().size();
  torch::jit::Stack arguments(stack->end() - static_cast<std::ptrdiff_t>(n), stack->end());
  prepare_recording(op, arguments);
  torch::jit::Stack returned;  // of the call that is recorded
  made([op, arguments, &returned, first = true]() mutable {
    torch::jit::Stack values = arguments;
    at::native::cpu_fallback(op, &values, /*error_on_views=*/true);
    if (std::exchange(first, false)) {
      returned = values;
      take_as_they_are(arguments);
    }
    std::vector<at::Tensor> tensors;
    for (const c10::IValue& value : values) add_tensors(value, tensors);
    return tensors;
  });
  stack->erase(stack->end() - static_cast<std::ptrdiff_t>(n), stack->end());
  stack->insert(stack->end(), returned.begin(), returned.end());
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
  // A program has one kind of device: in a build with CUDA that one is as if it were not there.
  at::CUDAHooksRegistry()->Register(
      "CUDAHooks",
      [](at::CUDAHooksArgs) -> std::unique_ptr<at::CUDAHooksInterface> {
        return std::make_unique<at::CUDAHooksInterface>();
      },
      c10::REGISTRY_PREFERRED);
  return true;
}();

}  // namespace

// In place of launch/device.cpp.
namespace scorenet::launch {

torch::Device device_for_rank(const comm::Communicator&) { return kDevice; }

namespace {

// Carries this device's memory over the host's MPI, and as NCCL does nothing else: an address of
// the host is refused. (One of the device's that a host communicator is given ends the program.)
// Recorded, its operations are too.
class AwayCommunicator final : public comm::Communicator {
 public:
  explicit AwayCommunicator(std::unique_ptr<comm::Communicator> inner) : inner_(std::move(inner)) {
    const char* const text = std::getenv("FAKE_SUMS");
    sums_ = text ? text : "";
  }

  bool can_be_recorded() const override { return sums_ != "between"; }

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  int local_rank() const override { return inner_->local_rank(); }
  int local_size() const override { return inner_->local_size(); }
  void set_phase(comm::Phase phase) override { inner_->set_phase(phase); }

  comm::Work all_reduce(comm::Buffer b, comm::ReduceOp op, std::string_view tag) override {
    return start({here(b, tag)}, [this, b = here(b, tag), op, tag = std::string(tag)] {
      return inner_->all_reduce(b, op, tag);
    });
  }
  comm::Work broadcast(comm::Buffer b, int root, std::string_view tag) override {
    return start({here(b, tag)}, [this, b = here(b, tag), root, tag = std::string(tag)] {
      return inner_->broadcast(b, root, tag);
    });
  }
  comm::Work reduce_scatter(comm::Buffer in, comm::Buffer out, comm::ReduceOp op,
                            std::string_view tag) override {
    in = here(in, tag), out = here(out, tag);
    return start({in, out}, [this, in, out, op, tag = std::string(tag)] {
      return inner_->reduce_scatter(in, out, op, tag);
    });
  }
  comm::Work all_gather(comm::Buffer in, comm::Buffer out, std::string_view tag) override {
    in = here(in, tag), out = here(out, tag);
    return start({in, out}, [this, in, out, tag = std::string(tag)] {
      return inner_->all_gather(in, out, tag);
    });
  }
  comm::Work all_to_all(comm::Buffer in, comm::Buffer out, std::string_view tag) override {
    in = here(in, tag), out = here(out, tag);
    return start({in, out}, [this, in, out, tag = std::string(tag)] {
      return inner_->all_to_all(in, out, tag);
    });
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

  struct RecordedWork final : comm::Work::State {
    RecordedWork(Recording& of, size_t at) : recording(of), number(at) {}
    void wait() override {}
    bool is_done() override { return true; }
    bool join() override {
      recording.joins(number);
      return true;
    }
    Recording& recording;
    size_t number;
  };

  comm::Work start(const std::vector<comm::Buffer>& buffers,
                   const std::function<comm::Work()>& work) {
    Recording* const recording = Recording::here();
    if (!recording) return work();
    if (sums_ == "refused" + on_this_rank()) throw std::runtime_error("this rank records no sums");
    std::vector<Span> spans;
    for (const comm::Buffer& b : buffers)
      spans.push_back({static_cast<char*>(b.data), static_cast<size_t>(b.bytes())});
    const size_t number = recording->leaves(spans, [this, work] {
      while (sums_ == "frozen" + on_this_rank() && launched_ == 20)
        std::this_thread::sleep_for(std::chrono::seconds(1));
      ++launched_;
      work().wait();
    });
    return comm::Work(std::make_unique<RecordedWork>(*recording, number));
  }

  std::string on_this_rank() const { return " on rank " + std::to_string(rank()); }

  std::unique_ptr<comm::Communicator> inner_;
  std::string sums_;
  int64_t launched_ = 0;
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
  return made([key, slots, count] {
    const torch::Tensor rows = on_host(slots);
    const auto seed = static_cast<uint64_t>(on_host(key).item<int64_t>());
    torch::Tensor words = torch::empty({slots.size(0), count}, slots.options());
    auto* out = on_host(words).data_ptr<int64_t>();
    for (int64_t row = 0; row < rows.size(0); ++row) {
      at::Philox4_32 engine(seed, static_cast<uint64_t>(rows[row].item<int64_t>()));
      for (int64_t i = 0; i < count; ++i) *out++ = engine();
    }
    return std::vector{words};
  })[0];
}

bool records_graphs(torch::Device device) { return device == kDevice; }

std::unique_ptr<DeviceGraph> record_graph(torch::Device, const std::function<void()>& work,
                                          const DeviceGraph*) {
  struct Recorded final : DeviceGraph {
    void launch() override { recording->launch(); }
    std::shared_ptr<Recording> recording = std::make_shared<Recording>();
  };
  auto graph = std::make_unique<Recorded>();
  Recording& recording = *graph->recording;
  try {
    const c10::DebugInfoGuard guard(Recording::kind(), graph->recording);
    work();
    recording.check_all_joined();
    recording.tell();
  } catch (...) {
    recording.undo();
    throw;
  }
  recording.undo();
  return graph;
}

void* current_cuda_stream() { return nullptr; }

}  // namespace scorenet
