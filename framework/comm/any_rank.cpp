#include "framework/comm/any_rank.hpp"

namespace scorenet::comm {

bool any_rank(Communicator& comm, bool mine, std::string_view tag) {
  int64_t any = mine ? 1 : 0;
  comm.all_reduce({&any, 1, DataType::int64}, ReduceOp::max, tag).wait();
  return any != 0;
}

}  // namespace scorenet::comm
