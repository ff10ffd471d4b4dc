// Finding and reading .forward files.
#include "local/forward.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/mail/address.h"

namespace veredus::local {

namespace {

using Values = std::map<std::string, std::string, std::less<>>;

std::string one_component(std::string_view text)
{
    std::string out(text);
    for (char& c : out)
        if (c == '/' || static_cast<unsigned char>(c) < ' ') c = '_';
    return out;
}

// The name after '$' at `at` (which moves behind it): "home", "{home}", "(home)".
std::string_view take_name(std::string_view text, std::size_t& at)
{
    const std::size_t start = at + 1;
    const char open = start < text.size() ? text[start] : 0;
    if (open == '{' || open == '(') {
        const auto end = text.find(open == '{' ? '}' : ')', start);
        at = end == std::string_view::npos ? text.size() : end + 1;
        return text.substr(start + 1, (end == std::string_view::npos ? text.size() : end) - start - 1);
    }
    std::size_t end = start;
    while (end < text.size() && (is_alnum(text[end]) || text[end] == '_')) ++end;
    at = end;
    return text.substr(start, end - start);
}

// Nothing when a name in it has no value.
std::optional<std::string> expand(std::string_view text, const Values& values)
{
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        if (text[at] != '$') {
            out += text[at++];
            continue;
        }
        const std::string_view item = take_name(text, at);
        const auto mark = item.find_first_of("?:");
        const auto value = values.find(item.substr(0, mark));
        const bool set = value != values.end() && !value->second.empty();
        if (mark == std::string_view::npos) {
            if (!set) return std::nullopt;
            out += value->second;
        } else if (set == (item[mark] == '?')) {
            const auto inner = expand(item.substr(mark + 1), values);
            if (!inner) return std::nullopt;
            out += *inner;
        }
    }
    return out;
}

// useradd makes a group of its own for each user, with another number when his is taken.
bool is_own_group(gid_t gid, const std::string& user)
{
    if (user.empty()) return false;
    std::vector<char> buffer(64 * 1024);
    group entry{}, *found = nullptr;
    if (::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found || user != found->gr_name) return false;
    for (char** member = found->gr_mem; member && *member; ++member)
        if (user != *member) return false;
    return true;
}

bool is_shut_out_of(const std::string& home) { return !home.empty() && ::faccessat(AT_FDCWD, home.c_str(), X_OK, AT_EACCESS) != 0 && errno == EACCES; }

std::string why_not_believed(const struct stat& st, uid_t uid, gid_t gid, const std::string& user)
{
    if (!S_ISREG(st.st_mode)) return "is not a regular file";
    if (st.st_uid != uid && st.st_uid != 0) return cat("belongs to uid ", st.st_uid);
    if (st.st_mode & S_IWOTH) return "everyone may write to it";
    if ((st.st_mode & S_IWGRP) && !(st.st_gid == gid && (gid == uid || is_own_group(gid, user)))) return "its group may write to it";
    return {};
}

}  // namespace

static Values values_of(const ForwardNames& names)
{
    const std::string delimiter = names.extension.empty() ? std::string() : names.recipient_delimiter;
    return {{"home", names.home},          {"user", one_component(names.user)},   {"shell", names.shell},
                        {"domain", one_component(names.domain)},   {"local", one_component(names.local)}, {"recipient", one_component(names.recipient)},
                        {"extension", one_component(names.extension)}, {"recipient_delimiter", one_component(delimiter)}};
}

std::optional<std::string> expand_names(std::string_view setting, const ForwardNames& names) { return expand(setting, values_of(names)); }

std::string delimiter_in(std::string_view local, std::string_view delimiters)
{
    const auto split = mail::split_extension(local, delimiters);
    return std::string(split.extension ? local.substr(split.user.size(), 1) : delimiters.substr(0, 1));
}

std::vector<std::string> forward_paths(std::string_view setting, const ForwardNames& names)
{
    const Values values = values_of(names);
    std::vector<std::string> paths;
    for (const auto word : split(setting, ", \t\r\n")) {
        const auto path = expand(word, values);
        if (path && path->starts_with('/')) paths.push_back(*path);
    }
    return paths;
}

ForwardFile read_forward(const std::vector<std::string>& paths, uid_t uid, gid_t gid, const std::string& user, const std::string& home)
{
    ForwardFile result;
    const auto defer = [&](std::string text) {
        result.kind = ForwardFile::Kind::deferred;
        result.text = std::move(text);
        return result;
    };
    for (const std::string& path : paths) {
        const Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
        if (!file && (errno == ENOENT || errno == ENOTDIR || errno == ENXIO)) continue;
        if (!file && errno == EACCES && path.starts_with(home + '/') && is_shut_out_of(home)) {
            append(result.ignored, result.ignored.empty() ? "" : "; ", "no ", path, ": its user may not search ", home);
            continue;
        }
        struct stat st {};
        if (!file || ::fstat(file.get(), &st) < 0) return defer(fail_errno(cat("open ", path)).error.text);
        if (const std::string why = why_not_believed(st, uid, gid, user); !why.empty()) {
            append(result.ignored, result.ignored.empty() ? "" : "; ", "ignoring ", path, ": ", why);
            continue;
        }
        const auto text = read_all(file.get(), max_forward_size);
        if (!text) return defer(fail_errno(cat("read ", path), text.error().code).error.text);
        auto targets = table::parse_targets(*text);
        if (!targets) return defer(cat(path, ": ", targets.error().text));
        if (targets->empty()) continue;
        result.kind = ForwardFile::Kind::found;
        result.path = path;
        result.targets = std::move(*targets);
        return result;
    }
    return result;
}

}  // namespace veredus::local
