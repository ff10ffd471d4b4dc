// A command's bytes, whole and with its literals in place, as data (RFC 9051 §9, RFC 3501 §9 and the extensions' own
// formal syntax). Pure and bounded; what the reader (reader.h) is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "lib/imap/command.h"
#include "lib/imap/reader.h"

namespace veredus::imap {

struct ParseOptions {
    bool utf8 = false;          // mailbox names are UTF-8; 8-bit quoted strings must be
    std::size_t depth = 100;    // of search keys
    std::size_t ranges = 65536; // of all sequence sets of a command
};

// "{n}", "{n+}" or "~{n}" at the end of a line without its line end (RFC 7888 §3, RFC 3516 §7).
struct LiteralMark {
    std::size_t at = 0; // of "{" or "~"
    uint64_t size = 0;
    bool plus = false, literal8 = false;
};
std::optional<LiteralMark> literal_at_end(std::string_view line);

// The tag, cut off `text` with the blanks behind it; empty: there is none, or it has a byte no tag may have.
std::string_view cut_tag(std::string_view& text);

enum class VerbKind : uint8_t { unknown, ordinary, append }; // append: APPEND, REPLACE, UID REPLACE
VerbKind kind_of_verb(std::string_view text);                // behind the tag

// `text` is behind the tag and without the last line end.
std::variant<Command, Refusal> parse_command(std::string_view text, const ParseOptions& options);

// APPEND and REPLACE come in pieces, each cut where a literal begins (RFC 3502, RFC 8508).
struct AppendPiece {
    enum class What : uint8_t {
        argument, // the literal that begins is an argument: come again with its bytes and the next line; or `refusal`
        message,  // the literal that begins is `message`
        end,      // the command is over (only for what follows a message)
        refused,
    } what = What::refused;
    Append append; // of the first piece
    AppendMessage message;
    Refusal refusal;
};
AppendPiece parse_append(std::string_view text, const ParseOptions& options);
// What follows a message: `utf8` says that it was in UTF8 (…), `single` that no further message may come.
AppendPiece parse_append_next(std::string_view text, bool utf8, bool single, const ParseOptions& options);

} // namespace veredus::imap
