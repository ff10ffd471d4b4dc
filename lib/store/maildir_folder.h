// A Maildir folder with UIDs: cur/ and new/ as every program leaves them, and our UID log beside them in .veredus/.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/store/folder.h"
#include "lib/store/folder_facts.h"
#include "lib/store/uid_log.h"

namespace veredus::store {

class MaildirDraft;

// What a folder is kept on; tests give another one.
struct MaildirDevice {
    disk::Disk* on = &disk::posix_disk();                 // outlives the folder and its drafts
    std::optional<bool> writes_data_before_names;         // lib/disk/parallel_sync.h; nothing: whatever the directory is on says
};

class MaildirFolder final : public Folder {
public:
    static constexpr std::size_t applied_at_a_time = 2'000;    // files that one apply() renames
    // A number no folder of this mailbox had before, durable when it returns.
    using NewUidvalidity = std::function<Result<uint32_t>()>;
    // `dir` holds cur, new and tmp. A first contact takes over dovecot-uidlist and dovecot-keywords. Call refresh() next.
    static Result<std::unique_ptr<MaildirFolder>> open(disk::Directory dir, NewUidvalidity new_uidvalidity, MaildirDevice device = {});

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
    std::vector<WatchPoint> watch_points() const override;
    bool healed() const override { return log_->healed(); }
    bool is_directory(const struct stat& st) const;       // does `st` say that it is this folder's?

private:
    friend class MaildirDraft;
    struct Drafts;
    struct Entry {
        std::string name;
        bool fresh = false;
    };
    struct Publishing;                                    // mails on their way into cur/
    MaildirFolder(disk::Directory dir, disk::Directory cur, disk::Directory fresh, disk::Directory tmp, disk::Directory index, const MaildirDevice& device);
    Result<Seed> seed(UidLog::Begins why, const NewUidvalidity& new_uidvalidity) const;
    Result<void> note_taken_over() const;
    Result<std::string> times() const;                    // of cur/ and new/
    enum class Part { cur, both };
    bool is_settled(const std::string& times, Part part) const;   // nothing can have changed since they were noted
    Result<std::vector<Entry>> list() const;
    Result<void> scan(UidLog::Change& change);
    Result<bool> scan_new(UidLog::Change& change);        // false: cur/ must be looked at, too
    Result<void> add_found(UidLog::Change& change, std::vector<const Entry*>& found);
    Result<void> give_own_names(std::vector<Entry>& entries);
    void take_flags(UidLog::Change& change, const Message& m, const Entry& entry);
    uint64_t keyword_bits(UidLog::Change& change, uint32_t letters, bool passed);
    std::string wanted_name(const Message& m) const;
    Result<void> write_keywords();
    Result<std::vector<uint32_t>> publish(std::vector<Publishing>& mails, const std::vector<std::vector<std::string>>& keywords);
    void take_back(UidLog::Change& change, const std::vector<uint32_t>& uids);
    void remove_file(const disk::Directory& dir, const Message& m, Expunged& out, std::unordered_map<std::string_view, uint32_t>& renamed);
    Result<void> remove_renamed(std::unordered_map<std::string_view, uint32_t>& renamed, Expunged& out);
    Result<void> record_gone(UidLog::Change& change, const std::vector<uint32_t>& gone);
    const disk::Directory& folder_of(const Message& m) const { return m.fresh ? new_ : cur_; }
    Result<Fd> open_file(uint32_t uid);
    std::unique_ptr<WireReader> peek(const Message& m, int64_t& modified) const;    // any thread, while nothing else is called
    Result<UidLog::Change> begin();

    disk::Disk& disk_;
    disk::Directory dir_, cur_, new_, index_;
    std::shared_ptr<Drafts> drafts_;                      // shared with the drafts, which may outlive this
    std::unique_ptr<UidLog> log_;
    std::unique_ptr<FolderFacts> facts_;
    std::unordered_map<uint32_t, uint64_t> sizes_;        // of names that do not tell
    std::unordered_map<uint32_t, int64_t> dates_;
    uint32_t opened_ = 0;                                 // the UID whose file was opened last, and that file's date
    int64_t opened_date_ = 0;
    int64_t grain_us_ = 0;
    bool pending_ = true;                                 // some names do not say what the log says
    bool keywords_written_ = false;
};

}  // namespace veredus::store
