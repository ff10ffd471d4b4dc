// The answer of a policy service (SMTPD_POLICY_README): name=value lines and an empty line, of which only "action="
// counts. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::reception {

// Gathers one answer; any cut. Bounded: an answer of more than 8 KB, or one with a NUL, is garbage.
class PolicyAnswer {
public:
    enum class State : uint8_t { more, complete, garbage };
    State feed(std::string_view bytes); // complete: nothing may follow the empty line (one request, one answer)
    const std::string& action() const { return action_; }

private:
    State line(std::string_view text);
    std::string partial_, action_;
    std::size_t seen_ = 0;
    bool has_action_ = false;
};

} // namespace veredus::reception
