// Between "this recipient" and "this mailbox": what becomes of a mail that aliases and .forward left to its recipient's own mailbox, and
// whether the mailbox may take it. A filter language is another Placement, a quota another Quota; the worker asks whichever it has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/store/problem.h"

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
    std::string_view extension;
    std::string_view mailbox;         // his own, absolute: a Maildir when it ends in a slash, else an mbox
};

// Nothing at all in it: the mail is thrown away.
struct Plan {
    std::vector<std::string> mailboxes;    // absolute, as Addressed::mailbox; each gets a copy
    std::vector<std::string> redirects;    // addresses
    std::string refusal;                   // not empty: refused with 5.7.1 and these words, and nothing else happens
};

class Placement {
public:
    virtual ~Placement() = default;
    // In the recipient's own process, with his rights. An Error: the mail waits. What has more than one mailbox, or a redirect, is asked
    // again only if it could not be recorded, never because one of its copies failed.
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
