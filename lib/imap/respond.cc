// Values of answers, as strings.
#include "lib/imap/respond.h"

#include <charconv>
#include <ctime>

#include "lib/base/text.h"
#include "lib/mail/utf7.h"

namespace veredus::imap {

namespace {

constexpr std::size_t longest_quoted = 1000; // longer ones are literals: some clients have a line buffer

bool fits_quotes(std::string_view s, bool utf8)
{
    if (s.size() > longest_quoted) return false;
    bool high = false;
    for (const char c : s) {
        if (c == '\r' || c == '\n' || c == '\0') return false;
        high = high || static_cast<unsigned char>(c) >= 0x80;
    }
    return !high || (utf8 && is_utf8(s));
}

void put_two(std::string& out, int n)
{
    out += static_cast<char>('0' + n / 10 % 10);
    out += static_cast<char>('0' + n % 10);
}

// Where the clock stood in its zone; zones change on quarters of an hour only, so one answer serves for many mails.
struct Offset {
    int64_t quarter = INT64_MIN;
    int64_t seconds = 0;
};

int64_t offset_at(int64_t seconds)
{
    static thread_local Offset known;
    const int64_t quarter = seconds / 900;
    if (known.quarter == quarter) return known.seconds;
    const auto at = static_cast<time_t>(seconds);
    tm local{};
    known.quarter = quarter;
    known.seconds = ::localtime_r(&at, &local) ? local.tm_gmtoff : 0;
    return known.seconds;
}

} // namespace

void put_number(std::string& out, uint64_t number)
{
    char buffer[24];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr);
}

void put_string(std::string& out, std::string_view s, bool utf8)
{
    if (!fits_quotes(s, utf8)) {
        std::string clean(s);
        std::erase(clean, '\0');
        append(out, '{', clean.size(), "}\r\n", clean);
        return;
    }
    out += '"';
    for (const char c : s) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    out += '"';
}

void put_mailbox(std::string& out, std::string_view name, bool utf8)
{
    if (utf8) return put_string(out, name, true);
    const auto encoded = mail::to_utf7(name);
    put_string(out, encoded ? *encoded : name, false);
}

void put_flags(std::string& out, uint8_t flags, uint64_t keywords, const std::vector<std::string>& words, bool recent)
{
    static constexpr struct {
        uint8_t bit;
        std::string_view name;
    } names[] = {{store::answered, "\\Answered "},
                 {store::flagged, "\\Flagged "},
                 {store::deleted, "\\Deleted "},
                 {store::seen, "\\Seen "},
                 {store::draft, "\\Draft "}};
    out += '(';
    const std::size_t start = out.size();
    for (const auto& flag : names)
        if (flags & flag.bit) out += flag.name;
    if (recent) out += "\\Recent ";
    for (std::size_t i = 0; keywords != 0 && i < words.size(); ++i, keywords >>= 1)
        if (keywords & 1 && !words[i].empty()) (out += words[i]) += ' ';
    if (out.size() > start)
        out.back() = ')';
    else
        out += ')';
}

void put_ranges(std::string& out, const std::vector<store::UidRange>& ranges)
{
    bool first = true;
    for (const auto& r : ranges) {
        if (!first) out += ',';
        first = false;
        put_number(out, r.first);
        if (r.last == r.first) continue;
        out += ':';
        put_number(out, r.last);
    }
}

bool VanishedLines::step(std::string& out, std::size_t most)
{
    constexpr std::size_t per_line = 500;
    while (at_ < uids_.size()) {
        if (out.size() >= most) return false;
        const std::size_t count = std::min(per_line, uids_.size() - at_);
        const auto from = uids_.begin() + static_cast<std::ptrdiff_t>(at_);
        out += earlier_ ? "* VANISHED (EARLIER) " : "* VANISHED ";
        put_ranges(out, {from, from + static_cast<std::ptrdiff_t>(count)});
        out += "\r\n";
        at_ += count;
    }
    return true;
}

void put_date_time(std::string& out, int64_t seconds)
{
    static constexpr char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    // Four digits of a year is all that the grammar has.
    constexpr int64_t first = -62135596800, last = 253402300799;
    seconds = seconds < first + 86400 ? first + 86400 : seconds > last - 86400 ? last - 86400 : seconds;
    const int64_t offset = offset_at(seconds);
    const auto at = static_cast<time_t>(seconds + offset);
    tm t{};
    ::gmtime_r(&at, &t);
    out += '"';
    put_two(out, t.tm_mday);
    out += '-';
    out.append(months + t.tm_mon * 3, 3);
    out += '-';
    put_two(out, (t.tm_year + 1900) / 100);
    put_two(out, (t.tm_year + 1900) % 100);
    out += ' ';
    put_two(out, t.tm_hour);
    out += ':';
    put_two(out, t.tm_min);
    out += ':';
    put_two(out, t.tm_sec);
    out += offset < 0 ? " -" : " +";
    const int minutes = static_cast<int>((offset < 0 ? -offset : offset) / 60);
    put_two(out, minutes / 60);
    put_two(out, minutes % 60);
    out += '"';
}

void put_object_id(std::string& out, char kind, uint64_t id)
{
    out += kind;
    out += hex_upper(id, 16);
}

void add_to_ranges(std::vector<store::UidRange>& ranges, uint32_t number)
{
    if (!ranges.empty() && number >= ranges.back().first && number <= ranges.back().last) return;
    if (!ranges.empty() && number == ranges.back().last + 1)
        ranges.back().last = number;
    else
        ranges.push_back({number, number});
}

} // namespace veredus::imap
