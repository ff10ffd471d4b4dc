// Between "this recipient" and "this mailbox": what becomes of a mail that aliases and .forward left to its recipient's own mailbox, and
// whether the mailbox may take it. A filter language (RFC 5228) is another Placement, a quota another Quota; the worker asks whichever it has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/disk/disk.h"
#include "lib/store/content.h"
#include "lib/store/problem.h"
#include "local/command.h"

namespace veredus::local {

// A mail as it lies in the queue; all of it is borrowed.
struct Letter {
    std::string_view sender;          // of the envelope; empty for a report
    std::string_view head;            // the header block, LF lines
    int file = -1;                    // its body is an extent of this, CRLF lines
    uint64_t body_offset = 0, body_size = 0;
};

struct Addressed {
    std::string_view recipient;       // local@domain
    std::string_view original;        // as the sender wrote it, before aliases; never empty
    std::string_view extension;
    std::string_view mailbox;         // his own, absolute: a Maildir when it ends in a slash, else an mbox
};

// One mailbox that gets the mail, and how it lies there.
struct Copy {
    std::string mailbox;                   // absolute, as Addressed::mailbox; what is missing of a Maildir is made
    uint8_t flags = 0;                     // store::Flag
    std::vector<std::string> keywords;     // as IMAP has them: "$Junk", "work"
    bool marked() const { return flags != 0 || !keywords.empty(); }
    bool operator==(const Copy&) const = default;
};
// A copy as it stands in the queue while it waits, and back: the path, with what it is marked with behind it. What is no mark is part of
// the path: a user can write one into his .forward, for his own mail.
std::string copy_text(const Copy& copy);
Copy copy_of(std::string_view text);

// A mail that is answered by itself, as RFC 5230's vacation does; sent without a sender (RFC 3834 §3.3).
struct Reply {
    std::string to;                        // address
    std::string text;                      // header, blank line, body; LF lines
};

// Nothing at all in it: the mail is thrown away.
struct Plan {
    std::vector<Copy> copies;              // RFC 5228's keep and fileinto, each with the flags of RFC 5232 that hold there
    std::vector<std::string> redirects;    // addresses; they get the mail with the sender it came with (RFC 5228 §4.2), beside the copies
    std::vector<Reply> replies;            // sent first. One that cannot be sent is said in the log and stops nothing
    std::string refusal;                   // not empty: refused with these words (RFC 5429), and nothing else happens
    std::string refusal_dsn = "5.7.1";
};

class Placement {
public:
    virtual ~Placement() = default;
    // In the recipient's own process, with his rights. An Error: the mail waits. What has more than one mailbox, or a redirect, is asked
    // again only if it could not be recorded, never because one of its copies failed; but the only copy may fail, and the mail comes
    // here again: who gives replies remembers whom he answered, as RFC 5230 §4.2 wants it anyway.
    virtual Result<Plan> place(const Letter& letter, const Addressed& to) = 0;
};

// The mailbox itself; with local_plus_folders the folder that the extension names, when the Maildir has it.
class OwnMailbox final : public Placement {
public:
    explicit OwnMailbox(bool plus_folders) : plus_folders_(plus_folders) {}
    Result<Plan> place(const Letter& letter, const Addressed& to) override;

private:
    bool plus_folders_;
};

// Where replies go.
class Outbox {
public:
    virtual ~Outbox() = default;
    virtual Result<void> send(const Reply& reply) = 0;
};

// By sendmail(1), as the user.
class SendmailOutbox final : public Outbox {
public:
    SendmailOutbox(Person person, CommandRules rules, std::string program = "/usr/sbin/sendmail") : person_(std::move(person)), rules_(std::move(rules)), program_(std::move(program)) {}
    Result<void> send(const Reply& reply) override;

private:
    Person person_;
    CommandRules rules_;
    std::string program_;
};

// Puts a mail with flags or keywords into a Maildir, by its index, which keeps them; what is missing of both is made. Durable when it
// returns. A keyword that the folder has no room for is left out, and the log says so.
store::Delivered file_marked(disk::Disk& disk, const Copy& copy, const store::Content& mail);

class Quota {
public:
    virtual ~Quota() = default;
    // Before mails of these sizes (bytes, at most) are appended to one mailbox: an answer for each. What is in the way of one is its verdict.
    virtual std::vector<store::Delivered> admit(const std::string& mailbox, std::span<const uint64_t> sizes) = 0;
};

// The file system's: everything may go, and EDQUOT comes from the write.
class KernelQuota final : public Quota {
public:
    std::vector<store::Delivered> admit(const std::string& mailbox, std::span<const uint64_t> sizes) override;
};

// local_plus_folders: the Maildir++ folder that an extension names, when the Maildir has it; else the Maildir. Letters, digits and a
// few marks only, dots between levels.
std::string plus_folder(const std::string& maildir, std::string_view extension);

}  // namespace veredus::local
