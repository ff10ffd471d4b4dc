// One IMAP connection after the login: commands in, answers out (RFC 9051 §6 and the extensions of capabilities()).
// Bytes in, bytes out: no descriptor, no libevent. The store is called directly and may block on the disk; long answers
// come in pieces, so that the other sessions of the user take their turns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/imap/account.h"
#include "lib/imap/reader.h"
#include "lib/imap/view.h"

namespace veredus::imap {

// What the session announces once the login is done; the login stage says it, too, in its own name: the words are sent
// with the login's OK.
std::string capabilities(uint64_t append_limit, bool compress);

struct SessionOptions {
    uint64_t append_limit = 50 << 20;                     // bytes of one message; 0: none
    std::size_t append_messages = 500;                    // of one MULTIAPPEND
    unsigned errors = 20;                                 // broken commands in a row; then the session ends
    std::string version;                                  // for ID; empty: not told
    bool compress = true;                                 // the owner can do COMPRESS=DEFLATE
    std::function<void(const std::string& fields)> on_id; // what the client says of itself, made printable
};

// As Dovecot's last line of a session has them.
struct Tally {
    uint64_t deleted = 0, expunged = 0, trashed = 0;
    uint64_t hdr_count = 0, hdr_bytes = 0, body_count = 0, body_bytes = 0;
    std::string text() const; // "deleted=0 expunged=0 trashed=0 hdr_count=0 …"
};

// A command that goes on for more than one piece of output.
class Task {
public:
    virtual ~Task() = default;
    // Works until `out` is long enough or for a moment; true: it has ended, and Session::finish() was called.
    virtual bool step(std::string& out) = 0;
    // It changes messages one after the other, and is to be done to its end though its client has gone: half of it is
    // what nobody wanted.
    virtual bool goes_on_alone() const { return false; }
};

// The mailbox that is selected.
struct Selected {
    Selected(std::shared_ptr<OpenFolder> f, bool examine);
    ~Selected();
    Selected(const Selected&) = delete;
    std::shared_ptr<OpenFolder> folder; // shared with the account and other sessions
    View view;
    bool read_only;
    uint64_t told_modseq;                // changes of flags up to there were told
    std::vector<store::UidRange> recent; // UIDs
    std::vector<store::UidRange> saved;  // UIDs: "$" (RFC 5182)
    std::vector<std::string> told_keywords;
};

class Session final : private Handler {
public:
    enum class Wants : uint8_t {
        input,
        drain,    // call more() when what is in `out` was written; also when there was nothing in it
        compress, // send `out` as it is; from then on both ways are deflated: feed() what start_compression() gives,
                  // inflated
        close,
    };
    static constexpr std::size_t high_water = 64 * 1024;
    static constexpr int64_t turn_us = 20'000; // of one task: then other sessions of the user have theirs

    Session(Account& account, const SessionOptions& options, const Clock& clock); // all outlive it
    ~Session() override;
    void welcome(std::string_view tag, std::string& out); // the login's tagged OK
    Wants feed(std::string_view bytes, std::string& out);
    Wants more(std::string& out);
    // Once the client has gone: a piece of what it began and would have ended, with nobody to tell. False: nothing is left
    // to do.
    bool go_on_alone();
    std::size_t held() const { return reader_.held(); } // input that waits; the owner stops reading when it is much
    std::string start_compression();

    // While the client is in IDLE, changes are said as they come.
    bool idling() const { return !idle_tag_.empty(); }
    bool has_news() const;
    Wants tell_news(std::string& out);
    // The owner ends it: time-out, kick, end of the service.
    void part(std::string_view why, std::string& out);

    const Tally& tally() const { return tally_; }
    const OpenFolder* open_folder() const { return selected_ ? selected_->folder.get() : nullptr; }
    std::string folder() const { return selected_ ? selected_->folder->name() : std::string(); }
    bool logged_out() const { return logged_out_; }

    // --- for tasks
    // Ends the running command: what is new is told, then "TAG text". `expunges`: EXPUNGE may be told (RFC 9051
    // §7.5.1).
    void finish(const std::string& tag, std::string text, bool expunges, bool uid = false);
    std::string refusal(const Error& error, std::string_view doing) const; // "NO [CODE] text"
    void give_up(std::string_view why); // an answer broke off in the midst: nothing can be said any more
    // The selected mailbox is another one by now, or none: what a task knows of its messages is nothing any more, and their numbers
    // are others'. The session ends behind the task.
    bool overtaken() const { return selected_->folder->lost(); }
    Error why_overtaken() const;
    Selected& selected() { return *selected_; }
    Account& account() { return account_; }
    Tally& tally_for_tasks() { return tally_; }
    bool utf8() const { return utf8_; }
    bool rev2() const { return rev2_; }
    bool condstore() const { return condstore_; }
    bool qresync() const { return qresync_; }
    void enable_condstore(std::string& out);
    bool is_recent(uint32_t uid) const;
    const Clock& clock() const { return clock_; }
    int64_t now() const { return clock_.wall_us() / us_per_second; }
    // "* 3 FETCH (UID 7 FLAGS (\Seen) MODSEQ (12))"
    void put_flag_update(std::string& out, uint32_t number, const store::Message& m, bool uid, bool with_flags = true);
    void put_new_keywords(std::string& out); // "* FLAGS (…)" when there are some the client does not know
    // Our own change of flags was told, or needs not be (.SILENT); `before`: FlagsChanged::before.
    void told_own_change(uint64_t before);
    std::optional<View::Ranges> numbers_of(const SequenceSet& set, bool uid) const;

private:
    struct Ending {
        std::string tag, text; // empty tag: news in IDLE
        bool expunges = false, uid = false;
        enum class At : uint8_t { expunges, exists, flags, tagged } at = At::expunges;
        uint32_t number = 1, known_to = UINT32_MAX; // known_to: UIDs above came with this EXISTS
        uint64_t upto = 0;
    };
    struct Appending;
    class Lister;
    class StoreTask;
    class CopyTask;
    class ExpungeTask;
    class AppendTask;
    class RenameInboxTask;

    bool command(std::string tag, Command command) override;
    bool refused(const std::string& tag, const Refusal& refusal) override;
    void idle_done(bool well) override;
    std::unique_ptr<Refusal> append_begin(const std::string& tag, const Append& append) override;
    std::unique_ptr<Refusal> append_message(const AppendMessage& message) override;
    std::unique_ptr<Refusal> append_content(std::string_view bytes) override;
    std::unique_ptr<Refusal> append_content_end() override;
    std::unique_ptr<Refusal> keep_content(std::string_view wire);
    bool append_end(const std::string& tag) override;
    void append_aborted(const std::string& tag, const Refusal& refusal) override;
    void appended(const std::string& tag, const Appending& appending, const Result<std::vector<uint32_t>>& uids);

    bool run(); // true: nothing is left to do
    Wants wants() const;
    bool step_ending();
    void step_flags();
    bool lost(); // the selected mailbox is no more: BYE was said
    bool needs_selected(const std::string& tag, bool writable = false);

    void run_simple(const std::string& tag, Verb verb);
    void run_id(const std::string& tag, const Id& id);
    void run_enable(const std::string& tag, const Enable& enable);
    void run_select(const std::string& tag, const Select& select);
    void put_selected(const Select& select);
    class ResyncTask;
    void leave_selected();
    void run_create(const std::string& tag, const Create& create);
    void run_delete(const std::string& tag, const Delete& remove);
    void run_rename(const std::string& tag, const Rename& rename);
    void rename_inbox(const std::string& tag, const std::string& to);
    void run_subscribe(const std::string& tag, const Subscribe& subscribe);
    void run_status(const std::string& tag, const Status& status);
    class SizeSum;
    class StatusTask;
    Result<std::string> status_line(const std::string& mailbox, uint16_t items, uint64_t size); // `size` of STATUS SIZE
    void run_list(const std::string& tag, List list);
    void run_namespace(const std::string& tag);
    void run_fetch(const std::string& tag, Fetch fetch);
    void run_store(const std::string& tag, Store store);
    void run_copy(const std::string& tag, Copy copy);
    void run_expunge(const std::string& tag, const Expunge& expunge);
    std::vector<uint32_t> deleted_uids(const std::optional<SequenceSet>& uids) const; // what EXPUNGE would take
    void run_close(const std::string& tag, bool expunge);
    std::string new_modseq() const; // "[HIGHESTMODSEQ 9] " for who has QRESYNC
    void run_search(const std::string& tag, Search search);
    void run_sort(const std::string& tag, Sort sort);
    void run_thread(const std::string& tag, Thread thread);
    void run_check(const std::string& tag, std::string_view word);

    Account& account_;
    const SessionOptions& options_;
    const Clock& clock_;
    const ReaderLimits limits_;
    Reader reader_;
    std::string* out_ = nullptr; // where the call in hand writes
    std::unique_ptr<Selected> selected_;
    std::unique_ptr<Task> task_;
    std::optional<Ending> ending_;
    std::unique_ptr<Appending> appending_;
    std::string idle_tag_;
    Tally tally_;
    unsigned errors_ = 0;
    std::size_t most_ = high_water; // of output at a time
    bool utf8_ = false, rev2_ = false, condstore_ = false, qresync_ = false, compressed_ = false, compress_now_ = false;
    bool closing_ = false, logged_out_ = false;
};

} // namespace veredus::imap
