// FETCH's answers.
#include "lib/imap/fetch.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"
#include "lib/log/log.h"
#include "lib/mail/preview.h"
#include "lib/store/folder.h"

namespace veredus::imap {

namespace {

constexpr std::size_t seen_at_a_time = 200;
constexpr unsigned read_at_a_time = 200;
constexpr std::size_t room_for_one = 8 * 1024; // the last message of a piece goes beyond its bound

} // namespace

void Session::run_fetch(const std::string& tag, Fetch fetch)
{
    if (!needs_selected(tag)) return;
    if (fetch.changed_since) enable_condstore(*out_);
    for (const auto& item : fetch.items)
        if (item.what == FetchItem::What::modseq) enable_condstore(*out_);
    if (fetch.vanished && (!qresync_ || !fetch.uid || !fetch.changed_since)) {
        append(*out_, tag, " BAD VANISHED needs QRESYNC, UID FETCH and CHANGEDSINCE\r\n");
        return;
    }
    auto numbers = numbers_of(fetch.set, fetch.uid);
    if (!numbers) {
        append(*out_, tag, " BAD no such message\r\n");
        return;
    }
    VanishedLines vanished;
    if (fetch.vanished) { // RFC 7162 §3.2.6; "$" has nothing that vanished (RFC 5182 §2.1)
        const store::UidTable& table = selected_->view.table();
        const auto asked = plain_ranges(fetch.set, std::max(table.uidnext() - 1, 1u));
        vanished = VanishedLines(common_ranges(table.vanished_since(*fetch.changed_since), asked), true);
    }
    task_ = std::make_unique<FetchTask>(*this, tag, std::move(fetch), std::move(*numbers), std::move(vanished));
}

FetchTask::FetchTask(Session& session, std::string tag, Fetch fetch, View::Ranges numbers, VanishedLines vanished)
    : session_(session), tag_(std::move(tag)), fetch_(std::move(fetch)), numbers_(std::move(numbers)),
      vanished_(std::move(vanished))
{
    for (const auto& item : fetch_.items) {
        sets_seen_ = sets_seen_ || (!item.peek && (item.what == What::section || item.what == What::binary ||
                                                   item.what == What::rfc822 || item.what == What::rfc822_text));
        has_flags_ = has_flags_ || item.what == What::flags;
    }
    if (session_.selected().read_only) sets_seen_ = false;
    if (!numbers_.empty()) number_ = numbers_.front().first - 1;
}

bool FetchTask::step(std::string& out)
{
    if (!vanished_.step(out, Session::high_water)) return false;
    read_ = 0;
    const int64_t until = session_.clock().mono_us() + Session::turn_us;
    bool worked = false;
    if (in_message_) flushed_ = true;
    if (!numbers_.empty() && numbers_.back().last - number_ > read_at_a_time)
        out.reserve(Session::high_water + room_for_one);
    for (;;) {
        if (out.size() >= Session::high_water) return false;
        if (streaming_) {
            if (auto done = streaming_->step(out); !done) {
                session_.give_up(done.error().text);
                return true;
            }
            if (streaming_->left() == 0) streaming_.reset();
            continue;
        }
        if (!in_message_) {
            // Also what comes from the cache may have to be read now: facts and sizes.
            if (read_ >= read_at_a_time || (worked && session_.clock().mono_us() > until)) return false;
            worked = true;
            if (!next_message(out)) return end(out);
            continue;
        }
        if (item_ == fetch_.items.size()) {
            if (says_flags_ && !session_.overtaken()) {
                out += " FLAGS ";
                put_flags(out, message_.flags, message_.keywords, session_.selected().view.table().keywords(),
                          session_.is_recent(message_.uid));
                if (session_.condstore()) append(out, " MODSEQ (", message_.modseq, ')');
            }
            out += ")\r\n";
            in_message_ = false;
            continue;
        }
        const FetchItem& item = fetch_.items[item_];
        if (item_ > 0) out += ' ';
        ++item_;
        if (!put_item(out, item)) give_up_message(out);
    }
}

bool FetchTask::next_message(std::string& out)
{
    const View& view = session_.selected().view;
    for (;;) {
        if (range_ < numbers_.size() && session_.overtaken()) { // numbers are other messages' now
            error_ = session_.why_overtaken();
            return false;
        }
        ++number_;
        if (range_ < numbers_.size() && number_ > numbers_[range_].last)
            if (++range_ < numbers_.size()) number_ = numbers_[range_].first;
        if (range_ >= numbers_.size()) return false;
        const auto place = view.at(number_);
        if (!place.message) {
            gone_ = true;
            continue;
        }
        if (fetch_.changed_since && place.message->modseq <= *fetch_.changed_since) continue;
        says_flags_ = false;
        if (sets_seen_ && number_ > seen_to_) {
            mark_seen();
            if (session_.overtaken()) continue;
            const auto again = view.at(number_);
            if (!again.message) continue;
            message_ = *again.message;
        } else {
            message_ = *place.message;
        }
        if (sets_seen_ && !has_flags_)
            says_flags_ = std::binary_search(newly_seen_.begin(), newly_seen_.end(), message_.uid);
        if (has_flags_ || says_flags_) session_.put_new_keywords(out);
        in_message_ = true;
        flushed_ = false;
        line_start_ = out.size();
        item_ = 0;
        content_.reset();
        out += "* ";
        put_number(out, number_);
        out += " FETCH (";
        return true;
    }
}

// RFC 9051 §6.4.5: \Seen is set by reading. A batch ahead of what is sent: one sync for many, and what a broken
// connection never brought to the client is marked within bounds.
void FetchTask::mark_seen()
{
    Selected& s = session_.selected();
    newly_seen_.clear();
    std::size_t range = range_;
    uint32_t number = number_;
    for (std::size_t looked = 0; looked < seen_at_a_time && range < numbers_.size(); ++looked) {
        const auto place = s.view.at(number);
        if (place.message && !(place.message->flags & store::seen) &&
            !(fetch_.changed_since && place.message->modseq <= *fetch_.changed_since))
            newly_seen_.push_back(place.uid);
        seen_to_ = number;
        if (++number > numbers_[range].last)
            if (++range < numbers_.size()) number = numbers_[range].first;
    }
    if (newly_seen_.empty()) return;
    store::FlagChange change;
    change.how = store::FlagChange::How::add;
    change.flags = store::seen;
    auto done = s.folder->use([&](store::Folder& f) { return f.change_flags(newly_seen_, change); });
    if (!done) { // the mail can be read all the same
        log::warning("FETCH: \\Seen is not kept: ", printable(done.error().text));
        newly_seen_.clear();
        return;
    }
    session_.told_own_change(done->before);
}

bool FetchTask::end(std::string& out)
{
    (void)out;
    std::string text = "OK done";
    if (error_)
        text = session_.refusal(*error_, "FETCH");
    else if (unknown_encoding_)
        text = "NO [UNKNOWN-CTE] a transfer encoding that is not known";
    else if (gone_ && !fetch_.uid)
        text = "OK [EXPUNGEISSUED] some of the messages are gone"; // RFC 5530 §3: all others were answered
    session_.finish(tag_, std::move(text), fetch_.uid, fetch_.uid);
    return true;
}

bool FetchTask::trouble(const Error& error)
{
    if (error.code == ENOENT)
        gone_ = true;
    else
        error_ = error;
    return false;
}

void FetchTask::give_up_message(std::string& out)
{
    if (!flushed_) {
        out.resize(line_start_);
        in_message_ = false;
        return;
    }
    if (out.ends_with(' ')) out.pop_back(); // its answer is half out: the rest of the items is left out
    item_ = fetch_.items.size();
}

Content& FetchTask::content()
{
    if (!content_) {
        content_.emplace(*session_.selected().folder, message_.uid);
        ++read_;
    }
    return *content_;
}

// --- items

bool FetchTask::put_item(std::string& out, const FetchItem& item)
{
    switch (item.what) {
    case What::flags:
        if (session_.overtaken()) return trouble(session_.why_overtaken()); // its keywords have other names
        out += "FLAGS ";
        put_flags(out, message_.flags, message_.keywords, session_.selected().view.table().keywords(),
                  session_.is_recent(message_.uid));
        return true;
    case What::uid:
        out += "UID ";
        put_number(out, message_.uid);
        return true;
    case What::modseq: append(out, "MODSEQ (", message_.modseq, ')'); return true;
    case What::emailid:
        out += "EMAILID (";
        put_object_id(out, 'M', message_.id);
        out += ')';
        return true;
    case What::threadid: out += "THREADID NIL"; return true; // RFC 8474 §5.2: threads are not kept
    case What::savedate:
        out += "SAVEDATE ";
        if (message_.saved == store::unknown_time)
            out += "NIL";
        else
            put_date_time(out, message_.saved);
        return true;
    case What::internaldate:
    case What::rfc822_size: return put_stored(out, item);
    case What::envelope:
    case What::body:
    case What::bodystructure: return put_facts(out, item.what);
    case What::preview:
    case What::preview_lazy: return put_preview(out, item.what == What::preview_lazy);
    default: return put_section(out, item);
    }
}

bool FetchTask::put_stored(std::string& out, const FetchItem& item)
{
    OpenFolder& folder = *session_.selected().folder;
    if (item.what == What::internaldate) {
        int64_t at = message_.received;
        if (at == store::unknown_time) {
            const auto found = folder.use([&](store::Folder& f) { return f.received(message_.uid); });
            if (!found) return trouble(found.error());
            at = *found;
        }
        out += "INTERNALDATE ";
        put_date_time(out, at);
        return true;
    }
    const auto size = folder.use([&](store::Folder& f) { return f.size(message_.uid); });
    if (!size) return trouble(size.error());
    out += "RFC822.SIZE ";
    put_number(out, *size);
    return true;
}

bool FetchTask::put_facts(std::string& out, What what)
{
    OpenFolder& folder = *session_.selected().folder;
    const auto facts = folder.use([&](store::Folder& f) { return f.facts(message_.uid); });
    if (!facts) return trouble(facts.error());
    if (what == What::envelope)
        (out += "ENVELOPE ") += (*facts)->envelope;
    else if (what == What::body)
        (out += "BODY ") += (*facts)->body;
    else
        (out += "BODYSTRUCTURE ") += (*facts)->body_structure;
    return true;
}

// RFC 8970 §3: LAZY takes what is at hand.
bool FetchTask::put_preview(std::string& out, bool lazy)
{
    OpenFolder& folder = *session_.selected().folder;
    std::string text;
    {
        const auto facts = folder.use([&](store::Folder& f) { return f.facts(message_.uid); });
        if (!facts) return trouble(facts.error());
        if ((*facts)->preview || lazy) {
            out += "PREVIEW ";
            if ((*facts)->preview)
                put_string(out, *(*facts)->preview, session_.utf8());
            else
                out += "NIL";
            return true;
        }
    }
    mail::PreviewMaker maker;
    for (uint64_t at = 0;;) {
        const auto piece = content().read(at, Streaming::piece);
        if (!piece) return trouble(piece.error());
        at += piece->size();
        if (piece->empty() || !maker.feed(*piece)) break;
    }
    text = maker.finish();
    folder
        .use([&](store::Folder& f) -> Result<void> {
            f.keep_preview(message_.uid, text);
            return {};
        })
        .value();
    out += "PREVIEW ";
    put_string(out, text, session_.utf8());
    return true;
}

void FetchTask::put_name(std::string& out, const FetchItem& item) const
{
    switch (item.what) {
    case What::rfc822: out += "RFC822"; return;
    case What::rfc822_header: out += "RFC822.HEADER"; return;
    case What::rfc822_text: out += "RFC822.TEXT"; return;
    case What::binary: out += "BINARY["; break;
    case What::binary_size: out += "BINARY.SIZE["; break;
    default: out += "BODY["; break;
    }
    const Section& s = item.section;
    for (std::size_t i = 0; i < s.part.size(); ++i) append(out, i ? "." : "", s.part[i]);
    static constexpr std::string_view kinds[] = {"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"};
    const auto kind = kinds[static_cast<std::size_t>(s.kind)];
    if (!kind.empty()) append(out, s.part.empty() ? "" : ".", kind);
    if (s.kind == Section::Kind::header_fields || s.kind == Section::Kind::header_fields_not) {
        out += " (";
        for (std::size_t i = 0; i < s.fields.size(); ++i) {
            if (i) out += ' ';
            const auto& name = s.fields[i];
            const bool atom = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
                return c > ' ' && c < 0x7f && std::string_view("(){%*\"\\]").find(c) == std::string_view::npos;
            });
            if (atom)
                out += name;
            else
                put_string(out, name, session_.utf8());
        }
        out += ')';
    }
    out += ']';
    if (item.partial) append(out, '<', item.partial->first, '>');
}

// The fields that lists of messages are made of are in the cache, and no mail need be opened for them.
bool FetchTask::are_cached_fields(const Section& section)
{
    return section.part.empty() && section.kind == Section::Kind::header_fields &&
           std::all_of(section.fields.begin(), section.fields.end(),
                       [](const auto& f) { return store::is_kept_field(f); });
}

Result<Streaming> FetchTask::open_section(const FetchItem& item, bool& there)
{
    using Kind = Section::Kind;
    Section section = item.section;
    if (item.what == What::rfc822_header) section.kind = Kind::header;
    if (item.what == What::rfc822_text) section.kind = Kind::text;
    if (are_cached_fields(section)) {
        OpenFolder& folder = *session_.selected().folder;
        const auto* facts = TRY(folder.use([&](store::Folder& f) { return f.facts(message_.uid); }));
        there = true;
        if (facts->fields_whole && facts->fields.find('\0') == std::string_view::npos)
            return Streaming::of_text(choose_fields(facts->fields, section.fields, false));
    }
    const auto piece = TRY(content().locate(section));
    there = piece.there;
    if (!there) return Streaming::of_text({});
    if (section.kind == Kind::header_fields || section.kind == Kind::header_fields_not) {
        std::string header; // bounded by MimeLimits::header_bytes
        while (header.size() < piece.size) {
            const std::string more =
                TRY(content().read(piece.offset + header.size(), static_cast<std::size_t>(piece.size - header.size())));
            if (more.empty()) break;
            header += more;
        }
        std::replace(header.begin(), header.end(), '\0', '\x80');
        return Streaming::of_text(choose_fields(header, section.fields, section.kind == Kind::header_fields_not));
    }
    if (item.what != What::binary && item.what != What::binary_size) return Streaming::of_piece(content(), piece);
    if (piece.encoding == mail::Encoding::unknown) {
        unknown_encoding_ = true; // RFC 3516 §4.3
        there = false;
        return Streaming::of_text({});
    }
    return Streaming::of_decoded(content(), piece);
}

bool FetchTask::put_section(std::string& out, const FetchItem& item)
{
    bool there = false;
    auto streaming = open_section(item, there);
    if (!streaming) return trouble(streaming.error());
    put_name(out, item);
    if (!there) {
        out += item.what == What::binary_size ? " 0" : " NIL";
        return true;
    }
    if (item.what == What::binary_size) {
        append(out, ' ', streaming->left());
        return true;
    }
    if (item.partial) streaming->cut(item.partial->first, item.partial->second);
    append(out, streaming->has_nul() ? " ~{" : " {", streaming->left(), "}\r\n");
    count(item, streaming->left());
    if (streaming->left() > 0) streaming_ = std::move(*streaming);
    return true;
}

void FetchTask::count(const FetchItem& item, uint64_t size)
{
    using Kind = Section::Kind;
    const bool header =
        item.what == What::rfc822_header ||
        (item.what == What::section && item.section.kind != Kind::all && item.section.kind != Kind::text);
    Tally& tally = session_.tally_for_tasks();
    ++(header ? tally.hdr_count : tally.body_count);
    (header ? tally.hdr_bytes : tally.body_bytes) += size;
}

} // namespace veredus::imap
