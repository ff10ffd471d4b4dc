// Tokens: RFC 9051 §9, one function per production.
#include "lib/imap/parse_tokens.h"

#include <array>

#include "lib/base/text.h"
#include "lib/mail/utf7.h"

namespace veredus::imap {

namespace {

enum Kind : uint8_t { atom_char = 1, astring_char = 2, list_char = 4, tag_char = 8 };

constexpr std::array<uint8_t, 256> make_kinds()
{
    std::array<uint8_t, 256> kinds{};
    for (int c = 0x21; c < 0x7f; ++c) {
        const std::string_view specials = "(){%*\"\\]";
        if (specials.find(static_cast<char>(c)) == specials.npos)
            kinds[c] = atom_char | astring_char | list_char | tag_char;
    }
    kinds[']'] = astring_char | list_char | tag_char;
    kinds['%'] = kinds['*'] = list_char;
    kinds['+'] &= static_cast<uint8_t>(~tag_char);
    return kinds;
}
constexpr auto kinds = make_kinds();

constexpr bool is_kind(char c, uint8_t kind)
{
    return kinds[static_cast<uint8_t>(c)] & kind;
}
bool has_8bit(std::string_view s)
{
    for (const char c : s)
        if (static_cast<uint8_t>(c) >= 0x80) return true;
    return false;
}

constexpr uint64_t max_number64 = INT64_MAX; // RFC 9051 §9: number64 is 63 bits
constexpr std::size_t most_keywords = 500;   // in one list of flags

// Days since 1970-01-01 of a date in the Gregorian calendar; the day may be too large for its month, as 31-Feb.
int32_t day_number(int year, int month, int day)
{
    const int y = month <= 2 ? year - 1 : year;
    const int era = y / 400, of_era = y - era * 400;
    const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

} // namespace

std::string_view cut_tag(std::string_view& text)
{
    std::size_t n = 0;
    while (n < text.size() && is_kind(text[n], tag_char)) ++n;
    const std::string_view tag = text.substr(0, n);
    if (n > 200 || (n < text.size() && text[n] != ' ')) return {};
    while (n < text.size() && text[n] == ' ') ++n;
    text.remove_prefix(n);
    return tag;
}

std::optional<LiteralMark> literal_at_end(std::string_view line)
{
    if (line.empty() || line.back() != '}') return std::nullopt;
    LiteralMark mark;
    std::size_t end = line.size() - 1;
    if (end && line[end - 1] == '+') mark.plus = true, --end;
    std::size_t at = end;
    while (at && is_digit(line[at - 1]) && end - at < 20) --at;
    if (at == end || !at || line[at - 1] != '{') return std::nullopt;
    const auto size = parse_number<uint64_t>(line.substr(at, end - at));
    mark.size = size ? *size : UINT64_MAX;
    mark.at = at - 1;
    if (mark.at && line[mark.at - 1] == '~') mark.literal8 = true, --mark.at;
    return mark;
}

bool Tokens::refuse(std::string text)
{
    if (!refused_) refusal_ = {true, std::move(text)};
    refused_ = true;
    return false;
}

bool Tokens::refuse_no(std::string text)
{
    if (!refused_) refusal_ = {false, std::move(text)};
    refused_ = true;
    return false;
}

bool Tokens::expected(std::string_view what)
{
    if (refused_) return false;
    std::string_view found(at_, static_cast<std::size_t>(end_ - at_));
    found = found.substr(0, found.find_first_of(" \r\n"));
    return refuse(at_ == end_ ? cat(what, " expected at the end of the command")
                              : cat(what, " expected, not <", printable(found, 40), ">"));
}

Refusal Tokens::take_refusal()
{
    if (!refused_) expected("end of the command");
    return std::move(refusal_);
}

void Tokens::blanks()
{
    while (at_ != end_ && *at_ == ' ') ++at_;
}

bool Tokens::sp()
{
    if (at_ == end_ || *at_ != ' ') return expected("a blank");
    blanks();
    return true;
}

bool Tokens::end()
{
    blanks();
    return at_ == end_ || expected("the end of the command");
}

bool Tokens::eat(char c)
{
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
}

bool Tokens::expect(char c)
{
    return eat(c) || expected(std::string_view(&c, 1));
}

std::string_view Tokens::word()
{
    std::size_t n = 0;
    const char* p = at_;
    for (; p != end_ && (is_alnum(*p) || *p == '.' || *p == '_' || *p == '-' || *p == '='); ++p) {
        if (n == sizeof word_) return {};
        word_[n++] = to_upper(*p);
    }
    at_ = p;
    return {word_, n};
}

std::string_view Tokens::to_blank()
{
    const char* before = at_;
    while (at_ != end_ && *at_ != ' ') ++at_;
    return {before, static_cast<std::size_t>(at_ - before)};
}

bool Tokens::eat_word(std::string_view upper)
{
    const char* before = at_;
    if (word() == upper) return true;
    at_ = before;
    return false;
}

bool Tokens::run_of(uint8_t kind, std::string& out, std::string_view what)
{
    const char* p = at_;
    while (p != end_ && is_kind(*p, kind)) ++p;
    if (p == at_) return expected(what);
    out.assign(at_, p);
    at_ = p;
    return true;
}

bool Tokens::atom(std::string& out)
{
    return run_of(atom_char, out, "an atom");
}

bool Tokens::astring(std::string& out)
{
    if (peek() == '"') return quoted(out);
    if (peek() == '{') return literal(out);
    return run_of(astring_char, out, "a string");
}

bool Tokens::string(std::string& out)
{
    if (peek() == '"') return quoted(out);
    if (peek() == '{') return literal(out);
    return expected("a string");
}

bool Tokens::nstring(std::optional<std::string>& out)
{
    const char c = peek();
    std::string text;
    if (!astring(text)) return false;
    if (c != '"' && c != '{' && iequals(text, "NIL"))
        out.reset();
    else
        out = std::move(text);
    return true;
}

// A backslash takes any byte behind it for itself, not only quoted-specials: some clients escape more than they must.
bool Tokens::quoted(std::string& out)
{
    const char* p = ++at_;
    out.clear();
    for (; p != end_ && *p != '"'; ++p) {
        if (*p == '\\') {
            out.append(at_, p++);
            at_ = p;
            if (p == end_) break;
        }
        if (*p == '\0' || *p == '\r' || *p == '\n')
            return refuse("a quoted string has a byte that may only be in a literal");
    }
    if (p == end_) return refuse("a quoted string does not end");
    out.append(at_, p);
    at_ = p + 1;
    // RFC 9755 §3; before UTF-8 was agreed on, such bytes are the client's own affair.
    if (options_.utf8 && has_8bit(out) && !is_utf8(out)) return refuse("a quoted string is not UTF-8");
    return true;
}

bool Tokens::literal(std::string& out)
{
    const char* p = at_ + 1;
    uint64_t size = 0;
    for (; p != end_ && is_digit(*p) && p - at_ <= 20; ++p) size = size * 10 + static_cast<unsigned>(*p - '0');
    if (p == at_ + 1) return expected("a literal");
    if (p != end_ && *p == '+') ++p;
    if (p == end_ || *p != '}') return expected("a literal");
    ++p;
    if (p == end_) return open_literal_ = true, expected("a literal in its place");
    if (*p == '\r') ++p;
    if (p == end_ || *p != '\n' || size > static_cast<std::size_t>(end_ - p - 1)) return expected("a literal");
    ++p;
    out.assign(p, size);
    at_ = p + size;
    return out.find('\0') == out.npos || refuse("a literal has a NUL byte"); // RFC 9051 §9: CHAR8
}

bool Tokens::to_utf8_name(std::string& name) const
{
    const bool eight_bit = has_8bit(name);
    if (options_.utf8 || eight_bit)
        return !eight_bit || is_utf8(name); // RFC 9755 §3: UTF-8 is taken in names at any time
    if (name.find('&') == name.npos) return true;
    auto utf8 = mail::from_utf7(name);
    if (!utf8) return false;
    name = std::move(*utf8);
    return true;
}

bool Tokens::mailbox(std::string& out)
{
    if (!astring(out)) return false;
    if (iequals(out, "INBOX")) out = "INBOX";
    return to_utf8_name(out) ||
           refuse_no(options_.utf8 ? "[CANNOT] the mailbox name is not UTF-8"
                                   : "[CANNOT] the mailbox name is not modified UTF-7 (RFC 3501 section 5.1.3)");
}

bool Tokens::pattern(std::string& out)
{
    if (peek() == '"') return quoted(out);
    if (peek() == '{') return literal(out);
    return run_of(list_char, out, "a mailbox name or pattern");
}

bool Tokens::digits(uint64_t& out, uint64_t max)
{
    const char* p = at_;
    uint64_t n = 0;
    for (; p != end_ && is_digit(*p); ++p) {
        const auto digit = static_cast<unsigned>(*p - '0');
        if (n > (max - digit) / 10) return expected("a number that is not too large");
        n = n * 10 + digit;
    }
    if (p == at_) return expected("a number");
    at_ = p;
    out = n;
    return true;
}

bool Tokens::number(uint32_t& out)
{
    uint64_t n = 0;
    if (!digits(n, UINT32_MAX)) return false;
    out = static_cast<uint32_t>(n);
    return true;
}

bool Tokens::number64(uint64_t& out)
{
    return digits(out, max_number64);
}

bool Tokens::nz_number(uint32_t& out)
{
    return number(out) && (out || refuse("a number is zero that must not be"));
}

bool Tokens::nz_number64(uint64_t& out)
{
    return number64(out) && (out || refuse("a number is zero that must not be"));
}

bool Tokens::seq_number(uint32_t& out)
{
    if (eat('*')) return out = 0, true;
    if (!is_digit(peek())) return expected("a message number, a UID or \"*\"");
    return nz_number(out);
}

bool Tokens::sequence_set(SequenceSet& out)
{
    if (eat('$')) return out.saved = true; // RFC 5182 §2.1
    do {
        SequenceSet::Range range;
        if (!seq_number(range.first)) return false;
        range.last = range.first;
        if (eat(':') && !seq_number(range.last)) return false;
        if (ranges_left_ == 0)
            return refuse(cat("[TOOBIG] a command has at most ", options_.ranges, " ranges of messages"));
        --ranges_left_;
        out.ranges.push_back(range);
    } while (eat(','));
    return true;
}

bool Tokens::digit_pair(int& out)
{
    if (end_ - at_ < 2 || !is_digit(at_[0]) || !is_digit(at_[1])) return expected("two digits");
    out = (at_[0] - '0') * 10 + (at_[1] - '0');
    at_ += 2;
    return true;
}

// date-text; `fixed`: of date-time, where a blank may stand for the first digit. One digit alone is taken in both.
bool Tokens::date_text(int32_t& day, bool fixed)
{
    static constexpr std::string_view months = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
    if (fixed) blanks();
    int of_month = 0, digits_seen = 0;
    for (; digits_seen < 2 && is_digit(peek()); ++digits_seen) of_month = of_month * 10 + (*at_++ - '0');
    if (!digits_seen || of_month < 1 || of_month > 31 || !eat('-') || end_ - at_ < 3) return expected("a date");
    const char name[] = {to_upper(at_[0]), to_upper(at_[1]), to_upper(at_[2])};
    const std::size_t month = months.find(std::string_view(name, 3));
    if (month == months.npos || month % 3) return expected("a month");
    at_ += 3;
    int century = 0, of_century = 0;
    if (!expect('-') || !digit_pair(century) || !digit_pair(of_century)) return false;
    day = day_number(century * 100 + of_century, static_cast<int>(month / 3) + 1, of_month);
    return true;
}

bool Tokens::date(int32_t& day)
{
    const bool in_quotes = eat('"');
    return date_text(day, false) && (!in_quotes || expect('"'));
}

bool Tokens::date_time(int64_t& seconds)
{
    int32_t day = 0;
    int hour = 0, minute = 0, second = 0, zone_hour = 0, zone_minute = 0;
    if (!expect('"') || !date_text(day, true) || !sp()) return false;
    if (!digit_pair(hour) || !expect(':') || !digit_pair(minute) || !expect(':') || !digit_pair(second) || !sp())
        return false;
    const char sign = peek();
    if ((sign != '+' && sign != '-') || !eat(sign)) return expected("a zone as +0100");
    if (!digit_pair(zone_hour) || !digit_pair(zone_minute)) return false;
    if (hour > 23 || minute > 59 || second > 60 || zone_minute > 59)
        return refuse("a time has a part that is too large");
    const int64_t zone = zone_hour * 3600 + zone_minute * 60;
    seconds = int64_t{day} * 86400 + hour * 3600 + minute * 60 + second - (sign == '+' ? zone : -zone);
    return expect('"');
}

bool Tokens::flag(Flags& out, bool with_recent)
{
    static constexpr std::pair<std::string_view, uint8_t> system[] = {
        {"answered", 1}, {"flagged", 2}, {"deleted", 4}, {"seen", 8}, {"draft", 16}}; // store::Flag
    std::string name;
    const bool backslash = eat('\\');
    if (!run_of(atom_char, name, "a flag")) return false;
    if (backslash) {
        for (const auto& [known, bit] : system)
            if (iequals(name, known)) return out.system |= bit, true;
        return (with_recent && iequals(name, "recent")) || refuse(cat("there is no flag \\", printable(name, 40)));
    }
    for (const auto& known : out.keywords)
        if (iequals(known, name)) return true;
    if (out.keywords.size() == most_keywords)
        return refuse_no(cat("[LIMIT] a command has at most ", most_keywords, " keywords"));
    out.keywords.push_back(std::move(name));
    return true;
}

bool Tokens::flag_list(Flags& out, bool with_recent)
{
    if (!expect('(')) return false;
    for (blanks(); !eat(')'); blanks())
        if (!flag(out, with_recent)) return false;
    return true;
}

} // namespace veredus::imap
