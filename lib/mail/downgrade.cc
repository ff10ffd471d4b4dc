#include "lib/mail/downgrade.h"

#include <algorithm>

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/mail/address.h"
#include "lib/mail/encoded_word.h"
#include "lib/mail/header.h"
#include "lib/mail/mime_fields.h"
#include "lib/mail/rewrite.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

constexpr std::size_t word_bytes = 45;    // 60 in base64, and twelve around them
constexpr char nobody[] = "<invalid@internationalized-address.invalid>";

bool is_ascii(std::string_view text) { return ascii_prefix(text) == text.size(); }

bool is_utf8(std::string_view text)
{
    while (!text.empty()) {
        const auto start = utf8_start(text);
        if (start.size == 0) return false;
        text.remove_prefix(start.size);
    }
    return true;
}

// RFC 6858 §2.1.
std::string address_list(std::string_view body)
{
    const auto list = parse_address_list(body);
    if (!list || list->empty()) return "internationalized-address:;";
    std::string out;
    for (const Mailbox& mailbox : *list) {
        std::string name = decode_header_text(mailbox.display);
        const std::string address = mailbox.address.text();
        const bool sayable = is_ascii(address);
        if (!sayable && name.empty()) name = address;
        if (!out.empty()) out += ",\r\n ";
        if (!name.empty()) append(out, is_ascii(name) ? quote_phrase(name) : encoded_words(name), name.size() > word_bytes ? "\r\n " : " ");
        if (!sayable) out += nobody;
        else if (name.empty()) out += address;
        else append(out, '<', address, '>');
    }
    return out;
}

// RFC 6858 §2.2: what stands between semicolons and is not ASCII goes.
std::string parameters(std::string_view body)
{
    std::string out;
    bool quoted = false;
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= body.size(); ++i) {
        if (i < body.size()) {
            if (quoted && body[i] == '\\') {
                ++i;
                continue;
            }
            if (body[i] == '"') quoted = !quoted;
            if (quoted || body[i] != ';') continue;
        }
        const auto piece = body.substr(begin, std::min(i, body.size()) - begin);
        if (is_ascii(piece)) append(out, begin == 0 ? "" : ";", piece);
        begin = i + 1;
    }
    return out;
}

void put_asked(std::string_view text, std::string& out)
{
    for (const char c : text) out += static_cast<unsigned char>(c) < 0x80 ? c : '?';
}

// Bytes of which nobody knows what they say, for those who may guess: encoded words of charset unknown-8bit (RFC 1428), in Q (RFC 2047
// §4.2), from the first blank-separated word that has such a byte to the last one.
void put_unknown(std::string_view text, std::string& out)
{
    const auto is_high = [](char c) { return static_cast<unsigned char>(c) >= 0x80; };
    std::size_t begin = static_cast<std::size_t>(std::find_if(text.begin(), text.end(), is_high) - text.begin());
    std::size_t end = text.size() - static_cast<std::size_t>(std::find_if(text.rbegin(), text.rend(), is_high) - text.rbegin());
    while (begin > 0 && !is_space(text[begin - 1])) --begin;
    while (end < text.size() && !is_space(text[end])) ++end;
    constexpr std::size_t longest = 75;
    constexpr std::string_view open = "=?unknown-8bit?Q?", close = "?=";
    append(out, text.substr(0, begin), open);
    std::size_t room = longest - open.size() - close.size();
    for (const char c : text.substr(begin, end - begin)) {
        const bool plain = is_alnum(c);
        const std::size_t needs = plain || c == ' ' ? 1 : 3;
        if (needs > room) {
            append(out, close, "\r\n ", open);
            room = longest - open.size() - close.size();
        }
        room -= needs;
        if (plain) out += c;
        else if (c == ' ') out += '_';
        else append(out, '=', hex_upper(static_cast<unsigned char>(c), 2));
    }
    append(out, close, text.substr(end));
}

void put_field(const Field& field, std::string& out)
{
    const std::string_view name = field.name();
    if (is_ascii(field.raw)) return append(out, field.raw);
    if (!is_ascii(name)) return;
    if (!is_utf8(field.raw)) {
        if (!iequals(name, "Subject") && !iequals(name, "Comments") && !iequals(name, "Content-Description")) return put_asked(field.raw, out);
        append(out, name, ": ");
        const std::string text = field.unfolded();
        put_unknown(trim(text), out);
        return append(out, "\r\n");
    }
    if (iequals(name, "Subject")) return append(out, name, ": ", encoded_words(decode_header_text(field.body())), "\r\n");
    if (address_field(name) != AddressField::none || iequals(name, "Return-Path")) return append(out, name, ": ", address_list(field.body()), "\r\n");
    if (iequals(name, "Content-Type") || iequals(name, "Content-Disposition")) {
        const std::string rest = parameters(field.body());
        if (!rest.empty()) append(out, name, ": ", rest, "\r\n");
    }
    // RFC 6858 §2.4: of all others nothing is left.
}

}  // namespace

std::string encoded_words(std::string_view text)
{
    std::string out;
    while (!text.empty()) {
        std::size_t size = 0;
        while (size < text.size()) {
            const std::size_t next = std::max<std::size_t>(utf8_start(text.substr(size)).size, 1);
            if (size + next > word_bytes) break;
            size += next;
        }
        append(out, out.empty() ? "" : "\r\n ", "=?UTF-8?B?", base64_encode(text.substr(0, size)), "?=");
        text.remove_prefix(size);
    }
    return out;
}

std::string downgrade_header(std::string_view header)
{
    const HeaderBlock block = HeaderBlock::parse(header);
    std::string out;
    for (const Field& field : block.fields()) put_field(field, out);
    put_asked(block.rest(), out);
    return out;
}

}  // namespace veredus::mail
