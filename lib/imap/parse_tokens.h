// The tokens of IMAP (RFC 9051 §9) over the bytes of one command, and the rows of each family of commands. Only the
// parser's own files include this.
#pragma once

#include <string>
#include <string_view>

#include "lib/imap/parse.h"

namespace veredus::imap {

// Each function takes its production from the front and returns true, or makes the refusal known and returns false; the
// first refusal stays. Where RFC 9051 has one blank, more are taken: clients send them.
class Tokens {
public:
    Tokens(std::string_view text, const ParseOptions& options)
        : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), options_(options), ranges_left_(options.ranges)
    {}

    bool sp();     // a blank at least
    void blanks(); // or none
    bool end();    // nothing but blanks is left
    bool at_end() const { return at_ == end_; }
    char peek() const { return at_ == end_ ? '\0' : *at_; }
    bool eat(char c); // c is next: taken. No refusal.
    bool expect(char c);
    // Letters, digits and "._-=", in upper case; empty (and no refusal) when there are none or too many. Until the next
    // call.
    std::string_view word();
    std::string_view to_blank();           // everything up to a blank or the end
    bool eat_word(std::string_view upper); // taken only if it is this word; no refusal

    bool atom(std::string& out);
    bool astring(std::string& out);
    bool string(std::string& out);
    bool nstring(std::optional<std::string>& out); // an atom is taken as well
    bool mailbox(std::string& out);                // as UTF-8, INBOX in upper case
    bool pattern(std::string& out);                // list-mailbox, as on the wire
    // A name or pattern as on the wire to UTF-8. False: it can be no name.
    bool to_utf8_name(std::string& name) const;

    bool number(uint32_t& out);
    bool number64(uint64_t& out); // at most 2^63 - 1
    bool nz_number(uint32_t& out);
    bool nz_number64(uint64_t& out);
    bool seq_number(uint32_t& out); // 0: "*"
    bool sequence_set(SequenceSet& out);
    bool date(int32_t& day);          // days since 1970-01-01
    bool date_time(int64_t& seconds); // in quotes
    bool
    flag(Flags& out,
         bool with_recent); // with_recent: \Recent is passed over, as clients name it who copy what FETCH told them
    bool flag_list(Flags& out, bool with_recent);

    bool refuse(std::string text); // BAD; returns false
    bool refuse_no(std::string text);
    bool expected(std::string_view what); // BAD, with the place; returns false
    Refusal take_refusal();
    bool open_literal() const { return open_literal_; } // failed because the text ends where a literal begins

    const char* position() const { return at_; }
    void rewind(const char* position) { at_ = position; }
    const ParseOptions& options() const { return options_; }

private:
    bool quoted(std::string& out);
    bool literal(std::string& out);
    bool run_of(uint8_t kind, std::string& out, std::string_view what);
    bool digits(uint64_t& out, uint64_t max);
    bool digit_pair(int& out);
    bool date_text(int32_t& day, bool fixed);

    const char* begin_;
    const char* at_;
    const char* end_;
    const ParseOptions& options_;
    std::size_t ranges_left_;
    Refusal refusal_;
    bool refused_ = false, open_literal_ = false;
    char word_[24];
};

// A command's row. What it may be preceded by: nothing, UID, or both.
struct VerbRow {
    std::string_view name;
    bool plain, with_uid;
    bool (*parse)(Tokens& tokens, bool uid, Command& command);
};

// One per file.
bool parse_fetch(Tokens& tokens, bool uid, Command& command);
bool parse_store(Tokens& tokens, bool uid, Command& command);
bool parse_search(Tokens& tokens, bool uid, Command& command);
bool parse_sort(Tokens& tokens, bool uid, Command& command);
bool parse_thread(Tokens& tokens, bool uid, Command& command);
bool parse_list(Tokens& tokens, bool uid, Command& command);
bool parse_lsub(Tokens& tokens, bool uid, Command& command);
bool parse_status_items(Tokens& tokens, uint16_t& items);

} // namespace veredus::imap
