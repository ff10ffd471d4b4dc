// The settings tables: one row per setting, the single source for parsing, checking, `veredus config` and main.cf(5).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace veredus::conf {

enum class Type : uint8_t {
    text,      // any line
    raw,       // any line whose $names belong to a delivery, not to main.cf: it is not expanded
    boolean,   // yes/no (true/false, on/off, 1/0 are understood too)
    number,    // within min..max
    size,      // bytes: 10240, 10k, 10M, 10G
    duration,  // 5, 30s, 5m, 1h, 5d, 2w; a bare number is in `unit`
    word,      // one of `words` ("none|may|encrypt"), any case
    path,      // absolute, or empty
    list,      // separated by blanks and commas
    tables,    // list of TYPE:NAME
    listeners, // list of [host:]port[/tls], or unix:path
};

enum Who : uint32_t {   // which roles get to see a row
    master = 1, smtpd = 2, submission = 4, router = 8, qmgr = 16, smtp_client = 32, local = 64, lockd = 128,
    resolver = 256, authd = 1024, anvil = 2048,
    pop3d = 4096, pop3_session = 8192, imapd = 16384, imap_session = 32768,    // the login stages, and the sessions behind them
    tool = 512,    // sendmail, mailq, veredus: world-readable settings only
    everyone = 0xFFFF,
};

struct Setting {
    const char* name;
    Type type;
    const char* fallback;     // default as main.cf would write it; may hold $other
    Who who;
    const char* help;         // one line
    int64_t min = 0;
    int64_t max = INT64_MAX;
    const char* words = nullptr;   // for Type::word; for duration: the unit of a bare number, "s" when null
    bool is_public = true;         // false: not for zygotes and unprivileged tools (it may lead to a secret)
};

// All rows, sorted by name: lib/conf/settings_*.cc, one file per role.
std::span<const Setting> all_settings();
const Setting* find_setting(std::string_view name);

// Postfix parameters that we do not have: what veredus does instead, for the warning. Empty text: ignored silently.
struct Foreign {
    const char* name;
    const char* instead;
};
std::span<const Foreign> foreign_parameters();
std::string_view nearest_name(std::string_view wrong);   // of ours; empty when nothing is near

}  // namespace veredus::conf
