// What the session can do, as CAPABILITY says it.
#include "lib/imap/session.h"

#include "lib/base/text.h"

namespace veredus::imap {

std::string capabilities(uint64_t append_limit, bool compress)
{
    std::string out = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE IDLE UNSELECT UIDPLUS MULTIAPPEND "
                      "CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE MOVE CONDSTORE QRESYNC "
                      "ESEARCH SEARCHRES WITHIN SORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES I18NLEVEL=1 BINARY "
                      "PREVIEW SAVEDATE STATUS=SIZE OBJECTID REPLACE UTF8=ACCEPT";
    if (append_limit)
        append(out, " APPENDLIMIT=", append_limit);
    else
        out += " APPENDLIMIT";
    if (compress) out += " COMPRESS=DEFLATE";
    return out;
}

} // namespace veredus::imap
