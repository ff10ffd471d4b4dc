// One user's process: takes his mails in batches and puts them where he wants them, with his rights and no other.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/conf/pipes.h"
#include "lib/conf/values.h"
#include "lib/daemon/spool_keeper.h"
#include "lib/ipc/agent.h"
#include "lib/ipc/user.h"
#include "lib/store/maildir.h"
#include "lib/store/mbox.h"
#include "local/command.h"
#include "local/expand.h"
#include "local/forward.h"
#include "local/placement.h"

namespace veredus::local {

struct WorkerRules {
    Policy policy;                        // is_local is the worker's own: see below
    std::string forward_path, home_mailbox, spool, lock_socket, root_mailbox_user;
    std::vector<std::string> exported;
    bool plus_folders = false;
    CommandRules command;
    std::map<std::string, conf::PipeTransport, std::less<>> pipes;    // by transport
    store::MboxRules mbox;                // owner is filled in
    static Result<WorkerRules> read(const conf::Values& values);
};

class Worker {
public:
    struct Seams {
        disk::Disk& disk = disk::posix_disk();
        std::unique_ptr<Placement> placement = nullptr;    // null: OwnMailbox
        std::unique_ptr<Quota> quota = nullptr;            // null: KernelQuota
        std::unique_ptr<Outbox> outbox = nullptr;          // null: SendmailOutbox
        std::unique_ptr<disk::WholeSync> whole = nullptr;  // of `disk`; null: each file is synced by itself
    };
    Worker(WorkerRules rules, Person person, uid_t uid, gid_t gid) : Worker(std::move(rules), std::move(person), uid, gid, Seams()) {}
    Worker(WorkerRules rules, Person person, uid_t uid, gid_t gid, Seams seams);
    int serve(Fd channel);                // until the dispatcher closes it

private:
    struct Job {                          // one message of the dispatcher
        ipc::Attempt attempt;
        Fd mail;
        std::string head;                 // its header, LF lines, without Return-Path
        std::vector<std::string> delivered_to;
        std::string broken;               // the header could not be read: why
    };
    struct Item {                         // one recipient of one mail
        Job* job = nullptr;
        const ipc::Target* target = nullptr;
        std::string user, extension, domain;
        std::string status;               // Content::status, of a copy with flags
    };
    using Batch = std::vector<Item>;

    using Jobs = std::vector<std::unique_ptr<Job>>;
    bool take(Jobs& jobs);
    void wait_for_mail();
    bool take_one(Jobs& jobs, std::string_view bytes, std::vector<Fd> fds);
    void prepare(Job& job) const;
    void process(Jobs jobs);
    void decide(const Item& item);
    bool forward(const Item& item);
    std::string unmatched(const Item& item, const std::string& forward_file) const;
    void to_mailbox(const Item& item);
    void to_command(const Item& item, const std::string& line);
    void to_transport(const Item& item);
    void to_pipe(const Item& item, const conf::PipeTransport& pipe);
    Facts facts_of(const Item& item) const;
    void to_own(const Item& item, const std::string& mailbox, bool spool);
    void to_copy(const Item& item, const Copy& copy, bool spool, const char* what);
    void to_path(const Item& item, const std::string& path, bool spool, const char* what);
    void deliver_groups();
    void answer_double(const Item& item, const std::string& path, const std::string& text);
    void deliver_group(const std::string& path, const Batch& items, bool spool, const std::string& text);
    static std::string key_of(const Item& item, const std::string& path);
    bool is_brought(const std::string& key) const;
    Batch admitted(const std::string& path, const Batch& items);
    void deliver_maildir(const std::string& path, const Batch& items, const std::string& text);
    void deliver_maildirs();
    void deliver_marked();
    Batch without_programs(const std::string& path, const Batch& wanted);
    void deliver_mbox(const std::string& path, const Batch& items, bool spool, const std::string& text);
    void answer_all(const std::string& path, const Batch& items, const std::vector<store::Delivered>& results, const std::string& text);
    void answer(const Item& item, ipc::Verdict verdict);
    void flush();
    void say(const ipc::Verdicts& verdicts);
    store::Content content(const Item& item) const;
    std::string mailbox_name() const;
    std::string spool_mailbox() const { return daemon::spool_mailbox(rules_.spool, mailbox_name()); }

    struct Group {
        Batch items;
        Batch doubles;                                 // whom an item is a copy for, too
        bool spool = false;
        std::string text;
    };
    WorkerRules rules_;
    Person person_;
    uid_t uid_;
    gid_t gid_;
    disk::Disk& disk_;
    std::size_t batch_;                                // mails at once, and Maildirs that are kept open
    std::unique_ptr<Placement> placement_;
    std::unique_ptr<Quota> quota_;
    std::unique_ptr<Outbox> outbox_;
    Fd channel_;
    std::map<std::string, Group> groups_;              // of this batch, by path
    std::deque<std::string> brought_;                  // key_of() what an alias brought into mailboxes lately
    std::map<std::string, ForwardFile> forwards_;      // of this batch, by extension and domain
    struct Filled {                                    // a Maildir that gets mail in this batch
        std::string path, text;
        Batch items;
    };
    // shared_ptr: a delivery under way outlives its Maildirs' places here
    using Maildirs = std::map<std::string, std::shared_ptr<store::Maildir>>;
    struct Underway {                                  // a delivery that is not answered yet
        std::vector<std::shared_ptr<store::Maildir>> maildirs;
        std::shared_ptr<Jobs> jobs;                    // that its items are of; shared_ptr: others of them may be under way, too
        std::vector<Filled> filled;                    // one for each load of
        std::unique_ptr<store::Maildir::Delivery> delivery;
        bool copies = false;                           // some came by an alias
    };
    std::vector<Filled> next_maildirs();
    void open_maildirs(std::vector<Filled>& some);
    Underway written(std::vector<Filled> some);
    void advance(std::optional<Underway> next);
    void begin_wait(std::optional<Underway> next);
    void end_wait();
    void finish_underway();
    bool underway() const { return named_ || written_; }
    bool copies_underway() const { return (named_ && named_->copies) || (written_ && written_->copies); }
    std::vector<Filled> filled_;
    std::vector<std::pair<Item, Copy>> marked_;        // of this batch, for Maildirs: a filter's, few
    Maildirs maildirs_;                                // kept open between batches
    disk::ParallelSync syncs_;
    // One wait for the disk serves the names of one delivery and the files of the next, and may run while a third is written.
    std::optional<Underway> named_, written_;
    std::unique_ptr<store::Maildir::Delivery::Wait> wait_;    // for both
    disk::Thread waiting_;                             // that runs it; last, so that it ends before them
    std::shared_ptr<Jobs> jobs_;                       // of this batch
    std::unique_ptr<daemon::SpoolKeeper> keeper_;
    std::map<uint64_t, std::vector<ipc::Verdict>> ready_;
};

// The header block as it is stored: LF lines, Return-Path removed (RFC 5321 §4.4: the final delivery writes the one), and the
// values of its Delivered-To fields.
struct StoredHeader {
    std::string text;
    std::vector<std::string> delivered_to;
};
StoredHeader stored_header(std::string_view wire);
// "Return-Path", "X-Original-To", "Delivered-To" lines that a delivery puts on top.
std::string trace_lines(std::string_view sender, std::string_view original, std::string_view delivered);
std::string from_line(std::string_view sender, int64_t now_us);

// Splits the children of long expansions over verdicts that fit a message.
std::vector<ipc::Verdict> in_pages(ipc::Verdict verdict, std::size_t limit = 40'000);
// As many verdicts in one message as it holds.
std::vector<ipc::Verdicts> in_messages(uint64_t attempt, std::vector<ipc::Verdict> verdicts);

}  // namespace veredus::local
