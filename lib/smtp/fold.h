// Lines that are too long for a peer, broken on their way out (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1), as Postfix does: CRLF and a blank go in
// between. A sequence of UTF-8 stays whole.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace veredus::smtp {

// CRLF form in, any cut; CRLF form out. Holds one line of `limit` bytes at most, beside the block that it is given.
class LineFolder {
public:
    explicit LineFolder(std::size_t limit) : limit_(limit), room_(limit) {}    // bytes of a line without its CRLF; 16 at least
    void feed(std::string_view bytes, std::string& out);
    void finish(std::string& out);    // what has no CRLF at its end

private:
    void take(std::string_view text, bool whole, std::string_view end, std::string& out);
    std::size_t limit_, room_;        // room_: for what is held; a line that follows a break begins with a blank
    std::string held_;
};

// The same for a header block: lines are broken before a blank that is there where there is one, which changes no field (RFC 5322 §2.2.3).
std::string fold_header(std::string_view header, std::size_t limit);

}  // namespace veredus::smtp
