// Digests: of pieces as of the whole, of tensors whatever their strides.
#include "framework/core/digest.hpp"

#include <gtest/gtest.h>

#include "framework/core/tensor_digest.hpp"

namespace scorenet {
namespace {

TEST(Digest, IsXxh3AsOthersComputeIt) {
  // The value of the empty input in xxHash's own sanity test.
  EXPECT_EQ(digest("", 0), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest("", 0, DigestBits::b64), "2d06800538d394c2");
}

TEST(Digest, Of64BitsInPiecesIsThatOfTheWhole) {
  const std::string text(3000, 'x');
  Digest pieces(DigestBits::b64);
  pieces.add(text.data(), 1000);
  pieces.add(text.data() + 1000, 2000);
  EXPECT_EQ(pieces.hex().size(), 16u);
  EXPECT_EQ(pieces.hex(), digest(text.data(), text.size(), DigestBits::b64));
}

TEST(Digest, ChangesWithAnyByte) {
  std::string a(1000, 'x');
  std::string b = a;
  b[999] = 'y';
  EXPECT_EQ(digest(a.data(), a.size()).size(), 32u);
  EXPECT_EQ(digest(a.data(), a.size()), digest(a.data(), a.size()));
  EXPECT_NE(digest(a.data(), a.size()), digest(b.data(), b.size()));
}

TEST(Digest, OfPiecesIsThatOfTheWhole) {
  const std::string text(3000, 'x');
  Digest pieces;
  pieces.add(text.data(), 1);
  pieces.add(text.data() + 1, 2000);
  pieces.add(text.data() + 2001, 999);
  EXPECT_EQ(pieces.hex(), digest(text.data(), text.size()));
  EXPECT_NE(pieces.hex(), digest(text.data(), text.size() - 1));
}

TEST(Digest, OfATensorIsThatOfItsValues) {
  const auto a = torch::arange(12, torch::kFloat32).view({3, 4});
  EXPECT_EQ(digest_of(a.t()), digest_of(a.t().contiguous()));
  EXPECT_NE(digest_of(a.t()), digest_of(a));
  EXPECT_EQ(digest_of(std::vector<torch::Tensor>{a}), digest_of(a));
  EXPECT_NE(digest_of({a, a.t()}), digest_of({a.t(), a}));
}

}  // namespace
}  // namespace scorenet
