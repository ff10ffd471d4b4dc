// What all kinds of folders do alike.
#include "lib/store/folder.h"

#include <algorithm>
#include <cerrno>
#include <map>

#include "lib/base/text.h"
#include "lib/store/uid_log.h"

namespace veredus::store {

namespace {

constexpr std::size_t copy_block = 256 * 1024;
constexpr std::size_t copied_at_a_time = 100;

Result<std::unique_ptr<Draft>> read_into_draft(Folder& from, uint32_t uid, Folder& to)
{
    auto reader = TRY(from.open(uid));
    auto draft = TRY(to.draft());
    for (uint64_t at = 0;;) {
        const std::string piece = TRY(reader->read(at, copy_block));
        if (piece.empty()) return draft;
        TRY(draft->write(piece));
        at += piece.size();
    }
}

}  // namespace

Unexpected no_room_for_keyword(std::string_view word) { return fail_errno(cat("no room for the keyword ", printable(word)), ENOBUFS); }

std::vector<std::string> keywords_of(const UidTable& table, const Message& m)
{
    std::vector<std::string> out;
    for (unsigned i = 0; i < table.keywords().size(); ++i)
        if (m.keywords >> i & 1 && !table.keywords()[i].empty()) out.push_back(table.keywords()[i]);
    return out;
}

Counts counts_of(const UidTable& table)
{
    Counts out;
    out.messages = static_cast<uint32_t>(table.messages().size());
    for (const Message& m : table.messages()) {
        out.unseen += !(m.flags & seen);
        out.deleted += (m.flags & deleted) != 0;
    }
    return out;
}

Result<uint64_t> total_size(Folder& folder)
{
    std::vector<uint32_t> uids;
    uids.reserve(folder.table().messages().size());
    for (const Message& m : folder.table().messages()) uids.push_back(m.uid);
    uint64_t out = 0;
    for (const uint32_t uid : uids) {
        const auto one = folder.size(uid);
        if (one) out += *one;
        else if (one.error().code != ENOENT) return unexpected(one.error());
    }
    return out;
}

Result<FlagsChanged> change_flags_in_log(UidLog& log, const std::vector<uint32_t>& uids, const FlagChange& wanted)
{
    auto begun = TRY(log.begin());
    if (!begun) return fail_errno("lock an index", EAGAIN);
    TRY(log.numbers_hold());
    UidLog::Change& change = *begun;
    const UidTable& table = log.table();
    FlagsChanged out;
    out.before = table.highest_modseq();                  // with what other processes wrote until now
    uint64_t bits = 0;
    for (const auto& word : wanted.keywords) {
        // What nobody has need not be made to be taken away.
        const auto bit = wanted.how == FlagChange::How::remove ? table.keyword_bit(word) : change.keyword(word);
        if (bit) bits |= uint64_t{1} << *bit;
        else if (wanted.how != FlagChange::How::remove) out.keyword_refused = true;
    }
    std::map<std::pair<uint8_t, uint64_t>, std::vector<uint32_t>> by_state;
    for (const uint32_t uid : uids) {
        const Message* m = table.find(uid);
        if (!m) continue;
        if (wanted.unchanged_since && m->modseq > *wanted.unchanged_since) {
            out.modified.push_back(uid);
            continue;
        }
        uint8_t flags = wanted.flags & all_flags;
        uint64_t keywords = bits;
        if (wanted.how == FlagChange::How::add) flags |= m->flags, keywords |= m->keywords;
        if (wanted.how == FlagChange::How::remove) flags = m->flags & ~flags, keywords = m->keywords & ~keywords;
        if (flags == m->flags && keywords == m->keywords) continue;
        by_state[{flags, keywords}].push_back(uid);
    }
    for (auto& [state, changed] : by_state) {
        std::sort(changed.begin(), changed.end());
        changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
        change.set_flags(state.first, state.second, to_ranges(changed));
        out.changed.insert(out.changed.end(), changed.begin(), changed.end());
    }
    TRY(change.commit());
    TRY(log.sync());
    std::sort(out.changed.begin(), out.changed.end());
    return out;
}

namespace {

// Some of them, all or none; those that are gone by now are passed over.
Result<std::vector<Copied>> copy_some(Folder& from, const std::vector<uint32_t>& uids, Folder& to)
{
    std::vector<Incoming> mails;
    std::vector<Copied> out;
    for (const uint32_t uid : uids) {
        const Message* m = from.table().find(uid);
        if (!m) continue;
        Incoming mail;
        mail.flags = m->flags;
        mail.keywords = keywords_of(from.table(), *m);
        mail.id = m->id;
        const auto received = from.received(uid);
        if (!received && received.error().code == ENOENT) continue;
        if (!received) return unexpected(received.error());
        mail.received = *received;
        auto draft = read_into_draft(from, uid, to);
        if (!draft && draft.error().code == ENOENT) continue;
        if (!draft) return unexpected(std::move(draft).error());
        mail.draft = std::move(*draft);
        mails.push_back(std::move(mail));
        out.push_back({uid, 0});
    }
    const std::vector<uint32_t> made = TRY(to.append(std::move(mails)));
    for (std::size_t i = 0; i < out.size(); ++i) out[i].to = made[i];
    return out;
}

}  // namespace

// So many at a time, as drafts have descriptors; after an error those that were made go again.
Result<std::vector<Copied>> copy_by_reading(Folder& from, const std::vector<uint32_t>& uids, Folder& to)
{
    std::vector<Copied> out;
    for (std::size_t at = 0; at < uids.size(); at += copied_at_a_time) {
        const auto first = uids.begin() + static_cast<std::ptrdiff_t>(at);
        const std::vector<uint32_t> some(first, first + static_cast<std::ptrdiff_t>(std::min(copied_at_a_time, uids.size() - at)));
        auto copied = copy_some(from, some, to);
        if (copied) {
            out.insert(out.end(), copied->begin(), copied->end());
            continue;
        }
        std::vector<uint32_t> made;
        for (const Copied& c : out) made.push_back(c.to);
        if (!made.empty())
            if (auto undone = to.expunge(made); !undone || !undone->trouble.text.empty()) append(copied.error().text, "; and what was copied stays");
        return copied;
    }
    return out;
}

// A copy is taken back only when its original is certainly there: twice is a nuisance, not at all is a loss.
Result<Moved> Folder::move(const std::vector<uint32_t>& uids, Folder& target)
{
    Moved out;
    out.moved = TRY(copy(uids, target));
    std::vector<uint32_t> from;
    for (const Copied& c : out.moved) from.push_back(c.from);
    auto done = expunge(from);
    const std::vector<uint32_t>& left = done ? done->left : from;
    const auto is_left = [&](const Copied& c) { return std::find(left.begin(), left.end(), c.from) != left.end(); };
    std::vector<uint32_t> undo;
    for (const Copied& c : out.moved)
        if (is_left(c)) undo.push_back(c.to);
    if (!undo.empty()) (void)target.expunge(undo);
    if (!done) return unexpected(std::move(done).error());
    std::erase_if(out.moved, is_left);
    out.trouble = std::move(done->trouble);
    if (out.moved.empty() && !out.trouble.text.empty()) return unexpected(std::move(out.trouble));
    return out;
}

}  // namespace veredus::store
