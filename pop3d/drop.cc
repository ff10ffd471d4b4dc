#include "pop3d/drop.h"

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/maildir_flags.h"
#include "lib/tls/digest.h"

namespace veredus::pop3d {

namespace {
constexpr std::size_t head_size = 65536; // of a message, in which X-UIDL is looked for
}

Result<std::unique_ptr<Drop>> Drop::open(store::Folder& inbox, const Names& names, const std::string& deleted_flag)
{
    std::unique_ptr<Drop> drop(new Drop(inbox, names, deleted_flag));
    (void)TRY(inbox.refresh());
    {
        const store::UidTable& table = inbox.table();
        drop->uidvalidity_ = table.uidvalidity();
        drop->mails_.reserve(table.messages().size());
        for (const store::Message& m : table.messages())
            if (!drop->is_hidden(m)) drop->mails_.push_back({m.uid, 0, {}, false});
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

std::string Drop::uid(std::size_t number)
{
    if (!std::exchange(named_, true)) name_all();
    return mails_[number - 1].name;
}

void Drop::name_all()
{
    make_names();
    if (!names_.noted.empty()) take_kept();
    if (names_.reuse) take_over_names();
}

// Empty: it cannot be read now, or another session has removed it.
std::string Drop::head_of(uint32_t uid)
{
    const auto reader = inbox_.open(uid);
    if (!reader) return {};
    auto head = (*reader)->read(0, head_size);
    return head ? std::move(*head) : std::string();
}

// UIDs are unique: of doubles the oldest has the name.
void Drop::make_names()
{
    const bool sums = names_.format.needs_header(names_.mbox), doubles = !names_.format.unique();
    std::unordered_set<std::string> taken;
    for (Mail& mail : mails_) {
        std::string guid, sum;
        if (sums) sum = tls::md5_hex(pop3::summed_header(head_of(mail.uid)));
        const store::UidTable& table = inbox_.table();
        // Another session may have seen the index made anew: UIDs mean other messages then.
        const store::Message* m = names_.mbox || table.uidvalidity() != uidvalidity_ ? nullptr : table.find(mail.uid);
        const std::string_view file = m ? table.name(*m) : std::string_view();
        if (const auto at = m && !names_.noted.empty() ? names_.noted.find(std::string(store::maildir_base(file))) : names_.noted.end(); at != names_.noted.end())
            guid = at->second.guid;
        mail.name = names_.format.text({mail.uid, uidvalidity_, file, guid, sum});
        if (doubles && (mail.name.empty() || !taken.insert(mail.name).second)) taken.insert(mail.name = pop3::told_apart(mail.name, mail.uid));
    }
}

// One that stands twice is the first message's.
void Drop::take_kept()
{
    const store::UidTable& table = inbox_.table();
    if (table.uidvalidity() != uidvalidity_) return;
    std::unordered_set<std::string> taken;
    for (const Mail& mail : mails_) taken.insert(mail.name);
    for (Mail& mail : mails_) {
        const store::Message* m = table.find(mail.uid);
        const auto at = m ? names_.noted.find(std::string(store::maildir_base(table.name(*m)))) : names_.noted.end();
        if (at == names_.noted.end() || at->second.uidl.empty() || !taken.insert(at->second.uidl).second) continue;
        mail.name = at->second.uidl;
        mail.kept = true;
    }
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
        auto noted = pop3::noted_uidl(head_of(mail.uid));
        if (!noted || names_.format.could_make(*noted, uidvalidity_)) continue;
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
    if (!deleted_flag_.empty()) return hide(uids);
    const store::Expunged done = TRY(inbox_.expunge(uids));
    const std::vector<uint32_t>& gone = done.gone;
    if (!done.trouble.text.empty()) log::warning("not removed, or not noted: ", printable(done.trouble.text));
    std::erase_if(seen_, [&](uint32_t uid) { return std::binary_search(gone.begin(), gone.end(), uid); });
    // One that another session removed meanwhile is as gone as he wanted it.
    return static_cast<std::size_t>(std::count_if(uids.begin(), uids.end(), [&](uint32_t uid) {
        return !std::binary_search(gone.begin(), gone.end(), uid) && inbox_.table().find(uid);
    }));
}

bool Drop::is_hidden(const store::Message& m) const
{
    const auto bit = deleted_flag_.empty() ? std::nullopt : inbox_.table().keyword_bit(deleted_flag_);
    return bit && (m.keywords >> *bit & 1) != 0;
}

// IMAP clients see them as before.
Result<std::size_t> Drop::hide(const std::vector<uint32_t>& uids)
{
    store::FlagChange change;
    change.how = store::FlagChange::How::add;
    change.keywords = {deleted_flag_};
    const store::FlagsChanged done = TRY(inbox_.change_flags(uids, change));
    if (done.keyword_refused) log::warning("not hidden: the inbox has no room for the keyword ", printable(deleted_flag_));
    return static_cast<std::size_t>(std::count_if(uids.begin(), uids.end(), [&](uint32_t uid) {
        const store::Message* m = inbox_.table().find(uid);
        return m && !is_hidden(*m);
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
