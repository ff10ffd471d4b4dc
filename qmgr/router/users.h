// What the resolver said about names, for a little while, and whom to ask about the rest: one question per name at a time.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "qmgr/router/routing.h"

namespace veredus::router {

class UserCache {
public:
    static constexpr std::size_t most = 20'000;      // names; then the oldest half goes
    using Ask = std::function<void(const std::string& name, std::function<void(Known)> answer)>;
    UserCache(const Clock& clock, Ask ask) : clock_(clock), ask_(std::move(ask)) {}
    void keep_for(int64_t seconds) { keep_us_ = seconds * us_per_second; }

    // yes or no from memory, else ask.
    Known known(const std::string& name);
    // `done` gets yes, no or temporary; perhaps from within.
    void find(const std::string& name, std::function<void(Known)> done);
    std::size_t size() const { return entries_.size(); }

private:
    struct Entry {
        Known known;
        int64_t until_us;
    };
    void remember(const std::string& name, Known known);
    const Clock& clock_;
    Ask ask_;
    int64_t keep_us_ = 10 * us_per_second;
    std::map<std::string, Entry> entries_;
    std::map<std::string, std::vector<std::function<void(Known)>>> waiting_;
};

// What was answered for one question holds until that is decided; the cache knows the rest.
class AnsweredUsers final : public Users {
public:
    AnsweredUsers(const std::map<std::string, Known>& answers, UserCache& cache) : answers_(answers), cache_(cache) {}
    Known known(const std::string& name) const override
    {
        const auto at = answers_.find(name);
        return at != answers_.end() ? at->second : cache_.known(name);
    }

private:
    const std::map<std::string, Known>& answers_;
    UserCache& cache_;
};

}  // namespace veredus::router
