#include "lib/pop3/uidl.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/header.h"

namespace veredus::pop3 {

namespace {

constexpr std::size_t longest = 70;
constexpr int farthest = 255; // an offset: longer than any file's name
constexpr std::string_view known = "%u, %v, %f, %g and %m are known, or %{uid}, %{uidvalidity}, %{filename}, %{guid} and %{md5}, and %% for a percent sign";

// As Dovecot's, lower case; of what is no number, of 0.
std::string hexadecimal(std::string_view digits)
{
    const uint64_t value = parse_number<uint64_t>(digits).value_or(0);
    int size = 1;
    for (uint64_t rest = value >> 4; rest; rest >>= 4) ++size;
    return lower(hex_upper(value, size));
}

char variable_of(std::string_view name)
{
    constexpr std::pair<std::string_view, char> names[] = {{"uid", 'u'}, {"uidvalidity", 'v'}, {"filename", 'f'}, {"guid", 'g'}, {"md5", 'm'}};
    for (const auto& [word, letter] : names)
        if (name == word) return letter;
    return 0;
}

} // namespace

// One pass over the setting's text.
struct UidlFormat::Parser {
    std::string_view text;
    std::size_t at = 0;

    Unexpected wrong(std::string_view why) const { return fail(cat("pop3_uidl_format = ", printable(text, 100), ": ", why)); }
    char look() const { return at < text.size() ? text[at] : '\0'; }
    bool take(char c) { return look() == c && (++at, true); }

    std::optional<unsigned> number(unsigned most)
    {
        unsigned value = 0;
        for (; is_digit(look()); ++at) {
            value = value * 10 + static_cast<unsigned>(look() - '0');
            if (value > most) return std::nullopt;
        }
        return value;
    }

    // "[OFFSET.][WIDTH][MODIFIERS]" and what it is of.
    Result<Piece> variable()
    {
        Piece piece;
        const bool back = take('-');
        piece.zeros = look() == '0';
        auto count = number(farthest);
        if (count && take('.')) {
            piece.offset = back ? -static_cast<int>(*count) : static_cast<int>(*count);
            piece.zeros = look() == '0';
            count = number(longest);
        } else if (back) {
            return wrong("a minus sign goes with an offset only: %-8.f");
        }
        if (!count || *count > longest) return wrong("an offset is at most 255 and a width 70");
        piece.width = *count;
        for (; std::string_view("XxMLUR").find(look()) != std::string_view::npos; ++at) piece.modifiers += look() == 'x' ? 'X' : look();
        if (std::string_view("HNEDT").find(look()) != std::string_view::npos) return wrong("of Dovecot's modifiers X, M, L, U and R are known");
        if (take('{')) return braces(std::move(piece));
        if (at >= text.size() || std::string_view("uvfgm").find(look()) == std::string_view::npos) return wrong(known);
        piece.variable = text[at++];
        return piece;
    }

    // "uid", or "uid | hex(8)".
    Result<Piece> braces(Piece piece)
    {
        const std::size_t end = text.find('}', at);
        if (end == std::string_view::npos) return wrong("} is missing");
        const auto steps = split(text.substr(at, end - at), "|");
        at = end + 1;
        if (steps.empty() || !(piece.variable = variable_of(trim(steps[0])))) return wrong(known);
        for (std::size_t i = 1; i < steps.size(); ++i)
            if (!filter(trim(steps[i]), piece)) return wrong(cat("the filter ", trim(steps[i]), " is not known here: hex, hex(WIDTH), md5, hexlify behind it, lower and upper are"));
        return piece;
    }

    static bool filter(std::string_view name, Piece& piece)
    {
        const bool padded = piece.width != 0;
        if (name == "lower" || name == "upper") return piece.modifiers += name == "lower" ? 'L' : 'U', true;
        if (name == "hexlify") return piece.modifiers.ends_with('M'); // the sum is in digits already
        if (padded) return false;                                    // the width is the last thing done here
        if (name == "md5") return piece.modifiers += 'M', true;
        if (name.starts_with("hex(") && name.ends_with(')')) {
            const auto width = parse_number<unsigned>(name.substr(4, name.size() - 5), longest);
            if (!width) return false;
            piece.width = *width;
            piece.zeros = true;
        } else if (name != "hex") {
            return false;
        }
        piece.modifiers += 'X';
        return true;
    }
};

Result<UidlFormat> UidlFormat::parse(std::string_view text, Md5 md5)
{
    UidlFormat format;
    format.md5_ = md5;
    Parser in{text};
    while (in.at < text.size()) {
        Piece piece;
        if (!in.take('%')) {
            const std::size_t end = std::min(text.find('%', in.at), text.size());
            piece.text = text.substr(in.at, end - in.at);
            in.at = end;
        } else if (in.take('%')) {
            piece.text = "%";
        } else {
            piece = TRY(in.variable());
        }
        format.pieces_.push_back(std::move(piece));
    }
    if (!format.has("ufgm")) return in.wrong("without %u, %f, %g or %m all messages would be one");
    const bool sums = std::any_of(format.pieces_.begin(), format.pieces_.end(), [](const Piece& p) { return p.modifiers.find('M') != std::string::npos; });
    if ((sums || format.has("m")) && md5 && md5("").empty()) return in.wrong("this OpenSSL makes no MD5 sums");
    return format;
}

bool UidlFormat::has(std::string_view variables) const
{
    return std::any_of(pieces_.begin(), pieces_.end(), [&](const Piece& p) { return p.variable && variables.find(p.variable) != std::string_view::npos; });
}

bool UidlFormat::needs_header(bool mbox) const { return has(mbox ? "mfg" : "m"); }

// Each UID looks different.
bool UidlFormat::plain(const Piece& piece)
{
    return piece.variable == 'u' && piece.offset == 0 && (piece.zeros || piece.width == 0) && piece.modifiers.find_first_of("MR") == std::string::npos &&
           std::count(piece.modifiers.begin(), piece.modifiers.end(), 'X') <= 1;
}

bool UidlFormat::unique() const
{
    return !has("fgm") && std::any_of(pieces_.begin(), pieces_.end(), plain) && text({UINT32_MAX, UINT32_MAX, {}, {}, {}}).size() < longest;
}

std::string UidlFormat::value(const Piece& piece, const UidlFacts& of) const
{
    const std::string_view file = of.file.empty() ? of.header_sum : of.file.substr(0, of.file.find(':'));
    std::string out;
    switch (piece.variable) {
    case 'u': out = cat(of.uid); break;
    case 'v': out = cat(of.uidvalidity); break;
    case 'm': out = of.header_sum; break;
    case 'g': out = of.guid.empty() ? file : of.guid; break;
    default: out = file;
    }
    for (const char modifier : piece.modifiers) {
        switch (modifier) {
        case 'X': out = hexadecimal(out); break;
        case 'M': out = md5_ ? md5_(out) : std::string(); break;
        case 'L': out = lower(out); break;
        case 'U': out = upper(out); break;
        default: std::reverse(out.begin(), out.end());
        }
    }
    if (piece.offset >= 0)
        out.erase(0, static_cast<std::size_t>(piece.offset));
    else if (out.size() > static_cast<std::size_t>(-piece.offset))
        out.erase(0, out.size() - static_cast<std::size_t>(-piece.offset));
    if (piece.zeros && out.size() < piece.width) out.insert(0, piece.width - out.size(), '0');
    if (!piece.zeros && piece.width != 0 && out.size() > piece.width) out.resize(piece.width);
    return out;
}

std::string UidlFormat::text(const UidlFacts& of) const
{
    std::string out;
    for (const Piece& piece : pieces_) out += piece.variable ? value(piece, of) : piece.text;
    for (char& c : out)
        if (c < '!' || c > '~') c = '_';
    if (out.size() > longest) out.resize(longest);
    return out;
}

bool UidlFormat::could_make(std::string_view name, uint32_t uidvalidity) const
{
    if (has("fgm")) return false;
    const auto uid = std::find_if(pieces_.begin(), pieces_.end(), [](const Piece& piece) { return piece.variable == 'u'; }); // parse() has seen to it that there is one
    if (!plain(*uid)) return true;
    UidlFormat before;
    before.md5_ = md5_;
    before.pieces_.assign(pieces_.begin(), uid);
    const std::size_t begin = before.text({0, uidvalidity, {}, {}, {}}).size();
    const unsigned base = uid->modifiers.find('X') == std::string::npos ? 10 : 16;
    // Where the number ends is open: it may be as wide as it likes, and digits may follow it.
    uint64_t value = 0;
    for (std::size_t i = begin; i < name.size() && value <= UINT32_MAX; ++i) {
        const std::size_t digit = std::string_view("0123456789abcdef").find(to_lower(name[i]));
        if (digit >= base) return false;
        value = value * base + digit;
        if (value <= UINT32_MAX && text({static_cast<uint32_t>(value), uidvalidity, {}, {}, {}}) == name) return true;
    }
    return false;
}

bool is_uidl(std::string_view text)
{
    return !text.empty() && text.size() <= longest && std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

std::string told_apart(std::string_view name, uint32_t uid)
{
    const std::string mark = cat('-', uid);
    return cat(name.substr(0, longest - mark.size()), mark);
}

std::string summed_header(std::string_view head)
{
    std::string out;
    bool wanted = false, received = false, in_received = false;
    while (!head.empty()) {
        const std::size_t end = std::min(head.find("\r\n"), head.size());
        const std::string_view line = head.substr(0, end);
        head.remove_prefix(std::min(end + 2, head.size()));
        if (line.empty()) break;
        if (line.front() == ' ' || line.front() == '\t') {
            if (wanted) out += line;
            continue;
        }
        received = received || in_received;
        const std::size_t colon = line.find(':');
        const std::string_view name = trim(line.substr(0, colon));
        in_received = iequals(name, "Received") && colon != std::string_view::npos;
        wanted = colon != std::string_view::npos && (iequals(name, "Delivered-To") || iequals(name, "X-Delivery-ID") ||
                 (!received && (in_received || iequals(name, "Date") || iequals(name, "Message-ID"))));
        if (!wanted) continue;
        std::string_view value = line.substr(colon + 1);
        if (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
        out += value;
    }
    return out;
}

std::optional<std::string> noted_uidl(std::string_view head)
{
    const std::size_t end = head.find("\r\n\r\n");
    const auto header = mail::HeaderBlock::parse(head.substr(0, end == std::string_view::npos ? end : end + 2));
    const mail::Field* field = header.find("X-UIDL");
    if (!field) return std::nullopt;
    const std::string unfolded = field->unfolded();
    const std::string_view text = trim(unfolded);
    return is_uidl(text) ? std::optional(std::string(text)) : std::nullopt;
}

} // namespace veredus::pop3
