// Reading a passwd-file.
#include "master/resolver/passwd_file.h"

#include "lib/auth/passwd_fields.h"
#include "lib/base/text.h"

namespace veredus::resolver {

namespace {

std::optional<uint32_t> parse_id(std::string_view text, uint32_t fallback)
{
    if (text.empty()) return fallback;
    return parse_number<uint32_t>(text, UINT32_MAX - 2);    // -1 means "leave it" to the kernel, -2 is reserved by habit
}

// Dovecot's userdb_mail=maildir:~/Maildir:INDEX=…; nothing when it is none of ours.
std::optional<std::string> mailbox_of(std::string_view value, std::string_view home)
{
    const auto [kind, rest] = cut(value, ':');
    if ((kind != "maildir" && kind != "mbox") || !rest) return std::nullopt;
    std::string path(cut(*rest, ':').first);
    if (path == "~") path = home;
    if (path.starts_with("~/")) path = cat(home, path.substr(1));
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    if (!path.starts_with('/') || path.size() < 2) return std::nullopt;
    for (const auto part : split_on(path, '/'))
        if (part == "..") return std::nullopt;
    return kind == "maildir" ? path + '/' : path;
}

std::optional<ipc::UserReply> parse_line(std::string_view line, uint32_t default_uid, uint32_t default_gid)
{
    const auto fields = auth::passwd_fields(line);
    const auto field = [&](std::size_t i) { return i < fields.size() ? fields[i] : std::string_view(); };
    ipc::UserReply user;
    user.found = ipc::UserReply::Found::yes;
    user.name = field(0);
    const auto uid = parse_id(field(2), default_uid), gid = parse_id(field(3), default_gid);
    if (user.name.empty() || user.name.size() > 255 || user.name.find('/') != std::string::npos || !uid || !gid) return std::nullopt;
    user.uid = *uid;
    user.gid = *gid;
    user.gecos = field(4);
    user.home = field(5);
    user.shell = field(6);
    if (!user.home.empty() && user.home[0] != '/') return std::nullopt;
    for (const std::string_view item : split(field(7), " \t")) {
        const auto [name, value] = cut(item, '=');
        if (name != "userdb_mail" || !value) continue;
        if (auto mailbox = mailbox_of(*value, user.home)) user.mailbox = std::move(*mailbox);    // of another kind: as if it were not there
    }
    return user;
}

}  // namespace

PasswdFile PasswdFile::parse(std::string_view text, uint32_t default_uid, uint32_t default_gid)
{
    PasswdFile file;
    for (std::string_view line : split(text, "\n")) {
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (trim(line).empty() || line[0] == '#') continue;
        auto user = parse_line(line, default_uid, default_gid);
        if (!user) {
            ++file.misfits_;
            continue;
        }
        std::string name = user->name;
        file.users_.emplace(std::move(name), std::move(*user));    // of two lines the first counts, as in /etc/passwd
    }
    return file;
}

const ipc::UserReply* PasswdFile::find(const std::string& name) const
{
    const auto found = users_.find(name);
    return found == users_.end() ? nullptr : &found->second;
}

}  // namespace veredus::resolver
