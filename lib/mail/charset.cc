// Character sets of mail into UTF-8.
#include "lib/mail/charset.h"

#include <iconv.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

constexpr std::size_t max_name = 40;
constexpr std::size_t max_held =
    64; // bytes that begin a character: no charset has longer ones, escape sequences included

iconv_t no_converter()
{
    return reinterpret_cast<iconv_t>(-1); // as iconv_open() says it failed
}

// Opening a converter loads a module and its tables, which costs more than most mails: a few stay open for the next
// mail. One set for each thread, since a converter has a state.
class Converters {
public:
    ~Converters()
    {
        for (const auto& [name, converter] : idle_) ::iconv_close(converter);
    }
    iconv_t take(const std::string& name)
    {
        const auto it =
            std::find_if(idle_.begin(), idle_.end(), [&](const auto& entry) { return entry.first == name; });
        if (it == idle_.end()) return ::iconv_open("UTF-8", name.c_str());
        const iconv_t converter = it->second;
        idle_.erase(it);
        return converter;
    }
    void give_back(const std::string& name, iconv_t converter)
    {
        ::iconv(converter, nullptr, nullptr, nullptr, nullptr);
        idle_.emplace_back(name, converter);
        if (idle_.size() <= most_idle) return;
        ::iconv_close(idle_.front().second);
        idle_.erase(idle_.begin());
    }

private:
    static constexpr std::size_t most_idle = 8;
    std::vector<std::pair<std::string, iconv_t>> idle_; // the one used last is at the end
};

Converters& converters()
{
    thread_local Converters all;
    return all;
}

// What mail programs call things, and what they mean by it: supersets where the label is commonly wrong.
struct Alias {
    const char* name;
    const char* meant;
};
constexpr Alias aliases[] = {{"gb2312", "gb18030"},
                             {"gbk", "gb18030"},
                             {"x-gbk", "gb18030"},
                             {"ks_c_5601-1987", "cp949"},
                             {"euc-kr", "cp949"},
                             {"shift_jis", "cp932"},
                             {"shift-jis", "cp932"},
                             {"sjis", "cp932"},
                             {"x-sjis", "cp932"},
                             {"big5", "big5-hkscs"},
                             {"iso-8859-8-i", "iso-8859-8"},
                             {"iso-8859-8-e", "iso-8859-8"},
                             {"unicode-1-1-utf-7", "utf-7"},
                             {"tis-620", "cp874"},
                             {"x-mac-roman", "macintosh"},
                             {"iso8859-15", "iso-8859-15"}};
constexpr const char* utf8_names[] = {
    "", "utf-8", "utf8", "us-ascii", "ascii", "unicode-1-1-utf-8", "ansi_x3.4-1968", "iso-646.irv:1991", "646", "us"};
// ISO-8859-1 is read as its superset: 0x80 to 0x9F are controls there, which no mail means.
constexpr const char* western_names[] = {"iso-8859-1",   "iso8859-1",       "iso_8859-1", "latin1",
                                         "l1",           "iso_8859-1:1987", "iso-ir-100", "cp819",
                                         "windows-1252", "cp1252",          "cp-1252",    "x-cp1252"};
// Names that stand for the machine or its locale, and not for a charset.
constexpr const char* not_charsets[] = {"char", "wchar_t", "internal", "locale"};

template <std::size_t N> bool is_one_of(std::string_view name, const char* const (&names)[N])
{
    return std::any_of(std::begin(names), std::end(names), [&](const char* n) { return name == n; });
}

// What is handed to iconv: never "//TRANSLIT" and the like, never a path.
std::optional<std::string> converter_name(std::string_view name)
{
    if (name.size() > max_name || is_one_of(name, not_charsets)) return std::nullopt;
    if (!std::all_of(name.begin(), name.end(), [](char c) {
            return is_alnum(c) || std::string_view("-_.:+()").find(c) != std::string_view::npos;
        }))
        return std::nullopt;
    for (const Alias& alias : aliases)
        if (name == alias.name) return alias.meant;
    return std::string(name);
}

constexpr uint16_t western[32] = {0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                  0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                  0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                  0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

} // namespace

std::size_t ascii_prefix(std::string_view s)
{
    std::size_t at = 0;
    for (uint64_t word; at + 8 <= s.size(); at += 8) {
        std::memcpy(&word, s.data() + at, 8);
        if (word & 0x8080808080808080u) break;
    }
    while (at < s.size() && static_cast<unsigned char>(s[at]) < 0x80) ++at;
    return at;
}

bool is_charset(std::string_view written)
{
    const std::string name = lower(trim(written));
    if (name.empty()) return false;
    if (is_one_of(name, utf8_names) || is_one_of(name, western_names)) return true;
    const auto meant = converter_name(name);
    if (!meant) return false;
    const iconv_t converter = converters().take(*meant);
    if (converter == no_converter()) return false;
    converters().give_back(*meant, converter);
    return true;
}

CharsetDecoder::CharsetDecoder(std::string_view written)
{
    const std::string name = lower(trim(written.substr(0, 1000)));
    if (is_one_of(name, utf8_names)) return;
    if (is_one_of(name, western_names)) {
        kind_ = Kind::western;
        return;
    }
    auto meant = converter_name(name);
    if (!meant) return;
    const iconv_t converter = converters().take(*meant);
    if (converter == no_converter()) return;
    kind_ = Kind::other;
    converter_ = converter;
    name_ = std::move(*meant);
}

CharsetDecoder::~CharsetDecoder()
{
    if (converter_) converters().give_back(name_, static_cast<iconv_t>(converter_));
}

CharsetDecoder::CharsetDecoder(CharsetDecoder&& other) noexcept
    : kind_(other.kind_), converter_(std::exchange(other.converter_, nullptr)), name_(std::move(other.name_)),
      held_(std::move(other.held_)), broken_(other.broken_)
{
    other.kind_ = Kind::utf8;
}

CharsetDecoder& CharsetDecoder::operator=(CharsetDecoder&& other) noexcept
{
    std::swap(kind_, other.kind_);
    std::swap(converter_, other.converter_);
    std::swap(name_, other.name_);
    std::swap(held_, other.held_);
    std::swap(broken_, other.broken_);
    return *this;
}

void CharsetDecoder::feed(std::string_view bytes, std::string& out)
{
    switch (kind_) {
    case Kind::utf8: return feed_utf8(bytes, out, false);
    case Kind::western: return feed_western(bytes, out);
    case Kind::other: return feed_other(bytes, out, false);
    }
}

void CharsetDecoder::finish(std::string& out)
{
    if (kind_ == Kind::other)
        feed_other({}, out, true);
    else if (kind_ == Kind::utf8)
        feed_utf8({}, out, true);
}

void CharsetDecoder::put_broken(std::string& out)
{
    ++broken_;
    out += replacement_character;
}

void CharsetDecoder::feed_utf8(std::string_view bytes, std::string& out, bool last)
{
    std::string joined;
    if (!held_.empty()) {
        joined = cat(held_, bytes);
        held_.clear();
        bytes = joined;
    }
    while (!bytes.empty()) {
        const std::size_t plain = ascii_prefix(bytes);
        out.append(bytes.substr(0, plain));
        bytes.remove_prefix(plain);
        if (bytes.empty()) break;
        const Utf8Start start = utf8_start(bytes);
        if (start.is_cut && !last) {
            held_ = bytes;
            return;
        }
        if (start.size == 0) {
            put_broken(out);
            bytes.remove_prefix(1);
        } else {
            out.append(bytes.substr(0, start.size));
            bytes.remove_prefix(start.size);
        }
    }
}

void CharsetDecoder::feed_western(std::string_view bytes, std::string& out)
{
    while (!bytes.empty()) {
        const std::size_t plain = ascii_prefix(bytes);
        out.append(bytes.substr(0, plain));
        bytes.remove_prefix(plain);
        if (bytes.empty()) break;
        const auto c = static_cast<unsigned char>(bytes[0]);
        put_utf8(out, c < 0xA0 ? western[c - 0x80] : c);
        bytes.remove_prefix(1);
    }
}

void CharsetDecoder::feed_other(std::string_view bytes, std::string& out, bool last)
{
    held_.append(bytes);
    char* in = held_.data();
    std::size_t left = held_.size();
    char buffer[4096];
    while (left > 0) {
        char* to = buffer;
        std::size_t room = sizeof buffer;
        const std::size_t before = left;
        const std::size_t converted = ::iconv(static_cast<iconv_t>(converter_), &in, &left, &to, &room);
        const int error = errno;
        out.append(buffer, sizeof buffer - room);
        if (converted != static_cast<std::size_t>(-1)) break;
        if (error == E2BIG && (left < before || room < sizeof buffer)) continue;
        if (error == EINVAL && !last && left <= max_held) break;
        // What cannot be read: one byte of it is given up, which is progress whatever iconv thinks.
        put_broken(out);
        ++in;
        --left;
    }
    held_.erase(0, held_.size() - left);
    if (!last) return;
    char* to = buffer; // some charsets hold a character back until they know what follows
    std::size_t room = sizeof buffer;
    ::iconv(static_cast<iconv_t>(converter_), nullptr, nullptr, &to, &room);
    out.append(buffer, sizeof buffer - room);
}

std::string to_utf8(std::string_view charset, std::string_view bytes)
{
    std::string out;
    CharsetDecoder decoder(charset);
    decoder.feed(bytes, out);
    decoder.finish(out);
    return out;
}

} // namespace veredus::mail
