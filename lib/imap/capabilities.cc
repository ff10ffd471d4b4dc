// What the session can do, as CAPABILITY says it.
#include "lib/imap/session.h"

#include "lib/base/text.h"

namespace veredus::imap {

std::string capabilities(uint64_t append_limit)
{
    std::string out = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE IDLE UNSELECT UIDPLUS MULTIAPPEND "
                      "CHILDREN LIST-EXTENDED "
                      "LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE MOVE CONDSTORE QRESYNC BINARY ESEARCH SEARCHRES "
                      "WITHIN SAVEDATE STATUS=SIZE OBJECTID REPLACE UTF8=ACCEPT";
    if (append_limit) append(out, " APPENDLIMIT=", append_limit);
    return out;
}

} // namespace veredus::imap
