#include "framework/comm/any_rank.hpp"

#include "framework/comm/fingerprint.hpp"

namespace scorenet::comm {

bool any_rank(Communicator& comm, bool mine, std::string_view tag) {
  int64_t any = mine ? 1 : 0;
  comm.all_reduce({&any, 1, DataType::int64}, ReduceOp::max, tag).wait();
  return any != 0;
}

std::string first_told(Communicator& comm, const std::string& mine, std::string_view tag) {
  int64_t first = mine.empty() ? comm.size() : comm.rank();
  comm.all_reduce({&first, 1, DataType::int64}, ReduceOp::min, tag).wait();
  if (first == comm.size()) return "";
  const std::string line = mine.substr(0, mine.find('\n')).substr(0, 240);
  return "rank " + std::to_string(first) + ": " +
         broadcast_text(comm, line, static_cast<int>(first), tag);
}

}  // namespace scorenet::comm
