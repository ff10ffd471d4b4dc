// Our own broken invariants end here; never used to judge input.
#pragma once

#include <string_view>

namespace veredus {

// Writes "panic: TEXT" to fd 2 and to the hook (the log, when it is up), then aborts with a core.
[[noreturn]] void panic(std::string_view text);
void set_panic_hook(void (*hook)(std::string_view)) noexcept;

}  // namespace veredus
