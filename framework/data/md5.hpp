// MD5, only because data sets are published with it. OpenSSL's libcrypto does the work.
#pragma once

#include <string>
#include <string_view>

namespace scorenet::data {

/// 32 lower-case hex digits. Throws DataError where the system's libcrypto forbids MD5.
std::string md5(std::string_view bytes);

}  // namespace scorenet::data
