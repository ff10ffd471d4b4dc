// router: says of each recipient whether it exists, what it expands to, and where its mail goes.  Manual: man/router.8
#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "lib/base/random.h"
#include "lib/daemon/service.h"
#include "lib/disk/pool.h"
#include "lib/ipc/user.h"
#include "lib/log/log.h"
#include "qmgr/router/batch.h"
#include "qmgr/router/tell.h"

namespace veredus::router {

namespace {
constexpr std::chrono::seconds resolver_deadline{5};
constexpr std::size_t most_recipients = 500;
constexpr int64_t look_us = us_per_second / 20;     // how often files are looked at, at most; before a refusal, always
constexpr int64_t interfaces_look_us = 30 * us_per_second;
constexpr std::chrono::milliseconds rest{250};      // a refusal waits this long at a time while a file may be half written,
constexpr int most_rests = 12;                      // and this often: somebody may write into a file all day
constexpr uint64_t read_at_once = 64 * 1024;        // bytes of an aliases file: a millisecond
constexpr unsigned server_threads = 4;              // for each socketmap: table: a slow one holds up nobody but itself
constexpr std::size_t most_server_questions = 1000; // that wait for one of them
constexpr int64_t repeat_us = 60 * us_per_second;   // how often the same trouble is said
}  // namespace

class Router final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place&) override
    {
        values_ = values;
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        resolver_ = std::make_unique<daemon::Link>(loop, "resolver");
        resolver_->start();
        adopt(values_);
        return {};
    }

    Result<void> reload(const conf::Values& values) override
    {
        adopt(values);
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd fd) override
    {
        const uint64_t id = ++last_peer_;
        ipc::Channel::User user;
        user.message = [this, id](ipc::Message message) { serve(id, std::move(message)); };
        user.closed = [this, id](const std::string&) { peers_.erase(id); };
        peers_.emplace(id, Peer{peer.role, std::make_unique<ipc::Channel>(*loop_, std::move(fd), std::move(user))});
    }

private:
    struct Peer {
        std::string role;
        std::unique_ptr<ipc::Channel> channel;
    };

    // Fresh tables; those that cannot be read now defer what needs them, and are tried again.
    void adopt(const conf::Values& values)
    {
        values_ = values;
        users_.keep_for(values.seconds("user_cache_time"));
        auto routing = std::make_unique<Routing>(values, own_addresses(values.list("inet_interfaces")), read_at_once, routing_.get());
        routing_ = std::move(routing);
        ++generation_;
        looked_us_ = interfaces_us_ = system_clock().mono_us();
        for (const std::string& trouble : routing_->trouble()) say(trouble);
        read_aliases();
        decide_unsettled();      // what they waited for may be in no setting any more
    }

    // Long files on a thread of their own: nobody else's question waits for them.
    void read_aliases()
    {
        for (auto& reading : routing_->due_aliases()) {
            if (!reader_) reader_ = std::make_unique<disk::Pool>(1, [this](std::function<void()> done) { loop_->post(std::move(done)); });
            reader_->run([reading] { table::AliasMaps::read(*reading); }, [this, reading]() mutable { aliases_read(std::move(reading)); });
        }
    }

    void aliases_read(std::shared_ptr<table::AliasMaps::Reading> reading)
    {
        if (routing_->take_aliases(*reading)) ++generation_;
        reader_->run([old = std::move(reading)]() mutable { old.reset(); }, [] {});    // a hundred thousand entries end elsewhere, too
        look_at_files(true);     // says what is wrong
        decide_unsettled();
    }

    void decide_unsettled()
    {
        for (Open& next : std::exchange(unsettled_, {})) decide(std::move(next));
        for (const auto& work : std::exchange(unsettled_owners_, {})) find_owner(work);
    }

    // An interface may have come up since; a stranger's guesses cost a look now and then.
    void look_at_interfaces(const ipc::RouteRequest& request)
    {
        const int64_t now = system_clock().mono_us();
        const auto strange = [this](const std::string& r) { return routing_->is_strange_literal(r); };
        if (now - interfaces_us_ < interfaces_look_us || std::none_of(request.recipients.begin(), request.recipients.end(), strange)) return;
        interfaces_us_ = now;
        if (routing_->set_own(own_addresses(values_.list("inet_interfaces")))) ++generation_;
    }

    bool look_at_files(bool always)
    {
        const int64_t now = system_clock().mono_us();
        if (!always && now - looked_us_ < look_us) return false;
        looked_us_ = now;
        std::vector<std::string> trouble;
        const bool changed = routing_->refresh(trouble);
        if (changed) ++generation_;
        read_aliases();
        for (const std::string& text : trouble) say(text);
        return changed;
    }

    void say(const std::string& text)
    {
        const int64_t now = system_clock().mono_us();
        if (said_.size() > 100) said_.clear();
        const auto [at, fresh] = said_.emplace(text, now);
        if (!fresh && now - at->second < repeat_us) return;
        at->second = now;
        log::warning(text);
    }

    void ask_resolver(const std::string& name, std::function<void(Known)> answer)
    {
        const auto body = ipc::UserRequest{name}.encode();
        resolver_->call(static_cast<uint16_t>(ipc::UserType::resolve), body, {}, resolver_deadline, [this, name, answer = std::move(answer)](Result<ipc::Message> message) {
            auto reply = message ? ipc::UserReply::decode(message->body) : Result<ipc::UserReply>(unexpected(message.error()));
            if (!reply || reply->found == ipc::UserReply::Found::temporary) {
                say(cat("user ", printable(name, 60), ": ", reply ? reply->text : reply.error().text));
                return answer(Known::temporary);
            }
            answer(reply->found == ipc::UserReply::Found::yes ? Known::yes : Known::no);
        });
    }

    void serve(uint64_t id, ipc::Message message)
    {
        const auto peer = peers_.find(id);
        if (peer == peers_.end() || message.request == 0) return;
        if (message.type == static_cast<uint16_t>(ipc::RouterType::rewrite)) return serve_rewrite(peer, message);
        if (message.type == static_cast<uint16_t>(ipc::RouterType::owner)) return serve_owner(peer, message);
        auto request = message.type == static_cast<uint16_t>(ipc::RouterType::route)
                           ? ipc::RouteRequest::decode(message.body)
                           : Result<ipc::RouteRequest>(fail(cat("no question is of type ", message.type)));
        if (request && request->recipients.size() > most_recipients) request = fail("too many recipients in one question");
        if (!request) {      // a neighbour that says such things is broken or broken into: its calls get an error
            log::warning("question from ", peer->second.role, ": ", request.error().text);
            peers_.erase(peer);
            return;
        }
        look_at_files(false);
        look_at_interfaces(*request);
        decide({id, message.request, std::move(*request), 0, 0});
    }

    // Whose an address is.
    void serve_owner(std::map<uint64_t, Peer>::iterator peer, const ipc::Message& message)
    {
        const auto request = ipc::OwnerRequest::decode(message.body);
        if (!request) {
            log::warning("question from ", peer->second.role, ": ", request.error().text);
            peers_.erase(peer);
            return;
        }
        look_at_files(true);       // an alias made a moment ago counts
        auto work = std::make_shared<Owning>();          // shared: between the answers of servers
        work->peer = peer->first;
        work->number = message.request;
        work->request = *request;
        find_owner(work);
    }

    // A question on its way that is decided anew when all that was not known has been answered, by socketmap: servers and the resolver.
    struct Waiting {
        uint64_t peer = 0;
        uint32_t number = 0;
        table::Questions questions;
        std::map<std::string, Known> users;
        std::size_t open = 0;
        std::chrono::steady_clock::time_point until = std::chrono::steady_clock::now() + Batch::patience;
    };
    struct Owning : Waiting {  // of one address
        ipc::OwnerRequest request;
        int rests = 0;
    };
    struct Rewriting : Waiting {   // of the addresses of one mail
        ipc::RewriteRequest request;
    };

    void find_owner(const std::shared_ptr<Owning>& work)
    {
        const ipc::OwnerRequest& request = work->request;
        std::vector<std::string> ask;
        auto owner = [&] {
            const table::Questions::Scope scope(work->questions);
            return routing_->owner(request.user, request.address, AnsweredUsers(work->users, users_), ask);
        }();
        if (ask_for(*work, ask, [this, work] { find_owner(work); })) return;
        if ((!owner || owner->word == ipc::OwnerReply::Word::no) && routing_->reading_aliases() && work->rests++ < most_rests) return unsettled_owners_.push_back(work), void();
        if (!owner && owner.error().code != EINPROGRESS) say(cat("whose ", printable(request.address, 100), " is: ", owner.error().text));
        const ipc::OwnerReply reply = owner ? std::move(*owner) : ipc::OwnerReply();
        send(*work, ipc::RouterType::owner_said, reply.encode());
    }

    // Puts what was not known to the servers, and names of `users` to the resolver, and then calls `again`; false: nothing is to be asked (any more).
    bool ask_for(Waiting& work, const std::vector<std::string>& users, std::function<void()> again)
    {
        const std::set<std::string> names(users.begin(), users.end());
        const auto open = work.questions.take_open(std::chrono::steady_clock::now() < work.until);
        if (open.empty() && names.empty()) return false;
        work.open = open.size() + names.size() + 1;      // and this turn
        const auto one = [&work, again = std::move(again)] {     // `again` keeps the work alive
            if (--work.open == 0) again();
        };
        for (const std::string& name : names)
            users_.find(name, [&work, name, one](Known known) {
                work.users[name] = known;
                one();
            });
        for (const auto& question : open)
            ask_server(question, [&work, question, one](table::Answer answer) {
                work.questions.answered(question, std::move(answer));
                one();
            });
        one();
        return true;
    }

    void send(const Waiting& work, ipc::RouterType type, const std::string& body)
    {
        const auto peer = peers_.find(work.peer);
        if (peer == peers_.end()) return;                // it died meanwhile
        if (auto sent = peer->second.channel->reply(work.number, static_cast<uint16_t>(type), body); !sent)
            log::warning("answer to ", peer->second.role, ": ", sent.error().text);
    }

    void serve_rewrite(std::map<uint64_t, Peer>::iterator peer, const ipc::Message& message)
    {
        auto request = ipc::RewriteRequest::decode(message.body);
        if (!request) {
            log::warning("question from ", peer->second.role, ": ", request.error().text);
            peers_.erase(peer);
            return;
        }
        look_at_files(true);
        auto work = std::make_shared<Rewriting>();       // shared: between the answers of servers
        work->peer = peer->first;
        work->number = message.request;
        work->request = std::move(*request);
        rewrite(work);
    }

    // With what servers have said so far; what is missing is asked for, and then it begins anew.
    void rewrite(const std::shared_ptr<Rewriting>& work)
    {
        ipc::RewriteReply reply;
        {
            const table::Questions::Scope scope(work->questions);
            for (const auto& item : work->request.items) {
                auto done = routing_->rewrite(item);
                if (!done && reply.trouble.empty()) {
                    reply.trouble = "Temporary lookup failure";
                    if (done.error().code != EINPROGRESS) say(done.error().text);
                }
                reply.items.push_back(done ? std::move(*done) : ipc::RewriteReply::Item());
            }
        }
        if (ask_for(*work, {}, [this, work] { rewrite(work); })) return;
        std::string body = reply.encode();
        if (body.size() > ipc::max_message - 64) {
            say("sender_bcc_maps, recipient_bcc_maps: one mail would get more copies than an answer holds; the mail is put off");
            body = ipc::RewriteReply{"too many copies", {}}.encode();
        }
        send(*work, ipc::RouterType::rewritten, body);
    }

    struct Open {              // a question that has no answer yet
        uint64_t peer;
        uint32_t number;
        ipc::RouteRequest request;
        uint32_t generation;   // of the tables when it was decided
        int rests;
    };

    void decide(Open open)
    {
        open.generation = generation_;
        auto request = open.request;
        auto done = [this, open = std::move(open)](std::vector<ipc::Route> routes, const std::vector<std::string>& reasons) {
            if (!routing_->reading_aliases())
                for (const std::string& reason : reasons) say(reason);
            decided(open, std::move(routes));
        };
        std::make_shared<Batch>(std::move(request), [this]() -> const Routing& { return *routing_; }, users_,
                                [this](const table::Questions::Question& question, std::function<void(table::Answer)> answer) { ask_server(question, std::move(answer)); },
                                std::move(done))->run();
    }

    void ask_server(const table::Questions::Question& question, std::function<void(table::Answer)> answer)
    {
        auto& pool = servers_[question.server->spec()];
        if (!pool) pool = std::make_unique<disk::Pool>(server_threads, [this](std::function<void()> done) { loop_->post(std::move(done)); });
        if (pool->waiting() >= most_server_questions) return answer(fail(cat(question.server->spec(), ": too many questions wait for an answer")));
        auto result = std::make_shared<table::Answer>(std::optional<std::string>());     // shared: made in one thread, read in another
        pool->run([question, result] { *result = question.server->ask(question.key); }, [result, answer = std::move(answer)] { answer(std::move(*result)); });
    }

    // Nobody is refused, or told to wait, by tables that changed a moment ago, nor refused by a file that somebody is writing into.
    void decided(const Open& open, std::vector<ipc::Route> routes)
    {
        using Kind = ipc::Route::Kind;
        const auto any = [&](Kind kind) { return std::any_of(routes.begin(), routes.end(), [kind](const ipc::Route& r) { return r.kind == kind; }); };
        const bool refuses = any(Kind::reject);
        if (refuses || any(Kind::defer)) {
            look_at_files(true);
            if (routing_->reading_aliases() && open.rests < most_rests) {
                unsettled_.push_back(open);
                ++unsettled_.back().rests;
                return;
            }
            if (open.generation != generation_ && open.rests < most_rests) return again(open, std::chrono::milliseconds(0));
            if (refuses && routing_->restless() && open.rests < most_rests) return again(open, rest);
        }
        answer(open.peer, open.number, std::move(routes));
    }

    void again(Open open, std::chrono::milliseconds delay)
    {
        ++open.rests;
        resting_.push_back(std::move(open));
        if (!rested_) rested_ = std::make_unique<Timer>(*loop_, [this] {
            for (Open& next : std::exchange(resting_, {})) decide(std::move(next));
        });
        if (!rested_->armed() || delay.count() == 0) rested_->start(delay);
    }

    void answer(uint64_t id, uint32_t request, std::vector<ipc::Route> routes)
    {
        const auto peer = peers_.find(id);
        if (peer == peers_.end()) return;      // it died meanwhile
        const std::string body = encode_fitting({generation_, std::move(routes)});
        if (auto sent = peer->second.channel->reply(request, static_cast<uint16_t>(ipc::RouterType::routes), body); !sent)
            log::warning("answer to ", peer->second.role, ": ", sent.error().text);
    }

    Loop* loop_ = nullptr;
    conf::Values values_;
    std::unique_ptr<Routing> routing_;
    uint32_t generation_ = static_cast<uint32_t>(random_u64());   // another one after a restart
    int64_t looked_us_ = 0, interfaces_us_ = 0;
    std::map<std::string, int64_t> said_;
    UserCache users_{system_clock(), [this](const std::string& name, std::function<void(Known)> answer) { ask_resolver(name, std::move(answer)); }};
    uint64_t last_peer_ = 0;
    std::map<uint64_t, Peer> peers_;
    std::vector<Open> resting_;
    std::vector<Open> unsettled_;                                 // until long aliases files have been read
    std::vector<std::shared_ptr<Owning>> unsettled_owners_;
    std::unique_ptr<disk::Pool> reader_;
    std::map<std::string, std::unique_ptr<disk::Pool>> servers_;
    std::unique_ptr<Timer> rested_;
    std::unique_ptr<daemon::Link> resolver_;       // last: its answers come to what stands above
};

}  // namespace veredus::router

int main(int argc, char** argv)
{
    if (argc > 1 && std::string_view(argv[1]) == "--explain") return veredus::router::explain_main(argc, argv);
    veredus::router::Router service;
    return veredus::daemon::run({"router", veredus::conf::router, "router"}, service, argc, argv);
}
