// Marks of passwords, and what became of them.
#include "master/authd/cache.h"

#include "lib/base/text.h"
#include "lib/tls/digest.h"

namespace veredus::authd {

std::string Cache::mark(std::string_view login, std::string_view password) const
{
    std::string text = cat(login.size(), ' ', login, password);
    std::string out = tls::hmac(tls::Digest::sha256, key_, text);
    tls::wipe(text);
    return out;
}

std::optional<auth::Verdict> Cache::find(const std::string& mark, const std::string& stamp, int64_t now_us)
{
    if (stamp != stamp_) {
        clear();
        return std::nullopt;
    }
    const auto at = entries_.find(mark);
    if (at == entries_.end()) return std::nullopt;
    if (at->second.until_us <= now_us) {
        entries_.erase(at);
        return std::nullopt;
    }
    return at->second.verdict;
}

void Cache::add(const std::string& mark, const std::string& stamp, auth::Verdict verdict, int64_t now_us)
{
    if (lifetime_us_ <= 0) return;
    if (stamp != stamp_) clear();
    stamp_ = stamp;
    if (entries_.size() >= max_entries) std::erase_if(entries_, [&](const auto& entry) { return entry.second.until_us <= now_us; });
    if (entries_.size() >= max_entries) clear();
    verdict.found.password.clear();
    entries_.insert_or_assign(mark, Entry{std::move(verdict), now_us + lifetime_us_});
}

}  // namespace veredus::authd
