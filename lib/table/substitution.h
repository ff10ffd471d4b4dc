// Tables that say what is run or where mail goes take no $1 of a pattern: strangers write the keys.
#pragma once

#include <string_view>
#include <utility>

namespace veredus::table {

// While it lives, tables that this thread opens are such: a pattern whose value has $1 is a problem, and an Error for the keys that it
// decides.
class WithoutSubstitution {
public:
    explicit WithoutSubstitution(bool wanted = true) : before_(std::exchange(in_force_, in_force_ || wanted)) {}
    ~WithoutSubstitution() { in_force_ = before_; }
    WithoutSubstitution(const WithoutSubstitution&) = delete;
    WithoutSubstitution& operator=(const WithoutSubstitution&) = delete;
    static bool in_force() { return in_force_; }

private:
    static inline thread_local bool in_force_ = false;
    bool before_;
};

// For this setting of main.cf; Postfix refuses it there, too.
bool refuses_substitution(std::string_view setting);

}  // namespace veredus::table
