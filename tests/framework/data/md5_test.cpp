// MD5 against the values of its specification.
#include "framework/data/md5.hpp"

#include <gtest/gtest.h>

namespace scorenet::data {
namespace {

TEST(Md5, MatchesTheValuesOfItsSpecification) {
  // RFC 1321, A.5.
  EXPECT_EQ(md5(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
}

}  // namespace
}  // namespace scorenet::data
