#include "qmgr/query.h"

#include <algorithm>
#include <atomic>

#include "lib/base/text.h"

namespace veredus::qmgr {

namespace {
// Files that are read at once: those of a queue that was not listed before, from a cold disk, each wait for as many reads as the disk does
// at the same time.
constexpr std::size_t batch_size = 300;
constexpr std::size_t envelopes_limit = 1 << 20;      // bytes, of files that are read at once
constexpr int tries_while_moving = 5;
constexpr unsigned batches_at_once = 10;
// IDs of a listing that are put in order at once: more than a page holds, and of a very long queue so many that it is gone through few times.
constexpr std::size_t share_size = 2000, shares = 16;

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

void Query::run(Core& core, ipc::Filter filter, const std::string& after, bool details, std::shared_ptr<Share> share,
                std::function<bool(Seen&)> seen, std::function<void(bool)> end)
{
    if (!share) share = std::make_shared<Share>();
    const std::shared_ptr<Query> query(new Query(core, std::move(filter), details, std::move(share)));
    query->seen_ = std::move(seen);
    query->end_ = std::move(end);
    if (!query->filter_.site.empty())
        for (const char* transport : {"smtp", "relay", "lmtp"}) query->sites_.push_back(destination_hash(destination_key(transport, query->filter_.site)));
    query->go_on_after(queue::is_queue_id(after) ? id_number(after) : 0);
    query->next();
}

// What memory alone can tell apart.
bool Query::may_mean(const Entry& e) const
{
    if (e.stage == Stage::leaving) return false;
    if (!filter_.state.empty() && filter_.state != stage_name(e)) return false;
    if (!sites_.empty() && std::find(sites_.begin(), sites_.end(), e.site) == sites_.end()) return false;
    if (filter_.older_than_s <= 0 && filter_.younger_than_s <= 0) return true;
    // By the date that is shown; the age by which a mail is returned begins anew when it is requeued.
    const int64_t age_s = std::max<int64_t>(0, core_.now().wall_us - e.arrival_us) / us_per_second;
    if (filter_.older_than_s > 0 && age_s < filter_.older_than_s) return false;
    return filter_.younger_than_s <= 0 || age_s <= filter_.younger_than_s;
}

void Query::go_on_after(uint64_t id)
{
    std::string filter = ipc::ListRequest{filter_, ""}.encode();
    const auto& ids = share_->ids;
    const auto last = std::lower_bound(ids.begin(), ids.end(), id);
    const bool known = id != 0 && share_->filter == filter && last != ids.end() && *last == id;
    share_->filter = std::move(filter);
    if (!known) return gather(id);
    at_ = static_cast<std::size_t>(last - ids.begin()) + 1;
}

// A listing is asked for page by page, so of a long queue only the next share is put in order; what acts on mails takes all
// that there are now, and none that come meanwhile.
void Query::gather(uint64_t beyond)
{
    std::vector<uint64_t>& ids = share_->ids;
    Catalog& catalog = core_.scheduler().catalog();
    ids.clear();
    at_ = 0;
    const auto take_if = [&](const Entry& e) {
        if (e.id > beyond && may_mean(e)) ids.push_back(e.id);
    };
    if (filter_.ids.empty()) {
        catalog.each(take_if);
    } else {
        for (const std::string& id : filter_.ids)
            if (queue::is_queue_id(id))
                if (const Entry* e = catalog.find(id_number(id))) take_if(*e);
    }
    const std::size_t most = std::max(share_size, catalog.size() / shares);
    share_->more = details_ && ids.size() > most;
    if (share_->more) {
        std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(most), ids.end());
        ids.resize(most);
        ids.shrink_to_fit();
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// What was summarized is read from one file, the rest each from its own, by threads.
void Query::next()
{
    for (unsigned batches = 0; batches < batches_at_once; ++batches) {
        auto batch = next_batch();
        if (needs_files() && !batch->empty()) return read(std::move(batch), 0);
        if (!take(*batch)) return;
    }
    core_.pool().run([] {}, [self = shared_from_this()] { self->next(); });    // others have their turn
}

std::shared_ptr<std::vector<Query::Candidate>> Query::next_batch()
{
    auto batch = std::make_shared<std::vector<Candidate>>();
    const std::vector<uint64_t>& ids = share_->ids;
    for (; at_ < ids.size() && batch->size() < batch_size; ++at_) {
        const Entry* e = core_.scheduler().catalog().find(ids[at_]);
        if (!e) continue;
        Candidate& c = batch->emplace_back();
        c.id = e->id;
        c.place = e->place();
        c.summary_at = e->summary_at;
    }
    return batch;
}

bool Query::needs_files() const { return details_ || !filter_.sender.empty() || !filter_.recipient.empty() || !filter_.reason.empty(); }

void Query::read(std::shared_ptr<std::vector<Candidate>> batch, int tries)
{
    const auto files = static_cast<std::size_t>(std::count_if(batch->begin(), batch->end(), [](const Candidate& c) { return c.summary_at == 0; }));
    const std::size_t parts = std::clamp<std::size_t>(files, 1, Core::reader_threads);
    const auto left = std::make_shared<std::size_t>(parts);      // of the loop's thread
    const auto bytes = std::make_shared<std::atomic<std::size_t>>(0);
    for (std::size_t part = 0; part < parts; ++part) {
        auto work = [batch, part, parts, bytes, &spool = core_.spool(), &summaries = core_.summaries()] {
            for (std::size_t i = part; i < batch->size(); i += parts) {
                Candidate& c = (*batch)[i];
                c.later = !c.read && i > 0 && *bytes > envelopes_limit;
                if (c.read || c.later) continue;
                read_one(c, spool, summaries);
                *bytes += c.file.layout.envelope_size;
            }
        };
        core_.readers().run(std::move(work), [self = shared_from_this(), batch, tries, left] {
            if (--*left > 0) return;
            if (tries < tries_while_moving && self->moved(*batch)) return self->read(batch, tries + 1);
            self->summarize(*batch);
            if (self->take(*batch)) self->next();
        });
    }
}

void Query::read_one(Candidate& c, queue::Spool& spool, const Summaries& summaries)
{
    if (c.summary_at != 0) {
        if (const Summary summary = summaries.read(c.id, c.summary_at)) {
            c.file = summary.mail();
            c.read = c.summarized = true;
            return;
        }
    }
    const auto fd = spool.open_mail(id_text(c.id), c.place);
    if (!fd) return;
    auto file = queue::read_mail_file(spool.disk(), *fd, false);
    if (!file) return;
    c.file = std::move(*file);
    c.read = true;
}

// A mail that was on its way from one directory to another when we wanted to read it would look as if it were nobody's.
bool Query::moved(std::vector<Candidate>& batch) const
{
    bool any = false;
    for (Candidate& c : batch) {
        Entry* const entry = c.read || c.later ? nullptr : core_.scheduler().catalog().find(c.id);
        if (!entry || entry->stage == Stage::leaving || core_.scheduler().active(c.id)) continue;
        c.place = entry->place();
        any = true;
    }
    return any;
}

bool Query::take(std::vector<Candidate>& batch)
{
    Catalog& catalog = core_.scheduler().catalog();
    for (Candidate& c : batch) {
        if (c.later) {
            at_ = static_cast<std::size_t>(std::lower_bound(share_->ids.begin(), share_->ids.end(), c.id) - share_->ids.begin());
            return true;
        }
        Entry* const entry = catalog.find(c.id);
        if (!entry || entry->stage == Stage::leaving) continue;     // gone since
        Seen seen;
        describe(*entry, c, seen);
        if (!means(seen)) continue;
        if (seen_(seen)) continue;
        end_(true);
        return false;
    }
    if (at_ == share_->ids.size() && share_->more) gather(share_->ids.back());
    if (at_ < share_->ids.size()) return true;
    end_(false);
    return false;
}

// What was read from a mail file, also of what has no place on this page: nobody reads it again.
void Query::summarize(const std::vector<Candidate>& batch)
{
    Catalog& catalog = core_.scheduler().catalog();
    for (const Candidate& c : batch) {
        Entry* const entry = c.read && !c.summarized ? catalog.find(c.id) : nullptr;
        if (!entry) continue;
        if (entry->summary_at == c.summary_at) entry->summary_at = 0;      // there was nothing, or nothing any more
        catalog.summarize(*entry, c.file.layout, c.file.envelope);
    }
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
