// A table, or a set of them, that is opened as soon as it can be.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.h"

namespace veredus::table {

// A table that may be missing or broken: what needs it is deferred, and it is opened as soon as it can be.
template <class T> class Held {
public:
    using Open = std::function<Result<T>()>;
    Held() = default;
    explicit Held(Open open) : open_(std::move(open)), state_(open_()) {}
    const Result<T>& get() const { return state_; }
    T* value() { return state_ ? &*state_ : nullptr; }     // null: not open
    // True when what it answers may differ now; `trouble` hears what is wrong, `how` goes to the table's own refresh().
    template <class... How> bool refresh(std::vector<std::string>& trouble, const How&... how)
    {
        if (!state_) {
            state_ = open_();
            if (!state_) trouble.push_back(state_.error().text);
            return state_.has_value();
        }
        const auto changed = state_->refresh(how...);
        if (!changed) trouble.push_back(changed.error().text);
        return changed && *changed;
    }
    bool restless() const { return state_ && state_->restless(); }
    void tell(std::vector<std::string>& trouble) const
    {
        if (!state_) trouble.push_back(state_.error().text);
    }

private:
    Open open_;
    Result<T> state_ = T();
};

}  // namespace veredus::table
