// A connection in the loop: output queue of bytes and file extents, idle time-out, TLS on the same fd.
#include "lib/net/stream.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <utility>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::net {

namespace {
constexpr std::size_t read_size = 64 * 1024;
constexpr std::size_t merge_limit = 32 * 1024;      // small writes join one buffer
constexpr int reads_per_turn = 8;
char shared_buffer[read_size];                      // one per process: the loop is single-threaded, the user keeps what it needs
}  // namespace

struct Stream::Private : std::enable_shared_from_this<Stream::Private> {
    struct Piece {
        std::string bytes;
        std::size_t sent = 0;
        Fd file;
        uint64_t offset = 0, left = 0;       // of the file extent
    };

    Private(Loop& l, Fd f, StreamUser& u) : loop(l), fd(std::move(f)), user(&u) {}

    Loop& loop;
    Fd fd;
    StreamUser* user;                        // null once the Stream is gone
    std::unique_ptr<tls::Session> session;
    std::unique_ptr<Watch> watch;
    std::unique_ptr<Timer> timer;
    std::deque<Piece> out;
    std::size_t out_bytes = 0;
    std::chrono::milliseconds idle{0};
    int64_t last_us = 0;                     // when the last byte moved
    bool handshaking = false, paused = false, closing = false, ended = false, in_flush = false;
    bool read_wants_write = false, write_wants_read = false;
    bool flush_due = false;                  // in this turn: nobody need ask whether the socket is writable
    bool disturbed = false;                  // bytes came while paused: the event is off until we read again

    static End failure_of(const tls::Session& failed) { return failed.tls_fault() ? End::tls_broken : End::error; }

    void end(End how, const std::string& why)
    {
        if (ended) return;
        ended = true;
        if (session && how != End::tls_failed) session->close_notify();
        watch.reset();
        timer.reset();
        out.clear();
        out_bytes = 0;
        fd.reset();                          // the session may still be asked for facts, but moves no byte any more
        if (user) {
            StreamUser* u = user;
            user = nullptr;
            u->on_end(how, why);
        }
    }

    void update()
    {
        if (!watch) return;
        unsigned interest = 0;
        if (handshaking) {
            interest = read_wants_write ? writable : readable;
        } else {
            if ((!closing && !(paused && disturbed)) || write_wants_read) interest |= readable;
            if ((!out.empty() && !write_wants_read && !flush_due) || read_wants_write) interest |= writable;
            if (closing && out.empty()) interest = 0;
        }
        watch->set(interest);
    }

    void touch() { last_us = loop.now_us(); }

    void on_timer()
    {
        const int64_t due = last_us + idle.count() * 1000;
        const int64_t now = loop.now_us();
        if (now >= due) {
            const auto self = shared_from_this();
            return end(End::timeout, "timeout");
        }
        timer->start(std::chrono::milliseconds((due - now) / 1000 + 1));
    }

    void on_ready(unsigned ready)
    {
        const auto self = shared_from_this();
        if (handshaking) return do_handshake();
        if ((ready & writable) || (write_wants_read && (ready & readable))) flush(true);
        if (!ended && paused && (ready & readable)) disturbed = true;      // a pause is mostly over before: then it costs no call
        if (!ended && ((ready & readable) || (read_wants_write && (ready & writable)))) do_read();
        if (!ended) update();
    }

    void do_handshake()
    {
        switch (session->handshake()) {
        case tls::Session::Step::done:
            handshaking = read_wants_write = false;
            touch();
            if (user) user->on_secure();
            if (!ended) {
                flush(false);
                if (!ended) do_read();       // bytes may wait inside OpenSSL already
            }
            break;
        case tls::Session::Step::want_read: read_wants_write = false; break;
        case tls::Session::Step::want_write: read_wants_write = true; break;
        case tls::Session::Step::closed: return end(End::tls_failed, "the peer closed the connection during the TLS handshake");
        case tls::Session::Step::failed: return end(End::tls_failed, session->error());
        }
        if (!ended) update();
    }

    void do_read()
    {
        for (int i = 0; i < reads_per_turn && !paused && !closing && !ended && !handshaking; ++i) {
            std::size_t got = 0;
            if (session) {
                const auto step = session->read(shared_buffer, sizeof shared_buffer, got);
                read_wants_write = step == tls::Session::Step::want_write;
                if (step == tls::Session::Step::want_read || step == tls::Session::Step::want_write) return;
                if (step == tls::Session::Step::closed) return end(End::eof, "the peer closed the connection");
                if (step == tls::Session::Step::failed) return end(failure_of(*session), session->error());
            } else {
                const ssize_t n = ::recv(fd.get(), shared_buffer, sizeof shared_buffer, 0);
                if (n < 0) {
                    if (errno == EINTR) continue;
                    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
                    const std::string why = fail_errno("read").error.text;
                    return end(End::error, why);
                }
                if (n == 0) return end(End::eof, "the peer closed the connection");
                got = static_cast<std::size_t>(n);
            }
            touch();
            const bool full = got == sizeof shared_buffer;
            if (user) user->on_data(std::string_view(shared_buffer, got));
            if (ended || !(session ? session->has_unread() : full)) return;               // the socket is dry: spare the EAGAIN
        }
        if (ended || paused || closing || handshaking || !session || !session->has_unread()) return;
        loop.defer([keep = shared_from_this()] {      // others had their turn; no event tells of these bytes
            if (!keep->ended) keep->do_read();
            if (!keep->ended) keep->update();
        });
    }

    // Writes what it can; false: the stream ended.
    bool flush(bool tell)
    {
        if (in_flush || handshaking) return true;
        in_flush = true;
        const bool had = !out.empty();
        if (had && closing && session) hold_back();
        while (!out.empty() && !ended) {
            const int moved = out.front().file ? send_file_piece(out.front()) : send_bytes(out.front());
            if (moved <= 0) break;
        }
        in_flush = false;
        if (ended) return false;
        if (out.empty()) {
            if (closing) {
                end(End::eof, "closed");
                return false;
            }
            if (had && tell && user) user->on_drained();
        }
        return !ended;
    }

    // The last words and TLS's own goodbye leave in one packet. Closing lets it go; what fills a packet before that goes by itself.
    void hold_back()
    {
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_CORK, &on, sizeof on);    // fails on Unix sockets, which have no packets
    }

    // 1: the piece is done; 0: the socket is full; -1: ended.
    int send_bytes(Piece& piece)
    {
        while (piece.sent < piece.bytes.size()) {
            const std::string_view rest = std::string_view(piece.bytes).substr(piece.sent);
            std::size_t taken = 0;
            if (session) {
                const auto step = session->write(rest, taken);
                write_wants_read = step == tls::Session::Step::want_read;
                if (step == tls::Session::Step::want_read || step == tls::Session::Step::want_write) return 0;
                if (step != tls::Session::Step::done) return end(failure_of(*session), session->error()), -1;
            } else {
                const ssize_t n = ::send(fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
                if (n < 0) {
                    if (errno == EINTR) continue;
                    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
                    return end(End::error, fail_errno("write").error.text), -1;
                }
                taken = static_cast<std::size_t>(n);
            }
            touch();
            piece.sent += taken;
            out_bytes -= taken;
        }
        out.pop_front();
        return 1;
    }

    int send_file_piece(Piece& piece)
    {
        while (piece.left > 0) {
            if (session && session->sends_files()) {
                std::size_t taken = 0;
                const auto step = session->send_file(piece.file.get(), piece.offset, static_cast<std::size_t>(std::min<uint64_t>(piece.left, 1u << 20)), taken);
                write_wants_read = step == tls::Session::Step::want_read;
                if (step == tls::Session::Step::want_read || step == tls::Session::Step::want_write) return 0;
                if (step != tls::Session::Step::done) return end(failure_of(*session), session->error()), -1;
                touch();
                piece.offset += taken;
                piece.left -= taken;
                out_bytes -= taken;
                continue;
            }
            if (session) {
                // Under TLS the extent goes block by block through a byte piece before it.
                Piece block;
                auto bytes = pread_exact(piece.file.get(), static_cast<off_t>(piece.offset), static_cast<std::size_t>(std::min<uint64_t>(piece.left, 16384)));
                if (!bytes) return end(End::error, bytes.error().text), -1;
                piece.offset += bytes->size();
                piece.left -= bytes->size();
                block.bytes = std::move(*bytes);
                out.push_front(std::move(block));
                return 1;
            }
            off_t offset = static_cast<off_t>(piece.offset);
            const ssize_t n = ::sendfile(fd.get(), piece.file.get(), &offset, static_cast<std::size_t>(std::min<uint64_t>(piece.left, 1u << 20)));
            if (n < 0) {
                if (errno == EINTR) continue;
                if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
                return end(End::error, fail_errno("sendfile").error.text), -1;
            }
            if (n == 0) return end(End::error, "sendfile: the file is shorter than expected"), -1;
            touch();
            piece.offset += static_cast<uint64_t>(n);
            piece.left -= static_cast<uint64_t>(n);
            out_bytes -= static_cast<std::size_t>(n);
        }
        out.pop_front();
        return 1;
    }
};

Stream::Stream(Loop& loop, Fd fd, StreamUser& user) : private_(std::make_shared<Private>(loop, std::move(fd), user))
{
    Private* p = private_.get();
    if (auto r = set_nonblocking(p->fd.get(), true); !r) log::warning("stream: ", r.error().text);
    const int on = 1;
    ::setsockopt(p->fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);     // fails on Unix sockets, which need none
    p->touch();
    p->watch = std::make_unique<Watch>(loop, p->fd.get(), readable, [p](unsigned ready) { p->on_ready(ready); });
}

Stream::~Stream()
{
    private_->user = nullptr;
    private_->end(End::eof, "");
}

void Stream::write(std::string_view bytes)
{
    Private& p = *private_;
    if (p.ended || p.closing || bytes.empty()) return;
    const bool was_empty = p.out.empty();
    if (was_empty && !p.session && !p.in_flush) {        // the common case: straight to the kernel, nothing kept
        const ssize_t n = ::send(p.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n > 0) {
            p.touch();
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        if (bytes.empty()) return;
        // An error shows again at the next try, from the loop, where ending is safe.
    }
    if (!p.out.empty() && !p.out.back().file && p.out.back().bytes.size() + bytes.size() <= merge_limit)
        p.out.back().bytes.append(bytes);
    else {
        p.out.emplace_back();
        p.out.back().bytes = bytes;
    }
    p.out_bytes += bytes.size();
    if (was_empty && p.session && !p.handshaking) {
        // TLS: one record for all that is written in this turn.
        if (std::exchange(p.flush_due, true)) return;
        const auto keep = private_;
        p.loop.defer([keep] {
            keep->flush_due = false;
            if (keep->ended) return;
            if (keep->flush(true) && !keep->ended) keep->update();
        });
        return;
    }
    p.update();
}

void Stream::send_file(int file, uint64_t offset, uint64_t size)
{
    Private& p = *private_;
    if (p.ended || p.closing || size == 0) return;
    Private::Piece piece;
    piece.file = Fd(::fcntl(file, F_DUPFD_CLOEXEC, 3));
    piece.offset = offset;
    piece.left = size;
    if (!piece.file) {
        const auto keep = private_;
        const std::string why = fail_errno("dup").error.text;
        p.loop.defer([keep, why] { keep->end(End::error, why); });
        return;
    }
    p.out.push_back(std::move(piece));
    p.out_bytes += static_cast<std::size_t>(size);
    p.update();
}

std::size_t Stream::pending() const { return private_->out_bytes; }

void Stream::pause_reading(bool paused)
{
    Private& p = *private_;
    if (p.paused == paused) return;
    p.paused = paused;
    p.disturbed = false;
    p.update();
    if (!paused && p.session && !p.ended && !p.handshaking) {
        // What OpenSSL has decrypted already makes no fd readable.
        const auto keep = private_;
        p.loop.defer([keep] {
            if (!keep->ended && !keep->handshaking) keep->do_read();
            if (!keep->ended) keep->update();
        });
    }
}

void Stream::set_timeout(std::chrono::milliseconds idle)
{
    Private& p = *private_;
    if (p.ended) return;
    p.idle = idle;
    p.touch();
    if (idle.count() == 0) {
        if (p.timer) p.timer->stop();
        return;
    }
    if (!p.timer) {
        Private* raw = &p;
        p.timer = std::make_unique<Timer>(p.loop, [raw] { raw->on_timer(); });
    }
    p.timer->start(idle);
}

void Stream::restart_timeout() { private_->touch(); }

Result<void> Stream::start_tls_server(tls::ServerContext& context)
{
    Private& p = *private_;
    p.session = TRY(context.session(p.fd.get()));
    p.handshaking = true;
    p.update();
    return {};
}

Result<void> Stream::start_tls_client(tls::ClientContext& context, const std::string& host, const std::string& cache_key)
{
    tls::ClientPolicy policy;
    policy.server_name = policy.host = host;
    return start_tls_client(context, policy, cache_key);
}

Result<void> Stream::start_tls_client(tls::ClientContext& context, const tls::ClientPolicy& policy, const std::string& cache_key)
{
    Private& p = *private_;
    p.session = TRY(context.session(p.fd.get(), policy, cache_key));
    p.handshaking = true;
    const auto keep = private_;
    p.loop.defer([keep] {
        if (!keep->ended) keep->do_handshake();      // the client speaks first
    });
    return {};
}

const tls::Session* Stream::tls() const { return private_->session.get(); }

void Stream::close_after_flush()
{
    Private& p = *private_;
    if (p.ended) return;
    p.closing = true;
    if (p.out.empty()) {
        const auto keep = private_;
        p.loop.defer([keep] {
            if (keep->out.empty()) keep->end(End::eof, "closed");
        });
        return;
    }
    p.update();
}

int Stream::fd() const { return private_->fd.get(); }

struct Connector::Private {
    Fd fd;
    std::unique_ptr<Watch> watch;
    std::unique_ptr<Timer> timer;
    std::function<void(Result<Fd>)> done;
    std::string what;

    void finish(int code)
    {
        watch.reset();
        timer.reset();
        auto callback = std::move(done);
        done = nullptr;
        if (!callback) return;
        if (code != 0)
            callback(fail_errno(what, code));
        else
            callback(std::move(fd));
    }
};

Connector::Connector(Loop& loop, const Address& to, const Address* bind_to, std::chrono::milliseconds timeout, std::function<void(Result<Fd>)> done)
    : private_(std::make_shared<Private>())
{
    Private* p = private_.get();
    p->done = std::move(done);
    p->what = cat("connect to ", to.text());
    p->timer = std::make_unique<Timer>(loop, [keep = std::weak_ptr(private_)] {
        if (const auto self = keep.lock()) self->finish(ETIMEDOUT);
    });
    const auto later = [&](int code) {
        loop.defer([keep = std::weak_ptr(private_), code] {
            if (const auto self = keep.lock()) self->finish(code);
        });
    };
    p->fd = Fd(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const bool bound = p->fd && (!bind_to || ::bind(p->fd.get(), bind_to->raw(), bind_to->raw_size()) == 0);
    if (!bound || ::connect(p->fd.get(), to.raw(), to.raw_size()) == 0) {
        later(bound ? 0 : errno);
        return;
    }
    if (errno != EINPROGRESS) {
        later(errno);
        return;
    }
    p->watch = std::make_unique<Watch>(loop, p->fd.get(), writable, [keep = std::weak_ptr(private_)](unsigned) {
        const auto self = keep.lock();
        if (!self) return;
        int code = 0;
        socklen_t size = sizeof code;
        if (::getsockopt(self->fd.get(), SOL_SOCKET, SO_ERROR, &code, &size) < 0) code = errno;
        self->finish(code);
    });
    p->timer->start(timeout);
}

Connector::~Connector() { private_->done = nullptr; }

struct Acceptor::Private {
    Loop& loop;
    Fd listener;
    std::function<void(Fd, Address)> accepted;
    std::unique_ptr<Watch> watch;
    std::unique_ptr<Timer> resume;
    bool paused = false;
    int64_t said_us = 0;

    void on_ready()
    {
        for (int i = 0; i < 64 && !paused; ++i) {
            sockaddr_storage s{};
            socklen_t size = sizeof s;
            Fd fd(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&s), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (!fd) {
                if (errno == EAGAIN || errno == EWOULDBLOCK) return;
                if (errno == EINTR || errno == ECONNABORTED) continue;
                return rest(errno);
            }
            accepted(std::move(fd), Address::from_sockaddr(reinterpret_cast<sockaddr*>(&s), size));
        }
    }

    // Out of descriptors or memory: the backlog keeps the peers while sessions end.
    void rest(int code)
    {
        if (loop.now_us() - said_us > 10 * 1'000'000 || said_us == 0) {
            said_us = loop.now_us();
            log::warning(fail_errno("accept", code).error.text, code == EMFILE ? " (raise LimitNOFILE or lower the connection limits)" : "");
        }
        watch->set(0);
        resume->start(std::chrono::milliseconds(200));
    }
};

Acceptor::Acceptor(Loop& loop, Fd listener, std::function<void(Fd, Address)> accepted)
    : private_(new Private{loop, std::move(listener), std::move(accepted), nullptr, nullptr})
{
    Private* p = private_.get();
    if (auto r = set_nonblocking(p->listener.get(), true); !r) log::warning("listener: ", r.error().text);
    p->watch = std::make_unique<Watch>(loop, p->listener.get(), readable, [p](unsigned) { p->on_ready(); });
    p->resume = std::make_unique<Timer>(loop, [p] {
        if (!p->paused) p->watch->set(readable);
    });
}

Acceptor::~Acceptor() = default;

void Acceptor::pause(bool paused)
{
    private_->paused = paused;
    private_->watch->set(paused ? 0u : unsigned{readable});
}

}  // namespace veredus::net
