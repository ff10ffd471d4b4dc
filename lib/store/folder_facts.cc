// One look at a mail serves every later question.
#include "lib/store/folder_facts.h"

#include <cerrno>

#include "lib/base/text.h"
#include "lib/store/beneath.h"

namespace veredus::store {

namespace {

constexpr std::size_t block = 256 * 1024;

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

Result<const Facts*> FolderFacts::get(Folder& folder, uint32_t uid)
{
    if (const Facts* found = known(folder.table(), uid)) return found;
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
    facts_ = Facts();
    changed();
    if (cache_) (void)cache_->flush();
}

}  // namespace veredus::store
