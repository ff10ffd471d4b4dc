// APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 3516, RFC 9755 and what RFC 6855 had) and REPLACE (RFC 8508), piece by piece.
#include "lib/base/text.h"
#include "lib/imap/parse_tokens.h"

namespace veredus::imap {

namespace {

// [SP flag-list] [SP date-time] SP literal, from behind the first blank: up to the literal, which ends the text.
bool message_head(Tokens& t, AppendMessage& message, std::string_view text)
{
    if (t.peek() == '(' && (!t.flag_list(message.flags, true) || !t.sp())) return false;
    if (t.peek() == '"' && (!t.date_time(message.received.emplace()) || !t.sp())) return false;
    if (t.eat_word("UTF8")) { // RFC 6855 §4
        message.utf8 = true;
        t.blanks();
        if (!t.expect('(')) return false;
    }
    const auto mark = literal_at_end(text);
    const bool here = mark && t.position() == text.data() + mark->at;
    if (!here || (message.utf8 && !mark->literal8)) return t.expected("the message as a literal");
    if (mark->size > INT64_MAX) return t.refuse("[TOOBIG] no message is that large");
    message.size = mark->size;
    message.literal8 = mark->literal8;
    // RFC 3502 §6.3.11: that is how a client cancels.
    return message.size || t.refuse_no("a message of no bytes is not kept");
}

bool command_head(Tokens& t, Append& append)
{
    std::string_view name = t.word();
    append.uid = name == "UID";
    if (append.uid) {
        if (!t.sp()) return false;
        name = t.word();
    }
    append.replace = name == "REPLACE";
    if (append.replace && (!t.sp() || !t.seq_number(append.replaced))) return false;
    return t.sp() && t.mailbox(append.mailbox);
}

AppendPiece refused(Tokens& t)
{
    AppendPiece piece;
    piece.refusal = t.take_refusal();
    if (piece.refusal.text.front() != '[') piece.refusal.text.insert(0, "APPEND: ");
    return piece;
}

} // namespace

AppendPiece parse_append(std::string_view text, const ParseOptions& options)
{
    Tokens t(text, options);
    AppendPiece piece;
    if (!command_head(t, piece.append)) {
        const bool argument = t.open_literal();
        piece = refused(t);
        if (argument) piece.what = AppendPiece::What::argument;
        return piece;
    }
    if (!t.sp() || !message_head(t, piece.message, text)) return refused(t);
    piece.what = AppendPiece::What::message;
    return piece;
}

AppendPiece parse_append_next(std::string_view text, bool utf8, bool single, const ParseOptions& options)
{
    Tokens t(text, options);
    AppendPiece piece;
    if (utf8) {
        t.blanks();
        if (!t.expect(')')) return refused(t);
    }
    const char* before = t.position();
    t.blanks();
    if (t.at_end()) {
        piece.what = AppendPiece::What::end;
        return piece;
    }
    t.rewind(before);
    if (single || !t.sp() || !message_head(t, piece.message, text)) {
        if (single) t.expected("the end of the command");
        return refused(t);
    }
    piece.what = AppendPiece::What::message;
    return piece;
}

} // namespace veredus::imap
