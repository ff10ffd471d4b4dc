// Header text, charsets and transfer encodings of any bytes: always UTF-8, the same in any cut, never much longer than
// what came in.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/text.h"
#include "lib/mail/casemap.h"
#include "lib/mail/charset.h"
#include "lib/mail/encoded_word.h"
#include "lib/mail/sent_date.h"
#include "lib/mail/transfer.h"
#include "lib/mail/utf8.h"

using namespace veredus;

namespace {

constexpr const char* charsets[] = {"",          "utf-8",   "iso-8859-1", "iso-8859-2", "iso-2022-jp",
                                    "shift_jis", "gb18030", "euc-kr",     "utf-7",      "utf-16",
                                    "big5",      "koi8-r",  "x-none"};

void require(bool holds)
{
    if (!holds) std::abort();
}

std::string transfer(mail::Encoding encoding, std::string_view in, std::size_t piece)
{
    mail::TransferDecoder decoder(encoding);
    std::string out;
    for (std::size_t at = 0; at < in.size(); at += piece) decoder.feed(in.substr(at, piece), out);
    decoder.finish(out);
    return out;
}

std::string convert(std::string_view charset, std::string_view in, std::size_t piece)
{
    mail::CharsetDecoder decoder(charset);
    std::string out;
    for (std::size_t at = 0; at < in.size(); at += piece) decoder.feed(in.substr(at, piece), out);
    decoder.finish(out);
    return out;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::string text = mail::decode_header_text(in);
    require(is_utf8(text));
    if (is_ascii(in) && in.find("=?") == in.npos && in.find_first_of("\r\n") == in.npos) require(text == in);
    require(is_utf8(mail::casemap(text)));
    (void)mail::casemap(in);
    (void)mail::parse_sent_date(in);
    for (const auto encoding : {mail::Encoding::base64, mail::Encoding::quoted_printable}) {
        const std::string whole = transfer(encoding, in, in.size() + 1);
        require(whole.size() <= in.size());
        require(transfer(encoding, in, 1) == whole && transfer(encoding, in, 3) == whole);
    }
    const char* charset = charsets[data[0] % std::size(charsets)];
    const std::string whole = convert(charset, in, in.size() + 1);
    require(is_utf8(whole));
    // Where charsets have a state, what iconv makes of broken text depends on where it was when it saw that.
    const bool has_state = std::string_view(charset) == "utf-7" || std::string_view(charset) == "iso-2022-jp";
    if (!has_state || whole.find(mail::replacement_character) == whole.npos) require(convert(charset, in, 1) == whole);
    return 0;
}
