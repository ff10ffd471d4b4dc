// A channel in the loop: an output queue for when the socket is full, pending calls by request number, one end for all.
#include "lib/ipc/channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <map>
#include <unordered_map>

#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/ipc/wire.h"
#include "lib/log/log.h"

namespace veredus::ipc {

namespace {
constexpr std::size_t max_waiting = 20'000;       // messages kept while the peer does not read
constexpr std::size_t max_waiting_bytes = 64u << 20;
constexpr int messages_per_turn = 256;            // then other fds get their turn
constexpr unsigned looks_again = 1000;            // calls that are refused before all that are held are looked through again
}  // namespace

struct Channel::Private : std::enable_shared_from_this<Private> {
    struct Waiting {
        std::string bytes;
        std::vector<Fd> fds;
        uint32_t call = 0;                // the request, when it is one of ours
        Wanted wanted;
    };
    struct Call {
        std::function<void(Result<Message>)> done;
        int64_t deadline_us;
    };
    struct Held {
        uint16_t type;
        std::string body;
        std::vector<Fd> fds;
        std::chrono::milliseconds deadline;
        std::function<void(Result<Message>)> done;
        Wanted wanted;
    };

    Private(Loop& l, Fd f, User u, std::size_t c) : loop(l), fd(std::move(f)), user(std::move(u)), credit(c) {}

    Loop& loop;
    Fd fd;
    User user;
    std::size_t credit;
    std::unique_ptr<Watch> watch;
    std::unique_ptr<Timer> timer;
    std::deque<Waiting> waiting;
    std::size_t waiting_bytes = 0;
    std::unordered_map<uint32_t, Call> calls;
    std::deque<Held> held;                // calls beyond the credit
    uint32_t next_request = 1;
    unsigned refused = 0;                 // calls that found too many held
    bool dead = false, destroyed = false;
    bool one_at_a_time = false, unanswered = false;

    bool reads() const { return !one_at_a_time || (!unanswered && waiting.empty()); }
    void watch_for_more()
    {
        if (watch) watch->set((reads() ? unsigned{readable} : 0) | (waiting.empty() ? 0 : unsigned{writable}));
    }

    void end(const std::string& why)
    {
        if (dead) return;
        dead = true;
        watch.reset();
        timer.reset();
        waiting.clear();
        fail_calls(why);
        if (destroyed) return;
        auto self = shared_from_this();
        loop.defer([self, why] {
            if (!self->destroyed && self->user.closed) {
                auto closed = self->user.closed;
                closed(why);
            }
        });
    }

    void fail_calls(const std::string& why)
    {
        std::vector<std::function<void(Result<Message>)>> all;
        for (auto& [number, call] : calls) all.push_back(std::move(call.done));
        for (auto& h : held) all.push_back(std::move(h.done));
        calls.clear();
        held.clear();
        if (all.empty() || destroyed) return;    // a destroyed channel's owner may be gone: nobody is called
        loop.defer([self = shared_from_this(), all = std::move(all), why] {
            for (const auto& done : all)
                if (!self->destroyed) done(fail(why));
        });
    }

    static bool unwanted(const Wanted& wanted) { return wanted && !wanted(); }

    void never_sent(std::function<void(Result<Message>)> done)
    {
        loop.defer([self = shared_from_this(), done = std::move(done)] {
            if (!self->destroyed) done(fail_errno("nobody waits for the answer any more", ECANCELED));
        });
    }

    void drop_unwanted()
    {
        std::deque<Held> all;
        all.swap(held);
        for (Held& h : all) {
            if (unwanted(h.wanted)) never_sent(std::move(h.done));
            else held.push_back(std::move(h));
        }
    }

    // A message that waited for the socket: false when it is a call that nobody wants.
    bool still_wanted(const Waiting& w)
    {
        if (!unwanted(w.wanted)) return true;
        if (auto call = calls.extract(w.call); !call.empty()) never_sent(std::move(call.mapped().done));
        return false;
    }

    Result<void> put(const Message& message, std::span<const int> fds, Wanted wanted = nullptr)
    {
        if (dead) return fail("the channel is closed");
        std::string bytes = encode_message(message);
        if (waiting.empty()) {
            auto sent = send_datagram(fd.get(), bytes, fds, MSG_DONTWAIT);
            if (!sent) {
                // EPIPE and the like: what the peer still said is read first, then the end comes by the watch.
                if (sent.error().code != EPIPE && sent.error().code != ECONNRESET && sent.error().code != 0) end(sent.error().text);
                return unexpected(std::move(sent).error());
            }
            if (*sent) return {};
        }
        if (waiting.size() >= max_waiting || waiting_bytes + bytes.size() > max_waiting_bytes)
            return fail("the peer does not read: too many messages wait for it");
        Waiting w{std::move(bytes), {}, message.answer ? 0 : message.request, std::move(wanted)};
        for (const int f : fds) {
            Fd copy(::fcntl(f, F_DUPFD_CLOEXEC, 3));
            if (!copy) return fail_errno("dup");
            w.fds.push_back(std::move(copy));
        }
        waiting_bytes += w.bytes.size();
        waiting.push_back(std::move(w));
        watch_for_more();
        return {};
    }

    void flush()
    {
        while (!waiting.empty()) {
            if (still_wanted(waiting.front())) {
                std::vector<int> fds;
                for (const Fd& f : waiting.front().fds) fds.push_back(f.get());
                auto sent = send_datagram(fd.get(), waiting.front().bytes, fds, MSG_DONTWAIT);
                if (!sent) return end(sent.error().text);
                if (!*sent) return;
            }
            waiting_bytes -= waiting.front().bytes.size();
            waiting.pop_front();
        }
        watch_for_more();
        start_held();                     // for those that were not wanted
    }

    void on_ready(unsigned ready)
    {
        auto self = shared_from_this();
        if (ready & writable) flush();
        if (!(ready & readable)) return;
        for (int i = 0; i < messages_per_turn && !dead && !destroyed && reads(); ++i) {
            std::string_view bytes;
            auto got = receive_datagram(fd.get(), bytes, MSG_DONTWAIT);
            if (!got) return end(got.error().text);
            if (got->kind == Received::Kind::nothing) return;
            if (got->kind == Received::Kind::closed) return end("the peer closed the channel");
            auto message = decode_message(bytes);
            if (!message) return end(message.error().text);
            message->fds = std::move(got->fds);
            take(std::move(*message));
        }
    }

    void take(Message message)
    {
        if (!message.answer) {
            if (user.message) {
                if (one_at_a_time) {
                    unanswered = true;
                    watch_for_more();
                }
                auto handler = user.message;     // a copy: the owner may go away inside
                handler(std::move(message));
            }
            return;
        }
        const auto it = calls.find(message.request);
        if (it == calls.end()) return;           // its deadline has passed
        auto done = std::move(it->second.done);
        calls.erase(it);
        done(std::move(message));
        if (!dead && !destroyed) start_held();
    }

    void start(Held h)
    {
        if (unwanted(h.wanted)) return never_sent(std::move(h.done));
        Message m;
        m.type = h.type;
        m.deadline_ms = static_cast<uint32_t>(std::max<int64_t>(h.deadline.count(), 1));
        do m.request = next_request++;
        while (m.request == 0 || calls.count(m.request));
        m.body = std::move(h.body);
        std::vector<int> fds;
        for (const Fd& f : h.fds) fds.push_back(f.get());
        // Among the calls before it is sent: when sending finds that the peer is gone, the end answers it with all others.
        calls.emplace(m.request, Call{std::move(h.done), loop.now_us() + h.deadline.count() * 1000});
        if (auto sent = put(m, fds, std::move(h.wanted)); !sent) {
            auto call = calls.extract(m.request);
            if (call.empty()) return;
            loop.defer([self = shared_from_this(), done = std::move(call.mapped().done), error = sent.error()] {
                if (!self->destroyed) done(unexpected(error));
            });
            return;
        }
        if (!timer->armed()) timer->start(std::chrono::milliseconds(std::min<int64_t>(h.deadline.count(), 1000)));
    }

    void start_held()
    {
        while (!held.empty() && calls.size() < credit) {
            Held h = std::move(held.front());
            held.pop_front();
            start(std::move(h));
        }
    }

    // Deadlines are checked once a second at most: one timer for all calls.
    void check_deadlines()
    {
        auto self = shared_from_this();
        std::vector<std::function<void(Result<Message>)>> late;
        int64_t next = INT64_MAX;
        const int64_t now = loop.now_us();
        for (auto it = calls.begin(); it != calls.end();) {
            if (it->second.deadline_us <= now) {
                late.push_back(std::move(it->second.done));
                it = calls.erase(it);
            } else {
                next = std::min(next, it->second.deadline_us);
                ++it;
            }
        }
        if (next != INT64_MAX) timer->start(std::chrono::milliseconds(std::min<int64_t>((next - now) / 1000 + 1, 1000)));
        for (const auto& done : late)
            if (!destroyed) done(fail_errno("waiting for the neighbour's answer", ETIMEDOUT));
        if (!dead && !destroyed) start_held();
    }
};

Channel::Channel(Loop& loop, Fd fd, User user, std::size_t credit)
    : private_(std::make_shared<Private>(loop, std::move(fd), std::move(user), credit))
{
    Private* p = private_.get();
    if (auto r = set_nonblocking(p->fd.get(), true); !r) log::warning("channel: ", r.error().text);
    p->watch = std::make_unique<Watch>(loop, p->fd.get(), readable, [p](unsigned ready) { p->on_ready(ready); });
    p->timer = std::make_unique<Timer>(loop, [p] { p->check_deadlines(); });
}

Channel::~Channel()
{
    private_->destroyed = true;
    private_->user = {};
    private_->end("the channel was given up");
}

void Channel::one_request_at_a_time() { private_->one_at_a_time = true; }

Result<void> Channel::send(uint16_t type, std::string body, std::span<const int> fds)
{
    Message m;
    m.type = type;
    m.body = std::move(body);
    return private_->put(m, fds);
}

void Channel::call(uint16_t type, std::string body, std::span<const int> fds, std::chrono::milliseconds deadline,
                   std::function<void(Result<Message>)> done, Wanted wanted)
{
    Private& p = *private_;
    Private::Held h{type, std::move(body), {}, deadline, std::move(done), std::move(wanted)};
    std::string why;
    if (p.dead) why = "the channel is closed";
    if (p.held.size() >= max_waiting && p.refused++ % looks_again == 0) p.drop_unwanted();
    if (p.held.size() >= max_waiting) why = "too many calls wait for the neighbour";
    for (const int f : fds) {
        Fd copy(::fcntl(f, F_DUPFD_CLOEXEC, 3));
        if (!copy) why = "out of file descriptors";
        h.fds.push_back(std::move(copy));
    }
    if (!why.empty()) {
        p.loop.defer([self = private_, done = std::move(h.done), why] {
            if (!self->destroyed) done(fail(why));
        });
        return;
    }
    if (p.calls.size() >= p.credit || !p.held.empty())
        p.held.push_back(std::move(h));
    else
        p.start(std::move(h));
}

Result<void> Channel::reply(uint32_t request, uint16_t type, std::string body, std::span<const int> fds)
{
    Message m;
    m.type = type;
    m.answer = true;
    m.request = request;
    m.body = std::move(body);
    auto sent = private_->put(m, fds);
    private_->unanswered = false;
    if (private_->one_at_a_time) private_->watch_for_more();
    return sent;
}

Result<void> Channel::reply(const Message& to, uint16_t type, std::string body, std::span<const int> fds)
{
    if (to.request == 0 && !private_->one_at_a_time) return {};      // nobody waits
    return reply(to.request, type, std::move(body), fds);
}

std::size_t Channel::in_flight() const { return private_->calls.size() + private_->held.size(); }
bool Channel::congested() const { return !private_->waiting.empty(); }
bool Channel::open() const { return !private_->dead; }
int Channel::fd() const { return private_->fd.get(); }

}  // namespace veredus::ipc
