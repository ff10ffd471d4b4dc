// Going through a mailbox for those that match.
#include "lib/imap/matching.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/imap/respond.h"
#include "lib/store/facts.h"
#include "lib/store/folder.h"

namespace veredus::imap {

namespace {

Situation situation_of(Session& session)
{
    const Selected& s = session.selected();
    Situation out;
    out.messages = static_cast<uint32_t>(s.view.exists());
    out.last_uid = out.messages ? s.view.at(out.messages).uid : 0;
    out.now = session.now();
    out.keywords = s.view.table().keywords();
    out.saved = s.saved;
    return out;
}

} // namespace

// --- one message

void FolderCandidate::stand_for(uint32_t message_number, const store::Message& m, bool is_recent)
{
    number = message_number;
    uid = m.uid;
    flags = m.flags;
    recent = is_recent;
    keywords = m.keywords;
    modseq = m.modseq;
    saved = m.saved;
    received_ = m.received;
    id_ = m.id;
    content_.reset();
    has_fields_ = fields_whole_ = has_header_ = gone_ = false;
}

Result<uint64_t> FolderCandidate::size()
{
    auto size = folder_.use([&](store::Folder& f) { return f.size(uid); });
    if (size || size.error().code != ENOENT) return size;
    gone_ = true;
    return uint64_t{0};
}

Result<int64_t> FolderCandidate::received()
{
    if (received_ != store::unknown_time) return int64_t{received_};
    auto at = folder_.use([&](store::Folder& f) { return f.received(uid); });
    if (!at && at.error().code != ENOENT) return at;
    gone_ = !at;
    received_ = at ? *at : 0;
    return int64_t{received_};
}

std::string FolderCandidate::email_id()
{
    std::string out;
    put_object_id(out, 'M', id_);
    return out;
}

Result<void> FolderCandidate::read_header()
{
    has_header_ = true;
    header_.clear();
    if (!content_) content_.emplace(folder_, uid);
    Section section;
    section.kind = Section::Kind::header;
    const auto piece = content_->locate(section);
    if (!piece && piece.error().code == ENOENT) {
        gone_ = true;
        return {};
    }
    if (!piece) return unexpected(piece.error());
    while (header_.size() < piece->size) {
        const std::string more =
            TRY(content_->read(piece->offset + header_.size(), static_cast<std::size_t>(piece->size - header_.size())));
        if (more.empty()) break;
        header_ += more;
    }
    return {};
}

Result<void> FolderCandidate::header(std::string_view name, std::vector<std::string_view>& bodies)
{
    if (!has_fields_ && store::is_kept_field(name)) {
        const auto facts = folder_.use([&](store::Folder& f) { return f.facts(uid); });
        if (!facts && facts.error().code != ENOENT) return unexpected(facts.error());
        has_fields_ = true;
        gone_ = !facts;
        fields_.clear();
        fields_whole_ = true;
        if (facts) {
            fields_ = (*facts)->fields;
            fields_whole_ = (*facts)->fields_whole;
        }
    }
    if (has_fields_ && fields_whole_ && store::is_kept_field(name)) {
        store::field_bodies(fields_, name, bodies);
        return {};
    }
    if (!has_header_) TRY(read_header());
    store::field_bodies(header_, name, bodies);
    return {};
}

Result<void> FolderCandidate::content(const std::function<bool(std::string_view)>& take)
{
    if (!content_) content_.emplace(folder_, uid);
    for (uint64_t at = 0;;) {
        const auto piece = content_->read(at, Streaming::piece);
        if (!piece && piece.error().code == ENOENT && at == 0) {
            gone_ = true;
            return {};
        }
        if (!piece) return unexpected(piece.error());
        if (piece->empty() || !take(*piece)) return {};
        at += piece->size();
    }
}

// --- all of them

MatchTask::MatchTask(Session& session, std::string tag, std::string_view word, bool uid, const SearchKey& key)
    : session_(session), tag_(std::move(tag)), word_(word), uid_(uid), program_(key, situation_of(session)),
      candidate_(*session.selected().folder)
{}

bool MatchTask::fail(const Error& error)
{
    failed();
    session_.finish(tag_, session_.refusal(error, word_), uid_, uid_);
    return true;
}

bool MatchTask::step(std::string& out)
{
    const auto at_end = look();
    if (!at_end) return fail(at_end.error());
    if (session_.overtaken()) return fail(session_.why_overtaken());
    if (!*at_end) return false;
    answer(out);
    session_.finish(tag_, "OK done", uid_, uid_);
    return true;
}

Result<bool> MatchTask::look()
{
    const View& view = session_.selected().view;
    const int64_t until = session_.clock().mono_us() + Session::turn_us;
    for (unsigned looked = 1; number_ < view.exists() && !session_.overtaken(); ++looked) {
        const auto place = view.at(++number_);
        if (!place.message) continue;
        candidate_.stand_for(number_, *place.message, session_.is_recent(place.uid));
        const bool matches = TRY(program_.matches(candidate_));
        if (matches && !candidate_.gone()) TRY(found(candidate_));
        const bool dear = program_.needs().content || program_.needs().size || !program_.needs().fields.empty();
        // What is done with one that is found may be dear, too: SORT's and THREAD's keys.
        if ((dear || matches || looked % 1024 == 0) && session_.clock().mono_us() > until) return false;
    }
    return true;
}

// --- SEARCH

namespace {

class SearchTask final : public MatchTask {
public:
    SearchTask(Session& session, std::string tag, const Search& search)
        : MatchTask(session, std::move(tag), "SEARCH", search.uid, search.key), asked_(search)
    {
        if (!asked_.extended && session.rev2()) asked_.extended = asked_.all = true; // RFC 9051 §6.4.4: ESEARCH always
        if (asked_.extended && !asked_.min && !asked_.max && !asked_.all && !asked_.count && !asked_.save)
            asked_.all = true;
    }

private:
    Result<void> found(FolderCandidate& m) override
    {
        const uint32_t answer = uid() ? m.uid : m.number;
        numbers_.push_back(answer);
        last_ = {m.uid, m.modseq};
        if (numbers_.size() == 1) first_ = last_;
        modseq_ = std::max(modseq_, m.modseq);
        if (asked_.save) add_to_ranges(saved_, m.uid);
        return {};
    }
    void failed() override
    {
        if (asked_.save) session().selected().saved.clear(); // RFC 5182 §2.1
    }
    // RFC 5182 §2.4: what RETURN told is what is kept.
    void save()
    {
        if (!asked_.all && !asked_.count && (asked_.min || asked_.max)) {
            saved_.clear();
            if (asked_.min && first_.uid) add_to_ranges(saved_, first_.uid);
            if (asked_.max && last_.uid) add_to_ranges(saved_, last_.uid);
        }
        session().selected().saved = std::move(saved_);
    }
    // RFC 7162 §3.1.10
    uint64_t modseq_to_tell() const
    {
        if (asked_.all || asked_.count || !(asked_.min || asked_.max)) return modseq_;
        return std::max(asked_.min ? first_.modseq : 0, asked_.max ? last_.modseq : 0);
    }
    void answer(std::string& out) override
    {
        if (!asked_.extended) {
            out += "* SEARCH";
            for (const uint32_t n : numbers_) {
                out += ' ';
                put_number(out, n);
            }
            if (asks_modseq() && !numbers_.empty()) append(out, " (MODSEQ ", modseq_, ')');
            out += "\r\n";
            return;
        }
        if (asked_.save) save();
        if (!asked_.min && !asked_.max && !asked_.all && !asked_.count) return;
        out += "* ESEARCH (TAG ";
        put_string(out, tag(), false);
        out += uid() ? ") UID" : ")";
        if (asked_.min && !numbers_.empty()) append(out, " MIN ", numbers_.front());
        if (asked_.max && !numbers_.empty()) append(out, " MAX ", numbers_.back());
        if (asked_.count) append(out, " COUNT ", numbers_.size());
        if (asked_.all && !numbers_.empty()) {
            out += " ALL ";
            put_ranges(out, store::to_ranges(numbers_));
        }
        if (asks_modseq() && !numbers_.empty()) append(out, " MODSEQ ", modseq_to_tell());
        out += "\r\n";
    }

    struct One {
        uint32_t uid = 0;
        uint64_t modseq = 0;
    };
    Search asked_;
    std::vector<uint32_t> numbers_; // or UIDs
    std::vector<store::UidRange> saved_;
    One first_, last_;
    uint64_t modseq_ = 0;
};

} // namespace

// A message number beyond the last one finds nothing; a command that acts on messages refuses it.
void Session::run_search(const std::string& tag, Search search)
{
    if (!needs_selected(tag)) return;
    auto task = std::make_unique<SearchTask>(*this, tag, search);
    if (task->asks_modseq()) enable_condstore(*out_);
    task_ = std::move(task);
}

} // namespace veredus::imap
