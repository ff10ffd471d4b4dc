// i;unicode-casemap (RFC 5051).
#include "lib/mail/casemap.h"

#include <cstring>

#include "lib/base/text.h"
#include "lib/mail/casemap_table.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

// Eight bytes of ASCII in upper case: lower case letters are those that carry into the high bit with one sum and not
// with the other.
uint64_t upper_word(uint64_t word)
{
    constexpr uint64_t each = 0x0101010101010101u;
    const uint64_t from_a = word + each * (0x80 - 'a'), beyond_z = word + each * (0x7F - 'z');
    return word ^ (((from_a ^ beyond_z) & (each * 0x80)) >> 2);
}

void put_ascii(std::string_view in, std::string& out)
{
    const std::size_t old = out.size();
    out.resize(old + in.size());
    char* to = out.data() + old;
    std::size_t at = 0;
    for (uint64_t word; at + 8 <= in.size(); at += 8) {
        std::memcpy(&word, in.data() + at, 8);
        word = upper_word(word);
        std::memcpy(to + at, &word, 8);
    }
    for (; at < in.size(); ++at) to[at] = to_upper(in[at]);
}

// The Unicode standard §3.12: syllables are numbered, three letters each, the last one may be missing.
void put_hangul(uint32_t syllable, std::string& out)
{
    put_utf8(out, 0x1100 + syllable / 588);
    put_utf8(out, 0x1161 + syllable % 588 / 28);
    if (syllable % 28 != 0) put_utf8(out, 0x11A7 + syllable % 28);
}

void put_character(uint32_t c, std::string_view as_written, std::string& out)
{
    if (c >= 0xAC00 && c <= 0xD7A3) return put_hangul(c - 0xAC00, out);
    const uint16_t place =
        c < casemap_table::end ? casemap_table::offsets[casemap_table::page_of[c / 64] * 64u + c % 64] : 0;
    if (place == 0)
        out.append(as_written);
    else
        out.append(reinterpret_cast<const char*>(casemap_table::pool + place + 1), casemap_table::pool[place]);
}

} // namespace

void casemap(std::string_view in, std::string& out)
{
    while (!in.empty()) {
        const std::size_t plain = ascii_prefix(in);
        put_ascii(in.substr(0, plain), out);
        in.remove_prefix(plain);
        // Up to the next ASCII: text in other scripts has runs of it.
        while (!in.empty() && static_cast<unsigned char>(in[0]) >= 0x80) {
            const Utf8Start start = utf8_start(in);
            const std::size_t size = start.size == 0 ? 1 : start.size;
            if (start.size == 0)
                out.push_back(in[0]);
            else
                put_character(start.character, in.substr(0, size), out);
            in.remove_prefix(size);
        }
    }
}

std::string casemap(std::string_view utf8)
{
    std::string out;
    casemap(utf8, out);
    return out;
}

} // namespace veredus::mail
