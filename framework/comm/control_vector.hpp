// The one small all-reduce of a training step: flags, sums and per-rank numbers, packed into
// one float64 sum.
//
// A sum is a slot; a flag is a bit per rank (a rank adds 2^(rank mod 32) to word rank / 32: exact
// in float64, and the sum tells who raised it); a gathered number is a slot per rank that only its
// rank fills. So one collective answers "is every loss finite, who says no, does anyone want to
// stop, how much was lost in total, who is slow".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

struct ControlField {
  enum class Kind { sum, flag, gather };
  std::string name;
  Kind kind = Kind::sum;
  int64_t count = 1;  // numbers of a sum or of one rank's share of a gather; ignored for a flag
};

class ControlVector {
 public:
  /// The same fields on all ranks. Throws ConfigError for a name given twice or a count below 1.
  ControlVector(const std::vector<ControlField>& fields, int rank, int size);

  /// Sets everything to zero. Call it before each step's values.
  void clear();
  /// Adds to the index-th number of a sum. A value that is not finite makes that sum useless, so
  /// raise a flag instead.
  void add(const std::string& field, double value, int64_t index = 0);
  /// Raise this rank's flag.
  void raise(const std::string& field);
  /// Set this rank's index-th number of a gather.
  void set(const std::string& field, double value, int64_t index = 0);

  /// Where in buffer() a field begins, for a device that adds its own numbers there. A rank's flag
  /// is 2^bit in the word `first`.
  size_t first_of(const std::string& field) const;
  struct FlagPlace {
    size_t first = 0;
    int bit = 0;
  };
  FlagPlace own_flag(const std::string& field) const;
  /// In how many words a flag of all ranks lies.
  int64_t flag_words() const;

  /// The packed values, to be all-reduced by sum. After that, the functions below tell
  /// of all ranks.
  Buffer buffer();
  /// all_reduce of buffer() by sum, started and not yet waited for.
  Work exchange(Communicator& communicator);

  double sum(const std::string& field, int64_t index = 0) const;
  /// The ranks whose flag is up, ascending.
  std::vector<int> raised_by(const std::string& field) const;
  bool any(const std::string& field) const { return !raised_by(field).empty(); }
  /// The index-th number of every rank, by rank.
  std::vector<double> per_rank(const std::string& field, int64_t index = 0) const;

 private:
  struct Slot {
    ControlField field;
    size_t first = 0;
  };
  /// Throws CommError naming the field unless it exists, has this kind and holds `index`.
  const Slot& slot(const std::string& field, ControlField::Kind kind, int64_t index) const;

  int rank_;
  int size_;
  std::map<std::string, Slot> slots_;
  std::vector<double> values_;
};

}  // namespace scorenet::comm
