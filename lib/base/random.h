// Random numbers from the kernel, for ids, ports, tokens and choice among equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace veredus {

uint64_t random_u64();
uint32_t random_below(uint32_t bound);     // uniform in [0, bound); bound > 0
std::string random_bytes(std::size_t size);

}  // namespace veredus
