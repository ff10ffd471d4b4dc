// Virtual users.
#include "lib/table/virtual_mailboxes.h"

#include <pwd.h>

#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::table {

namespace {

VirtualMailbox not_now(std::string dsn, std::string text) { return {VirtualMailbox::Kind::deferred, {}, {}, std::move(dsn), printable(text, 400), 0, 0}; }

auto opener(std::vector<std::string> specs)
{
    return [specs = std::move(specs)] { return Chain::open(specs); };
}

}  // namespace

VirtualSettings VirtualSettings::read(const conf::Values& values, std::string delimiters)
{
    VirtualSettings out;
    out.mailboxes = values.list("virtual_mailbox_maps");
    out.uids = values.list("virtual_uid_maps");
    out.gids = values.list("virtual_gid_maps");
    out.base = values.text("virtual_mailbox_base");
    out.delimiters = std::move(delimiters);
    out.minimum_uid = values.number("virtual_minimum_uid");
    return out;
}

VirtualMailboxes::VirtualMailboxes(VirtualSettings settings, Accounts accounts)
    : settings_(std::move(settings)), accounts_(std::move(accounts)), mailboxes_(opener(settings_.mailboxes)), uids_(opener(settings_.uids)), gids_(opener(settings_.gids))
{
    for (const auto* maps : {&mailboxes_, &uids_, &gids_}) maps->tell(trouble_);
    for (const std::string& text : trouble_) log::warning("virtual mailboxes: ", printable(text));
}

void VirtualMailboxes::refresh()
{
    const std::lock_guard guard(mutex_);
    std::vector<std::string> trouble;
    for (auto* maps : {&mailboxes_, &uids_, &gids_}) (void)maps->refresh(trouble);
    if (trouble != trouble_)
        for (const std::string& text : trouble) log::warning("virtual mailboxes: ", printable(text));
    trouble_ = std::move(trouble);
}

std::string ids_text(uid_t uid, gid_t gid) { return cat(uid, ':', gid); }
bool is_ids(std::string_view user) { return user.find(':') != std::string_view::npos; }

Result<std::optional<std::string>> VirtualMailboxes::look_up(const Maps& maps, const mail::Address& recipient, std::string_view delimiters) const
{
    if (!maps.get()) return unexpected(maps.get().error());
    return find_address(*maps.get(), recipient, delimiters, false);
}

VirtualMailbox VirtualMailboxes::find(const mail::Address& recipient, std::string_view delimiters) const
{
    std::unique_lock tables(mutex_);
    const std::string own = lower(cat(mail::split_extension(recipient.local, delimiters).user, '@', recipient.domain));
    const VirtualMailbox unknown{VirtualMailbox::Kind::unknown, own, {}, "5.1.1", cat("unknown user: \"", printable(recipient.text(), 200), '"'), 0, 0};
    if (settings_.mailboxes.empty()) return unknown;
    const auto value = look_up(mailboxes_, recipient, delimiters);
    if (!value) return not_now("4.3.0", cat("virtual_mailbox_maps: ", value.error().text));
    if (!*value) {
        if (mailboxes_.restless()) return not_now("4.3.0", "virtual_mailbox_maps is being changed");
        if (mailboxes_.stale()) return not_now("4.3.0", cat("virtual_mailbox_maps: ", mailboxes_.stale()->text));
        return unknown;
    }
    auto path = virtual_path(settings_.base, std::string(trim(**value)));
    if (!path) return not_now("4.3.5", cat("virtual_mailbox_maps, ", recipient.text(), ": ", path.error().text));
    return with_keeper(recipient, delimiters, std::move(*path), tables);
}

VirtualMailbox VirtualMailboxes::keeper(const mail::Address& recipient) const
{
    std::unique_lock tables(mutex_);
    return with_keeper(recipient, settings_.delimiters, {}, tables);
}

// The accounts are asked without the lock: they may take their time.
VirtualMailbox VirtualMailboxes::with_keeper(const mail::Address& recipient, std::string_view delimiters, std::string path, std::unique_lock<std::mutex>& tables) const
{
    const auto number = [&](const Maps& maps, const char* what) -> Result<uint32_t> {
        const auto value = TRY(look_up(maps, recipient, delimiters));
        if (!value) return fail_errno(cat(what, " has nothing for ", recipient.text()), EINVAL);
        const auto parsed = parse_number<uint32_t>(trim(*value));
        if (!parsed) return fail_errno(cat(what, ", ", recipient.text(), ": \"", *value, "\" is no number"), EINVAL);
        return *parsed;
    };
    const auto dsn_of = [](const Error& error) { return error.code == EINVAL ? "4.3.5" : "4.3.0"; };
    const auto uid = number(uids_, "virtual_uid_maps");
    if (!uid) return not_now(dsn_of(uid.error()), uid.error().text);
    if (int64_t{*uid} < settings_.minimum_uid) return not_now("4.3.5", cat("virtual_uid_maps: uid ", *uid, " is below virtual_minimum_uid (", settings_.minimum_uid, ')'));
    const auto gid = settings_.gids.empty() ? Result<uint32_t>(0) : number(gids_, "virtual_gid_maps");
    if (!gid) return not_now(dsn_of(gid.error()), gid.error().text);
    if (!settings_.gids.empty() && *gid == 0) return not_now("4.3.5", "virtual_gid_maps: gid 0 is root's, and nobody's mailbox is kept with it");
    tables.unlock();
    const auto account = accounts_(*uid);
    if (!account) return not_now("4.3.0", account.error().text);
    if (*account && (settings_.gids.empty() || *gid == (*account)->gid))
        return {VirtualMailbox::Kind::found, (*account)->name, std::move(path), {}, {}, *uid, (*account)->gid};
    if (settings_.gids.empty())
        return not_now("4.3.5", cat("virtual_uid_maps: no account has uid ", *uid, ", and virtual_gid_maps is empty: write which group it is to have, as virtual_gid_maps = static:", *uid));
    return {VirtualMailbox::Kind::found, ids_text(*uid, *gid), std::move(path), {}, {}, *uid, *gid};
}

Result<std::optional<KeeperAccount>> VirtualMailboxes::system_account(uid_t uid)
{
    char buffer[16384];
    passwd entry{}, *found = nullptr;
    const int code = ::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found);
    if (found) return std::optional(KeeperAccount{found->pw_name, found->pw_gid});
    if (code == 0 || code == ENOENT || code == ESRCH) return std::optional<KeeperAccount>();
    return fail_errno(cat("looking up uid ", uid), code);
}

Result<std::string> virtual_path(const std::string& base, const std::string& value)
{
    if (value.empty()) return fail("an empty path");
    std::string path = base.empty() ? value : cat(base, '/', value);
    if (path[0] != '/') return fail(cat("\"", value, "\" is not absolute, and virtual_mailbox_base is empty"));
    if (path.size() > longest_virtual_path) return fail(cat("a path of ", path.size(), " bytes; up to ", longest_virtual_path, " are possible"));
    for (const char c : path)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) return fail("a path with a control character");
    for (const auto part : split_on(path, '/'))
        if (part == "..") return fail(cat("\"", value, "\" has a part \"..\""));
    return path;
}

}  // namespace veredus::table
