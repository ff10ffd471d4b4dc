#include "qmgr/query.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::qmgr {

namespace {
constexpr std::size_t batch_size = 100;
constexpr int tries_while_moving = 5;
constexpr std::size_t share_size = 2000;      // IDs of a listing that are put in order at once: more than a page holds

std::string_view stage_name(const Entry& e)
{
    switch (e.stage) {
    case Stage::active: return "active";
    case Stage::held: return "hold";
    case Stage::fresh: return "incoming";
    default: return "deferred";
    }
}

std::string reason_text(const std::string& reason)    // without its code
{
    const auto [code, rest] = cut(reason, ' ');
    const bool coded = code.size() >= 5 && is_digit(code[0]) && code[1] == '.';
    return coded ? std::string(rest.value_or("")) : reason;
}

bool contains(std::string_view text, std::string_view piece) { return lower(text).find(lower(piece)) != std::string::npos; }
}  // namespace

bool address_matches(std::string_view pattern, std::string_view address)
{
    if (pattern == "<>") return address.empty();
    if (pattern.size() > 2 && pattern.starts_with('*') && pattern.ends_with('*')) return contains(address, pattern.substr(1, pattern.size() - 2));
    return pattern.starts_with('@') ? iends_with(address, pattern) : iequals(address, pattern);
}

void Query::run(Core& core, ipc::Filter filter, std::string after, bool details, std::function<bool(Seen&)> seen, std::function<void(bool)> end)
{
    const std::shared_ptr<Query> query(new Query(core, std::move(filter), details));
    query->seen_ = std::move(seen);
    query->end_ = std::move(end);
    if (!query->filter_.site.empty())
        for (const char* transport : {"smtp", "relay", "lmtp"}) query->sites_.push_back(destination_hash(destination_key(transport, query->filter_.site)));
    query->gather(queue::is_queue_id(after) ? id_number(after) : 0);
    query->next();
}

// What memory alone can tell apart.
bool Query::may_mean(const Entry& e) const
{
    if (e.stage == Stage::leaving) return false;
    if (!filter_.state.empty() && filter_.state != stage_name(e)) return false;
    if (!sites_.empty() && std::find(sites_.begin(), sites_.end(), e.site) == sites_.end()) return false;
    if (filter_.older_than_s <= 0 && filter_.younger_than_s <= 0) return true;
    const int64_t age_s = age_us(e, core_.now()) / us_per_second;
    if (filter_.older_than_s > 0 && age_s < filter_.older_than_s) return false;
    return filter_.younger_than_s <= 0 || age_s <= filter_.younger_than_s;
}

// A listing is asked for page by page, so of a long queue only the next share is put in order; what acts on mails takes all
// that there are now, and none that come meanwhile.
void Query::gather(uint64_t beyond)
{
    ids_.clear();
    at_ = 0;
    const auto take_if = [&](const Entry& e) {
        if (e.id > beyond && may_mean(e)) ids_.push_back(e.id);
    };
    if (filter_.ids.empty()) {
        core_.scheduler().catalog().each(take_if);
    } else {
        for (const std::string& id : filter_.ids)
            if (queue::is_queue_id(id))
                if (const Entry* e = core_.scheduler().catalog().find(id_number(id))) take_if(*e);
    }
    more_ = details_ && ids_.size() > share_size;
    if (more_) {
        std::nth_element(ids_.begin(), ids_.begin() + share_size, ids_.end());
        ids_.resize(share_size);
    }
    std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
}

void Query::next()
{
    auto batch = std::make_shared<std::vector<Candidate>>();
    for (; at_ < ids_.size() && batch->size() < batch_size; ++at_) {
        const Entry* e = core_.scheduler().catalog().find(ids_[at_]);
        if (!e) continue;
        batch->emplace_back();
        batch->back().id = e->id;
        batch->back().place = e->place();
    }
    read(std::move(batch), 0);
}

void Query::read(std::shared_ptr<std::vector<Candidate>> batch, int tries)
{
    if (!details_ && filter_.sender.empty() && filter_.recipient.empty() && filter_.reason.empty()) {
        core_.pool().run([] {}, [self = shared_from_this(), batch] { self->take(*batch); });
        return;
    }
    auto work = [batch, &spool = core_.spool()] {
        for (Candidate& c : *batch) {
            const auto fd = c.read ? Result<Fd>(fail("")) : spool.open_mail(id_text(c.id), c.place);
            if (!fd) continue;
            auto file = queue::read_mail_file(spool.disk(), *fd, false);
            if (!file) continue;
            c.file = std::move(*file);
            c.read = true;
        }
    };
    core_.pool().run(std::move(work), [self = shared_from_this(), batch, tries] {
        if (tries < tries_while_moving && self->moved(*batch)) return self->read(batch, tries + 1);
        self->take(*batch);
    });
}

// A mail that was on its way from one directory to another when we wanted to read it would look as if it were nobody's.
bool Query::moved(std::vector<Candidate>& batch) const
{
    bool any = false;
    for (Candidate& c : batch) {
        Entry* const entry = c.read ? nullptr : core_.scheduler().catalog().find(c.id);
        if (!entry || entry->stage == Stage::leaving || core_.scheduler().active(c.id)) continue;
        c.place = entry->place();
        any = true;
    }
    return any;
}

void Query::take(std::vector<Candidate>& batch)
{
    for (Candidate& c : batch) {
        Entry* const entry = core_.scheduler().catalog().find(c.id);
        if (!entry || entry->stage == Stage::leaving) continue;     // gone since
        Seen seen;
        describe(*entry, c, seen);
        if (!means(seen)) continue;
        if (!seen_(seen)) return end_(true);
    }
    if (at_ == ids_.size() && more_) gather(ids_.back());
    if (at_ < ids_.size()) return next();
    end_(false);
}

void Query::describe(Entry& e, const Candidate& c, Seen& seen) const
{
    ipc::Listed& out = seen.listed;
    out.id = id_text(e.id);
    out.state = stage_name(e);
    out.arrival_us = e.arrival_us;
    out.attempts = e.attempts;
    if (e.stage == Stage::timed) out.next_us = core_.now().wall_us + (e.next_us - core_.now().mono_us);
    const Reasons& reasons = core_.scheduler().catalog().reasons();
    const Mail* mail = core_.scheduler().active(e.id);
    std::unique_ptr<Mail> own;
    if (!mail && c.read) {
        own = std::make_unique<Mail>(e.id, Fd(), c.file.layout, c.file.envelope);
        if (e.history) own->restore(*e.history, reasons, {});
        mail = own.get();
    }
    if (!mail) return;
    seen.uid = mail->envelope.uid;
    out.arrival_us = mail->envelope.arrival_us > 0 ? mail->envelope.arrival_us : e.arrival_us;
    out.size = mail->layout.content_size();
    out.sender = mail->sender;
    for (uint32_t i = 0; i < mail->recipients.size(); ++i) {
        const MailRecipient& r = mail->recipients[i];
        if (r.progress == Progress::finished) continue;
        std::string reason = r.progress == Progress::deferred ? r.text : reason_text(reasons.text(e.reason));
        if (e.history)
            for (const auto& w : e.history->waits)
                if (w.index == i) reason = reason_text(reasons.text(w.reason));
        out.recipients.push_back({r.address, std::move(reason)});
    }
}

bool Query::means(const Seen& seen) const
{
    const ipc::Listed& l = seen.listed;
    if (!filter_.sender.empty() && !address_matches(filter_.sender, l.sender)) return false;
    const auto any = [&](auto&& test) { return std::any_of(l.recipients.begin(), l.recipients.end(), test); };
    if (!filter_.recipient.empty() && !any([&](const auto& r) { return address_matches(filter_.recipient, r.address); })) return false;
    return filter_.reason.empty() || any([&](const auto& r) { return contains(r.reason, filter_.reason); });
}

}  // namespace veredus::qmgr
