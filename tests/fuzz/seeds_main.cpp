// Writes the first files of tests/fuzz/corpus:
//
//   build/tests/fuzz_seeds tests/fuzz/corpus
#include <cstdio>

#include "tests/fuzz/seeds.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "fuzz_seeds: expected one folder, for example tests/fuzz/corpus\n");
    return 2;
  }
  scorenet::fuzz::write_seeds(arguments[1]);
  return 0;
}
