#include "framework/comm/single_communicator.hpp"

#include <cstdlib>
#include <cstring>

#include "framework/comm/operation.hpp"

namespace scorenet::comm {
namespace {

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }

  Work all_reduce(Buffer, ReduceOp, std::string_view) override { return {}; }
  Work broadcast(Buffer buffer, int root, std::string_view tag) override {
    check_root({Collective::broadcast, 0, std::string(tag), buffer.type, {}, buffer.count, root},
               kPlace);
    return {};
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    check_parts({Collective::reduce_scatter, 0, std::string(tag), in.type, op, in.count}, kPlace,
                out, in);
    return copy(in, out);
  }
  Work all_gather(Buffer in, Buffer out, std::string_view tag) override {
    check_parts({Collective::all_gather, 0, std::string(tag), in.type, {}, in.count}, kPlace, in,
                out);
    return copy(in, out);
  }
  Work all_to_all(Buffer in, Buffer out, std::string_view tag) override {
    check_exchange({Collective::all_to_all, 0, std::string(tag), in.type, {}, in.count}, kPlace, in,
                   out);
    return copy(in, out);
  }
  Work barrier(std::string_view) override { return {}; }
  void set_phase(Phase) override {}
  [[noreturn]] void abort(int exit_code) noexcept override { std::_Exit(exit_code); }

 private:
  static Work copy(const Buffer& in, const Buffer& out) {
    if (in.bytes() > 0) std::memmove(out.data, in.data, size_t(in.bytes()));
    return {};
  }

  inline static const Place kPlace{0, 1, "this host"};
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator() {
  return std::make_unique<SingleCommunicator>();
}

}  // namespace scorenet::comm
