#include "framework/data/shard.hpp"

#include <algorithm>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::data {

Range shard(int64_t total, int rank, int world_size) {
  if (total < 0 || rank < 0 || rank >= world_size) {
    throw ConfigError("shard: rank " + std::to_string(rank) + " of " + std::to_string(world_size) +
                      " and " + std::to_string(total) +
                      " items: expected 0 <= rank < world size and items >= 0.");
  }
  const int64_t least = total / world_size;
  const int64_t remainder = total % world_size;
  const int64_t begin = rank * least + std::min<int64_t>(rank, remainder);
  return {begin, begin + least + (rank < remainder ? 1 : 0)};
}

}  // namespace scorenet::data
