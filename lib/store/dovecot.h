// Dovecot's files in a Maildir, read on first contact so that every client keeps its UIDs: dovecot-uidlist (versions 1 and
// 3), dovecot-keywords, subscriptions. Pure; what does not parse is skipped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::store {

struct DovecotUidlist {
    uint32_t uidvalidity = 0, uidnext = 1;
    struct Entry {
        uint32_t uid = 0;
        std::string name;             // without flags
        std::string uidl;             // what POP3's UIDL said of it, when that was not made of the UID (field P); else empty
        std::string guid;             // when it is not the file's name (field G); else empty
    };
    std::vector<Entry> entries;       // ascending UIDs
};
// Nothing: not a list that we know.
std::optional<DovecotUidlist> parse_dovecot_uidlist(std::string_view text);
// Index n: the keyword of letter 'a' + n; empty ones are not defined.
std::vector<std::string> parse_dovecot_keywords(std::string_view text);
std::string write_dovecot_keywords(const std::vector<std::string>& keywords);
// Folder names as in the file: of version 1 and "V\t2", levels joined by `separator`.
std::vector<std::string> parse_subscriptions(std::string_view text, char separator);

}  // namespace veredus::store
