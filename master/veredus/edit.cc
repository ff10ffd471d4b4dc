// The editor behind `veredus config -e`.
#include "master/veredus/edit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::admin {

namespace {

std::vector<std::string_view> physical_lines(std::string_view text)
{
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::size_t size = end == std::string_view::npos ? text.size() : end + 1;
        lines.push_back(text.substr(0, size));
        text.remove_prefix(size);
    }
    return lines;
}

// postconf(5), main.cf: a line that begins with white space continues the one before; blank and comment lines do not end it.
bool is_comment(std::string_view line)
{
    const auto content = trim(line);
    return content.empty() || content[0] == '#';
}

bool assigns(std::string_view line, std::string_view name)
{
    if (line.empty() || is_space(line[0])) return false;
    const auto [left, right] = cut(line, '=');
    return right && trim(left) == name;
}

}  // namespace

std::string edit_setting(std::string_view text, std::string_view name, std::optional<std::string_view> value)
{
    std::string out;
    bool done = !value, inside = false;
    for (const std::string_view line : physical_lines(text)) {
        if (is_comment(line)) {
            out += line;
            continue;
        }
        if (inside && is_space(line[0])) continue;
        inside = assigns(line, name);
        if (!inside) {
            out += line;
            continue;
        }
        if (!done) append(out, name, " = ", *value, '\n');
        done = true;
    }
    if (done) return out;
    if (!out.empty() && out.back() != '\n') out += '\n';
    append(out, name, " = ", *value, '\n');
    return out;
}

Result<void> replace_file(const std::string& path, std::string_view text, unsigned mode)
{
    struct stat old{};
    const bool exists = ::stat(path.c_str(), &old) == 0;
    const std::string fresh = cat(path, ".", ::getpid(), ".new");
    {
        const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, exists ? old.st_mode & 0777 : mode));
        if (!fd) return fail_errno(cat("create ", fresh));
        auto written = write_all(fd.get(), text);
        if (written && exists && (::fchmod(fd.get(), old.st_mode & 07777) < 0)) written = fail_errno("chmod");
        if (written && exists && ::geteuid() == 0 && ::fchown(fd.get(), old.st_uid, old.st_gid) < 0) written = fail_errno("chown");
        if (written && ::fsync(fd.get()) < 0) written = fail_errno("fsync");
        if (!written) {
            ::unlink(fresh.c_str());
            return unexpected({written.error().code, cat(fresh, ": ", written.error().text)});
        }
    }
    if (::rename(fresh.c_str(), path.c_str()) < 0) {
        const int code = errno;
        ::unlink(fresh.c_str());
        return fail_errno(cat("rename to ", path), code);
    }
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    const Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) < 0) return fail_errno(cat("sync ", folder));
    return {};
}

}  // namespace veredus::admin
