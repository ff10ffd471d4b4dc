#include "master/sessions.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "master/worker_policy.h"

namespace veredus::master {

using ipc::Code;
using ipc::LoginType;

namespace {

constexpr std::chrono::milliseconds answer_deadline{3000}; // of a session process to a person's question
constexpr std::chrono::milliseconds name_deadline{2000};   // of a process that was just started, to say its ID with its first client
constexpr std::chrono::milliseconds zygote_deadline{5000}; // to come back; less than a login stage waits for us
constexpr std::size_t most_waiting = 1000;                 // clients of one user while he is looked up, or not taken over
constexpr std::chrono::minutes ping_interval{5};
constexpr std::chrono::hours for_ever{24 * 30};

std::string service_of(const std::string& zygote) { return std::string(cut(zygote, '-').first); }

} // namespace

void Sessions::enter(const std::string& role, uint32_t instance, const std::string& zygote, ipc::Enter enter, Fd client,
                     Done done)
{
    auto user = tickets_.redeem(enter.ticket, role, instance, enter.arrival.connection, loop_.now_us());
    if (!user) {
        log::warning(role, " ", instance, ": a client with a ticket that is not good: ", user.error().text);
        return done(Code::refused, "the ticket is not good");
    }
    if (stopping_) return done(Code::unavailable, "the mail system is stopping");
    if (auto fits = check_user_name(*user); !fits) return done(Code::refused, fits.error().text);
    const Key key{zygote, *user};
    enter.arrival.user = *user;
    enter.arrival.service = service_of(zygote);
    look_up(key, {std::move(enter.arrival), std::move(client), std::move(done)});
}

void Sessions::look_up(const Key& key, Waiting waiting)
{
    if (const auto at = sessions_.find(key); at != sessions_.end()) return pass(key, at->second, std::move(waiting));
    auto& line = waiting_[key];
    if (line.size() >= most_waiting) return waiting.answer(Code::unavailable, "too many logins of this user at once");
    line.push_back(std::move(waiting));
    if (line.size() > 1) return; // the answer for the first is for all
    doors_.resolve(key.second, [this, key](const Result<ipc::UserReply>& reply) { resolved(key, reply); });
}

void Sessions::resolved(const Key& key, const Result<ipc::UserReply>& reply)
{
    const auto at = waiting_.find(key);
    if (at == waiting_.end()) return;
    auto line = std::move(at->second);
    waiting_.erase(at);
    const auto refuse = [&](Code code, const std::string& text) {
        log::warning(key.first, ": no session for ", printable(key.second), ": ", printable(text));
        for (Waiting& one : line) one.answer(code, text);
    };
    if (!reply) return refuse(Code::unavailable, reply.error().text);
    switch (reply->found) {
    case ipc::UserReply::Found::temporary: return refuse(Code::unavailable, reply->text);
    case ipc::UserReply::Found::no: return refuse(Code::unknown, "no such user");
    case ipc::UserReply::Found::yes: break;
    }
    if (stopping_) return refuse(Code::unavailable, "the mail system is stopping");
    if (auto allowed = doors_.allow(*reply); !allowed) return refuse(Code::refused, allowed.error().text);
    // As the user database writes him: two spellings are one user, with one process.
    const Key own{key.first, reply->name};
    Session* session = nullptr;
    if (const auto there = sessions_.find(own); there != sessions_.end()) session = &there->second;
    else if (auto started = start(own, *reply)) session = *started;
    else if (started.error().code == ENOTCONN) return park(key, std::move(line));
    else return refuse(Code::unavailable, started.error().text);
    for (Waiting& one : line) {
        one.arrival.user = reply->name;
        pass(own, *session, std::move(one));
    }
}

// Who comes meanwhile stands behind.
void Sessions::park(const Key& key, std::vector<Waiting> line)
{
    waiting_.emplace(key, std::move(line));
    parked_.insert(key);
    if (!parking_.armed()) parking_.start(zygote_deadline);
}

void Sessions::zygote_ready(std::string_view zygote)
{
    std::vector<Key> ready;
    for (const Key& key : parked_)
        if (key.first == zygote) ready.push_back(key);
    for (const Key& key : ready) {
        parked_.erase(key);
        doors_.resolve(key.second, [this, key](const Result<ipc::UserReply>& reply) { resolved(key, reply); });
    }
    if (parked_.empty()) parking_.stop();
}

void Sessions::refuse_parked(const std::string& why)
{
    for (const Key& key : std::exchange(parked_, {})) {
        auto line = waiting_.extract(key);
        if (!line) continue;
        log::warning(key.first, ": no session for ", printable(key.second), ": ", why);
        for (Waiting& one : line.mapped()) one.answer(Code::unavailable, why);
    }
}

Result<Sessions::Session*> Sessions::start(const Key& key, const ipc::UserReply& user)
{
    Fd channel = TRY(doors_.spawn(key.first, user));
    Session& session = sessions_[key];
    session.channel = std::make_unique<ipc::Channel>(
        loop_, std::move(channel),
        ipc::Channel::User{[this, key](const ipc::Message& message) { on_message(key, message); },
                           [this, key](const std::string&) { give_up(key, true); }});
    session.unknown = std::make_unique<Timer>(loop_, [this, key] {
        if (const auto at = sessions_.find(key); at != sessions_.end()) say_in(at->second);
    });
    session.unknown->start(name_deadline);
    if (!ping_.armed()) ping_.start(ping_interval);
    return &session;
}

// The login stages of those it was given hear that they are in.
void Sessions::say_in(Session& session)
{
    session.unknown.reset();
    const std::string pid = session.pid != 0 ? cat(session.pid) : std::string();
    for (auto& [connection, waiting] : session.given) waiting.answer(Code::ok, pid);
}

void Sessions::pass(const Key& key, Session& session, Waiting waiting)
{
    // Stopped by its user, or stuck: its clients must not pile up here.
    if (session.channel->congested() || session.given.size() >= most_waiting)
        return waiting.answer(Code::unavailable, "the user's process does not take it");
    ipc::Arrival& arrival = waiting.arrival;
    const uint64_t connection = arrival.connection = next_connection_++;
    const int fd = waiting.client.get();
    ++session.sent;
    session.channel->call(
        static_cast<uint16_t>(LoginType::arrive), arrival.encode(), {&fd, 1}, patience_.count() > 0 ? patience_ : for_ever,
        [this, key, connection](const Result<ipc::Message>& answer) { taken(key, connection, answer); });
    Waiting& given = session.given.emplace(connection, std::move(waiting)).first->second;
    // Otherwise when it has said who it is, with its first client.
    if (!session.unknown) given.answer(Code::ok, session.pid != 0 ? cat(session.pid) : std::string());
}

void Sessions::taken(const Key& key, uint64_t connection, const Result<ipc::Message>& answer)
{
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return;
    if (answer) {
        ipc::Reader r(answer->body);
        const uint32_t pid = r.u32();
        if (r.done()) at->second.pid = pid;
        if (at->second.unknown) say_in(at->second);
        return (void)at->second.given.erase(connection);
    }
    if (answer.error().code == ETIMEDOUT) return hung(key);
    log::warning(key.first, " of ", printable(key.second), ": ", answer.error().text);
    give_up(key, true);
}

void Sessions::hung(const Key& key)
{
    log::warning(key.first, " of ", printable(key.second), " does not answer: given up, and its clients with it");
    give_up(key, false);
}

// The process hears that it is to end, and its zygote sees to that it does. Clients it has not taken over can have a
// successor, once: one that a process dies of must not take the next one along for ever.
void Sessions::give_up(Key key, bool successor)
{
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return;
    const auto session = sessions_.extract(at);
    for (auto& [connection, waiting] : session.mapped().given) {
        if (!successor || stopping_ || std::exchange(waiting.again, true)) {
            waiting.answer(Code::unavailable, "the user's process has ended");
            continue;
        }
        look_up(key, std::move(waiting));
    }
}

void Sessions::look_for_hung()
{
    if (sessions_.empty()) return;
    ping_.start(ping_interval);
    if (patience_.count() == 0) return;
    for (auto& [key, session] : sessions_)
        session.channel->call(static_cast<uint16_t>(LoginType::ping), "", {}, patience_,
                              [this, key = key](const Result<ipc::Message>& answer) {
                                  if (!answer && answer.error().code == ETIMEDOUT) hung(key);
                              });
}

// A user's process belongs to the user: of what it says only this counts, and only for itself.
void Sessions::on_message(const Key& key, const ipc::Message& message)
{
    const auto at = sessions_.find(key);
    if (at == sessions_.end() || message.answer) return;
    if (message.type != static_cast<uint16_t>(LoginType::idle)) {
        log::warning(key.first, " of ", printable(key.second), ": message ", message.type, " is not for it to send");
        return give_up(key, false);
    }
    ipc::Reader r(message.body);
    const uint64_t taken = r.u64();
    // One more may be on its way to it: then it stays.
    if (r.done() && taken == at->second.sent && at->second.given.empty()) sessions_.erase(at);
}

// Shared by the answers that are awaited. A channel that is given up in the meantime drops its questions: so the last
// one that goes, answered or not, is the end.
class Sessions::Gathering {
public:
    Gathering(std::weak_ptr<bool> alive, std::function<void()> done) : alive_(std::move(alive)), done_(std::move(done)) {}
    Gathering(const Gathering&) = delete;
    Gathering& operator=(const Gathering&) = delete;
    ~Gathering()
    {
        if (!alive_.expired()) done_();
    }

private:
    std::weak_ptr<bool> alive_;
    std::function<void()> done_;
};

void Sessions::who(std::function<void(ipc::Presences)> page, std::function<void()> done)
{
    const auto gathering = std::make_shared<Gathering>(alive_, std::move(done));
    for (const auto& [key, session] : sessions_) ask_who(key, 0, 0, page, gathering);
}

void Sessions::ask_who(const Key& key, uint64_t after, uint64_t listed,
                       const std::function<void(ipc::Presences)>& page, const std::shared_ptr<Gathering>& gathering)
{
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return;
    at->second.channel->call(
        static_cast<uint16_t>(LoginType::who), ipc::Writer().u64(after).take(), {}, answer_deadline,
        [this, key, listed, page, gathering](const Result<ipc::Message>& answer) {
            auto list = answer ? ipc::Presences::decode(answer->body) : Result<ipc::Presences>(unexpected(answer.error()));
            if (!list || list->list.empty()) return;
            for (ipc::Presence& p : list->list) {
                p.user = key.second;
                p.service = service_of(key.first);
            }
            const bool full = list->list.size() == ipc::max_presences;
            const uint64_t last = list->list.back().connection, so_far = listed + list->list.size();
            page(std::move(*list));
            const auto still = sessions_.find(key);
            // More clients than it was given it cannot have, whatever it says.
            if (full && still != sessions_.end() && so_far < still->second.sent) ask_who(key, last, so_far, page, gathering);
        });
}

void Sessions::kick(const std::string& user, std::function<void(uint64_t)> done)
{
    const auto sum = std::make_shared<uint64_t>(0); // shared by the answers
    const auto gathering = std::make_shared<Gathering>(alive_, [sum, done = std::move(done)] { done(*sum); });
    // Another spelling means him, unless somebody else has just that.
    const bool exact = std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) { return entry.first.second == user; });
    for (auto& [key, session] : sessions_) {
        if (exact ? key.second != user : !iequals(key.second, user)) continue;
        ++*sum; // unless it says another number, or has ended before it heard of it
        session.channel->call(static_cast<uint16_t>(LoginType::kick), ipc::Writer().u64(0).take(), {}, answer_deadline,
                              [this, key = key, sum, gathering](const Result<ipc::Message>& answer) {
                                  ipc::Reader r(answer ? std::string_view(answer->body) : std::string_view());
                                  const uint64_t connections = r.u64();
                                  const bool silent = !answer && answer.error().code == ETIMEDOUT;
                                  if (!silent) *sum += (answer && r.done() ? connections : 0) - 1;
                                  if (silent) hung(key);
                                  if (answer) give_up(key, false);
                              });
    }
}

void Sessions::stop()
{
    stopping_ = true;
    refuse_parked("the mail system is stopping");
    while (!sessions_.empty()) give_up(sessions_.begin()->first, false);
}

} // namespace veredus::master
