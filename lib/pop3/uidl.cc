#include "lib/pop3/uidl.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/header.h"

namespace veredus::pop3 {

namespace {

constexpr std::size_t longest = 70;

std::string number(uint32_t value, char base, unsigned width, bool zeros)
{
    std::string digits;
    if (base == 'd') {
        digits = cat(value);
    } else {
        int size = 1;
        for (uint32_t rest = value >> 4; rest; rest >>= 4) ++size;
        digits = hex_upper(value, size);
        if (base == 'x') digits = lower(digits);
    }
    if (digits.size() < width) digits.insert(0, width - digits.size(), zeros ? '0' : '_');
    return digits;
}

} // namespace

Result<UidlFormat> UidlFormat::parse(std::string_view text)
{
    UidlFormat format;
    const auto wrong = [&](std::string_view why) {
        return fail(cat("pop3_uidl_format = ", printable(text, 100), ": ", why));
    };
    for (std::size_t at = 0; at < text.size();) {
        Piece piece;
        if (text[at] != '%') {
            const std::size_t end = std::min(text.find('%', at), text.size());
            piece.text = text.substr(at, end - at);
            at = end;
        } else if (++at < text.size() && text[at] == '%') {
            piece.text = "%";
            ++at;
        } else {
            piece.zeros = at < text.size() && text[at] == '0';
            for (; at < text.size() && is_digit(text[at]); ++at)
                piece.width = piece.width * 10 + static_cast<unsigned>(text[at] - '0');
            if (piece.width > longest) return wrong("the width is too large");
            if (at < text.size() && (text[at] == 'X' || text[at] == 'x')) piece.base = text[at++];
            if (at >= text.size() || std::string_view("uvfg").find(text[at]) == std::string_view::npos)
                return wrong("%u, %v, %f and %g are known, and %% for a percent sign; an MD5 sum, Dovecot's %m and %M, is not made");
            piece.variable = text[at] == 'g' ? 'f' : text[at]; // of a Maildir, Dovecot's GUID is the file's name
            ++at;
        }
        format.pieces_.push_back(std::move(piece));
    }
    bool one = false;
    for (const Piece& piece : format.pieces_) one = one || piece.variable == 'u' || piece.variable == 'f';
    if (!one) return wrong("without %u, %f or %g all messages would be one");
    return format;
}

std::string UidlFormat::text(uint32_t uid, uint32_t uidvalidity, std::string_view file) const
{
    std::string out;
    for (const Piece& piece : pieces_) {
        switch (piece.variable) {
        case 'u': out += number(uid, piece.base, piece.width, piece.zeros); break;
        case 'v': out += number(uidvalidity, piece.base, piece.width, piece.zeros); break;
        case 'f': out += file.substr(0, file.find(':')); break;
        default: out += piece.text;
        }
    }
    for (char& c : out)
        if (c < '!' || c > '~') c = '_';
    if (out.size() > longest) out.resize(longest);
    return out;
}

bool UidlFormat::could_make(std::string_view name, uint32_t uidvalidity) const
{
    const auto is = [](char variable) { return [variable](const Piece& piece) { return piece.variable == variable; }; };
    if (std::any_of(pieces_.begin(), pieces_.end(), is('f'))) return false;
    const auto uid = std::find_if(pieces_.begin(), pieces_.end(), is('u')); // parse() has seen to it that there is one
    UidlFormat before;
    before.pieces_.assign(pieces_.begin(), uid);
    const std::size_t begin = before.text(0, uidvalidity, {}).size();
    // Where the number ends is open: it may be as wide as it likes, and digits may follow it.
    uint64_t value = 0;
    for (std::size_t i = begin; i < name.size() && value <= UINT32_MAX; ++i) {
        const unsigned base = uid->base == 'd' ? 10 : 16;
        if (name[i] != '_' || value != 0) {
            const std::size_t digit = std::string_view("0123456789abcdef").find(to_lower(name[i]));
            if (digit >= base) return false;
            value = value * base + digit;
        }
        if (value <= UINT32_MAX && text(static_cast<uint32_t>(value), uidvalidity, {}) == name) return true;
    }
    return false;
}

bool is_uidl(std::string_view text)
{
    return !text.empty() && text.size() <= longest && std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
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
