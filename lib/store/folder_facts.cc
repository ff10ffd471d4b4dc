// One look at a mail serves every later question.
#include "lib/store/folder_facts.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/beneath.h"

namespace veredus::store {

namespace {

constexpr std::size_t block = 256 * 1024;
constexpr uint64_t largest_ahead = 512 * 1024;      // what is larger is read when it is asked for
constexpr std::size_t largest_facts = 64 * 1024;    // likewise, of mails made of very many parts
constexpr std::size_t least_ahead = 4, most_ahead = 64;
constexpr unsigned threads = 4;                     // they wait for the disk, too: more than there are processors may be of use
constexpr int64_t long_us = 20'000;                 // others of the user wait meanwhile

}  // namespace

Result<void> read_facts(const WireReader& reader, FactsMaker& maker)
{
    for (uint64_t at = 0; at < reader.stored_size();) {
        const std::string piece = TRY(reader.stored(at, block));
        if (piece.empty()) break;
        maker.feed(piece);
        at += piece.size();
    }
    maker.finish();
    return {};
}

FolderFacts::FolderFacts(disk::Directory index, std::string cache_name) : index_(std::move(index)), name_(std::move(cache_name)) {}

FolderFacts::~FolderFacts() { flush(); }

Cache* FolderFacts::cache(const UidTable& table)
{
    if (abandoned_) return nullptr;
    const uint32_t validity = table.uidvalidity();
    if (cache_ && cache_->uidvalidity() == validity) return cache_.get();
    if (useless_ && useless_validity_ == validity) return nullptr;
    cache_.reset();
    changed();
    auto dir = open_beneath(index_, ".");
    auto opened = dir ? Cache::open(disk::posix_disk(), std::move(*dir), name_, validity) : Result<std::unique_ptr<Cache>>(unexpected(dir.error()));
    useless_ = !opened;
    useless_validity_ = validity;
    if (!opened) return nullptr;
    cache_ = std::move(*opened);
    cache_->forget_if([&](uint32_t uid) { return uid < table.uidnext() && !table.find(uid); });
    return cache_.get();
}

const Facts* FolderFacts::known(const UidTable& table, uint32_t uid)
{
    const Message* m = table.find(uid);
    if (!m || uid == missed_) return nullptr;
    Cache* kept = cache(table);
    if (!kept) return nullptr;
    if (uid == answered_ && m->id == answered_id_) return &facts_;
    changed();
    const auto found = kept->get(uid, m->id);
    if (!found) return nullptr;
    facts_ = *found;
    if (m->received != unknown_time) facts_.received = m->received;
    answered_ = uid;
    answered_id_ = m->id;
    return &facts_;
}

struct FolderFacts::Ahead {
    const Message* message = nullptr;
    std::optional<Facts> facts;                     // into `text`
    std::string text;
    int64_t modified = unknown_time;

    // What they were made with is far larger, and goes.
    void keep(const Facts& made)
    {
        const std::size_t size = made.envelope.size() + made.body.size() + made.body_structure.size() + made.fields.size() + made.preview.value_or("").size();
        if (size > largest_facts) return;
        text.reserve(size);
        const auto own = [&](std::string_view view) {
            const std::size_t at = text.size();
            text += view;
            return std::string_view(text).substr(at);
        };
        facts = made;
        facts->envelope = own(made.envelope);
        facts->body = own(made.body);
        facts->body_structure = own(made.body_structure);
        facts->fields = own(made.fields);
        if (made.preview) facts->preview = own(*made.preview);
    }
};

void FolderFacts::expect_after(const UidTable& table, uint32_t uid)
{
    const auto& all = table.messages();
    const auto next = std::upper_bound(all.begin(), all.end(), uid, [](uint32_t u, const Message& m) { return u < m.uid; });
    expected_ = next == all.end() ? 0 : next->uid;
}

// This message and those behind it whose facts nobody has made yet. Whoever goes through a folder asks for them next. Without previews,
// which cost as much again, as long as no client asks for one. What fails here is told when it is asked for.
void FolderFacts::read_ahead(const UidTable& table, uint32_t uid)
{
    Cache* kept = cache(table);
    const Message* first = table.find(uid);
    if (!kept || !first) return;
    ahead_ = std::clamp(ahead_ * 2, least_ahead, most_ahead);
    std::vector<Ahead> mails;
    const Message* const end = table.messages().data() + table.messages().size();
    for (const Message* m = first; m != end && mails.size() < ahead_ && m - first < 4 * static_cast<std::ptrdiff_t>(ahead_); ++m) {
        if (m->gone || kept->has(m->uid)) continue;
        mails.emplace_back().message = m;
    }
    const auto preview = wants_previews_ ? FactsMaker::Preview::yes : FactsMaker::Preview::no;
    const auto read = [&](std::size_t i) -> Result<void> {
        Ahead& mail = mails[i];
        const auto reader = peek_(*mail.message, mail.modified);
        if (!reader || reader->stored_size() > largest_ahead) return {};
        FactsMaker maker(preview);
        if (read_facts(*reader, maker)) mail.keep(maker.facts());
        return {};
    };
    if (!threads_) threads_ = std::make_unique<disk::ParallelSync>(threads);
    const int64_t begun = system_clock().mono_us();
    (void)threads_->run(mails.size(), read);
    if (system_clock().mono_us() - begun > long_us) ahead_ /= 4;
    for (Ahead& mail : mails) {
        if (!mail.facts) continue;
        mail.facts->received = mail.message->received != unknown_time ? mail.message->received : mail.modified;
        put(table, mail.message->uid, *mail.facts);
    }
    if (!mails.empty() && mails.front().facts && !kept->has(mails.front().message->uid)) peek_ = nullptr;     // it takes no more
    expect_after(table, mails.empty() ? uid : mails.back().message->uid);
}

Result<const Facts*> FolderFacts::get(Folder& folder, uint32_t uid)
{
    if (const Facts* found = known(folder.table(), uid)) return found;
    if (peek_ && uid == expected_) {
        read_ahead(folder.table(), uid);
        if (const Facts* found = known(folder.table(), uid)) return found;
    } else {
        ahead_ = 0;
    }
    expect_after(folder.table(), uid);
    const auto reader = TRY(folder.open(uid));
    auto maker = std::make_unique<FactsMaker>();
    TRY(read_facts(*reader, *maker));
    Facts facts = maker->facts();
    missed_ = uid;
    const auto received = folder.received(uid);
    changed();
    facts.received = TRY(received);
    put(folder.table(), uid, facts);
    maker_ = std::move(maker);
    facts_ = facts;
    if (const Message* m = folder.table().find(uid)) answered_ = uid, answered_id_ = m->id;
    return static_cast<const Facts*>(&facts_);
}

void FolderFacts::put(const UidTable& table, uint32_t uid, const Facts& facts)
{
    const Message* m = table.find(uid);
    Cache* kept = m ? cache(table) : nullptr;
    if (!kept) return;
    changed();
    kept->put(uid, m->id, facts);
    if (kept->wants_flush()) (void)kept->flush();
}

void FolderFacts::keep_preview(Folder& folder, uint32_t uid, std::string_view preview)
{
    const Message* m = folder.table().find(uid);
    Cache* kept = m ? cache(folder.table()) : nullptr;
    wants_previews_ = true;
    if (!kept) return;
    changed();
    kept->put_preview(uid, m->id, preview);
    if (kept->wants_flush()) (void)kept->flush();
}

void FolderFacts::forget(const std::vector<uint32_t>& uids)
{
    if (!cache_) return;
    changed();
    for (const uint32_t uid : uids) cache_->forget(uid);
}

void FolderFacts::abandon()
{
    abandoned_ = true;
    cache_.reset();
    changed();
}

void FolderFacts::flush()
{
    maker_.reset();
    threads_.reset();
    facts_ = Facts();
    changed();
    if (cache_) (void)cache_->flush();
}

}  // namespace veredus::store
