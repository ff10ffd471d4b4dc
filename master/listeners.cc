// Binding and unbinding.
#include "master/listeners.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/text.h"
#include "lib/daemon/listen.h"
#include "lib/net/address.h"

namespace veredus::master {

namespace {
// Nobody listens there any more, unless another listener has the path now.
void forget_socket(const std::string& text, const std::vector<daemon::WantedListener>& wanted)
{
    const std::string path = daemon::ListenPoint{net::Address::unix_path("/"), text, false}.path();
    if (std::none_of(wanted.begin(), wanted.end(), [&](const daemon::WantedListener& w) { return w.point.path() == path; })) ::unlink(path.c_str());
}
}  // namespace

Result<Listeners::Change> Listeners::apply(const conf::Values& values)
{
    std::vector<std::string> problems;
    const auto wanted = daemon::wanted_listeners(values, problems);
    if (!problems.empty()) return fail(problems.front());
    const int backlog = static_cast<int>(values.number("listen_backlog"));
    const auto is_bound = [&](const daemon::Role* role, const std::string& text) {
        return std::any_of(bound_.begin(), bound_.end(), [&](const Bound& b) { return b.role == role && b.text == text; });
    };
    std::vector<Bound> fresh;
    for (const daemon::WantedListener& w : wanted) {
        if (is_bound(w.role, w.point.text)) continue;
        Fd fd = TRY(daemon::bind_point(w.point, backlog, w.role->listeners));
        if (fd) fresh.push_back({w.role, w.role->name, w.point.text, std::move(fd)});
    }
    for (const daemon::Role& role : daemon::roles()) {
        if (!role.socket) continue;
        const std::string path = cat(values.text("run_directory"), "/", role.socket);
        if (is_bound(&role, path)) continue;
        fresh.push_back({&role, role.socket, path, TRY(net::listen_unix(path, SOCK_SEQPACKET, 0666))});
    }
    Change change;
    for (std::size_t i = 0; i < bound_.size();) {
        const Bound& b = bound_[i];
        const bool keep = b.role->socket || std::any_of(wanted.begin(), wanted.end(), [&](const daemon::WantedListener& w) { return w.role == b.role && w.point.text == b.text; });
        if (keep) {
            ++i;
            continue;
        }
        change.removed.emplace_back(b.role, b.text);
        if (b.text.starts_with("unix:")) forget_socket(b.text, wanted);
        bound_.erase(bound_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (Bound& b : fresh) {
        change.added.push_back(bound_.size());
        bound_.push_back(std::move(b));
    }
    return change;
}

}  // namespace veredus::master
