// The session's frame: commands to their functions, what is new told where it may be, answers in pieces.
#include "lib/imap/session.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/append.h"
#include "lib/imap/respond.h"
#include "lib/log/log.h"
#include "lib/store/folder.h"

namespace veredus::imap {

namespace {

constexpr std::size_t buried_at_a_time = 2'000;

// RFC 5530, RFC 9051 §7.1
std::string_view code_of(int error)
{
    switch (error) {
    case EDQUOT: return "[OVERQUOTA] ";
    case ENOBUFS: return "[LIMIT] ";
    case ENOENT: return "[NONEXISTENT] ";
    case EEXIST: return "[ALREADYEXISTS] ";
    case EINVAL:
    case ENOTDIR:
    case ENAMETOOLONG: return "[CANNOT] ";
    case ENOTEMPTY: return "[HASCHILDREN] ";
    case EACCES:
    case EPERM: return "[NOPERM] ";
    case ENOSPC:
    case EROFS:
    case EIO:
    case EAGAIN:
    case ESTALE:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EFBIG: return "[UNAVAILABLE] ";
    default: return "[SERVERBUG] ";
    }
}

// What the client is told; the log has the whole.
std::string_view words_for(int error)
{
    switch (error) {
    case EDQUOT: return "the quota is used up";
    case ENOBUFS: return "no room for another keyword in that mailbox";
    case ENOENT: return "no such mailbox";
    case EEXIST: return "there is one of that name";
    case EINVAL: return "not a mailbox name here";
    case ENOTDIR: return "a mailbox here has either messages or mailboxes below it";
    case ENAMETOOLONG: return "the name is too long";
    case ENOTEMPTY: return "it has children";
    case EACCES:
    case EPERM: return "not permitted";
    case EAGAIN: return "another program is at work in the mailbox; try again";
    case ESTALE: return "the mailbox's index was made anew; log in again";
    case ENOSPC: return "the disk is full";
    case EROFS: return "the file system is read-only";
    default: return "trouble with the mail store; it is in the log";
    }
}

bool is_answer(int error)
{
    return error == ENOENT || error == EEXIST || error == EINVAL || error == ENAMETOOLONG || error == ENOTEMPTY ||
           error == ENOTDIR || error == ENOBUFS;
}

} // namespace

std::string Tally::text() const
{
    return cat("deleted=", deleted, " expunged=", expunged, " trashed=", trashed, " hdr_count=", hdr_count,
               " hdr_bytes=", hdr_bytes, " body_count=", body_count, " body_bytes=", body_bytes);
}

Selected::Selected(std::shared_ptr<OpenFolder> f, bool examine)
    : folder(std::move(f)), view(folder->table()), read_only(examine), told_modseq(folder->table().highest_modseq()),
      told_keywords(folder->table().keywords())
{
    folder->enter(view);
    if (const auto fresh = folder->take_recent(examine); fresh.last) recent.push_back(fresh);
}

Selected::~Selected()
{
    folder->leave(view);
}

Session::Session(Account& account, const SessionOptions& options, const Clock& clock)
    : account_(account), options_(options), clock_(clock), reader_(*this, limits_)
{}

Session::~Session() = default;

void Session::welcome(std::string_view tag, std::string& out)
{
    append(out, tag, " OK [CAPABILITY ", capabilities(options_.append_limit, options_.compress && !compressed_),
           "] Logged in\r\n");
}

// --- the frame

Session::Wants Session::wants() const
{
    if (closing_ || reader_.closed()) return Wants::close;
    if (compress_now_) return Wants::compress;
    return task_ || ending_ ? Wants::drain : Wants::input;
}

Session::Wants Session::feed(std::string_view bytes, std::string& out)
{
    out_ = &out;
    if (!closing_) reader_.feed(bytes, out);
    return wants();
}

Session::Wants Session::more(std::string& out)
{
    out_ = &out;
    if (!closing_ && (task_ || ending_) && run() && !closing_ && !compress_now_ && !idling()) reader_.resume(out);
    return wants();
}

bool Session::go_on_alone()
{
    if (!task_ || !task_->goes_on_alone()) return false;
    std::string nobody;
    out_ = &nobody;
    const bool ended = task_->step(nobody);
    out_ = nullptr;
    if (ended) task_.reset();
    return !ended;
}

std::string Session::start_compression()
{
    compress_now_ = false;
    compressed_ = true;
    std::string rest = reader_.take_rest(), none;
    reader_.resume(none);
    return rest;
}

bool Session::run()
{
    while (!closing_ && out_->size() < most_) {
        if (task_) {
            if (!task_->step(*out_)) break; // it has worked for a while: the others' turn
            task_.reset();
        } else if (ending_) {
            if (step_ending()) ending_.reset();
        } else {
            break;
        }
    }
    return !task_ && !ending_;
}

template <class... F> struct Overload : F... {
    using F::operator()...;
};
template <class... F> Overload(F...) -> Overload<F...>;    // clang needs it

bool Session::command(std::string tag, Command command)
{
    errors_ = 0;
    if (lost()) return false;
    const auto not_now = [&](auto&&) { append(*out_, tag, " BAD logged in already\r\n"); };
    std::visit(Overload{
                   [&](Simple& c) { run_simple(tag, c.verb); },
                   [&](Login& c) { not_now(c); },
                   [&](Authenticate& c) { not_now(c); },
                   [&](Id& c) { run_id(tag, c); },
                   [&](Enable& c) { run_enable(tag, c); },
                   [&](Select& c) { run_select(tag, c); },
                   [&](Create& c) { run_create(tag, c); },
                   [&](Delete& c) { run_delete(tag, c); },
                   [&](Rename& c) { run_rename(tag, c); },
                   [&](Subscribe& c) { run_subscribe(tag, c); },
                   [&](Status& c) { run_status(tag, c); },
                   [&](List& c) { run_list(tag, std::move(c)); },
                   [&](Fetch& c) { run_fetch(tag, std::move(c)); },
                   [&](Store& c) { run_store(tag, std::move(c)); },
                   [&](Copy& c) { run_copy(tag, std::move(c)); },
                   [&](Expunge& c) { run_expunge(tag, c); },
                   [&](Search& c) { run_search(tag, std::move(c)); },
                   [&](Sort& c) { run_sort(tag, std::move(c)); },
                   [&](Thread& c) { run_thread(tag, std::move(c)); },
               },
               command);
    return run() && !closing_ && !compress_now_ && !idling();
}

bool Session::refused(const std::string& tag, const Refusal& refusal)
{
    append(*out_, tag, refusal.bad ? " BAD " : " NO ", refusal.text, "\r\n");
    if (!refusal.bad || ++errors_ < options_.errors) return true;
    part("too many errors", *out_);
    return false;
}

bool Session::needs_selected(const std::string& tag, bool writable)
{
    if (!selected_)
        append(*out_, tag, " BAD no mailbox is selected\r\n");
    else if (writable && selected_->read_only)
        append(*out_, tag, " NO [READ-ONLY] the mailbox is open for reading only\r\n");
    else
        return true;
    return false;
}

bool Session::lost()
{
    if (!selected_ || !selected_->folder->lost()) return false;
    part("the selected mailbox was removed or made anew; log in again", *out_);
    return true;
}

void Session::part(std::string_view why, std::string& out)
{
    if (closing_) return;
    append(out, "* BYE ", why, "\r\n");
    closing_ = true;
}

Error Session::why_overtaken() const
{
    if (selected_->folder->removed()) return Error{ENOENT, "the mailbox was removed"};
    return Error{ESTALE, "the mailbox's index was made anew"};
}

void Session::give_up(std::string_view why)
{
    log::warning("a client's connection ends within an answer: ", printable(why));
    closing_ = true;
}

std::string Session::refusal(const Error& error, std::string_view doing) const
{
    if (!is_answer(error.code)) log::warning(doing, ": ", printable(error.text));
    return cat("NO ", code_of(error.code), doing, ": ", words_for(error.code));
}

// --- what is new

bool Session::has_news() const
{
    if (!selected_) return false;
    const Selected& s = *selected_;
    return s.folder->lost() || !s.view.ghosts().empty() || s.view.has_new() ||
           s.told_modseq < s.view.table().highest_modseq();
}

Session::Wants Session::tell_news(std::string& out)
{
    out_ = &out;
    if (idling() && !closing_ && !ending_ && !lost() && has_news()) {
        ending_ = Ending();
        ending_->expunges = true;
        run();
    }
    return wants();
}

void Session::finish(const std::string& tag, std::string text, bool expunges, bool uid)
{
    ending_ = Ending();
    ending_->tag = tag;
    ending_->text = std::move(text);
    ending_->expunges = expunges;
    ending_->uid = uid;
}

// EXPUNGE first: EXISTS and the numbers of FETCH are those after it.
bool Session::step_ending()
{
    Ending& e = *ending_;
    std::string& out = *out_;
    if (!selected_ || selected_->folder->lost()) e.at = Ending::At::tagged;
    if (e.at == Ending::At::expunges) {
        View& view = selected_->view;
        if (e.expunges && !view.ghosts().empty()) {
            // UIDs, so the order does not matter; the last ones first, as with EXPUNGE.
            while (qresync_ && !view.ghosts().empty() && out.size() < most_)
                VanishedLines(store::to_ranges(view.bury_last(buried_at_a_time)), false).step(out, SIZE_MAX);
            if (qresync_ && !view.ghosts().empty()) return false;
            while (!view.ghosts().empty() && out.size() < most_) append(out, "* ", view.bury_last(), " EXPUNGE\r\n");
            if (!view.ghosts().empty()) return false;
        }
        e.at = Ending::At::exists;
    }
    if (e.at == Ending::At::exists) {
        Selected& s = *selected_;
        if (s.view.has_new()) {
            e.known_to = s.view.last_told();
            s.view.take_new();
            if (const auto fresh = s.folder->take_recent(s.read_only); fresh.last) s.recent.push_back(fresh);
            merge_ranges(s.recent);
            append(out, "* ", s.view.exists(), " EXISTS\r\n");
            if (!rev2_) {
                uint64_t recent = 0;
                for (const auto& m : s.view.table().messages()) recent += is_recent(m.uid);
                append(out, "* ", recent, " RECENT\r\n");
            }
        }
        e.upto = s.view.table().highest_modseq();
        e.at = e.upto > s.told_modseq ? Ending::At::flags : Ending::At::tagged;
    }
    if (e.at == Ending::At::flags) {
        step_flags();
        if (e.at == Ending::At::flags) return false;
    }
    // RFC 7162 §3.2: mod-sequences were told that are beyond those of removals that were not.
    if (qresync_ && selected_ && !e.expunges && !selected_->view.ghosts().empty())
        append(out, "* OK [HIGHESTMODSEQ ", selected_->view.modseq_before_ghosts(),
               "] before what is to be told yet\r\n");
    if (!e.tag.empty()) append(out, e.tag, ' ', e.text, "\r\n");
    return true;
}

void Session::step_flags()
{
    Ending& e = *ending_;
    Selected& s = *selected_;
    put_new_keywords(*out_);
    const auto count = static_cast<uint32_t>(s.view.exists());
    for (; e.number <= count; ++e.number) {
        if (out_->size() >= most_) return;
        const auto place = s.view.at(e.number);
        if (!place.message || place.message->modseq <= s.told_modseq) continue;
        if (place.message->modseq > e.upto || place.uid > e.known_to) continue;
        put_flag_update(*out_, e.number, *place.message, e.uid);
    }
    s.told_modseq = e.upto;
    e.at = Ending::At::tagged;
}

void Session::put_new_keywords(std::string& out)
{
    Selected& s = *selected_;
    const auto& words = s.view.table().keywords();
    if (words == s.told_keywords) return;
    s.told_keywords = words;
    out += "* FLAGS ";
    put_flags(out, store::all_flags, ~uint64_t{0}, words, false);
    out += "\r\n";
}

void Session::put_flag_update(std::string& out, uint32_t number, const store::Message& m, bool uid, bool with_flags)
{
    out += "* ";
    put_number(out, number);
    out += " FETCH (";
    // RFC 7162 §3.2.10.2: who is told UIDs that vanish needs those of updates; RFC 9051 §7.5.2 wants them always.
    if (uid || qresync_ || rev2_) {
        out += "UID ";
        put_number(out, m.uid);
        out += ' ';
    }
    if (with_flags) {
        out += "FLAGS ";
        put_flags(out, m.flags, m.keywords, selected_->view.table().keywords(), is_recent(m.uid));
    }
    if (condstore_) {
        append(out, with_flags ? " MODSEQ (" : "MODSEQ (", m.modseq, ')');
    }
    out += ")\r\n";
}

bool Session::is_recent(uint32_t uid) const
{
    return !rev2_ && in_ranges(selected_->recent, uid);
}

void Session::told_own_change(uint64_t before)
{
    if (selected_->told_modseq == before) selected_->told_modseq = selected_->view.table().highest_modseq();
}

void Session::enable_condstore(std::string& out)
{
    if (condstore_) return;
    condstore_ = true;
    if (selected_) append(out, "* OK [HIGHESTMODSEQ ", selected_->told_modseq, "] from here on\r\n");
}

std::optional<View::Ranges> Session::numbers_of(const SequenceSet& set, bool uid) const
{
    return selected_->view.resolve(set, uid, selected_->saved);
}

// --- any state

void Session::run_simple(const std::string& tag, Verb verb)
{
    std::string& out = *out_;
    switch (verb) {
    case Verb::capability:
        append(out, "* CAPABILITY ", capabilities(options_.append_limit, options_.compress && !compressed_), "\r\n");
        return finish(tag, "OK done", true);
    case Verb::noop: return run_check(tag, "NOOP");
    case Verb::check:
        if (!needs_selected(tag)) return;
        (void)selected_->folder->use([](store::Folder& f) { return f.apply(); });
        return run_check(tag, "CHECK");
    case Verb::logout:
        append(out, "* BYE Logging out\r\n", tag, " OK Logged out\r\n");
        closing_ = logged_out_ = true;
        return;
    case Verb::starttls: append(out, tag, " BAD logged in already\r\n"); return;
    case Verb::close: return run_close(tag, true);
    case Verb::unselect: return run_close(tag, false);
    case Verb::namespace_: return run_namespace(tag);
    case Verb::idle:
        if (selected_)
            if (auto done = selected_->folder->refresh(); !done) log::warning("IDLE: ", printable(done.error().text));
        reader_.set_idle(true);
        idle_tag_ = tag;
        out += "+ idling\r\n";
        if (!lost() && has_news()) {
            ending_ = Ending();
            ending_->expunges = true;
        }
        return;
    case Verb::compress_deflate:
        if (compressed_)
            append(out, tag, " NO [COMPRESSIONACTIVE] on already\r\n");
        else if (!options_.compress)
            append(out, tag, " NO [CANNOT] not here\r\n");
        else {
            append(out, tag, " OK from here on\r\n");
            compress_now_ = true;
        }
        return;
    }
}

void Session::run_check(const std::string& tag, std::string_view word)
{
    if (selected_)
        if (auto done = selected_->folder->refresh(); !done) {
            if (done.error().code == ENOENT)
                selected_->folder->lose();
            else
                return finish(tag, refusal(done.error(), word), true);
        }
    if (lost()) return;
    finish(tag, "OK done", true);
}

void Session::idle_done(bool well)
{
    reader_.set_idle(false);
    const std::string tag = std::exchange(idle_tag_, {});
    // News in the midst: the ending begins with what is left of them. The next command comes at once, so nothing may be
    // left to do.
    finish(tag, well ? "OK idled" : "BAD DONE was expected", true);
    most_ = SIZE_MAX;
    run();
    most_ = high_water;
}

void Session::run_id(const std::string& tag, const Id& id)
{
    std::string fields;
    for (const auto& [name, value] : id.fields)
        if (value) append(fields, fields.empty() ? "" : ", ", printable(name, 30), '=', printable(*value, 200));
    if (options_.on_id && !fields.empty()) options_.on_id(fields);
    *out_ += "* ID (\"name\" \"veredus\"";
    if (!options_.version.empty()) append(*out_, " \"version\" \"", options_.version, '"');
    *out_ += ")\r\n";
    finish(tag, "OK done", true);
}

void Session::run_enable(const std::string& tag, const Enable& enable)
{
    std::string enabled;
    for (const auto& word : enable.capabilities) {
        if (word == "IMAP4REV2")
            rev2_ = utf8_ = true;
        else if (word == "UTF8=ACCEPT")
            utf8_ = true;
        else if (word == "CONDSTORE")
            enable_condstore(*out_);
        else if (word == "QRESYNC") {
            enable_condstore(*out_);
            qresync_ = true;
        } else
            continue;
        append(enabled, ' ', word == "IMAP4REV2" ? "IMAP4rev2" : word);
    }
    reader_.set_utf8(utf8_);
    append(*out_, "* ENABLED", enabled, "\r\n");
    finish(tag, "OK done", true);
}

} // namespace veredus::imap
