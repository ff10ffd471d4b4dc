// socketmap: tables: a server that is asked over a socket.
#include "lib/table/socketmap.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "lib/base/text.h"
#include "lib/conf/port.h"
#include "lib/table/kinds.h"

namespace veredus::table {

namespace {

using Deadline = std::chrono::steady_clock::time_point;
constexpr std::size_t most_reply = 100'000;
constexpr std::size_t most_idle = 4;
constexpr std::chrono::milliseconds fair_wait{1000};
thread_local Questions* asking = nullptr;

bool in_time(Deadline deadline) { return std::chrono::steady_clock::now() < deadline; }

// Until the fd is ready; ETIMEDOUT when it never is.
Result<void> wait_for(int fd, short events, Deadline deadline)
{
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return unexpected({ETIMEDOUT, "no answer in time"});
        pollfd p{fd, events, 0};
        const int n = ::poll(&p, 1, static_cast<int>(left.count()) + 1);
        if (n > 0) return {};
        if (n < 0 && errno != EINTR) return fail_errno("poll");
    }
}

Result<Fd> connect_to(const sockaddr* address, socklen_t size, int family, Deadline deadline)
{
    Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), address, size) == 0) return fd;
    if (errno != EINPROGRESS) return fail_errno("connect");
    TRY(wait_for(fd.get(), POLLOUT, deadline));
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) return fail_errno("getsockopt");
    if (error != 0) return fail_errno("connect", error);
    return fd;
}

Result<void> send_all(int fd, std::string_view bytes, Deadline deadline)
{
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
        } else if (n < 0 && errno == EAGAIN) {
            TRY(wait_for(fd, POLLOUT, deadline));
        } else if (n == 0 || errno != EINTR) {
            return fail_errno("send");
        }
    }
    return {};
}

}  // namespace

// ---- the protocol ----

Result<bool> Netstring::feed(std::string_view bytes)
{
    while (!bytes.empty()) {
        if (done_) return fail("more than one netstring came back");
        if (in_text_) {
            const std::size_t take = std::min(bytes.size(), size_ - text_.size());
            text_.append(bytes.substr(0, take));
            bytes.remove_prefix(take);
            if (bytes.empty() || text_.size() < size_) continue;
            if (bytes.front() != ',') return fail("a netstring does not end with a comma");
            done_ = true;
        } else if (is_digit(bytes.front())) {
            if (has_digit_ && size_ == 0) return fail("the length of a netstring begins with 0");
            size_ = size_ * 10 + static_cast<std::size_t>(bytes.front() - '0');
            has_digit_ = true;
            if (size_ > limit_) return fail(cat("a netstring of more than ", limit_, " bytes came back"));
        } else if (bytes.front() == ':' && has_digit_) {
            in_text_ = true;
        } else {
            return fail(cat("this is no netstring: \"", printable(bytes, 40), '"'));
        }
        bytes.remove_prefix(1);
    }
    return done_;
}

std::string netstring(std::string_view text) { return cat(text.size(), ':', text, ','); }

Answer socketmap_answer(std::string_view reply)
{
    const auto [word, rest] = cut(reply, ' ');
    const std::string_view text = rest.value_or("");
    if (word == "OK") return std::optional(std::string(text));
    if (word == "NOTFOUND") return std::optional<std::string>();
    if (word == "TEMP" || word == "TIMEOUT" || word == "PERM") return fail(cat("it says ", word, ": ", printable(text, 200)));
    return fail(cat("its answer begins with none of OK, NOTFOUND, TEMP, TIMEOUT, PERM: \"", printable(reply, 60), '"'));
}

// ---- the server ----

Result<std::shared_ptr<SocketmapServer>> SocketmapServer::create(std::string_view spec)
{
    const auto wrong = [&] { return fail(cat("socketmap:", printable(spec, 100), ": write socketmap:inet:host:port:name or socketmap:unix:/path:name")); };
    std::shared_ptr<SocketmapServer> server(new SocketmapServer);
    server->spec_ = cat("socketmap:", spec);
    const auto [kind, rest] = cut(spec, ':');
    const std::size_t last = rest ? rest->rfind(':') : std::string_view::npos;
    if (last == std::string_view::npos || last + 1 == rest->size()) return wrong();
    server->name_ = rest->substr(last + 1);
    const std::string_view place = rest->substr(0, last);
    if (kind == "unix") {
        if (!place.starts_with('/')) return wrong();
        if (place.size() >= sizeof(sockaddr_un::sun_path)) return fail(cat(server->spec_, ": the path is too long for a socket"));
        server->path_ = place;
        return server;
    }
    const std::size_t colon = place.rfind(':');
    if (kind != "inet" || colon == std::string_view::npos || colon == 0 || colon + 1 == place.size()) return wrong();
    std::string_view host = place.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    server->host_ = host;
    const uint16_t port = conf::port_of(place.substr(colon + 1)).value_or(0);
    if (port == 0) return fail(cat(server->spec_, ": \"", printable(place.substr(colon + 1), 100), "\" is not a port: no number from 1 to 65535, and no TCP service of /etc/services"));
    server->port_ = cat(port);
    return server;
}

Result<Fd> SocketmapServer::connect(Deadline deadline) const
{
    if (!path_.empty()) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, AF_UNIX, deadline);
    }
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int code = ::getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found); code != 0)
        return fail(cat(host_, ": ", std::string_view(::gai_strerror(code))));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
    Result<Fd> fd = fail(cat(host_, ": has no address"));
    for (const addrinfo* a = found; a && !fd && in_time(deadline); a = a->ai_next) fd = connect_to(a->ai_addr, a->ai_addrlen, a->ai_family, deadline);
    return fd;
}

// One question, one answer. `heard`: at least a byte came back.
Result<std::string> SocketmapServer::exchange(const Fd& fd, std::string_view request, Deadline deadline, bool& heard) const
{
    TRY(send_all(fd.get(), request, deadline));
    Netstring reply(most_reply);
    char buffer[4096];
    for (;;) {
        TRY(wait_for(fd.get(), POLLIN, deadline));
        const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
        if (n == 0) return fail("it closed the connection");
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n < 0) return fail_errno("recv");
        heard = true;
        if (TRY(reply.feed({buffer, static_cast<std::size_t>(n)}))) return reply.text();
    }
}

// Over a connection that is there, or a new one: a server may close one that was idle just when it is used again.
Result<std::string> SocketmapServer::talk(std::string_view request, Deadline deadline)
{
    Fd fd;
    {
        const std::lock_guard lock(mutex_);
        if (!idle_.empty()) {
            fd = std::move(idle_.back());
            idle_.pop_back();
        }
    }
    const bool used = static_cast<bool>(fd);
    if (!used) fd = TRY(connect(deadline));
    bool heard = false;
    auto reply = exchange(fd, request, deadline, heard);
    if (!reply && used && !heard && reply.error().code != ETIMEDOUT) {
        fd = TRY(connect(deadline));
        reply = exchange(fd, request, deadline, heard);
    }
    if (!reply) return reply;
    const std::lock_guard lock(mutex_);
    if (idle_.size() < most_idle) idle_.push_back(std::move(fd));
    return reply;
}

Answer SocketmapServer::ask(std::string_view key, std::chrono::milliseconds within)
{
    const auto time = std::min(patience, within);
    if (time.count() <= 0) return fail(cat(spec_, ": has not answered in time"));
    {
        const std::lock_guard lock(mutex_);
        if (in_time(silent_until_)) return fail(cat(spec_, ": did not answer a moment ago"));
    }
    const auto reply = talk(netstring(cat(name_, ' ', key)), std::chrono::steady_clock::now() + time);
    if (!reply) {
        // Who was given a moment only is not taken for silent.
        if (reply.error().code == ETIMEDOUT && time >= std::min(patience, fair_wait)) {
            const std::lock_guard lock(mutex_);
            silent_until_ = std::chrono::steady_clock::now() + pause;
            idle_.clear();
        }
        return fail(cat(spec_, ": ", reply.error().text));
    }
    auto answer = socketmap_answer(*reply);
    if (!answer) return fail(cat(spec_, ": key \"", printable(key, 100), "\": ", answer.error().text));
    return answer;
}

// ---- questions ----

Questions::Scope::Scope(Questions& questions) : before_(std::exchange(asking, &questions)) {}
Questions::Scope::~Scope() { asking = before_; }

std::vector<Questions::Question> Questions::take_open(bool wanted)
{
    auto open = std::exchange(open_, {});
    if (!wanted) return {};
    const auto before = [](const auto& a, const auto& b) { return std::tie(a.server->spec(), a.key) < std::tie(b.server->spec(), b.key); };
    const auto same = [](const auto& a, const auto& b) { return a.server->spec() == b.server->spec() && a.key == b.key; };
    std::sort(open.begin(), open.end(), before);
    open.erase(std::unique(open.begin(), open.end(), same), open.end());
    return open;
}

void Questions::answered(const Question& question, Answer answer) { answers_.insert_or_assign({question.server->spec(), question.key}, std::move(answer)); }

const Answer* Questions::known(const SocketmapServer& server, const std::string& key) const
{
    const auto at = answers_.find({server.spec(), key});
    return at == answers_.end() ? nullptr : &at->second;
}

class SocketmapTable final : public Table {
public:
    explicit SocketmapTable(std::shared_ptr<SocketmapServer> server) : server_(std::move(server)) {}
    Answer find(std::string_view key) const override
    {
        if (key.empty() || key.size() > max_key) return std::optional<std::string>();
        const std::string wanted = lower(key);
        if (!asking) return server_->ask(wanted);
        if (const Answer* known = asking->known(*server_, wanted)) return *known;
        asking->open_.push_back({server_, wanted});
        return unexpected({EINPROGRESS, cat(server_->spec(), ": has not answered in time")});
    }
    std::string origin(std::string_view key) const override
    {
        const auto value = find(key);
        return value && *value ? server_->spec() : std::string();
    }

private:
    std::shared_ptr<SocketmapServer> server_;     // shared: a question outlives its table
};

Result<std::unique_ptr<Table>> open_socketmap(std::string_view spec)
{
    auto server = TRY(SocketmapServer::create(spec));
    return std::make_unique<SocketmapTable>(std::move(server));
}

}  // namespace veredus::table
