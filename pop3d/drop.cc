#include "pop3d/drop.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"

namespace veredus::pop3d {

Result<std::unique_ptr<Drop>> Drop::open(store::Folder& inbox, const pop3::UidlFormat& format)
{
    std::unique_ptr<Drop> drop(new Drop(inbox));
    (void)TRY(inbox.refresh());
    {
        const store::UidTable& table = inbox.table();
        drop->mails_.reserve(table.messages().size());
        for (const store::Message& m : table.messages())
            drop->mails_.push_back({m.uid, 0, format.text(m.uid, table.uidvalidity(), table.name(m))});
    }
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

Result<std::string> Drop::read(std::size_t number, uint64_t offset, std::size_t most)
{
    if (reading_ != number) {
        reading_ = 0;
        reader_ = TRY(inbox_.open(mails_[number - 1].uid));
        reading_ = number;
    }
    return reader_->read(offset, most);
}

Result<void> Drop::remove(const std::vector<std::size_t>& numbers)
{
    std::vector<uint32_t> uids;
    for (const std::size_t number : numbers) uids.push_back(mails_[number - 1].uid);
    reader_.reset();
    reading_ = 0;
    (void)TRY(inbox_.expunge(uids));
    std::erase_if(seen_, [&](uint32_t uid) { return std::find(uids.begin(), uids.end(), uid) != uids.end(); });
    return {};
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
