// The charset argument of SEARCH, SORT and THREAD.
#include "lib/imap/charset.h"

#include <cerrno>

#include "lib/base/text.h"
#include "lib/mail/charset.h"

namespace veredus::imap {

Result<std::string> to_utf8(std::string_view charset, std::string_view bytes)
{
    if (!charset.empty() && !mail::is_charset(charset))
        return unexpected({EINVAL, cat("charset ", printable(charset, 40), " is not known")});
    std::string out;
    mail::CharsetDecoder decoder(charset);
    decoder.feed(bytes, out);
    decoder.finish(out);
    if (decoder.broken() > 0)
        return unexpected(
            {EILSEQ, cat("the text is not in charset ", charset.empty() ? "UTF-8" : printable(charset, 40))});
    return out;
}

std::string_view charset_list()
{
    return "US-ASCII UTF-8 ISO-8859-1 ISO-8859-2 ISO-8859-3 ISO-8859-4 ISO-8859-5 ISO-8859-6 ISO-8859-7 ISO-8859-8 "
           "ISO-8859-9 ISO-8859-10 "
           "ISO-8859-13 ISO-8859-14 ISO-8859-15 ISO-8859-16 WINDOWS-1250 WINDOWS-1251 WINDOWS-1252 WINDOWS-1253 "
           "WINDOWS-1254 WINDOWS-1255 "
           "WINDOWS-1256 WINDOWS-1257 WINDOWS-1258 KOI8-R KOI8-U ISO-2022-JP ISO-2022-KR SHIFT_JIS EUC-JP EUC-KR "
           "GB2312 GB18030 BIG5 TIS-620 UTF-7 "
           "UTF-16";
}

} // namespace veredus::imap
