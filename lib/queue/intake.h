// A writer's way into the spool: drafts (Q1), and the commit that makes them Q2. The only maker of a Receipt.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/disk/pool.h"
#include "lib/mail/header.h"
#include "lib/queue/file.h"
#include "lib/queue/id.h"

namespace veredus::queue {

// Bytes of header that a mail may have when it comes in, from wherever. Readers take max_header_size (file.h), which leaves room for
// what we add to it, so that nothing is queued that cannot be delivered.
inline constexpr std::size_t max_intake_header = 1u << 20;

// Proof that a mail is durable: only then may a 250 go out.
class Receipt {
public:
    const std::string& id() const { return id_; }
    uint64_t content_size() const { return size_; }

private:
    friend class Intake;
    Receipt(std::string id, uint64_t size) : id_(std::move(id)), size_(size) {}
    std::string id_;
    uint64_t size_;
};

class Draft;

class Intake {
public:
    // `base` is an incoming/ROLE directory (often "." of a jail) with tmp and new. `pool` null: commit at once in the
    // caller's thread (tests, small programs). Borrowed things must outlive the intake and its drafts; the pool dies
    // before them, and may die before or after the intake. After ~Intake no `done` is called any more; a commit that
    // had begun may still become durable.
    static Result<std::unique_ptr<Intake>> open(disk::Disk& disk, const std::string& base, unsigned slot, const Clock& clock, disk::Pool* pool);
    ~Intake();
    Result<Draft> create();                              // takes an ID; nothing is on disk yet
    Result<Draft> create(std::string id);                // an ID from elsewhere (maildrop)
    // Writes END, renames, syncs the file and the directory; then `done`. An ID from elsewhere gets its name after the sync of the
    // file: that name proves that the mail is whole. On any error the draft is unlinked, durably if it had its name already, and nothing of
    // it remains (ENOSPC and EDQUOT keep their code in the Error; EEXIST: a mail of that ID is queued already). The
    // header block is the final one.
    void commit(Draft draft, const mail::HeaderBlock& header, const mail::Envelope& envelope, std::function<void(Result<Receipt>)> done);
    // Called before `done` gets an error, when a mail with an ID of ours had its name already: its name is taken away, but the disk may not
    // keep to that, or somebody may have taken it up before. Whoever delivers must hear that its sender is told to try again.
    void on_doubt(std::function<void(const std::string& id)> doubt);
    Result<uint64_t> free_bytes();                       // asked at most once a second, cached between
    // Old files of tmp, and those of any age that are `ours` (of nobody who lives); how many went.
    Result<unsigned> sweep_drafts(int64_t older_than_us, const std::function<bool(std::string_view id)>& ours = nullptr);
    disk::Directory& new_directory();

private:
    friend class Draft;
    struct Shared;
    explicit Intake(std::shared_ptr<Shared> shared);
    std::shared_ptr<Shared> shared_;                     // shared with commits that run in the pool
};

// Q1. Gathers the body: a small one stays in memory and is written in one go at commit, a large one streams to
// incoming/R/tmp/ID. Destroyed without commit, it unlinks itself. It finds lines that begin with a dot, long ones and
// bytes above 127 by itself.
class Draft {
public:
    Draft(Draft&&) noexcept;
    Draft& operator=(Draft&& other) noexcept;
    ~Draft();
    const std::string& id() const;
    Result<void> append(std::string_view body);          // CRLF form, not dot-stuffed
    // From now on what does not stay in memory is written by the intake's pool, so that a slow disk stops no loop; append() tells of an
    // error when it is known, at the latest commit() does. While the draft is behind(), its owner gives it no more: the call that he
    // leaves comes once, on his thread, and not after the draft's end. Without a pool nothing changes.
    void write_in_background();
    bool behind() const;
    void when_caught_up(std::function<void()> call);
    uint64_t body_size() const;
    // The whole mail as a delivery agent reads it, though it is not queued: nothing is synced, nothing gets a name in new. The file cannot
    // be written to any more by whoever gets it. The draft stays, and may still be committed, with another envelope too. May block.
    struct Sealed {
        Fd file;
        Layout layout;
    };
    Result<Sealed> seal(const mail::HeaderBlock& header, const mail::Envelope& envelope);
    void note(bool leading_dot, bool eight_bit);         // further facts for END; never takes one back
    bool eight_bit() const;                              // seen so far

private:
    friend class Intake;
    struct State;
    explicit Draft(std::shared_ptr<State> state);
    void drop();
    std::shared_ptr<State> state_;                       // shared with what the pool has to do for it
};

}  // namespace veredus::queue
