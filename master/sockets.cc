#include "master/sockets.h"

#include <sys/un.h>

#include "lib/base/text.h"

namespace veredus::master {

namespace {

bool is_plain(std::string_view path)
{
    if (!path.starts_with('/') || path.size() >= sizeof(sockaddr_un::sun_path) || path.find('\0') != std::string_view::npos) return false;
    for (const std::string_view part : split_on(path.substr(1), '/'))
        if (part.empty() || part == "." || part == "..") return false;
    return true;
}

} // namespace

bool may_connect(const std::string& path, const conf::Values& values)
{
    if (!is_plain(path)) return false;
    for (const std::string& allowed : values.list("lmtp_unix_sockets"))
        if (allowed == path || (allowed.size() > 1 && allowed.ends_with('/') && path.starts_with(allowed))) return true;
    for (const char* setting : {"local_transport", "virtual_transport", "relay_transport", "default_transport", "mailbox_transport", "fallback_transport"})
        if (values.text(setting) == cat("lmtp:unix:", path)) return true;
    return false;
}

} // namespace veredus::master
