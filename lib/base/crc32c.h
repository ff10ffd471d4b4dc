// CRC-32C (Castagnoli, as in RFC 3720 appendix B.4), in hardware where the CPU has it.
#pragma once

#include <cstdint>
#include <string_view>

namespace veredus {

// Start with 0 and feed pieces in order: crc32c(crc32c(0, a), b) == crc32c(0, a + b).
uint32_t crc32c(uint32_t crc, std::string_view bytes) noexcept;

}  // namespace veredus
