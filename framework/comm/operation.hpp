// What an operation is, for errors, traces and the check that all ranks do the same.
#pragma once

#include <cstdint>
#include <string>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// replay: recorded operations, launched together.
enum class Collective {
  barrier,
  all_reduce,
  broadcast,
  reduce_scatter,
  all_gather,
  all_to_all,
  replay
};

/// "all_reduce", as errors and records write it.
const char* name(Collective kind);

struct Operation {
  Collective kind = Collective::barrier;
  int64_t sequence = 0;  // 0, 1, ... on each communicator
  std::string tag;
  DataType type = DataType::uint8;
  ReduceOp op = ReduceOp::sum;
  int64_t count = 0;  // elements of the input
  int root = -1;      // broadcast only

  int64_t bytes() const { return count * size_in_bytes(type); }
};

/// Where an operation takes place.
struct Place {
  int rank = 0;
  int size = 1;
  std::string host;
};

/// "all_reduce 17 (gradient bucket 2, sum of 1048576 float32, 4.0 MiB)".
std::string describe(const Operation& operation);

/// "rank 3 of 8 on node7".
std::string describe(const Place& place);

/// "12 B", "4.0 MiB".
std::string bytes_string(int64_t bytes);

/// Whether two ranks' operations with the same sequence number fit together; tags are for people
/// and may differ.
bool fits(const Operation& a, const Operation& b);

/// Throws CommError naming the operation and both counts unless the counts fit: out * size == in
/// for reduce_scatter (`small` = out, `large` = in), and the other way round for all_gather; data
/// types must agree.
void check_parts(const Operation& operation, const Place& place, const Buffer& small,
                 const Buffer& large);

/// Throws CommError naming both counts unless they and the types agree and the ranks divide them.
void check_exchange(const Operation& operation, const Place& place, const Buffer& in,
                    const Buffer& out);

/// Throws CommError naming the root unless it is one of the ranks.
void check_root(const Operation& operation, const Place& place);

}  // namespace scorenet::comm
