// A table, or a set of them, that is opened as soon as it can be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/result.h"

namespace veredus::table {

// A table that may be missing or broken: what needs it is deferred, and it is opened as soon as it can be. Each try may read long
// files of other tables in vain: all of them together take a twentieth of the time, at most.
template <class T> class Held {
public:
    using Open = std::function<Result<T>()>;
    Held() = default;
    explicit Held(Open open) : open_(std::move(open)) { try_open(); }
    const Result<T>& get() const { return state_; }
    T* value() { return state_ ? &*state_ : nullptr; }     // null: not open
    // True when what it answers may differ now; `trouble` hears what is wrong.
    bool refresh(std::vector<std::string>& trouble)
    {
        if (!state_) {
            if (system_clock().mono_us() >= again_us_) try_open();
            if (!state_) trouble.push_back(state_.error().text);
            return state_.has_value();
        }
        bool changed = false;
        const auto fresh = state_->refresh(changed);
        const bool was_stale = stale_.has_value();
        stale_ = fresh ? std::nullopt : std::optional<Error>(fresh.error());
        if (stale_) trouble.push_back(stale_->text);
        return changed || was_stale != stale_.has_value();
    }
    bool restless() const { return state_ && state_->restless(); }
    // A file behind it cannot be read any more: what was read before answers, but who is not in that may be in the file. As of the last refresh().
    const std::optional<Error>& stale() const { return stale_; }
    void tell(std::vector<std::string>& trouble) const
    {
        if (!state_) trouble.push_back(state_.error().text);
    }

private:
    void try_open()
    {
        constexpr int64_t rest_for_each = 20, most_rest_us = 60 * us_per_second;
        const int64_t began = system_clock().mono_us();
        state_ = open_();
        const int64_t ended = system_clock().mono_us();
        again_us_ = ended + std::min(rest_for_each * (ended - began), most_rest_us);
    }

    Open open_;
    Result<T> state_ = T();
    std::optional<Error> stale_;
    int64_t again_us_ = 0;
};

}  // namespace veredus::table
