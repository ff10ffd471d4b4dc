// Looking users up.
#include "master/resolver/users.h"

#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::resolver {

namespace {

ipc::UserReply absent(const std::string& name)
{
    ipc::UserReply reply;
    reply.found = ipc::UserReply::Found::no;
    reply.name = name;
    return reply;
}

ipc::UserReply temporary(const std::string& name, std::string text)
{
    ipc::UserReply reply;
    reply.name = name;
    reply.text = std::move(text);
    return reply;
}

// POSIX lists these for "not found" besides 0 (getpwnam(3), ERRORS); the rest is trouble with the directory.
bool means_absent(int code) { return code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM; }

bool plausible(const std::string& name) { return !name.empty() && name.size() <= 255 && name.find_first_of(std::string_view("/:\0\n", 4)) == std::string::npos; }

}  // namespace

ipc::UserReply system_user(const std::string& name)
{
    std::vector<char> space(4096);
    for (;;) {
        passwd entry{}, *found = nullptr;
        const int code = ::getpwnam_r(name.c_str(), &entry, space.data(), space.size(), &found);
        if (code == EINTR) continue;
        if (code == ERANGE && space.size() < (1u << 20)) {
            space.resize(space.size() * 2);
            continue;
        }
        if (!found) return means_absent(code) ? absent(name) : temporary(name, fail_errno(cat("looking up user ", printable(name)), code).error.text);
        ipc::UserReply reply;
        reply.found = ipc::UserReply::Found::yes;
        reply.name = found->pw_name;    // as the system writes it: some directories ignore case
        reply.uid = found->pw_uid;
        reply.gid = found->pw_gid;
        reply.gecos = found->pw_gecos ? found->pw_gecos : "";
        reply.home = found->pw_dir ? found->pw_dir : "";
        reply.shell = found->pw_shell ? found->pw_shell : "";
        return reply;
    }
}

ipc::UserReply user_of_tables(table::VirtualMailboxes& tables, const std::string& name, bool unprivileged)
{
    const auto address = mail::parse_address(name);
    if (!address || address->domain.empty()) return absent(name);
    tables.refresh();
    const auto mailbox = tables.find(*address, "");    // who logs in has no extension
    // What nobody else gets is not read by whoever has a password in that domain: its keeper has an entry of his own.
    if (mailbox.kind == table::VirtualMailbox::Kind::unknown || mailbox.catch_all) return absent(name);
    if (mailbox.kind == table::VirtualMailbox::Kind::deferred) return temporary(name, mailbox.text);
    if (unprivileged && mailbox.uid != ::getuid()) return absent(name);
    ipc::UserReply reply;
    reply.found = ipc::UserReply::Found::yes;
    reply.name = lower(name);    // two spellings are one mailbox
    reply.mailbox = mailbox.path;
    reply.uid = mailbox.uid;
    reply.gid = mailbox.gid;
    return reply;
}

VirtualUsers::VirtualUsers(const conf::Values& values, bool unprivileged)
    : tables_(table::VirtualSettings::read(values, std::string(values.text("recipient_delimiter")))), unprivileged_(unprivileged),
      domains_([patterns = values.list("virtual_mailbox_domains")] { return table::MatchList::domains(patterns, false); })
{
}

Result<bool> VirtualUsers::is_virtual(const std::string& domain)
{
    const std::lock_guard lock(mutex_);
    std::vector<std::string> trouble;
    (void)domains_.refresh(trouble);
    if (!domains_.get()) return unexpected(domains_.get().error());
    const bool matches = TRY(domains_.get()->matches_domain(domain));
    if (!matches && domains_.restless()) return fail("is being changed");
    if (!matches && domains_.stale()) return unexpected(*domains_.stale());
    return matches;
}

VirtualUsers::Said VirtualUsers::find(const std::string& name)
{
    Said said{user_of_tables(tables_, name, unprivileged_)};
    if (said.user.found == ipc::UserReply::Found::no) return said;
    const auto address = mail::parse_address(name);
    const auto listed = address ? is_virtual(address->domain) : Result<bool>(false);
    // Whose mailbox it is nobody knows then.
    if (!listed) return {temporary(name, cat("virtual_mailbox_domains: ", listed.error().text)), true};
    said.first = *listed;
    return said;
}

ipc::UserReply VirtualUsers::keeper(const std::string& text)
{
    const auto address = mail::parse_address(text);
    if (!address || address->domain.empty()) return absent("");
    tables_.refresh();
    const auto mailbox = tables_.keeper(*address);
    if (mailbox.kind != table::VirtualMailbox::Kind::found) return temporary("", mailbox.text);
    ipc::UserReply reply;
    reply.found = ipc::UserReply::Found::yes;
    reply.name = mailbox.user;
    reply.uid = mailbox.uid;
    reply.gid = mailbox.gid;
    return reply;
}

const ipc::UserReply* Cache::find(const std::string& name)
{
    const auto found = index_.find(name);
    if (found == index_.end()) return nullptr;
    if (found->second->until_us > clock_.mono_us()) return &found->second->reply;
    order_.erase(found->second);
    index_.erase(found);
    return nullptr;
}

void Cache::keep(const std::string& name, const ipc::UserReply& reply)
{
    if (life_us_ <= 0 || reply.found == ipc::UserReply::Found::temporary) return;
    if (const auto old = index_.find(name); old != index_.end()) {
        order_.erase(old->second);
        index_.erase(old);
    }
    if (order_.size() >= limit_) {
        index_.erase(order_.front().name);
        order_.pop_front();
    }
    order_.push_back({name, reply, clock_.mono_us() + life_us_});
    index_[name] = std::prev(order_.end());
}

void Cache::clear()
{
    index_.clear();
    order_.clear();
}

Users::Users(const Clock& clock, int64_t cache_seconds, bool unprivileged, System system)
    : cache_(clock, cache_seconds, 10'000), unprivileged_(unprivileged), system_(std::move(system))
{
}

void Users::set_sources(std::vector<std::string> sources)
{
    sources_ = std::move(sources);
    cache_.clear();
}

std::vector<std::string> Users::files() const
{
    std::vector<std::string> paths;
    for (const std::string& source : sources_)
        if (source.starts_with("file:")) paths.push_back(source.substr(5));
    return paths;
}

PasswdFile Users::parse_file(std::string_view text, bool unprivileged)
{
    const uint32_t none = UINT32_MAX;    // without root, lines with no uid are our own user's; with root, they name nobody
    return PasswdFile::parse(text, unprivileged ? ::getuid() : none, unprivileged ? ::getgid() : none);
}

PasswdFile Users::take_file(const std::string& path, PasswdFile file)
{
    if (file.misfits() > 0) log::warning(path, ": ", file.misfits(), " lines are not of the form user:password:uid:gid:gecos:home:shell and are left out");
    for (const std::string& problem : file.problems()) log::warning(path, ", ", problem);
    cache_.clear();
    return std::exchange(files_[path], std::move(file));
}

void Users::set_file(const std::string& path, std::string_view text) { (void)take_file(path, parse_file(text, unprivileged_)); }

bool Users::may_be_virtual(const std::string& name) { return plausible(name) && name.find('@') != std::string::npos; }

ipc::UserReply Users::find(const std::string& name, const VirtualUsers::Said* said)
{
    if (!plausible(name)) return absent(name);
    if (said) return ask_sources(name, said);    // tables have their own memory
    if (const auto* kept = cache_.find(name)) return *kept;
    auto reply = ask_sources(name, nullptr);
    // Who is not there may be made at any moment; router damps the rush of guesses.
    if (reply.found == ipc::UserReply::Found::yes) cache_.keep(name, reply);
    return reply;
}

ipc::UserReply Users::ask_sources(const std::string& name, const VirtualUsers::Said* said)
{
    const bool of_tables = said && said->user.found != ipc::UserReply::Found::no;
    if (of_tables && said->first) return said->user;
    std::string password_only;      // the file that knows his password and nothing else
    for (const std::string& source : sources_) {
        if (source == "system" || source == "pam") {      // PAM judges passwords; who has an account, NSS says
            if (unprivileged_) continue;
            auto reply = system_(name);
            if (reply.found != ipc::UserReply::Found::no) return reply;
            continue;
        }
        const auto file = files_.find(source.substr(5));
        if (file == files_.end()) return temporary(name, cat(source, " could not be read"));
        const ipc::UserReply* user = file->second.find(name);
        if (!user) continue;
        if (unprivileged_ && user->uid != ::getuid()) continue;
        // A line may be there for the password alone (`veredus passwd`): who he is, another source says, or the system.
        if (user->uid != UINT32_MAX && user->gid != UINT32_MAX)
            return user->found == ipc::UserReply::Found::yes ? *user : temporary(name, cat(source.substr(5), ", ", user->text));
        password_only = source.substr(5);
    }
    if (of_tables) return said->user;
    // A line must say whose process it is, or somebody else.
    if (password_only.empty()) return absent(name);
    if (!unprivileged_) {
        auto reply = system_(name);
        if (reply.found != ipc::UserReply::Found::no) return reply;
    }
    auto reply = temporary(name, cat(password_only, ": user ", printable(name), " has no uid and gid, and no account of the system", said ? ", and virtual_mailbox_maps has no entry of his own" : ""));
    reply.password_only = true;
    return reply;
}

}  // namespace veredus::resolver
