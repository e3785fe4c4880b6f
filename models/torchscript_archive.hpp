// Whether bytes are a whole TorchScript archive, looked at before PyTorch reads them.
//
// PyTorch's own reader believes sizes and numbers in a damaged file and may take all memory for
// them. Each file in the archive has a CRC-32 (zip, APPNOTE 6.3.3), which it does not compare.
#pragma once

#include <string>

namespace scorenet::models {

/// Why these bytes are none: "is empty, expected a TorchScript archive.", in whole sentences behind
/// a name; "": they are one, and undamaged.
std::string no_torchscript_because(const std::string& bytes);

}  // namespace scorenet::models
