// What SORT and THREAD compare messages by (RFC 5256 §2.1, §3): base subjects and mailboxes, as keys of
// i;unicode-casemap.
#pragma once

#include <string>
#include <string_view>

namespace veredus::imap {

// Of the text of a subject (encoded words undone; UTF-8), in which it may join blanks.
struct BaseSubject {
    std::string_view text;         // a piece of it
    bool reply_or_forward = false; // something was taken off that says so
};
BaseSubject base_subject(std::string& text);

// Of a raw Subject body. Appends at most `longest_sort_key` bytes of the base subject's key; true: a reply or forward.
constexpr std::size_t longest_sort_key = 1000;
bool put_subject_key(std::string_view body, std::string& out);

// Of a raw From, To or Cc body: appends the key of the first address's mailbox, its local part or the name of a group.
void put_mailbox_key(std::string_view body, std::string& out);

} // namespace veredus::imap
