// SELECT and EXAMINE, and the ways out of them (RFC 9051 §6.3.2, RFC 7162 §3.2.5).
#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"
#include "lib/imap/session.h"
#include "lib/log/log.h"

namespace veredus::imap {

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
    if (select.qresync) put_resync(*select.qresync);
    finish(tag, cat(select.examine ? "OK [READ-ONLY] " : "OK [READ-WRITE] ", word, " done"), false);
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

// RFC 7162 §3.2.5: only what the client knows of, and only if it knows this mailbox and no other of its name. The pairs
// of numbers and UIDs it may have sent would only make VANISHED (EARLIER) shorter where we have forgotten, which we
// seldom have.
void Session::put_resync(const Qresync& resync)
{
    std::string& out = *out_;
    const View& view = selected_->view;
    const store::UidTable& table = view.table();
    if (resync.uidvalidity != table.uidvalidity() || resync.modseq > table.highest_modseq()) return;
    const uint32_t last = table.uidnext() - 1;
    const auto known =
        resync.known_uids ? plain_ranges(*resync.known_uids, last) : std::vector<store::UidRange>{{1, UINT32_MAX}};
    std::vector<store::UidRange> gone;
    auto k = known.begin();
    for (const auto& r : table.vanished_since(resync.modseq)) {
        while (k != known.end() && k->last < r.first) ++k;
        for (auto i = k; i != known.end() && i->first <= r.last; ++i)
            gone.push_back({std::max(i->first, r.first), std::min(i->last, r.last)});
    }
    if (!gone.empty()) {
        out += "* VANISHED (EARLIER) ";
        put_ranges(out, gone);
        out += "\r\n";
    }
    const auto& all = table.messages();
    for (std::size_t i = 0; i < all.size(); ++i)
        if (all[i].modseq > resync.modseq && in_ranges(known, all[i].uid))
            put_flag_update(out, static_cast<uint32_t>(i + 1), all[i], true);
}

} // namespace veredus::imap
