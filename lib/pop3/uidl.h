// What UIDL says of a message (pop3_uidl_format). Dovecot's letters, so that clients of a server that moves here know
// their mail again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::pop3 {

class UidlFormat {
public:
    // %u UID, %v UIDVALIDITY, %f the Maildir file's base name; "%08Xu": eight digits, hexadecimal; %% a percent sign.
    static Result<UidlFormat> parse(std::string_view text);
    // At most 70 bytes from ! to ~ (RFC 1939 §7): what is neither becomes '_', what is longer is cut.
    std::string text(uint32_t uid, uint32_t uidvalidity, std::string_view file) const;
    // Whether `name` is what some UID would have under this UIDVALIDITY. No for formats with %f: file names hold what nobody can
    // foresee.
    bool could_make(std::string_view name, uint32_t uidvalidity) const;

private:
    struct Piece {
        std::string text;              // literal, when variable is 0
        char variable = 0, base = 'd'; // 'x', 'X'
        unsigned width = 0;
        bool zeros = false;
    };
    std::vector<Piece> pieces_;
};

// 1 to 70 bytes from ! to ~ (RFC 1939 §7).
bool is_uidl(std::string_view text);
// What another POP3 server noted as X-UIDL in a message, of which these are the first bytes (CRLF line ends); nothing
// when there is none that UIDL may say (RFC 1939 §7).
std::optional<std::string> noted_uidl(std::string_view head);

} // namespace veredus::pop3
