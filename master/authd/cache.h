// What was found of passwords a moment ago, under keyed hashes: the next try of the same within a minute costs no KDF.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/auth/chain.h"

namespace veredus::authd {

class Cache {
public:
    explicit Cache(std::string key) : key_(std::move(key)) {}
    void set_lifetime(int64_t us) { lifetime_us_ = us; }
    // The same for the same name and password, and of no use outside of this process.
    std::string mark(std::string_view login, std::string_view password) const;
    // `stamp` of the passdb: when it is another than then, nothing of then counts.
    std::optional<auth::Verdict> find(const std::string& mark, const std::string& stamp, int64_t now_us);
    void add(const std::string& mark, const std::string& stamp, auth::Verdict verdict, int64_t now_us);
    void clear() { entries_.clear(); }
    std::size_t size() const { return entries_.size(); }

private:
    struct Entry {
        auth::Verdict verdict;
        int64_t until_us;
    };
    static constexpr std::size_t max_entries = 20'000;
    std::string key_, stamp_;
    int64_t lifetime_us_ = 0;
    std::unordered_map<std::string, Entry> entries_;
};

}  // namespace veredus::authd
