#include "pop3d/drop.h"

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/maildir_flags.h"

namespace veredus::pop3d {

namespace {
constexpr std::size_t head_size = 65536; // of a message, in which X-UIDL is looked for
}

Result<std::unique_ptr<Drop>> Drop::open(store::Folder& inbox, const pop3::UidlFormat& format, const Kept& kept,
                                         bool reuse)
{
    std::unique_ptr<Drop> drop(new Drop(inbox, format, reuse));
    (void)TRY(inbox.refresh());
    {
        const store::UidTable& table = inbox.table();
        drop->mails_.reserve(table.messages().size());
        for (const store::Message& m : table.messages())
            drop->mails_.push_back({m.uid, 0, format.text(m.uid, table.uidvalidity(), table.name(m)), false});
    }
    if (!kept.empty()) drop->take_kept(kept);
    bool gone = false;
    for (Mail& mail : drop->mails_) {
        const auto size = inbox.size(mail.uid);
        if (size) {
            mail.size = *size;
            continue;
        }
        if (size.error().code != ENOENT) return unexpected(size.error());
        mail.uid = 0; // another program removed it just now
        gone = true;
    }
    if (gone) std::erase_if(drop->mails_, [](const Mail& mail) { return mail.uid == 0; });
    return drop;
}

// UIDs are unique: one that stands twice is the first message's.
void Drop::take_kept(const Kept& kept)
{
    const store::UidTable& table = inbox_.table();
    std::unordered_set<std::string> taken;
    for (const Mail& mail : mails_) taken.insert(mail.name);
    for (Mail& mail : mails_) {
        const store::Message* m = table.find(mail.uid);
        const auto at = m ? kept.find(std::string(store::maildir_base(table.name(*m)))) : kept.end();
        if (at == kept.end() || !taken.insert(at->second).second) continue;
        mail.name = at->second;
        mail.kept = true;
    }
}

std::string Drop::uid(std::size_t number)
{
    if (std::exchange(reuse_, false)) take_over_names();
    return mails_[number - 1].name;
}

// Asked for UIDs, we read the header of each message. A name that another message has, would have or will have is not taken
// over: UIDs are unique, and whoever writes to us could hide a message behind another one. Of doubles the oldest has the name,
// so that no later mail can take it away.
void Drop::take_over_names()
{
    std::unordered_set<std::string> taken;
    for (const Mail& mail : mails_) taken.insert(mail.name);
    for (Mail& mail : mails_) {
        if (mail.kept) continue;
        const auto reader = inbox_.open(mail.uid);
        if (!reader) continue;
        const auto head = (*reader)->read(0, head_size);
        if (!head) continue;
        auto noted = pop3::noted_uidl(*head);
        if (!noted || format_.could_make(*noted, inbox_.table().uidvalidity())) continue;
        if (taken.insert(*noted).second) mail.name = std::move(*noted);
    }
}

Result<void> Drop::prepare(std::size_t number)
{
    if (reading_ == number) return {};
    reading_ = 0;
    reader_ = TRY(inbox_.open(mails_[number - 1].uid));
    reading_ = number;
    return {};
}

Result<std::string> Drop::read(std::size_t number, uint64_t offset, std::size_t most)
{
    TRY(prepare(number));
    return reader_->read(offset, most);
}

Result<std::size_t> Drop::remove(const std::vector<std::size_t>& numbers)
{
    std::vector<uint32_t> uids;
    for (const std::size_t number : numbers) uids.push_back(mails_[number - 1].uid);
    reader_.reset();
    reading_ = 0;
    std::sort(uids.begin(), uids.end());
    const store::Expunged done = TRY(inbox_.expunge(uids));
    const std::vector<uint32_t>& gone = done.gone;
    if (!done.trouble.text.empty()) log::warning("not removed, or not noted: ", printable(done.trouble.text));
    std::erase_if(seen_, [&](uint32_t uid) { return std::binary_search(gone.begin(), gone.end(), uid); });
    // One that another session removed meanwhile is as gone as he wanted it.
    return static_cast<std::size_t>(std::count_if(uids.begin(), uids.end(), [&](uint32_t uid) {
        return !std::binary_search(gone.begin(), gone.end(), uid) && inbox_.table().find(uid);
    }));
}

Result<void> Drop::mark_seen()
{
    if (seen_.empty()) return {};
    std::sort(seen_.begin(), seen_.end());
    seen_.erase(std::unique(seen_.begin(), seen_.end()), seen_.end());
    store::FlagChange change;
    change.how = store::FlagChange::How::add;
    change.flags = store::seen;
    const auto uids = std::exchange(seen_, {});
    (void)TRY(inbox_.change_flags(uids, change));
    return {};
}

} // namespace veredus::pop3d
