#include "framework/comm/any_rank.hpp"

#include <array>

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
  std::array<char, 241> text{};
  mine.substr(0, mine.find('\n')).copy(text.data(), text.size() - 1);
  comm.broadcast({text.data(), 240, DataType::uint8}, static_cast<int>(first), tag).wait();
  return "rank " + std::to_string(first) + ": " + text.data();
}

}  // namespace scorenet::comm
