#include "framework/comm/operation.hpp"

#include <array>
#include <cstdio>

#include "framework/core/error.hpp"

namespace scorenet::comm {

std::string bytes_string(int64_t bytes) {
  std::array<char, 32> text{};
  if (bytes < 1024) {
    std::snprintf(text.data(), text.size(), "%lld B", static_cast<long long>(bytes));
  } else if (bytes < 1024 * 1024) {
    std::snprintf(text.data(), text.size(), "%.1f KiB", double(bytes) / 1024);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f MiB", double(bytes) / (1024 * 1024));
  }
  return text.data();
}

const char* name(Collective kind) {
  switch (kind) {
    case Collective::barrier:
      return "barrier";
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::broadcast:
      return "broadcast";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_gather:
      return "all_gather";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::replay:
      return "replay";
  }
  return "unknown";
}

std::string describe(const Operation& operation) {
  std::string text =
      std::string(name(operation.kind)) + " " + std::to_string(operation.sequence) + " (";
  if (!operation.tag.empty()) text += operation.tag;
  if (operation.count > 0) {
    text += operation.tag.empty() ? "" : ", ";
    if (operation.kind == Collective::all_reduce || operation.kind == Collective::reduce_scatter) {
      text += std::string(name(operation.op)) + " of ";
    }
    text += std::to_string(operation.count) + " " + name(operation.type) + ", " +
            bytes_string(operation.bytes());
  }
  if (operation.root >= 0) text += ", from rank " + std::to_string(operation.root);
  return text + ")";
}

std::string describe(const Place& place) {
  return "rank " + std::to_string(place.rank) + " of " + std::to_string(place.size) + " on " +
         place.host;
}

bool fits(const Operation& a, const Operation& b) {
  return a.kind == b.kind && a.sequence == b.sequence && a.type == b.type && a.op == b.op &&
         a.count == b.count && a.root == b.root;
}

void check_parts(const Operation& operation, const Place& place, const Buffer& small,
                 const Buffer& large) {
  if (small.type == large.type && small.count * place.size == large.count) return;
  throw CommError(describe(operation) + " on " + describe(place) + ": the part has " +
                  std::to_string(small.count) + " " + name(small.type) + " and the whole " +
                  std::to_string(large.count) + " " + name(large.type) +
                  "; the whole must be the part times the number of ranks, of one type.");
}

void check_exchange(const Operation& operation, const Place& place, const Buffer& in,
                    const Buffer& out) {
  if (in.type == out.type && in.count == out.count && in.count % place.size == 0) return;
  throw CommError(describe(operation) + " on " + describe(place) + ": sends " +
                  std::to_string(in.count) + " " + name(in.type) + " and receives " +
                  std::to_string(out.count) + " " + name(out.type) +
                  "; both must be equal parts for each rank, of one type.");
}

void check_root(const Operation& operation, const Place& place) {
  if (operation.root >= 0 && operation.root < place.size) return;
  throw CommError(std::string(name(operation.kind)) + " (" + operation.tag + ") on " +
                  describe(place) + ": root " + std::to_string(operation.root) +
                  " must be a rank, 0 to " + std::to_string(place.size - 1) + ".");
}

}  // namespace scorenet::comm
