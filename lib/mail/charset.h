// Character sets of mail (RFC 2978 names) into UTF-8: US-ASCII, UTF-8 and ISO-8859-1 with windows-1252 by hand, all
// others by iconv. Streaming and tolerant: what is broken becomes U+FFFD; the output is always valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::mail {

// Is it a name that can be converted from? Any case, aliases too; never a name that means something to iconv only.
bool is_charset(std::string_view name);

class CharsetDecoder {
public:
    // Of an unknown charset ASCII is kept, and what is valid UTF-8.
    explicit CharsetDecoder(std::string_view charset = {}); // empty: US-ASCII, with UTF-8 taken where it is valid
    ~CharsetDecoder();
    CharsetDecoder(CharsetDecoder&& other) noexcept;
    CharsetDecoder& operator=(CharsetDecoder&& other) noexcept;

    // Appends whole characters only. Any cut; but what becomes of broken text in a charset with states (UTF-7,
    // ISO-2022) may depend on it.
    void feed(std::string_view bytes, std::string& out);
    void finish(std::string& out);              // a character that was cut becomes U+FFFD
    uint64_t broken() const { return broken_; } // how many U+FFFD were put for broken input

private:
    enum class Kind : uint8_t { utf8, western, other };
    void feed_utf8(std::string_view bytes, std::string& out, bool last);
    void feed_western(std::string_view bytes, std::string& out);
    void feed_other(std::string_view bytes, std::string& out, bool last);
    void put_broken(std::string& out);

    Kind kind_ = Kind::utf8;
    void* converter_ = nullptr; // iconv_t
    std::string name_;          // of converter_, to hand it back
    std::string held_;          // the beginning of a character
    uint64_t broken_ = 0;
};

std::string to_utf8(std::string_view charset, std::string_view bytes);

} // namespace veredus::mail
