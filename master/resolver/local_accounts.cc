// Reading /etc/passwd as glibc's "files" does.
#include "master/resolver/local_accounts.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::resolver {

namespace {

constexpr std::size_t longest_order = 64u << 10;
constexpr std::size_t longest_passwd = 64u << 20;
constexpr int64_t coarse_us = 100'000;     // time stamps of files are those of the kernel's last tick

int64_t us(const timespec& t) { return t.tv_sec * us_per_second + t.tv_nsec / 1000; }

bool same(const struct stat& a, const struct stat& b)
{
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size && us(a.st_mtim) == us(b.st_mtim) && us(a.st_ctim) == us(b.st_ctim);
}

std::optional<ipc::UserReply> account(const std::vector<std::string_view>& fields)
{
    if (fields.size() != 7) return std::nullopt;
    const auto uid = parse_number<uint32_t>(fields[2]), gid = parse_number<uint32_t>(fields[3]);
    if (!uid || !gid) return std::nullopt;
    ipc::UserReply user;
    user.found = ipc::UserReply::Found::yes;
    user.name = fields[0];
    user.uid = *uid;
    user.gid = *gid;
    user.gecos = fields[4];
    user.home = fields[5];
    user.shell = fields[6];
    return user;
}

// Of nsswitch.conf(5). An action behind "files" may be that its answer does not count.
bool says_files_first(std::string_view text)
{
    std::optional<bool> says;
    for (std::string_view line : split(text, "\n")) {
        line = trim(line.substr(0, line.find('#')));
        const auto [name, value] = cut(line, ':');
        if (trim(name) != "passwd" || !value) continue;
        if (says) return false;
        const auto words = split(*value, " \t");
        says = !words.empty() && words[0] == "files" && (words.size() == 1 || words[1][0] != '[');
    }
    return says.value_or(false);
}

}  // namespace

bool LocalAccounts::changed(Source& source) const
{
    struct stat now {};
    if (::stat(source.path.c_str(), &now) != 0) now = {};
    if (!source.restless && same(now, source.seen)) return false;
    source.seen = now;
    source.restless = clock_.wall_us() - std::max(us(now.st_mtim), us(now.st_ctim)) < coarse_us;
    return true;
}

void LocalAccounts::read_order()
{
    const auto text = read_file(order_.path, longest_order);
    files_first_ = text && says_files_first(*text);
}

void LocalAccounts::read_passwd()
{
    accounts_.clear();
    const auto text = read_file(passwd_.path, longest_passwd);
    if (!text) return;
    for (std::string_view line : split(*text, "\n")) {
        while (!line.empty() && is_space(line[0])) line.remove_prefix(1);
        if (line.empty() || line[0] == '#' || line[0] == '+' || line[0] == '-') continue;
        const auto fields = split_on(line, ':');
        accounts_.try_emplace(std::string(fields[0]), account(fields));
    }
}

std::optional<ipc::UserReply> LocalAccounts::find(const std::string& name)
{
    if (changed(order_)) read_order();
    if (!files_first_) return std::nullopt;
    if (changed(passwd_)) read_passwd();
    const auto found = accounts_.find(name);
    return found == accounts_.end() ? std::nullopt : found->second;
}

}  // namespace veredus::resolver
