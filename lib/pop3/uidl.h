// What UIDL says of a message (pop3_uidl_format). Dovecot's variables and modifiers, so that clients of a server that
// moves here know their mail again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::pop3 {

// A message, as far as a format asks for it.
struct UidlFacts {
    uint32_t uid = 0, uidvalidity = 0;
    std::string_view file;       // of its Maildir, flags may follow; empty: it is one of an mbox, known by header_sum
    std::string_view guid;       // that Dovecot noted beside the file; empty: the file's name
    std::string_view header_sum; // MD5 of summed_header(), in hexadecimal; where needs_header()
};

class UidlFormat {
public:
    using Md5 = std::string (*)(std::string_view bytes); // hexadecimal digits; "": there is no MD5 here
    // %u UID, %v UIDVALIDITY, %f the Maildir file's base name, %g the GUID, %m the sum of the header, %% a percent
    // sign. Between % and letter [OFFSET.][WIDTH] and modifiers: "%08Xu", "%Mf"; also "%{uid | hex(8)}" as Dovecot 2.4
    // has it. Without `md5` no text can be made.
    static Result<UidlFormat> parse(std::string_view text, Md5 md5 = nullptr);
    // At most 70 bytes from ! to ~ (RFC 1939 §7): what is neither becomes '_', what is longer is cut. It may be empty,
    // and the same for two messages, unless unique().
    std::string text(const UidlFacts& of) const;
    bool unique() const;                // by the UID
    bool needs_header(bool mbox) const; // text() wants header_sum
    // Whether `name` is what some UID would have under this UIDVALIDITY. No for formats with a file's name or a sum:
    // these hold what nobody can foresee. Yes where only trying each UID would tell.
    bool could_make(std::string_view name, uint32_t uidvalidity) const;

private:
    struct Piece {
        std::string text; // literal, when variable is 0
        char variable = 0;
        std::string modifiers; // X M L U R, in this order done
        int offset = 0;        // from here on; negative: the last so many
        unsigned width = 0;    // 0: all; else the first so many, or, with zeros, at least so many
        bool zeros = false;
    };
    struct Parser;
    static bool plain(const Piece& piece);
    std::string value(const Piece& piece, const UidlFacts& of) const;
    bool has(std::string_view variables) const;
    std::vector<Piece> pieces_;
    Md5 md5_ = nullptr;
};

// 1 to 70 bytes from ! to ~ (RFC 1939 §7).
bool is_uidl(std::string_view text);
// `name`, which another message has or which is empty, as one of this message alone.
std::string told_apart(std::string_view name, uint32_t uid);
// Of a message that begins with `head` (CRLF line ends) what Dovecot, as popa3d before it, makes its sum of: the first
// Received, what tells messages apart before it, and what local delivery added.
std::string summed_header(std::string_view head);
// What another POP3 server noted as X-UIDL in a message, of which these are the first bytes (CRLF line ends); nothing
// when there is none that UIDL may say (RFC 1939 §7).
std::optional<std::string> noted_uidl(std::string_view head);

} // namespace veredus::pop3
