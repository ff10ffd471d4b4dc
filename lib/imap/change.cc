// Changing messages: STORE, COPY, MOVE, EXPUNGE (RFC 9051 §6.4, RFC 7162 §3.1.3, RFC 4315).
#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"
#include "lib/imap/session.h"
#include "lib/log/log.h"
#include "lib/store/folder.h"
#include "lib/store/pieces.h"

namespace veredus::imap {

// The flags are changed at once, durably; the answers go out in pieces.
class Session::StoreTask final : public Task {
public:
    StoreTask(Session& session, std::string tag, std::string text, bool uid, bool with_flags,
              std::vector<uint32_t> told)
        : session_(session), tag_(std::move(tag)), text_(std::move(text)), told_(std::move(told)), uid_(uid),
          with_flags_(with_flags)
    {}
    bool step(std::string& out) override
    {
        const View& view = session_.selected().view;
        if (session_.overtaken()) told_.clear(); // what is there now was not changed
        else session_.put_new_keywords(out);
        for (; at_ < told_.size(); ++at_) {
            if (out.size() >= high_water) return false;
            const uint32_t number = view.number_of(told_[at_]);
            const auto place = view.at(number);
            if (place.message) session_.put_flag_update(out, number, *place.message, uid_, with_flags_);
        }
        session_.finish(tag_, std::move(text_), uid_, uid_);
        return true;
    }

private:
    Session& session_;
    std::string tag_, text_;
    std::vector<uint32_t> told_; // UIDs
    std::size_t at_ = 0;
    bool uid_, with_flags_;
};

void Session::run_store(const std::string& tag, Store store)
{
    if (!needs_selected(tag, true)) return;
    if (store.unchanged_since) enable_condstore(*out_);
    const auto numbers = numbers_of(store.set, store.uid);
    if (!numbers) {
        append(*out_, tag, " BAD no such message\r\n");
        return;
    }
    std::size_t ghosts = 0;
    const auto uids = selected_->view.uids(*numbers, &ghosts);
    store::FlagChange change;
    using How = store::FlagChange::How;
    change.how = store.how == Store::How::set ? How::set : store.how == Store::How::add ? How::add : How::remove;
    change.flags = store.flags.system;
    change.keywords = std::move(store.flags.keywords);
    change.unchanged_since = store.unchanged_since;
    auto done = selected_->folder->use([&](store::Folder& f) { return f.change_flags(uids, change); });
    if (!done) return finish(tag, refusal(done.error(), "STORE"), store.uid, store.uid);
    told_own_change(done->before);
    if (change.how != How::remove && (change.flags & store::deleted)) tally_.deleted += done->changed.size();
    // RFC 7162 §3.1.3: MODIFIED must be said, also in a NO; the other codes stand back.
    std::string text = done->keyword_refused ? "NO " : "OK ";
    if (!done->modified.empty()) {
        std::vector<store::UidRange> left;
        std::sort(done->modified.begin(), done->modified.end());
        for (const uint32_t uid : done->modified) add_to_ranges(left, store.uid ? uid : selected_->view.number_of(uid));
        text += "[MODIFIED ";
        put_ranges(text, left);
        text += "] ";
    } else if (done->keyword_refused) {
        text += "[LIMIT] ";
    } else if (ghosts > 0 && !store.uid) {
        text += "[EXPUNGEISSUED] "; // RFC 5530 §3: all others have them
    }
    text += done->keyword_refused      ? "no room for another keyword in this mailbox"
            : ghosts > 0 && !store.uid ? "some of the messages are gone"
                                       : "done";
    // RFC 7162 §3.1.3: .SILENT keeps the flags back, but not the new mod-sequences.
    std::vector<uint32_t> told;
    if (!store.silent)
        std::set_difference(uids.begin(), uids.end(), done->modified.begin(), done->modified.end(),
                            std::back_inserter(told));
    else if (condstore_)
        told = done->changed;
    task_ = std::make_unique<StoreTask>(*this, tag, std::move(text), store.uid, !store.silent, std::move(told));
}

// --- COPY and MOVE

namespace {

Result<store::Moved> only_copied(Result<std::vector<store::Copied>> copied)
{
    store::Moved out;
    out.moved = TRY(std::move(copied));
    return out;
}

} // namespace

// In pieces, so that the user's other connections have their turns. A COPY that fails takes back what it had copied
// (RFC 9051 §6.4.7); a MOVE is one of each message (RFC 6851 §3.3).
class Session::CopyTask final : public Task {
public:
    CopyTask(Session& session, std::string tag, bool move, std::shared_ptr<OpenFolder> target,
             std::vector<uint32_t> uids)
        : session_(session), tag_(std::move(tag)), move_(move), target_(std::move(target)), uids_(std::move(uids)),
          piece_(store::piece_of_copy(session.selected().folder->raw(), target_->raw(), move))
    {}
    ~CopyTask() override
    {
        if (!ended_) undo(); // the client has gone in the midst, and had no OK: it will begin anew
    }
    bool goes_on_alone() const override { return move_; }
    bool step(std::string& out) override
    {
        OpenFolder& source = *session_.selected().folder;
        if (source.lost()) return undo(), session_.lost();
        if (target_->lost()) return refuse(out, Error{ENOENT, "the mailbox was removed"});
        const auto from = uids_.begin() + static_cast<std::ptrdiff_t>(at_);
        at_ = piece_ < uids_.size() - at_ ? at_ + piece_ : uids_.size();
        const std::vector<uint32_t> piece(from, uids_.begin() + static_cast<std::ptrdiff_t>(at_));
        store::Folder& to = target_->raw();
        auto done = source.use([&](store::Folder& f) {
            // MOVE to the mailbox they are in already: RFC 6851 does not forbid it, and clients do it. New UIDs, at the
            // end.
            return move_ ? f.move(piece, to) : only_copied(f.copy(piece, to));
        });
        target_->settle();
        if (!done) return refuse(out, done.error());
        copied_.insert(copied_.end(), done->moved.begin(), done->moved.end());
        if (!done->trouble.text.empty()) return refuse(out, done->trouble);
        return at_ == uids_.size() && end(out);
    }

private:
    std::string_view word() const { return move_ ? "MOVE" : "COPY"; }
    bool end(std::string& out)
    {
        const std::string code = note_copied();
        if (copied_.empty())
            session_.finish(tag_, "NO [EXPUNGEISSUED] the messages are gone", true);
        else if (!move_)
            session_.finish(tag_, cat("OK ", code, " copied"), true);
        else {
            append(out, "* OK ", code, " moved\r\n"); // RFC 6851 §4.3: before the EXPUNGEs
            session_.finish(tag_, cat("OK ", session_.new_modseq(), "done"), true);
        }
        return true;
    }
    // Of a MOVE some are where they were, or in both places: a NO (RFC 6851 §3.3).
    bool refuse(std::string& out, const Error& error)
    {
        if (!move_)
            undo();
        else if (const std::string code = note_copied(); !copied_.empty())
            append(out, "* OK ", code, " moved\r\n");
        session_.finish(tag_, session_.refusal(error, word()), true);
        return ended_ = true;
    }
    std::string note_copied()
    {
        ended_ = true;
        if (session_.account_.is_trash(target_->name())) session_.tally_.trashed += copied_.size();
        if (move_) session_.tally_.expunged += copied_.size();
        std::vector<store::UidRange> from_ranges, to_ranges;
        for (const auto& c : copied_) {
            add_to_ranges(from_ranges, c.from);
            add_to_ranges(to_ranges, c.to);
        }
        std::string code = cat("[COPYUID ", target_->table().uidvalidity(), ' ');
        put_ranges(code, from_ranges);
        code += ' ';
        put_ranges(code, to_ranges);
        code += ']';
        return code;
    }
    void undo()
    {
        ended_ = true;
        if (move_ || copied_.empty() || target_->lost()) return;
        std::vector<uint32_t> made;
        for (const auto& c : copied_) made.push_back(c.to);
        const auto done = target_->use([&](store::Folder& f) { return f.expunge(made); });
        const Error* trouble = !done ? &done.error() : !done->trouble.text.empty() ? &done->trouble : nullptr;
        if (trouble) log::warning("COPY: what was copied stays: ", printable(trouble->text));
    }

    Session& session_;
    std::string tag_;
    bool move_, ended_ = false;
    std::shared_ptr<OpenFolder> target_; // shared with the account
    std::vector<uint32_t> uids_;
    std::size_t piece_, at_ = 0;
    std::vector<store::Copied> copied_;
};

void Session::run_copy(const std::string& tag, Copy copy)
{
    const std::string_view word = copy.move ? "MOVE" : "COPY";
    if (!needs_selected(tag, copy.move)) return;
    const auto numbers = numbers_of(copy.set, copy.uid);
    if (!numbers) {
        append(*out_, tag, " BAD no such message\r\n");
        return;
    }
    std::size_t ghosts = 0;
    auto uids = selected_->view.uids(*numbers, &ghosts);
    if (ghosts > 0 && !copy.uid) return finish(tag, "NO [EXPUNGEISSUED] some of the messages are gone", false);
    auto target = account_.open(copy.mailbox, Account::Look::later);
    if (!target && target.error().code == ENOENT) return finish(tag, "NO [TRYCREATE] no such mailbox", true);
    if (!target) return finish(tag, refusal(target.error(), word), true);
    if (uids.empty()) return finish(tag, "OK nothing to do", true);
    task_ = std::make_unique<CopyTask>(*this, tag, copy.move, std::move(*target), std::move(uids));
}

// --- RENAME of INBOX

// RFC 9051 §6.3.6: what is in it moves to a new mailbox, and INBOX stays. In pieces, too; an error leaves the rest where it
// was.
class Session::RenameInboxTask final : public Task {
public:
    RenameInboxTask(Session& session, std::string tag, std::shared_ptr<OpenFolder> inbox,
                    std::shared_ptr<OpenFolder> target)
        : session_(session), tag_(std::move(tag)), inbox_(std::move(inbox)), target_(std::move(target)),
          piece_(store::piece_of_copy(inbox_->raw(), target_->raw(), true))
    {
        for (const store::Message& m : inbox_->table().messages()) uids_.push_back(m.uid);
    }
    bool goes_on_alone() const override { return true; }
    bool step(std::string&) override
    {
        if (inbox_->lost() || target_->lost()) return refuse(Error{ESTALE, "a mailbox was removed or numbered anew"});
        const auto from = uids_.begin() + static_cast<std::ptrdiff_t>(at_);
        at_ = piece_ < uids_.size() - at_ ? at_ + piece_ : uids_.size();
        const std::vector<uint32_t> piece(from, uids_.begin() + static_cast<std::ptrdiff_t>(at_));
        if (!piece.empty()) {
            auto done = inbox_->use([&](store::Folder& f) { return f.move(piece, target_->raw()); });
            target_->settle();
            if (!done) return refuse(done.error());
            if (!done->trouble.text.empty()) return refuse(done->trouble);
        }
        if (at_ < uids_.size()) return false;
        session_.finish(tag_, "OK renamed", true);
        return true;
    }

private:
    bool refuse(const Error& error)
    {
        session_.finish(tag_, session_.refusal(error, "RENAME"), true);
        return true;
    }
    Session& session_;
    std::string tag_;
    std::shared_ptr<OpenFolder> inbox_, target_; // shared with the account
    std::vector<uint32_t> uids_;
    std::size_t piece_, at_ = 0;
};

void Session::rename_inbox(const std::string& tag, const std::string& to)
{
    if (auto made = account_.create(to); !made) return finish(tag, refusal(made.error(), "RENAME"), true);
    auto inbox = account_.open("INBOX");
    if (!inbox) return finish(tag, refusal(inbox.error(), "RENAME"), true);
    auto target = account_.open(to);
    if (!target) return finish(tag, refusal(target.error(), "RENAME"), true);
    task_ = std::make_unique<RenameInboxTask>(*this, tag, std::move(*inbox), std::move(*target));
}

// --- EXPUNGE

std::vector<uint32_t> Session::deleted_uids(const std::optional<SequenceSet>& set) const
{
    const View& view = selected_->view;
    const auto saved_or_all = set ? view.resolve(*set, true, selected_->saved) : std::nullopt;
    std::vector<uint32_t> uids;
    for (const store::Message& m : view.table().messages()) {
        if (!(m.flags & store::deleted) || m.uid > view.last_told()) continue;
        if (set && (!saved_or_all || !in_ranges(*saved_or_all, view.number_of(m.uid)))) continue;
        uids.push_back(m.uid);
    }
    return uids;
}

// In pieces, too; a message that another session takes \Deleted from meanwhile stays. An error ends it: what went is told.
class Session::ExpungeTask final : public Task {
public:
    ExpungeTask(Session& session, std::string tag, std::vector<uint32_t> uids, bool close)
        : session_(session), tag_(std::move(tag)), uids_(std::move(uids)),
          piece_(store::piece_of_expunge(session.selected().folder->raw())), close_(close)
    {}
    bool goes_on_alone() const override { return true; }
    bool step(std::string&) override
    {
        OpenFolder& folder = *session_.selected().folder;
        if (at_ < uids_.size() && session_.overtaken()) return refuse(session_.why_overtaken());
        std::vector<uint32_t> piece;
        for (; at_ < uids_.size() && piece.size() < piece_; ++at_)
            if (const auto* m = folder.table().find(uids_[at_]); m && (m->flags & store::deleted)) piece.push_back(m->uid);
        if (!piece.empty()) {
            auto done = folder.use([&](store::Folder& f) { return f.expunge(piece); });
            if (!done) return refuse(done.error());
            session_.tally_.expunged += done->gone.size();
            gone_ = gone_ || !done->gone.empty();
            if (!done->trouble.text.empty()) return refuse(done->trouble);
        }
        if (at_ < uids_.size()) return false;
        if (close_) {
            session_.leave_selected();
            session_.finish(tag_, "OK closed", false);
        } else {
            session_.finish(tag_, cat("OK ", gone_ ? session_.new_modseq() : "", "done"), true);
        }
        return true;
    }

private:
    bool refuse(const Error& error)
    {
        session_.finish(tag_, session_.refusal(error, close_ ? "CLOSE" : "EXPUNGE"), !close_);
        return true;
    }
    Session& session_;
    std::string tag_;
    std::vector<uint32_t> uids_;
    std::size_t piece_, at_ = 0;
    bool close_, gone_ = false;
};

void Session::run_close(const std::string& tag, bool expunge)
{
    if (!needs_selected(tag)) return;
    if (expunge && !selected_->read_only)
        if (auto uids = deleted_uids(std::nullopt); !uids.empty()) {
            task_ = std::make_unique<ExpungeTask>(*this, tag, std::move(uids), true);
            return;
        }
    leave_selected();
    finish(tag, "OK closed", false);
}

// RFC 7162 §3.2.7, §3.2.9: where messages went for good.
std::string Session::new_modseq() const
{
    if (!qresync_) return {};
    return cat("[HIGHESTMODSEQ ", selected_->view.table().highest_modseq(), "] ");
}

void Session::run_expunge(const std::string& tag, const Expunge& expunge)
{
    if (!needs_selected(tag, true)) return;
    if (auto done = selected_->folder->refresh(); !done) return finish(tag, refusal(done.error(), "EXPUNGE"), true);
    if (lost()) return;
    task_ = std::make_unique<ExpungeTask>(*this, tag, deleted_uids(expunge.uids), false);
}

} // namespace veredus::imap
