// An mbox as a folder: one file that readers and deliveries of every kind share, under their locks. UIDs, and flags until they are
// written into the file, live in our UID log, which never lies beside it.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/store/content.h"
#include "lib/store/folder.h"
#include "lib/store/folder_facts.h"
#include "lib/store/mbox.h"
#include "lib/store/mbox_reader.h"
#include "lib/store/uid_log.h"

namespace veredus::store {

class MboxJournal;

struct MboxPlace {
    std::string path;                                  // the file; it need not be there
    std::shared_ptr<MboxKeeper> keeper;                // its dotlock (lib/store/mbox.h)
    std::string log_name;                              // of the UID log in the index directory
    std::chrono::milliseconds patience{5'000};         // for locks that other programs hold; all of the user's sessions wait meanwhile
    bool inbox = true;                                 // no file is an empty mailbox, and made when needed; others are gone then (ENOENT)
};

class MboxFolder final : public Folder {
public:
    using NewUidvalidity = std::function<Result<uint32_t>()>;
    // A first contact takes over X-IMAPbase and X-UID. `index` is this user's, outside of /var/mail. Call refresh() next.
    static Result<std::unique_ptr<MboxFolder>> open(MboxPlace place, disk::Directory index, NewUidvalidity new_uidvalidity);

    const UidTable& table() const override { return log_->table(); }
    Result<bool> refresh() override;
    Result<std::unique_ptr<WireReader>> open(uint32_t uid) override;
    Result<uint64_t> size(uint32_t uid) override;
    Result<int64_t> received(uint32_t uid) override;
    Result<const Facts*> facts(uint32_t uid) override
    {
        TRY(log_->numbers_hold());
        return facts_->get(*this, uid);
    }
    void keep_preview(uint32_t uid, std::string_view preview) override { facts_->keep_preview(*this, uid, preview); }
    Result<FlagsChanged> change_flags(const std::vector<uint32_t>& uids, const FlagChange& change) override;
    Result<std::unique_ptr<Draft>> draft() override;
    Result<void> prepare(std::vector<Incoming>& mails) override;
    Result<std::vector<uint32_t>> append(std::vector<Incoming> mails) override;
    Result<std::vector<Copied>> copy(const std::vector<uint32_t>& uids, Folder& target) override;
    Result<Expunged> expunge(const std::vector<uint32_t>& uids) override;
    Result<void> apply() override;
    bool wants_apply() const override { return pending_; }
    bool is_busy() const override { return busy_; }
    std::vector<WatchPoint> watch_points() const override;
    bool healed() const override { return log_->healed(); }
    void abandon() override { facts_->abandon(); }

private:
    class Locked;                                      // the open file while its locks are held
    class Holding;                                     // who needs the file meanwhile takes this one
    struct Piece;                                      // of the file as it shall be
    struct Stamp {                                     // of the file that mails_ describes
        uint64_t inode = 0, size = 0;
        int64_t modified_ns = 0, changed_ns = 0;
        bool operator==(const Stamp&) const = default;
    };
    MboxFolder(MboxPlace place, disk::Directory index);
    Result<Seed> seed(UidLog::Begins why, const NewUidvalidity& new_uidvalidity);
    Result<MboxReader> parse(int file, uint64_t from) const;
    Result<bool> synchronize(Locked& file);            // parse if it changed, and settle with the log
    Result<bool> settle(std::vector<MboxMail> mails);
    bool is_same(int file) const;
    static Result<Stamp> stamp_of(int file);
    static Stamp stamp_of(const struct stat& st);
    Result<void> number(std::vector<MboxMail>& made, const std::vector<Incoming>& mails, std::vector<uint32_t>& uids);
    MboxStatus wanted_status(const Message& m) const;
    void add_pieces(std::vector<Piece>& out, const MboxMail& mail, const MboxStatus& status) const;
    Result<void> rewrite(Locked& file, const std::vector<Piece>& pieces);
    // What `produce` makes, behind the end of the file: all of it, or after an error nothing.
    Result<void> append_tail(Locked& file, const std::function<Result<void>(const Sink&)>& produce);
    Result<void> forget_journal() const;
    Result<void> record_gone(Locked& file, const std::vector<uint32_t>& gone);
    Result<void> recover(Locked& file);                // what a crash left of a rewrite
    static Result<uint64_t> end_of_own(int file, uint64_t size, const MboxJournal& journal);
    Result<void> write_tail(int file, uint64_t old_size, const MboxJournal& journal);
    Result<const MboxMail*> find(uint32_t uid);
    std::string journal_name() const { return place_.log_name + ".tail"; }

    MboxPlace place_;
    disk::Directory index_;
    std::shared_ptr<const disk::Directory> spool_;     // of large drafts, shared with them
    std::unique_ptr<UidLog> log_;
    std::unique_ptr<FolderFacts> facts_;
    Stamp stamp_;                                      // inode 0: nothing was read yet
    bool settled_ = false;                             // the file was old enough when it was read
    std::vector<MboxMail> mails_;                      // in the file's order
    std::unordered_map<uint32_t, std::size_t> places_; // of a UID in mails_
    const Locked* held_ = nullptr;                     // borrowed: Holding. A second descriptor would wait for our own lock
    bool pending_ = false;
    bool was_read_ = false;                            // once; from then on refresh() waits for no lock
    bool busy_ = false;
};

}  // namespace veredus::store
