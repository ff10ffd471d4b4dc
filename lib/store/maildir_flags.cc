// Reading and writing the info part of Maildir names.
#include "lib/store/maildir_flags.h"

#include "lib/base/text.h"
#include "lib/store/uid_table.h"

namespace veredus::store {

namespace {

struct Letter {
    char letter;
    uint8_t flag;
};
constexpr Letter letters[] = {{'D', draft}, {'F', flagged}, {'R', answered}, {'S', seen}, {'T', deleted}};

// The letters alone: between ":2," and the next comma or the end.
std::pair<std::size_t, std::size_t> info_of(std::string_view name)
{
    const auto colon = name.find(":2,");
    if (colon == std::string_view::npos) return {name.size(), name.size()};
    const auto end = name.find(',', colon + 3);
    return {colon + 3, end == std::string_view::npos ? name.size() : end};
}

std::optional<uint64_t> number_after(std::string_view base, std::string_view key)
{
    const auto at = base.find(key);
    if (at == std::string_view::npos) return std::nullopt;
    const auto rest = base.substr(at + key.size());
    return parse_number<uint64_t>(rest.substr(0, rest.find(',')), uint64_t{1} << 50);
}

// Seconds and microseconds of "1732456800.M123456P77...".
std::pair<uint64_t, uint64_t> time_of(std::string_view name)
{
    const auto [seconds, rest] = cut(name, '.');
    std::pair<uint64_t, uint64_t> out{parse_number<uint64_t>(seconds).value_or(UINT64_MAX), 0};
    if (!rest || !rest->starts_with('M')) return out;
    std::size_t digits = 1;
    while (digits < rest->size() && is_digit((*rest)[digits])) ++digits;
    out.second = parse_number<uint64_t>(rest->substr(1, digits - 1)).value_or(0);
    return out;
}

}  // namespace

std::string_view maildir_base(std::string_view name) { return name.substr(0, name.find(':')); }

MaildirFlags maildir_flags(std::string_view name)
{
    MaildirFlags out;
    const auto [from, to] = info_of(name);
    for (const char c : name.substr(from, to - from)) {
        for (const Letter& l : letters)
            if (c == l.letter) out.flags |= l.flag;
        if (c == 'P') out.passed = true;
        if (c >= 'a' && c <= 'z') out.letters |= 1u << (c - 'a');
    }
    return out;
}

std::string with_maildir_flags(std::string_view name, const MaildirFlags& flags)
{
    const auto [from, to] = info_of(name);
    bool wanted[256] = {};
    for (const char c : name.substr(from, to - from)) {
        const bool ours = (c >= 'a' && c <= 'z') || std::string_view("DFPRST").find(c) != std::string_view::npos;
        if (!ours) wanted[static_cast<unsigned char>(c)] = true;
    }
    for (const Letter& l : letters)
        if (flags.flags & l.flag) wanted[static_cast<unsigned char>(l.letter)] = true;
    if (flags.passed) wanted['P'] = true;
    for (unsigned i = 0; i < 26; ++i)
        if (flags.letters >> i & 1) wanted['a' + i] = true;
    std::string out(maildir_base(name));
    out += ":2,";
    for (int c = 0; c < 256; ++c)                        // ascending, as Maildir wants it
        if (wanted[c]) out += static_cast<char>(c);
    out += name.substr(to);
    return out;
}

NamedSizes named_sizes(std::string_view name)
{
    const auto base = maildir_base(name);
    return {number_after(base, ",S="), number_after(base, ",W=")};
}

bool delivered_before(std::string_view a, std::string_view b)
{
    const auto ta = time_of(a), tb = time_of(b);
    return ta != tb ? ta < tb : a < b;
}

}  // namespace veredus::store
