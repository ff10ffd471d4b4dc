// Virtual users.
#include "lib/table/virtual_mailboxes.h"

#include <pwd.h>

#include <algorithm>
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

// May what this table says have come out of the key? Of tables made of others it cannot be told.
bool fills_in(const Table& table)
{
    if (!table.is_pattern()) return false;
    const auto sides = table.right_sides();
    if (sides.empty()) return !table.sources().empty();
    return std::any_of(sides.begin(), sides.end(), [](const RightSide& side) { return side.variable; });
}

// Whether the address itself stands in what the maps said of it. Patterns are asked about whole addresses alone.
Result<bool> is_filled_in(const Chain& maps, const AddressHit& hit)
{
    for (const auto& table : maps.tables())
        if (TRY(table->find(hit.key))) return fills_in(*table);
    return false;
}

// Local parts that nobody has, of several forms: what answers for one of them as for somebody answers for whoever there may be.
constexpr std::string_view nobodies[] = {"0f7c1e9ab35d4286f1c09e7a6b2d8453", "qzvjxkwyhq", "qzvjx.kwyhq"};

// Patterns and static: are asked about whole addresses alone, and may be catch-alls all the same.
Result<bool> is_catch_all(const Chain& maps, const AddressHit& hit)
{
    const auto at = hit.key.rfind('@');
    if (at == 0 || at == std::string::npos) return at == 0;
    for (const auto& table : maps.tables()) {
        const auto value = TRY(table->find(hit.key));
        if (!value) continue;
        if (!table->is_pattern()) return false;
        for (const std::string_view nobody : nobodies) {
            const std::string other = cat(nobody, std::string_view(hit.key).substr(at));
            if (TRY(table->find(other)) == value && table->origin(other) == table->origin(hit.key)) return true;
        }
        return false;
    }
    return false;
}

bool leads_astray(const mail::Address& recipient, std::string_view delimiters, std::string_view value)
{
    const auto is_no_name = [](std::string_view text) { return text.empty() || text == "." || text == ".."; };
    if (recipient.local.find('/') != std::string::npos || is_no_name(recipient.local) || is_no_name(mail::split_extension(recipient.local, delimiters).user)) return true;
    if (value.ends_with('/')) value.remove_suffix(1);
    if (value.starts_with('/')) value.remove_prefix(1);
    for (const auto part : split_on(value, '/'))
        if (is_no_name(part)) return true;
    return false;
}

}  // namespace

Result<std::optional<AddressHit>> find_virtual_mailbox(const Chain& maps, const mail::Address& recipient, std::string_view delimiters)
{
    auto hit = TRY(find_address_hit(maps, recipient, delimiters, false));
    if (hit && leads_astray(recipient, delimiters, trim(hit->value)) && TRY(is_filled_in(maps, *hit))) return std::optional<AddressHit>();
    return hit;
}

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

Result<std::optional<std::string>> VirtualMailboxes::id(const Maps& maps, const char* setting, const mail::Address& recipient, std::string_view delimiters) const
{
    if (!maps.get()) return unexpected(maps.get().error());
    auto hit = TRY(find_address_hit(*maps.get(), recipient, delimiters, false));
    if (!hit) return std::optional<std::string>();
    if (TRY(is_filled_in(*maps.get(), *hit))) return fail_errno(cat(setting, ": a pattern with $1 is not taken, for whoever writes to us would choose the number"), EINVAL);
    return std::optional(std::move(hit->value));
}

VirtualMailbox VirtualMailboxes::find(const mail::Address& recipient, std::string_view delimiters) const
{
    std::unique_lock tables(mutex_);
    const std::string own = lower(cat(mail::split_extension(recipient.local, delimiters).user, '@', recipient.domain));
    const VirtualMailbox unknown{VirtualMailbox::Kind::unknown, own, {}, "5.1.1", cat("unknown user: \"", printable(recipient.text(), 200), '"'), 0, 0};
    if (settings_.mailboxes.empty()) return unknown;
    const auto hit = mailboxes_.get() ? find_virtual_mailbox(*mailboxes_.get(), recipient, delimiters) : Result<std::optional<AddressHit>>(unexpected(mailboxes_.get().error()));
    if (!hit) return not_now("4.3.0", cat("virtual_mailbox_maps: ", hit.error().text));
    if (!*hit) {
        if (mailboxes_.restless()) return not_now("4.3.0", "virtual_mailbox_maps is being changed");
        if (mailboxes_.stale()) return not_now("4.3.0", cat("virtual_mailbox_maps: ", mailboxes_.stale()->text));
        return unknown;
    }
    auto path = virtual_path(settings_.base, std::string(trim((*hit)->value)));
    if (!path) return not_now("4.3.5", cat("virtual_mailbox_maps, ", recipient.text(), ": ", path.error().text));
    const auto catch_all = is_catch_all(*mailboxes_.get(), **hit);
    if (!catch_all) return not_now("4.3.0", cat("virtual_mailbox_maps: ", catch_all.error().text));
    VirtualMailbox found = with_keeper(recipient, delimiters, std::move(*path), tables);
    found.catch_all = *catch_all;
    return found;
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
        const auto value = TRY(id(maps, what, recipient, delimiters));
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
