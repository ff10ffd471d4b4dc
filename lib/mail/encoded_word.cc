// Encoded words (RFC 2047) and extended parameters (RFC 2231) as text.
#include "lib/mail/encoded_word.h"

#include <algorithm>
#include <optional>

#include "lib/base/text.h"
#include "lib/mail/charset.h"
#include "lib/mail/transfer.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

constexpr std::size_t npos = std::string_view::npos;
constexpr std::size_t max_charset = 60;

bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// An encoded word at the beginning of some text (RFC 2047 §2).
struct Word {
    std::string_view charset, text;
    bool base64 = false;
    std::size_t size = 0;
};

// Its text ends at the next question mark, so that no byte is looked at more than twice however often "=?" comes.
std::optional<Word> word_at(std::string_view in)
{
    if (!in.starts_with("=?")) return std::nullopt;
    const std::size_t charset_end = in.substr(0, max_charset).find('?', 2);
    if (charset_end == npos || charset_end == 2 || charset_end + 3 > in.size() || in[charset_end + 2] != '?')
        return std::nullopt;
    const char encoding = to_lower(in[charset_end + 1]);
    if (encoding != 'b' && encoding != 'q') return std::nullopt;
    const std::size_t begin = charset_end + 3, end = in.find('?', begin);
    if (end == npos || end + 1 >= in.size() || in[end + 1] != '=') return std::nullopt;
    Word word;
    word.charset = in.substr(2, charset_end - 2);
    word.charset = word.charset.substr(0, word.charset.find('*')); // RFC 2231 §5: a language
    word.text = in.substr(begin, end - begin);
    word.base64 = encoding == 'b';
    word.size = end + 2;
    return word;
}

void decode_q(std::string_view text, std::string& out)
{
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto code = text[i] == '=' && i + 2 < text.size() ? parse_hex(text.substr(i + 1, 2)) : std::nullopt;
        if (code) {
            out.push_back(static_cast<char>(*code));
            i += 2;
        } else if (text[i] == '_') {
            out.push_back(' ');
        } else if (text[i] != '\r' && text[i] != '\n') {
            out.push_back(text[i]);
        }
    }
}

// Text as it stands: unfolded, and UTF-8.
void put_plain(std::string_view text, std::string& out)
{
    CharsetDecoder decoder;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
        decoder.feed(text.substr(0, end), out);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    decoder.finish(out);
}

// Takes the encoded words at the beginning of `in` that belong together, and the blanks between them.
void take_words(std::string_view& in, Word word, std::string& out)
{
    const std::string charset = lower(word.charset);
    CharsetDecoder decoder(charset);
    std::string bytes;
    for (;;) {
        bytes.clear();
        if (word.base64) {
            TransferDecoder base64(Encoding::base64);
            base64.feed(word.text, bytes);
            base64.finish(bytes);
        } else {
            decode_q(word.text, bytes);
        }
        decoder.feed(bytes, out);
        in.remove_prefix(word.size);
        const std::size_t next =
            static_cast<std::size_t>(std::find_if_not(in.begin(), in.end(), is_blank) - in.begin());
        const auto following = word_at(in.substr(next));
        if (!following) break;
        in.remove_prefix(next); // RFC 2047 §6.2: blanks between them are not shown
        if (!iequals(following->charset, charset)) break;
        word = *following;
    }
    decoder.finish(out);
}

} // namespace

void decode_header_text(std::string_view body, std::string& out)
{
    while (!body.empty()) {
        std::size_t begin = body.find("=?");
        std::optional<Word> word;
        for (; begin != npos && !(word = word_at(body.substr(begin))); begin = body.find("=?", begin + 2)) {
        }
        put_plain(body.substr(0, begin), out);
        if (!word) return;
        body.remove_prefix(begin);
        take_words(body, *word, out);
    }
}

std::string decode_header_text(std::string_view body)
{
    std::string out;
    decode_header_text(body, out);
    return out;
}

std::string parameter_text(const MimeParameter& parameter)
{
    if (parameter.extended) return to_utf8(parameter.charset, parameter.value);
    return decode_header_text(parameter.value);
}

} // namespace veredus::mail
