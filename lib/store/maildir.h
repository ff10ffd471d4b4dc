// Delivery into a Maildir: written in tmp, synced, renamed into new, the directory synced; several mails share that last step. Where
// there is an index, the mails get their UIDs and their place in the cache with it, unless somebody else is just at it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/parallel_sync.h"
#include "lib/store/content.h"
#include "lib/store/facts.h"
#include "lib/store/problem.h"

namespace veredus::store {

// "1732456800.M123456P77Q3V803I1f0a.host": never the same twice, whatever the clock does (process, counter and inode).
struct MaildirName {
    int64_t wall_us = 0;
    int32_t pid = 0;
    uint64_t counter = 0;
    uint64_t device = 0, inode = 0;
    std::string host;
    std::string base() const;
    // with Maildir++ sizes: S= as stored, W= with CRLF, so that IMAP and POP3 need not open the file
    std::string full(const Sizes& sizes) const;
};

class Maildir {
public:
    // Makes it, and what is missing of the path to it, on first delivery: 0700, durably.
    static Result<std::unique_ptr<Maildir>> open(disk::Disk& disk, const std::string& path);
    // With directories that are open already (tests, other stores).
    Maildir(disk::Disk& disk, std::string path, disk::Directory tmp, disk::Directory fresh);
    bool still_there() const;                // the user may move it away while we hold its directories
    // One answer for each mail, in order. Nothing of a mail that failed is left behind.
    std::vector<Delivered> deliver(const std::vector<Content>& mails);

private:
    struct Index;
    struct Draft {
        Fd file;
        MaildirName name;
        std::string tmp_name, final_name;
        Sizes sizes;
        std::unique_ptr<FactsMaker> facts;       // where there is an index
        bool published = false;
    };
    Result<Draft> write(const Content& mail, bool with_facts);
    std::optional<disk::Directory> index() const;
    Result<void> write_into(Draft& draft, const Content& mail);
    disk::Disk& disk_;
    std::string path_, host_;
    disk::Directory tmp_, new_;
    disk::ParallelSync syncs_;
};

}  // namespace veredus::store
