#include "framework/data/md5.hpp"

#include <openssl/evp.h>

#include <array>
#include <cstdio>

#include "framework/core/error.hpp"

namespace scorenet::data {

std::string md5(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_md5(), nullptr) != 1) {
    throw DataError(
        "MD5: this system's libcrypto refuses it (FIPS mode?). Convert on another machine.");
  }
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", digest[i]);
    text += digits.data();
  }
  return text;
}

}  // namespace scorenet::data
