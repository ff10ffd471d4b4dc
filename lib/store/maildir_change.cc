// Changing a Maildir folder so that no crash loses or repeats a mail: flags, new mails, copies, removals, and flags into file names.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/disk/pool.h"
#include "lib/store/beneath.h"
#include "lib/store/dotlock.h"
#include "lib/store/dovecot.h"
#include "lib/store/maildir_draft.h"
#include "lib/store/maildir_flags.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_keywords_file = 1u << 16;
constexpr char forwarded[] = "$Forwarded";         // what P in a name means

constexpr std::size_t most_threads = 16;

// call(0) to call(count - 1), each in a thread of its own as far as these go, while `here` runs here. The first error.
template <class Call, class Here> Result<void> at_once(std::size_t count, Call call, Here here)
{
    std::vector<Result<void>> results(count);
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i; (i = next++) < count;) results[i] = call(i);
    };
    Result<void> mine;
    {
        std::vector<disk::Thread> threads;         // joined at the end of this block
        for (std::size_t i = 0; i < std::min(count, most_threads); ++i) {
            auto thread = disk::Thread::start(work);
            if (!thread) break;                    // this one does it, later
            threads.push_back(std::move(*thread));
        }
        mine = here();
        work();
    }
    for (auto& result : results)
        if (!result) return std::move(result);
    return mine;
}

MaildirFlags flags_of(const Message& m, const UidTable& table)
{
    MaildirFlags out;
    out.flags = m.flags;
    out.letters = static_cast<uint32_t>(m.keywords & 0x3ffffff);
    if (const auto bit = table.keyword_bit(forwarded)) out.passed = m.keywords >> *bit & 1;
    return out;
}

}  // namespace

MaildirName unique_name()
{
    static std::atomic<uint64_t> counter{0};
    MaildirName name;
    name.wall_us = system_clock().wall_us();
    name.pid = ::getpid();
    name.counter = ++counter;
    name.host = host_name();
    return name;
}

// One mail that gets a name in cur/: from a draft by rename, or from another folder by link.
struct MaildirFolder::Publishing {
    const disk::Directory* from = nullptr;
    std::string from_name;
    MaildirDraft* draft = nullptr;             // set: rename, and tell it
    bool unsynced = false;                     // its bytes were given to the device only
    NewMessage message;
    bool done = false;
};

Result<FlagsChanged> MaildirFolder::change_flags(const std::vector<uint32_t>& uids, const FlagChange& wanted)
{
    auto out = TRY(change_flags_in_log(*log_, uids, wanted));
    if (!out.changed.empty()) pending_ = true;
    return out;
}

Result<std::unique_ptr<Draft>> MaildirFolder::draft()
{
    MaildirName name = unique_name();
    std::string file_name = name.base();
    Fd file = TRY(disk_.create(drafts_->tmp, file_name, 0600));
    std::unique_ptr<Draft> draft = std::make_unique<MaildirDraft>(drafts_, std::move(name), std::move(file_name), std::move(file));
    return draft;
}

// Under the lock from the first name in cur/ to the record of its UID: no scan of ours can find the file in between and number
// it, too. A crash before the record leaves mails that nobody was told of; the next scan finds them.
Result<std::vector<uint32_t>> MaildirFolder::publish(std::vector<Publishing>& mails, const std::vector<std::vector<std::string>>& keywords)
{
    auto change = TRY(begin());
    std::vector<uint32_t> uids;
    for (std::size_t i = 0; i < mails.size(); ++i)
        for (const auto& word : keywords[i]) {
            const auto bit = change.keyword(word);
            if (!bit) return no_room_for_keyword(word);
            mails[i].message.keywords |= uint64_t{1} << *bit;
        }
    const auto all = [&]() -> Result<void> {
        for (std::size_t i = 0; i < mails.size(); ++i) {
            Publishing& p = mails[i];
            TRY(p.draft ? disk_.rename_new(*p.from, p.from_name, cur_, p.message.name) : disk_.link(*p.from, p.from_name, cur_, p.message.name));
            p.done = true;
            if (p.draft) p.draft->published();
            uids.push_back(change.add(p.message));
            if (uids.back() == 0) return fail_errno(cat(dir_.path, ": all UIDs are used up"), EOVERFLOW);
        }
        return change.commit();
    };
    auto done = all();
    if (done) {
        // All at once: they share a commit of the file system's journal. A crash in between costs nobody anything: of what is
        // in the log alone, and no name has, nobody was told.
        std::vector<const MaildirDraft*> drafts;
        for (const Publishing& p : mails)
            if (p.unsynced) drafts.push_back(p.draft);
        const auto sync = [&](std::size_t i) { return i == 0 ? disk_.sync(cur_) : drafts[i - 1]->sync(); };
        done = at_once(1 + drafts.size(), sync, [&] { return log_->sync(); });
    }
    if (!done) {
        for (const Publishing& p : mails)
            if (p.done) (void)disk_.unlink(cur_, p.message.name);
        take_back(change, uids);
        return unexpected(std::move(done).error());
    }
    pending_ = true;
    for (std::size_t i = 0; i < mails.size(); ++i) {
        if (!mails[i].draft) continue;
        Facts facts = mails[i].draft->facts();
        facts.received = mails[i].message.received;
        facts_->put(table(), uids[i], facts);
    }
    return uids;
}

// Of mails that failed: what the log has of them by now is gone again before anybody is told of it. If that fails, too, the next scan
// misses them.
void MaildirFolder::take_back(UidLog::Change& change, const std::vector<uint32_t>& uids)
{
    std::vector<uint32_t> known;
    for (const uint32_t uid : uids)
        if (uid != 0 && table().find(uid)) known.push_back(uid);
    (void)disk_.sync(cur_);
    if (known.empty()) return;
    change.vanish(to_ranges(known));
    if (change.commit()) (void)log_->sync();
}

Result<void> MaildirFolder::prepare(std::vector<Incoming>& mails)
{
    const int64_t now = system_clock().wall_us() / us_per_second;
    for (Incoming& mail : mails) {
        auto* draft = dynamic_cast<MaildirDraft*>(mail.draft.get());
        if (!draft) return fail("append: not a draft of this folder");
        if (mail.received == unknown_time) mail.received = now;
        TRY(draft->finish(mail.received));
    }
    return {};
}

Result<std::vector<uint32_t>> MaildirFolder::append(std::vector<Incoming> mails)
{
    const int64_t now = system_clock().wall_us() / us_per_second;
    std::vector<Publishing> out;
    std::vector<std::vector<std::string>> keywords;
    std::vector<const MaildirDraft*> finished;
    // Where the file system never shows a name without the bytes that the device had before it, publish() syncs the files, too: one
    // wait instead of two.
    const bool together = mails.size() <= Drafts::most_open && drafts_->keeps_order();
    for (Incoming& mail : mails) {
        auto* draft = dynamic_cast<MaildirDraft*>(mail.draft.get());
        if (!draft) return fail("append: not a draft of this folder");
        const int64_t received = mail.received == unknown_time ? now : mail.received;
        TRY(draft->finish(received));
        finished.push_back(draft);
        if (together) draft->start_writing();
        if (!together && (finished.size() == Drafts::most_open || &mail == &mails.back())) {
            // The last one here, the others at the same time.
            const auto sync = [&](std::size_t i) { return finished[i]->sync(); };
            TRY(at_once(finished.size() - 1, sync, [&] { return sync(finished.size() - 1); }));
            finished.clear();
        }
        Publishing p;
        p.from = &draft->directory();
        p.from_name = draft->file_name();
        p.draft = draft;
        p.unsynced = together;
        MaildirFlags flags;
        flags.flags = mail.flags & all_flags;
        p.message.name = with_maildir_flags(draft->final_name(), flags);
        p.message.flags = flags.flags;
        p.message.received = received;
        p.message.saved = now;
        p.message.id = mail.id;
        out.push_back(std::move(p));
        keywords.push_back(std::move(mail.keywords));
    }
    if (out.empty()) return std::vector<uint32_t>();
    if (together)
        for (const MaildirDraft* draft : finished) TRY(draft->write_out());
    return publish(out, keywords);
}

// A hard link: the mail's bytes are not copied. Its name is new, so that the same mail may be copied twice.
Result<std::vector<Copied>> MaildirFolder::copy(const std::vector<uint32_t>& uids, Folder& target)
{
    auto* to = dynamic_cast<MaildirFolder*>(&target);
    if (!to) return copy_by_reading(*this, uids, target);
    std::vector<Publishing> out;
    std::vector<std::vector<std::string>> keywords;
    std::vector<Copied> copied;
    const int64_t now = system_clock().wall_us() / us_per_second;
    for (const uint32_t uid : uids) {
        if (!table().find(uid)) continue;
        const auto date = received(uid);
        if (!date && date.error().code == ENOENT) continue;
        if (!date) return unexpected(date.error());
        const Message* m = table().find(uid);
        if (!m) continue;
        const std::string_view name = table().name(*m);
        Publishing p;
        p.from = &folder_of(*m);
        p.from_name = name;
        std::string base = unique_name().base();
        if (const auto sizes = maildir_base(name).find(",S="); sizes != std::string_view::npos) base += maildir_base(name).substr(sizes);
        MaildirFlags flags;
        flags.flags = m->flags;
        p.message.name = with_maildir_flags(base, flags);
        p.message.flags = m->flags;
        p.message.received = *date;
        p.message.saved = now;
        p.message.id = m->id;
        out.push_back(std::move(p));
        keywords.push_back(keywords_of(table(), *m));
        copied.push_back({uid, 0});
    }
    TRY(log_->numbers_hold());
    if (out.empty()) return copied;
    auto made = to->publish(out, keywords);
    if (!made) {
        // Other file systems, and links that the kernel forbids; a name that another program changed in this moment.
        const int code = made.error().code;
        if (code == EXDEV || code == EPERM || code == EMLINK || code == EOPNOTSUPP || code == ENOENT) return copy_by_reading(*this, uids, target);
        return unexpected(std::move(made).error());
    }
    for (std::size_t i = 0; i < copied.size(); ++i) {
        copied[i].to = (*made)[i];
        if (const Facts* known = to == this ? nullptr : facts_->known(table(), copied[i].from)) to->facts_->put(to->table(), copied[i].to, *known);
    }
    return copied;
}

// The files first: a crash before the record leaves them missing, and the next scan says so. The other way round it would find
// them again as new mail.
Result<Expunged> MaildirFolder::expunge(const std::vector<uint32_t>& uids)
{
    auto change = TRY(begin());
    TRY(log_->numbers_hold());
    Expunged out;
    std::unordered_map<std::string_view, uint32_t> renamed;       // not under the name we know: by base
    for (const uint32_t uid : uids)
        if (const Message* m = table().find(uid)) remove_file(folder_of(*m), *m, out, renamed);
    if (auto found = remove_renamed(renamed, out); !found) out.trouble = std::move(found).error();
    const auto in_order = [](std::vector<uint32_t>& list) {
        std::sort(list.begin(), list.end());
        list.erase(std::unique(list.begin(), list.end()), list.end());
    };
    in_order(out.gone);
    in_order(out.left);
    if (out.gone.empty()) return out;
    if (auto done = record_gone(change, out.gone); !done) out.trouble = std::move(done).error();
    return out;
}

void MaildirFolder::remove_file(const disk::Directory& dir, const Message& m, Expunged& out, std::unordered_map<std::string_view, uint32_t>& renamed)
{
    auto done = disk_.unlink(dir, std::string(table().name(m)));
    if (done) {
        out.gone.push_back(m.uid);
    } else if (done.error().code == ENOENT) {
        renamed.emplace(maildir_base(table().name(m)), m.uid);
    } else {
        out.left.push_back(m.uid);
        out.trouble = std::move(done).error();
    }
}

// A file that is renamed while we list may be in no listing: twice, before it counts as gone.
Result<void> MaildirFolder::remove_renamed(std::unordered_map<std::string_view, uint32_t>& renamed, Expunged& out)
{
    for (int look = 0; look < 2 && !renamed.empty(); ++look) {
        const std::vector<Entry> entries = TRY(list());
        for (const Entry& e : entries) {
            const auto found = renamed.find(maildir_base(e.name));
            if (found == renamed.end()) continue;
            auto done = disk_.unlink(e.fresh ? new_ : cur_, e.name);
            if (!done && done.error().code == ENOENT) continue;
            (done ? out.gone : out.left).push_back(found->second);
            if (!done) out.trouble = std::move(done).error();
            renamed.erase(found);
        }
    }
    for (const auto& [base, uid] : renamed) out.gone.push_back(uid);
    return {};
}

Result<void> MaildirFolder::record_gone(UidLog::Change& change, const std::vector<uint32_t>& gone)
{
    TRY(disk_.sync(cur_));
    TRY(disk_.sync(new_));
    change.vanish(to_ranges(gone));
    TRY(change.commit());
    for (const uint32_t uid : gone) sizes_.erase(uid), dates_.erase(uid);
    facts_->forget(gone);
    return log_->sync();
}

// --- flags into names

std::string MaildirFolder::wanted_name(const Message& m) const
{
    const auto wanted = flags_of(m, table());
    const auto name = table().name(m);
    if (!m.fresh && maildir_flags(name) == wanted && (name.find(":2,") != std::string_view::npos || wanted == MaildirFlags{})) return std::string(name);
    return with_maildir_flags(name, wanted);
}

Result<void> MaildirFolder::write_keywords()
{
    const std::string text = write_dovecot_keywords(table().keywords());
    if (text.empty()) return {};
    const auto there = TRY(read_small(dir_, "dovecot-keywords", max_keywords_file));
    if (there && *there == text) return {};
    return replace_file(dir_, "dovecot-keywords", text);
}

namespace {

// What no other rename in the directory will fare better with.
bool concerns_all(int code) { return code == ENOSPC || code == EDQUOT || code == EROFS || code == EIO || code == EACCES; }

}  // namespace

// Names in the log are what the directory durably has: so the directory is synced before they are recorded. Out of new/ a mail goes
// by link, sync, unlink: deliveries sync new/ all the time, and a rename could lose the one name before the other is safe.
Result<void> MaildirFolder::apply()
{
    facts_->flush();
    if (!pending_) return {};
    auto change = TRY(begin());
    TRY(write_keywords());
    std::vector<std::string> out_of_new;
    std::size_t changed = 0;
    bool more = false;
    Error trouble;
    pending_ = false;
    for (const Message& m : table().messages()) {
        const std::string_view name = table().name(m);
        const std::string wanted = wanted_name(m);
        if (!m.fresh && wanted == name) continue;
        if ((more = changed >= applied_at_a_time)) break;
        if (wanted.size() > NAME_MAX) continue;           // too long with all its letters: the log has them safe
        auto done = m.fresh ? disk_.link(new_, std::string(name), cur_, wanted) : disk_.rename(cur_, std::string(name), cur_, wanted);
        if (!done && done.error().code == ENOENT) continue;    // another program was at it: the next refresh tells
        if (!done && done.error().code == EEXIST) continue;
        if (!done) {
            trouble = std::move(done).error();
            if (concerns_all(trouble.code)) break;
            continue;
        }
        if (m.fresh) out_of_new.emplace_back(name);
        change.rename(m.uid, false, wanted);
        ++changed;
    }
    pending_ = changed > 0 || !trouble.text.empty();
    if (changed == 0) return trouble.text.empty() ? Result<void>() : unexpected(std::move(trouble));
    // Also when others failed: a name that the log does not know counts as another program's, and its flags would come back.
    TRY(disk_.sync(cur_));
    for (const auto& name : out_of_new) (void)disk_.unlink(new_, name);
    TRY(change.commit());
    pending_ = more || !trouble.text.empty();
    if (!trouble.text.empty()) return unexpected(std::move(trouble));
    if (!more && log_->wants_compaction()) {
        { const auto done = std::move(change); }
        return log_->compact();
    }
    return {};
}

}  // namespace veredus::store
