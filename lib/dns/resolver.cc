// Questions on their way: askers and servers in turn, UDP then TCP, one query for all who ask the same.
#include "lib/dns/resolver.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <unordered_map>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/dns/cache.h"
#include "lib/dns/turns.h"
#include "lib/net/stream.h"

namespace veredus::dns {

namespace {

// Questions with sockets of their own; others wait their turn.
constexpr Turns::Limits for_greetings{100, 10}, for_others{250, 25};
constexpr std::size_t most_turns = 64;   // askers in whose turn one and the same question may come
constexpr unsigned max_strays = 100;     // packets that answer nothing we asked, per socket: then it is given up
constexpr std::size_t max_no_edns = 32;  // servers remembered as not knowing EDNS

using Key = Cache::Key;

// A query on a socket of its own, so that each has a port of its own beside its id (RFC 5452 §9.2). Connected: the
// kernel drops what does not come from that server.
struct Udp {
    Fd fd;
    std::unique_ptr<Watch> watch;
    uint16_t id = 0;
    std::size_t server = 0;
    bool edns = true;
    unsigned strays = 0;
};

// The same question over TCP, when the UDP answer was truncated (RFC 7766).
class Tcp final : public net::StreamUser {
public:
    using Done = std::function<void(Tcp&, std::string_view packet)>; // an empty packet: the connection failed
    Tcp(Loop& loop, const net::Address& to, std::chrono::milliseconds timeout, std::string query, Done done)
        : loop_(loop), query_(std::move(query)), done_(std::move(done)),
          connector_(std::make_unique<net::Connector>(loop, to, nullptr, timeout,
                                                      [this](Result<Fd> fd) { connected(std::move(fd)); }))
    {}
    void on_data(std::string_view bytes) override
    {
        if (finished_) return;
        input_ += bytes;
        if (input_.size() < 2) return;
        const std::size_t size = static_cast<std::size_t>(static_cast<unsigned char>(input_[0])) << 8 |
                                 static_cast<unsigned char>(input_[1]);
        if (size == 0 || input_.size() >= size + 2) finish(std::string_view(input_).substr(2, size));
    }
    void on_end(net::End, const std::string&) override { finish({}); }
    void cancel() { finished_ = true; } // `done` will not be called
    uint16_t id = 0;
    std::size_t server = 0;

private:
    void connected(Result<Fd> fd)
    {
        if (!fd || finished_) return finish({});
        stream_ = std::make_unique<net::Stream>(loop_, std::move(*fd), *this);
        const char size[2] = {static_cast<char>(query_.size() >> 8), static_cast<char>(query_.size() & 0xff)};
        stream_->write(std::string(size, 2) + query_);
    }
    void finish(std::string_view packet)
    {
        if (std::exchange(finished_, true)) return;
        done_(*this, packet);
    }
    Loop& loop_;
    std::string query_, input_;
    Done done_;
    bool finished_ = false;
    std::unique_ptr<net::Connector> connector_;
    std::unique_ptr<net::Stream> stream_;
};

struct Question {
    Question(Key k, Loop& loop, std::function<void()> on_time)
        : key(std::move(k)), current(key.first), timer(loop, std::move(on_time))
    {}
    Key key;
    std::string current; // the name on the wire: key's, or where an alias led
    std::vector<Resolver::Ticket> waiters;
    std::shared_ptr<const Config> config;    // shared: a new one must not move the servers under a running question
    std::vector<std::unique_ptr<Udp>> tries; // earlier ones stay open: a slow answer still counts
    std::unique_ptr<Tcp> tcp;
    Timer timer;
    unsigned step = 0, first_server = 0, hops = 0;
    std::array<bool, 3> bad{}; // servers that answered with a failure
    Status worst = Status::timeout;
    uint32_t ttl = INT32_MAX;
    bool authentic = true;
    bool running = false;
    Asker asker;               // whose place it has
    std::vector<Asker> queued; // else: in whose turn it will come
};

} // namespace

struct Resolver::Private {
    Private(Loop& l, Config c, std::size_t entries) : loop(l), cache(entries) { set(std::move(c)); }

    Loop& loop;
    std::shared_ptr<const Config> config;
    Cache cache;
    std::map<Key, std::unique_ptr<Question>> questions;
    struct Waiter {
        DoneShared done;
        Key key;
    };
    Turns greetings{for_greetings}, others{for_others};
    std::unordered_map<Ticket, Waiter> waiting; // all who have no answer yet
    std::set<std::string> no_edns;
    std::shared_ptr<int> alive = std::make_shared<int>(); // shared: deferred calls see whether we still are
    Ticket last_ticket = 0;
    unsigned turn = 0;
    bool start_due = false;

    void set(Config c)
    {
        if (c.servers.size() > 3) c.servers.resize(3);
        config = std::make_shared<const Config>(std::move(c));
    }

    template <class Work> void later(Work work)
    {
        loop.defer([life = std::weak_ptr<int>(alive), work = std::move(work)]() mutable {
            if (!life.expired()) work();
        });
    }

    // What may be on the call stack is destroyed after this turn only.
    template <class Thing> void bury(Thing thing)
    {
        loop.defer([grave = std::make_shared<Thing>(std::move(thing))] {});
    }

    void answer_later(std::vector<Ticket> tickets, std::shared_ptr<const Answer> answer)
    {
        later([this, tickets = std::move(tickets), answer = std::move(answer)] {
            const std::weak_ptr<int> life = alive;
            for (const Ticket ticket : tickets) {
                const auto found = waiting.find(ticket);
                if (found == waiting.end()) continue; // cancelled, perhaps by the one before
                const DoneShared done = std::move(found->second.done);
                waiting.erase(found);
                done(answer);
                if (life.expired()) return;
            }
        });
    }

    Ticket lookup(const std::string& name, Kind kind, DoneShared done, const Asker& asker)
    {
        const Ticket ticket = ++last_ticket;
        Key key(lower(name), kind);
        if (!key.first.empty() && key.first.back() == '.') key.first.pop_back();
        waiting.emplace(ticket, Waiter{std::move(done), key});
        if (auto known = cache.find(key, loop.now_us())) {
            answer_later({ticket}, std::move(known));
            return ticket;
        }
        if (encode_query(0, key.first, kind, false).empty() || key.first.empty()) {
            tell(ticket, key, Status::nxdomain); // no such name can exist
            return ticket;
        }
        const auto [at, fresh] = questions.try_emplace(key);
        if (fresh) at->second = std::make_unique<Question>(key, loop, [this, key] { timed_out(key); });
        if (!at->second->running && !queue_up(*at->second, asker) && fresh) {
            questions.erase(at);
            tell(ticket, key, Status::timeout);
            return ticket;
        }
        at->second->waiters.push_back(ticket);
        return ticket;
    }

    void tell(Ticket ticket, const Key& key, Status status)
    {
        auto none = std::make_shared<Answer>();
        none->status = status;
        none->canonical = key.first;
        answer_later({ticket}, std::move(none));
    }

    Turns& turns_for(const Asker& asker) { return asker.greeting ? greetings : others; }

    // It comes in the turn of each who asks it, whichever is first. False: too many questions of this one wait.
    bool queue_up(Question& q, const Asker& asker)
    {
        if (q.queued.size() >= most_turns || std::find(q.queued.begin(), q.queued.end(), asker) != q.queued.end()) return true;
        if (!turns_for(asker).add(asker.who, q.key)) return false;
        q.queued.push_back(asker);
        start_soon();
        return true;
    }

    void start_soon()
    {
        if (std::exchange(start_due, true)) return;
        later([this] {
            start_due = false;
            for (Turns* turns : {&greetings, &others})
                while (const auto next = turns->next()) start(next->second, {next->first, turns == &greetings});
        });
    }

    void start(const Key& key, Asker asker)
    {
        const auto found = questions.find(key);
        if (found == questions.end() || found->second->running) return turns_for(asker).release(asker.who);
        Question& q = *found->second;
        unqueue(q);
        q.running = true;
        q.asker = std::move(asker);
        q.config = config;
        begin(q);
    }

    void unqueue(Question& q)
    {
        for (const Asker& asker : std::exchange(q.queued, {})) turns_for(asker).remove(asker.who, q.key);
    }

    void begin(Question& q)
    {
        q.step = 0;
        q.bad.fill(false);
        q.worst = Status::timeout;
        q.first_server = q.config->rotate ? turn++ : 0;
        next_server(q);
    }

    void timed_out(const Key& key)
    {
        const auto found = questions.find(key);
        if (found == questions.end()) return;
        drop_tcp(*found->second);
        next_server(*found->second);
    }

    void next_server(Question& q)
    {
        const std::size_t n = q.config->servers.size();
        const std::size_t steps = n * static_cast<unsigned>(q.config->attempts);
        while (q.step < steps) {
            const std::size_t server = (q.first_server + q.step++) % n;
            if (q.bad[server]) continue;
            if (send(q, server, knows_edns(q, server))) return;
            q.bad[server] = true;
        }
        Answer answer;
        answer.status = q.worst;
        answer.canonical = q.current;
        finish(q, std::move(answer));
    }

    bool knows_edns(const Question& q, std::size_t server) const
    {
        return q.config->edns && !no_edns.contains(q.config->servers[server].text());
    }

    bool send(Question& q, std::size_t server, bool edns)
    {
        const net::Address& to = q.config->servers[server];
        auto udp = std::make_unique<Udp>();
        udp->fd = Fd(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!udp->fd || ::connect(udp->fd.get(), to.raw(), to.raw_size()) != 0) return false;
        udp->id = static_cast<uint16_t>(random_u64());
        udp->server = server;
        udp->edns = edns;
        const std::string query = encode_query(udp->id, q.current, q.key.second, edns);
        if (query.empty() || ::send(udp->fd.get(), query.data(), query.size(), MSG_NOSIGNAL) < 0) return false;
        udp->watch = std::make_unique<Watch>(loop, udp->fd.get(), readable,
                                             [this, key = q.key, u = udp.get()](unsigned) { readable_udp(key, u); });
        q.tries.push_back(std::move(udp));
        q.timer.start(q.config->timeout);
        return true;
    }

    void drop_try(Question& q, const Udp* udp)
    {
        const auto at = std::find_if(q.tries.begin(), q.tries.end(), [&](const auto& t) { return t.get() == udp; });
        if (at == q.tries.end()) return;
        (*at)->watch->set(0);
        bury(std::move(*at));
        q.tries.erase(at);
    }

    void readable_udp(const Key& key, Udp* udp)
    {
        const auto found = questions.find(key);
        if (found == questions.end()) return;
        Question& q = *found->second;
        char buffer[65'536];
        for (int packets = 0; packets < 16; ++packets) {
            const ssize_t n = ::recv(udp->fd.get(), buffer, sizeof buffer, 0);
            if (n < 0) {
                if (errno == EAGAIN || errno == EINTR) return;
                return server_failed(q, udp, Status::timeout); // ECONNREFUSED: nobody listens there
            }
            Decoded decoded = decode_answer({buffer, static_cast<std::size_t>(n)}, udp->id, q.current, q.key.second);
            if (decoded.matches) return answered(q, udp, std::move(decoded));
            if (++udp->strays > max_strays) return server_failed(q, udp, Status::broken);
        }
    }

    // `udp` gave a useless answer. The next server is asked at once if this was the latest try.
    void server_failed(Question& q, Udp* udp, Status why)
    {
        const bool latest = !q.tries.empty() && q.tries.back().get() == udp && !q.tcp;
        q.bad[udp->server] = true;
        if (why != Status::timeout) q.worst = why;
        drop_try(q, udp);
        if (latest) next_server(q);
    }

    void answered(Question& q, Udp* udp, Decoded decoded)
    {
        static constexpr int formerr = 1, notimp = 4;
        if (udp->edns && (decoded.rcode == formerr || decoded.rcode == notimp)) { // RFC 6891 §7
            if (no_edns.size() >= max_no_edns) no_edns.clear();
            no_edns.insert(q.config->servers[udp->server].text());
            const std::size_t server = udp->server;
            drop_try(q, udp);
            if (!send(q, server, false)) next_server(q);
            return;
        }
        if (decoded.truncated) {
            if (!q.tcp) ask_tcp(q, udp->server);
            return;
        }
        if (temporary(decoded.answer.status)) return server_failed(q, udp, decoded.answer.status);
        accept(q, std::move(decoded));
    }

    void ask_tcp(Question& q, std::size_t server)
    {
        const auto id = static_cast<uint16_t>(random_u64());
        q.tcp = std::make_unique<Tcp>(
            loop, q.config->servers[server], q.config->timeout,
            encode_query(id, q.current, q.key.second, knows_edns(q, server)),
            [this, key = q.key](Tcp& tcp, std::string_view packet) { answered_tcp(key, tcp, packet); });
        q.tcp->id = id;
        q.tcp->server = server;
        q.timer.start(q.config->timeout);
    }

    void answered_tcp(const Key& key, Tcp& tcp, std::string_view packet)
    {
        const auto found = questions.find(key);
        if (found == questions.end() || found->second->tcp.get() != &tcp) return;
        Question& q = *found->second;
        Decoded decoded = decode_answer(packet, tcp.id, q.current, q.key.second);
        const std::size_t server = tcp.server;
        drop_tcp(q);
        if (decoded.matches && !decoded.truncated && !temporary(decoded.answer.status))
            return accept(q, std::move(decoded));
        q.bad[server] = true;
        q.worst = packet.empty()                        ? Status::timeout
                  : decoded.answer.status == Status::ok ? Status::broken
                                                        : decoded.answer.status;
        next_server(q);
    }

    void accept(Question& q, Decoded decoded)
    {
        q.hops += decoded.hops;
        q.ttl = std::min(q.ttl, decoded.answer.ttl);
        q.authentic = q.authentic && decoded.answer.authentic;
        if (q.hops > max_hops) {
            decoded.answer.status = Status::broken;
            decoded.answer.records.clear();
        } else if (decoded.chase) {
            q.current = decoded.answer.canonical;
            release(q);
            if (encode_query(0, q.current, q.key.second, false).empty()) {
                decoded.answer.status = Status::broken;
            } else {
                return begin(q);
            }
        }
        decoded.answer.ttl = q.ttl;
        decoded.answer.authentic = q.authentic && q.config->trust_ad;
        finish(q, std::move(decoded.answer));
    }

    void release(Question& q) // its sockets
    {
        q.timer.stop();
        for (auto& udp : q.tries) {
            udp->watch->set(0);
            bury(std::move(udp));
        }
        q.tries.clear();
        drop_tcp(q);
    }

    void drop_tcp(Question& q)
    {
        if (!q.tcp) return;
        q.tcp->cancel();
        bury(std::move(q.tcp));
    }

    void finish(Question& q, Answer answer)
    {
        release(q);
        auto shared = std::make_shared<const Answer>(std::move(answer));
        cache.store(q.key, shared, loop.now_us());
        answer_later(std::move(q.waiters), std::move(shared));
        remove(q.key);
    }

    void remove(const Key& key)
    {
        const auto found = questions.find(key);
        Question& q = *found->second;
        if (q.running) turns_for(q.asker).release(q.asker.who);
        else unqueue(q);
        bury(std::move(found->second));
        questions.erase(found);
        if (greetings.waiting() + others.waiting() > 0) start_soon();
    }

    void cancel(Ticket ticket)
    {
        const auto waiter = waiting.find(ticket);
        if (waiter == waiting.end()) return;
        const Key key = std::move(waiter->second.key);
        waiting.erase(waiter);
        const auto found = questions.find(key);
        if (found == questions.end()) return;
        Question& q = *found->second;
        if (std::erase(q.waiters, ticket) == 0 || !q.waiters.empty()) return;
        release(q);
        remove(key);
    }
};

Resolver::Resolver(Loop& loop, Config config, std::size_t cache_entries)
    : private_(std::make_unique<Private>(loop, std::move(config), cache_entries))
{}
Resolver::~Resolver()
{
    for (auto& [key, question] : private_->questions) private_->release(*question);
}

Resolver::Ticket Resolver::lookup(const std::string& name, Kind kind, Done done, Asker asker)
{
    return private_->lookup(name, kind, [done = std::move(done)](const auto& answer) { done(*answer); }, asker);
}
Resolver::Ticket Resolver::lookup_shared(const std::string& name, Kind kind, DoneShared done, Asker asker)
{
    return private_->lookup(name, kind, std::move(done), asker);
}
void Resolver::cancel(Ticket ticket)
{
    private_->cancel(ticket);
}

void Resolver::set_config(Config config)
{
    private_->set(std::move(config));
    private_->cache.clear(); // another network may know other names
    private_->no_edns.clear();
}

} // namespace veredus::dns
