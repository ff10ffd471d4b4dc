// What the resolver said about names, for a little while.
#include "qmgr/router/users.h"

#include <algorithm>

#include "lib/ipc/user.h"

namespace veredus::router {

Known UserCache::known(const std::string& name)
{
    if (name.size() > ipc::max_user) return Known::no;     // a stranger's: the resolver would hear no more of us
    const auto at = entries_.find(name);
    if (at == entries_.end()) return Known::ask;
    if (clock_.mono_us() < at->second.until_us) return at->second.known;
    entries_.erase(at);
    return Known::ask;
}

void UserCache::find(const std::string& name, std::function<void(Known)> done)
{
    if (const Known now = known(name); now != Known::ask) return done(now);
    auto& others = waiting_[name];
    others.push_back(std::move(done));
    if (others.size() > 1) return;
    ask_(name, [this, name](Known answer) {
        if (answer == Known::yes || answer == Known::no) remember(name, answer);
        const auto node = waiting_.extract(name);    // before the calls: they may ask again
        for (const auto& call : node.mapped()) call(answer);
    });
}

void UserCache::remember(const std::string& name, Known known)
{
    if (entries_.size() >= most) {       // a dictionary attack: what expires first goes first
        std::vector<int64_t> times;
        for (const auto& [key, entry] : entries_) times.push_back(entry.until_us);
        std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
        const int64_t middle = times[times.size() / 2];
        std::erase_if(entries_, [&](const auto& item) { return item.second.until_us <= middle; });
    }
    // A name that nobody has is asked again soon: an account made now gets its mail now.
    constexpr int64_t no_us = 2 * us_per_second;
    entries_[name] = {known, clock_.mono_us() + (known == Known::no ? std::min(keep_us_, no_us) : keep_us_)};
}

}  // namespace veredus::router
