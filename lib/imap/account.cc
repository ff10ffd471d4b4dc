// Folders shared by the sessions of one user.
#include "lib/imap/account.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/pieces.h"

namespace veredus::imap {

OpenFolder::OpenFolder(std::string name, std::unique_ptr<store::Folder> folder)
    : name_(std::move(name)), folder_(std::move(folder)), mailbox_id_(table().mailbox_id()), uidvalidity_(table().uidvalidity())
{
    // What lies in new/ no IMAP session has seen.
    recent_above_ = table().uidnext() - 1;
    for (const store::Message& m : table().messages())
        if (m.fresh) {
            recent_above_ = m.uid - 1;
            break;
        }
    settle();
}

Result<bool> OpenFolder::refresh()
{
    auto done = use([](store::Folder& f) { return f.refresh(); });
    if (!done && done.error().code == ENOENT) lose();
    return done;
}

void OpenFolder::lose()
{
    lost_ = removed_ = true;
    folder_->abandon();
}

void OpenFolder::settle()
{
    const store::UidTable& now = table();
    if (now.uidvalidity() != uidvalidity_ || now.mailbox_id() != mailbox_id_) {
        lost_ = true;
        keys_.reset();
    }
    if (now.highest_modseq() == noted_modseq_) return;
    const uint64_t before = std::exchange(noted_modseq_, now.highest_modseq());
    std::vector<uint32_t> gone;
    std::size_t kept = 0;
    auto m = now.messages().begin();
    const auto end = now.messages().end();
    for (const uint32_t uid : known_) {
        while (m != end && m->uid < uid) ++m;
        if (m != end && m->uid == uid)
            known_[kept++] = uid;
        else
            gone.push_back(uid);
    }
    known_.resize(kept);
    const uint32_t last = known_.empty() ? 0 : known_.back();
    for (m = std::upper_bound(now.messages().begin(), end, last,
                              [](uint32_t u, const store::Message&a) { return u < a.uid; });
         m != end; ++m)
        known_.push_back(m->uid);
    if (gone.empty()) return;
    for (View* view : views_) view->vanished(gone, before);
}

void OpenFolder::append_joined()
{
    const auto all = std::exchange(joining_, {});
    std::vector<std::shared_ptr<Joining>> together;
    for (const auto& one : all) {
        // A keyword for which there is no room concerns its own APPEND only.
        const bool keywords = std::any_of(one->messages.begin(), one->messages.end(), [](const auto& m) { return !m.keywords.empty(); });
        if (keywords)
            append_all({one});
        else
            together.push_back(one);
    }
    append_all(together);
}

void OpenFolder::append_all(const std::vector<std::shared_ptr<Joining>>& all)
{
    // What fails of one alone is no matter of the others.
    std::vector<std::shared_ptr<Joining>> ready;
    for (const auto& one : all) {
        auto prepared = all.size() == 1 ? Result<void>() : use([&](store::Folder& f) { return f.prepare(one->messages); });
        if (prepared)
            ready.push_back(one);
        else
            one->done.emplace(unexpected(std::move(prepared).error()));
    }
    if (ready.empty()) return;
    std::vector<store::Incoming> mails;
    for (const auto& one : ready)
        for (auto& mail : one->messages) mails.push_back(std::move(mail));
    const auto uids = use([&](store::Folder& f) { return f.append(std::move(mails)); });
    std::size_t at = 0;
    for (const auto& one : ready) {
        if (!uids) {
            one->done.emplace(unexpected(uids.error()));
            continue;
        }
        const auto first = uids->begin() + static_cast<std::ptrdiff_t>(at);
        at += one->messages.size();
        one->done.emplace(std::vector<uint32_t>(first, uids->begin() + static_cast<std::ptrdiff_t>(at)));
    }
}

std::shared_ptr<MessageKeys> OpenFolder::keys()
{
    constexpr std::size_t most = 64u << 20;
    if (!keys_ || keys_->memory() > most) keys_ = std::make_shared<MessageKeys>();
    return keys_;
}

void OpenFolder::forget_keys()
{
    constexpr std::size_t small = 256u << 10; // some 1,500 messages
    if (keys_ && keys_->memory() > small) keys_.reset();
}

void OpenFolder::renamed(std::string name, std::unique_ptr<store::Folder> folder)
{
    keys_.reset();
    name_ = std::move(name);
    for (View* view : views_) view->rebind(folder->table());
    folder_->abandon(); // nothing of it goes where the old name was
    folder_ = std::move(folder);
    ++incarnation_;
    noted_modseq_ = 0;
    settle();
}

store::UidRange OpenFolder::take_recent(bool peek)
{
    const uint32_t last = table().messages().empty() ? 0 : table().messages().back().uid;
    if (last <= recent_above_) return {};
    const store::UidRange out{recent_above_ + 1, last};
    if (!peek) recent_above_ = last;
    return out;
}

// --- Account

std::string Account::canonical(std::string_view name)
{
    return iequals(name, "INBOX") ? "INBOX" : std::string(name);
}

Result<std::shared_ptr<OpenFolder>> Account::open(std::string_view given, Look look)
{
    const std::string name = canonical(given);
    if (const auto found = folders_.find(name); found != folders_.end()) {
        OpenFolder& folder = *found->second;
        if (!folder.lost() && !folder.is_still_in(*mailbox_)) folder.lose();
        if (!folder.lost() && look == Look::later) return std::shared_ptr<OpenFolder>(found->second);
        if (!folder.lost()) {
            auto done = folder.refresh();
            if (done && !folder.lost()) return std::shared_ptr<OpenFolder>(found->second);
            if (!done && done.error().code != ENOENT) return unexpected(std::move(done).error());
        }
        folders_.erase(found);
    }
    close_unused(most_unused - 1);
    auto opened = mailbox_->open(name);
    if (!opened) return unexpected(std::move(opened).error());
    if ((*opened)->healed()) log::warning("mailbox ", printable(name), ": its index was damaged and is mended");
    auto folder = std::make_shared<OpenFolder>(name, std::move(*opened));
    folders_[name] = folder;
    return folder;
}

void Account::close_unused(std::size_t keep)
{
    std::size_t unused = 0;
    for (const auto& [name, folder] : folders_) unused += folder->visitors() == 0 && folder.use_count() == 1;
    for (auto i = folders_.begin(); i != folders_.end() && unused > keep;) {
        if (i->second->visitors() > 0 || i->second.use_count() > 1) {
            ++i;
            continue;
        }
        i = folders_.erase(i);
        --unused;
    }
}

Result<void> Account::create(std::string_view given)
{
    TRY(mailbox_->create(given));
    // What was open under that name is another one, which some other program removed.
    if (const auto found = folders_.find(canonical(given)); found != folders_.end()) {
        found->second->lose();
        folders_.erase(found);
    }
    return {};
}

Result<void> Account::remove(std::string_view given)
{
    const std::string name = canonical(given);
    TRY(mailbox_->remove(name));
    if (const auto found = folders_.find(name); found != folders_.end()) {
        found->second->lose();
        folders_.erase(found);
    }
    return {};
}

Result<void> Account::rename(std::string_view from_given, std::string_view to_given)
{
    const std::string from = canonical(from_given), to = canonical(to_given);
    TRY(mailbox_->rename(from, to));
    const std::string below = cat(from, mailbox_->separator());
    std::vector<std::pair<std::string, std::shared_ptr<OpenFolder>>> moved;
    for (auto i = folders_.begin(); i != folders_.end();) {
        if (i->first != from && !i->first.starts_with(below)) {
            ++i;
            continue;
        }
        moved.emplace_back(to + i->first.substr(from.size()), std::move(i->second));
        i = folders_.erase(i);
    }
    for (auto& [name, folder] : moved) {
        auto opened = mailbox_->open(name);
        if (opened) {
            folder->renamed(name, std::move(*opened));
            folders_[name] = std::move(folder);
        } else {
            folder->lose();
        }
    }
    return {};
}

bool Account::is_trash(std::string_view name)
{
    const auto uses = mailbox_->special_use(name);
    if (!uses) return false;
    const auto words = split(*uses, " ");
    return std::any_of(words.begin(), words.end(), [](std::string_view w) { return iequals(w, "\\Trash"); });
}

bool Account::tidy(bool close)
{
    bool more = false;
    for (auto i = folders_.begin(); i != folders_.end();) {
        OpenFolder& folder = *i->second;
        folder.forget_keys();
        if (folder.wants_apply() && !folder.lost()) {
            auto done = folder.use([&](store::Folder& f) { return close ? store::apply_all(f) : f.apply(); });
            if (!done) log::warning("mailbox ", printable(folder.name()), ": ", printable(done.error().text));
            more = more || (done && folder.wants_apply() && !folder.is_busy());
        }
        if (close && folder.visitors() == 0 && i->second.use_count() == 1)
            i = folders_.erase(i);
        else
            ++i;
    }
    return more;
}

} // namespace veredus::imap
