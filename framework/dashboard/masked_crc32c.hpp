// The checksum of TFRecord files: CRC-32C (Castagnoli; RFC 3720, appendix B.4), masked so that the
// checksum of data which hold checksums is no special case:
//     masked = rotate_right(crc, 15) + 0xa282ead8        (TensorFlow, lib/hash/crc32c.h)
#pragma once

#include <cstdint>
#include <string_view>

namespace scorenet::dashboard {

uint32_t crc32c(std::string_view bytes);

uint32_t masked_crc32c(std::string_view bytes);

}  // namespace scorenet::dashboard
