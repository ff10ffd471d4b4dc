// SELECT and EXAMINE, and the ways out of them (RFC 9051 §6.3.2, RFC 7162 §3.2.5).
#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"
#include "lib/imap/session.h"
#include "lib/log/log.h"

namespace veredus::imap {

namespace {

// The last UID up to which the mailbox is as the client knows it: of its pairs of message numbers and UIDs (RFC 7162
// §3.2.5.2) the highest one that is still so. Nothing before it can have vanished. 0: none.
uint32_t unchanged_up_to(const SequenceSet& numbers, const SequenceSet& uids, const View& view)
{
    uint32_t out = 0, told = 0;
    std::size_t j = 0;
    uint64_t uid = uids.ranges.empty() ? 0 : std::min(uids.ranges[0].first, uids.ranges[0].last);
    for (const auto& range : numbers.ranges) {
        const uint32_t first = std::min(range.first, range.last), last = std::max(range.first, range.last);
        if (first <= told) return out; // pairs ascend: each number costs one look
        told = last;
        for (uint64_t number = first; number <= last; ++number) {
            if (j >= uids.ranges.size() || number > view.exists()) return out;
            if (view.at(static_cast<uint32_t>(number)).uid == uid) out = std::max(out, static_cast<uint32_t>(uid));
            if (uid++ >= std::max(uids.ranges[j].first, uids.ranges[j].last))
                if (++j < uids.ranges.size()) uid = std::min(uids.ranges[j].first, uids.ranges[j].last);
        }
    }
    return out;
}

} // namespace

// RFC 7162 §3.2.5: what vanished and changed since the client was there.
class Session::ResyncTask final : public Task {
public:
    ResyncTask(Session& session, std::string tag, std::string text, const Qresync& resync)
        : session_(session), tag_(std::move(tag)), text_(std::move(text)), since_(resync.modseq)
    {
        const View& view = session_.selected().view;
        const store::UidTable& table = view.table();
        if (resync.known_uids)
            known_ = plain_ranges(*resync.known_uids, table.uidnext() - 1);
        else
            known_ = {{1, UINT32_MAX}};
        auto asked = known_;
        // Where we have forgotten what vanished, the pairs make the guess shorter.
        if (resync.match && !table.remembers(since_))
            asked = common_ranges(asked,
                                  {{unchanged_up_to(resync.match->first, resync.match->second, view) + 1, UINT32_MAX}});
        vanished_ = VanishedLines(common_ranges(table.vanished_since(since_), asked), true);
    }
    bool step(std::string& out) override
    {
        if (!vanished_.step(out, high_water)) return false;
        if (session_.overtaken()) return session_.finish(tag_, std::move(text_), false), true;
        const View& view = session_.selected().view;
        const auto count = static_cast<uint32_t>(view.exists());
        for (; number_ <= count; ++number_) {
            if (out.size() >= high_water) return false;
            const auto place = view.at(number_);
            if (place.message && place.message->modseq > since_ && in_ranges(known_, place.uid))
                session_.put_flag_update(out, number_, *place.message, true);
        }
        session_.finish(tag_, std::move(text_), false);
        return true;
    }

private:
    Session& session_;
    std::string tag_, text_;
    uint64_t since_;
    std::vector<store::UidRange> known_;
    VanishedLines vanished_;
    uint32_t number_ = 1;
};

void Session::leave_selected()
{
    if (!selected_) return;
    const auto folder = selected_->folder;
    selected_.reset();
    if (folder->visitors() > 0 || folder->lost()) return;
    if (auto done = folder->use([](store::Folder& f) { return f.apply(); }); !done)
        log::warning("mailbox ", printable(folder->name()), ": ", printable(done.error().text));
}

void Session::run_select(const std::string& tag, const Select& select)
{
    const std::string_view word = select.examine ? "EXAMINE" : "SELECT";
    if (selected_) {
        leave_selected();
        // RFC 9051 §6.3.2: what was said so far was of the other mailbox.
        *out_ += "* OK [CLOSED] the mailbox before is closed\r\n";
    }
    if (select.qresync && !qresync_) {
        append(*out_, tag, " BAD ENABLE QRESYNC comes first\r\n");
        return;
    }
    auto folder = account_.open(select.mailbox);
    if (!folder) return finish(tag, refusal(folder.error(), word), false);
    if (select.condstore) condstore_ = true;
    selected_ = std::make_unique<Selected>(std::move(*folder), select.examine);
    put_selected(select);
    std::string text = cat(select.examine ? "OK [READ-ONLY] " : "OK [READ-WRITE] ", word, " done");
    const store::UidTable& table = selected_->view.table();
    // RFC 7162 §3.2.5: only what the client knows of, and only if it knows this mailbox and no other of its name.
    if (select.qresync && select.qresync->uidvalidity == table.uidvalidity() &&
        select.qresync->modseq <= table.highest_modseq())
        task_ = std::make_unique<ResyncTask>(*this, tag, std::move(text), *select.qresync);
    else
        finish(tag, std::move(text), false);
}

void Session::put_selected(const Select& select)
{
    std::string& out = *out_;
    const Selected& s = *selected_;
    const store::UidTable& table = s.view.table();
    out += "* FLAGS ";
    put_flags(out, store::all_flags, ~uint64_t{0}, table.keywords(), false);
    out += "\r\n* OK [PERMANENTFLAGS ";
    if (s.read_only) {
        out += "()";
    } else if (!table.has_room_for_keyword()) { // RFC 9051 §7.1: no "\\*" where no new ones can be made
        put_flags(out, store::all_flags, ~uint64_t{0}, table.keywords(), false);
    } else {
        put_flags(out, store::all_flags, ~uint64_t{0}, table.keywords(), false);
        out.pop_back();
        out += " \\*)";
    }
    append(out, "] these are kept\r\n* ", s.view.exists(), " EXISTS\r\n");
    if (!rev2_) {
        uint64_t recent = 0;
        uint32_t unseen = 0;
        const auto& all = table.messages();
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (!s.recent.empty()) recent += is_recent(all[i].uid);
            if (!unseen && !(all[i].flags & store::seen)) {
                unseen = static_cast<uint32_t>(i + 1);
                if (s.recent.empty()) break;
            }
        }
        append(out, "* ", recent, " RECENT\r\n");
        if (unseen) append(out, "* OK [UNSEEN ", unseen, "] the first unseen one\r\n");
    }
    append(out, "* OK [UIDVALIDITY ", table.uidvalidity(), "] UIDs stay\r\n* OK [UIDNEXT ", table.uidnext(),
           "] of the next one\r\n* OK [HIGHESTMODSEQ ", table.highest_modseq(), "] so far\r\n* OK [MAILBOXID (");
    put_object_id(out, 'F', table.mailbox_id());
    out += ")] of this mailbox\r\n";
    if (rev2_) { // RFC 9051 §6.3.2
        append(out, "* LIST () \"", account_.mailbox().separator(), "\" ");
        put_mailbox(out, Account::canonical(select.mailbox), utf8_);
        out += "\r\n";
    }
}

} // namespace veredus::imap
