// The log's target.
#include "master/log_target.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "lib/base/text.h"

namespace veredus::master {

namespace {

constexpr const char* syslog_socket = "/dev/log";

std::string stamp_of(const std::string& path)
{
    struct stat info{};
    if (::stat(path.c_str(), &info) < 0) return "";
    return cat(info.st_dev, ' ', info.st_ino);
}

Result<Fd> connect_datagram(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail(cat(path, ": too long for a socket"));
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return fail_errno(cat("connect ", path));
    return fd;
}

}  // namespace

Result<LogTarget> LogTarget::open(const conf::Values& values, bool foreground)
{
    LogTarget target;
    target.settings_.ident = std::string(values.text("syslog_name"));
    const std::string path(values.text("maillog_file"));
    if (path == "/dev/stderr" || path == "/dev/stdout") {
        if (!foreground) return fail(cat("maillog_file = ", path, " needs the foreground: `veredus start -f`"));
        if (path == "/dev/stderr") {
            target.settings_.target = log::Target::standard_error;
            return target;
        }
        target.settings_.target = log::Target::file;
        target.fd_ = Fd(::fcntl(1, F_DUPFD_CLOEXEC, 3));
        if (!target.fd_) return fail_errno("standard output");
        return target;
    }
    target.settings_.target = path.empty() ? log::Target::syslog : log::Target::file;
    target.settings_.path = path.empty() ? syslog_socket : path;
    if (auto opened = target.open_fd(); !opened) {
        if (!path.empty()) return unexpected(opened.error());
        // No syslogd, as in a container: better the terminal than nowhere.
        if (foreground) target.settings_.target = log::Target::standard_error;
    }
    return target;
}

Result<void> LogTarget::open_fd()
{
    if (settings_.target == log::Target::standard_error || settings_.path.empty()) return {};
    if (settings_.target == log::Target::syslog) {
        fd_ = TRY(connect_datagram(settings_.path));
    } else {
        Fd file(::open(settings_.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0640));
        if (!file) return fail_errno(cat("maillog_file ", settings_.path));
        fd_ = std::move(file);
    }
    stamp_ = stamp_of(settings_.path);
    return {};
}

Result<void> LogTarget::start(const std::string& role) const
{
    log::Settings settings = settings_;
    settings.role = role;
    return log::open(settings, Fd(fd_ ? ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 5) : -1));
}

Result<void> LogTarget::renew()
{
    TRY(open_fd());
    if (fd_) log::reopen(Fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 5)));
    return {};
}

bool LogTarget::moved() const
{
    if (settings_.target != log::Target::syslog) return false;    // a rotated file is reopened at reload, as everybody does
    const std::string now = stamp_of(settings_.path);
    return !now.empty() && now != stamp_;
}

}  // namespace veredus::master
