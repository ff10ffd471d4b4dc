// The broker: what a role may ask of master, decided by the static table and nothing else.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "lib/base/text.h"
#include "lib/net/address.h"
#include "lib/ipc/user.h"
#include "lib/log/log.h"
#include "lib/reception/restrictions.h"
#include "lib/table/virtual_mailboxes.h"
#include "master/sockets.h"
#include "master/supervisor.h"
#include "master/worker_policy.h"

namespace veredus::master {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds resolve_deadline{8000};    // less than the role's own patience with us

// With a channel that is given up the questions in it go unanswered: who asked hears so.
struct Question {
    Loop& loop;
    std::function<void(Result<ipc::UserReply>)> done;
    Question(Loop& l, std::function<void(Result<ipc::UserReply>)> d) : loop(l), done(std::move(d)) {}
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;
    ~Question()
    {
        if (done) loop.defer([done = std::move(done)] { done(fail("resolver has ended")); });
    }
};

// Never waits: a socket whose listener is busy is not there for now.
Result<Fd> connect_unix(const std::string& path)
{
    const net::Address address = net::Address::unix_path(path);
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd || ::connect(fd.get(), address.raw(), address.raw_size()) < 0) return fail_errno(cat("connect to ", path));
    return fd;
}
}  // namespace

void Supervisor::on_message(Process& from, Message message)
{
    if (message.answer) return;
    switch (static_cast<ipc::Control>(message.type)) {
    case ipc::Control::ready:
        return became_ready(from);
    case ipc::Control::failed:
        if (auto status = ipc::Status::decode(message.body)) from.said = printable(status->text);
        return;
    case ipc::Control::neighbour:
        return give_neighbour(from, message);
    case ipc::Control::worker:
        return give_worker(from, message);
    case ipc::Control::unix_socket:
        return give_unix_socket(from, message);
    case ipc::Control::ticket:
        return take_ticket(from, message);
    case ipc::Control::enter:
        return let_enter(from, message);
    case ipc::Control::taken:
        return has_taken(from);
    case ipc::Control::worn:
        return may_retire(from, message);
    default:
        log::warning(from.role->name, " pid ", from.pid, ": message ", message.type, " is not for a role to send");
    }
}

void Supervisor::answer(Process& to, uint32_t request, ipc::Control type, ipc::Code code, const std::string& text, int fd)
{
    if (!to.control || request == 0) return;
    (void)to.control->reply(request, static_cast<uint16_t>(type), ipc::Status{code, text}.encode(), fd < 0 ? std::span<const int>() : std::span<const int>(&fd, 1));
}

void Supervisor::give_neighbour(Process& asker, const Message& message)
{
    const auto refuse = [&](ipc::Code code, const std::string& text) { answer(asker, message.request, ipc::Control::neighbour, code, text); };
    const auto wish = ipc::Neighbour::decode(message.body);
    if (!wish) return refuse(ipc::Code::invalid, wish.error().text);
    if (wish->role.starts_with("unix:")) return give_socket(asker, message.request, wish->role);
    const daemon::Role* role = daemon::find_role(wish->role);
    if (!role || role->zygote || !daemon::may_ask(asker.role->name, wish->role)) {
        log::warning(asker.role->name, " pid ", asker.pid, " asked for ", printable(wish->role, 40), " and may not: refused");
        return refuse(ipc::Code::refused, "not a neighbour of this role");
    }
    Process* target = find(wish->role, wish->instance);
    if (!target || !target->wanted) return refuse(ipc::Code::unknown, cat(wish->role, " has no process ", wish->instance));
    if (target->state != Process::State::ready || !target->control) return refuse(ipc::Code::unavailable, cat(wish->role, " is not ready"));
    auto pair = socket_pair(SOCK_SEQPACKET);
    if (!pair) return refuse(ipc::Code::unavailable, pair.error().text);
    const int theirs = pair->first.get();
    const ipc::Neighbour introduced{asker.role->name, asker.instance};
    if (auto sent = target->control->send(static_cast<uint16_t>(ipc::Control::peer), introduced.encode(), {&theirs, 1}); !sent)
        return refuse(ipc::Code::unavailable, sent.error().text);
    answer(asker, message.request, ipc::Control::neighbour, ipc::Code::ok, "", pair->second.get());
}

// A policy service's socket: only one that main.cf names for this very role.
void Supervisor::give_socket(Process& asker, uint32_t request, const std::string& endpoint)
{
    const auto refuse = [&](ipc::Code code, const std::string& text) { answer(asker, request, ipc::Control::neighbour, code, text); };
    std::vector<reception::Complaint> complaints;
    const bool has_lists = conf::find_setting(cat(asker.role->name, "_recipient_restrictions")) != nullptr;
    const auto known = has_lists ? reception::parse_rules(values_, asker.role->name, complaints).policy_endpoints() : std::vector<std::string>();
    if (std::find(known.begin(), known.end(), endpoint) == known.end()) {
        log::warning(asker.role->name, " pid ", asker.pid, " asked for ", printable(endpoint, 120), " and may not: refused");
        return refuse(ipc::Code::refused, "main.cf names no such socket for this role");
    }
    std::string path = endpoint.substr(5);
    if (!path.starts_with('/')) path = cat(values_.text("queue_directory"), '/', path);      // as with Postfix
    if (path.size() >= sizeof(sockaddr_un::sun_path)) return refuse(ipc::Code::invalid, cat(path, ": the path of a socket is too long"));
    const auto fd = connect_unix(path);
    if (!fd) return refuse(ipc::Code::unavailable, fd.error().text);
    answer(asker, request, ipc::Control::neighbour, ipc::Code::ok, "", fd->get());
}

// master connects as root, and says nothing there: the path must stand in main.cf.
void Supervisor::give_unix_socket(Process& asker, const Message& message)
{
    const auto refuse = [&](ipc::Code code, const std::string& text) { answer(asker, message.request, ipc::Control::unix_socket, code, text); };
    const auto wish = ipc::File::decode(message.body);
    if (!wish) return refuse(ipc::Code::invalid, wish.error().text);
    if (std::string_view(asker.role->name) != "smtp-client" || !may_connect(wish->name, values_)) {
        log::warning(asker.role->name, " pid ", asker.pid, " asked for the socket ", printable(wish->name, 120), ": refused; lmtp_unix_sockets says which are allowed");
        return refuse(ipc::Code::refused, "not one of lmtp_unix_sockets");
    }
    const auto fd = connect_unix(wish->name);
    if (!fd) return refuse(ipc::Code::unavailable, fd.error().text);
    answer(asker, message.request, ipc::Control::unix_socket, ipc::Code::ok, "", fd->get());
}

// master asks the resolver like any other of its neighbours.
void Supervisor::meet_resolver(Process& resolver)
{
    auto pair = socket_pair(SOCK_SEQPACKET);
    if (!pair) {
        log::warning("resolver: ", pair.error().text);
        return;
    }
    const int theirs = pair->first.get();
    if (!resolver.control->send(static_cast<uint16_t>(ipc::Control::peer), ipc::Neighbour{"master", 0}.encode(), {&theirs, 1})) return;
    resolver_ = std::make_unique<ipc::Channel>(loop_, std::move(pair->second), ipc::Channel::User{[](Message) {}, [this](const std::string&) { resolver_.reset(); }});
}

void Supervisor::give_worker(Process& asker, const Message& message)
{
    const auto refuse = [&](ipc::Code code, const std::string& text) { answer(asker, message.request, ipc::Control::worker, code, text); };
    if (!daemon::may_ask(asker.role->name, "worker")) {
        log::warning(asker.role->name, " pid ", asker.pid, " asked for a process of a user and may not: refused");
        return refuse(ipc::Code::refused, "not for this role");
    }
    const auto wish = ipc::Worker::decode(message.body);
    if (!wish) return refuse(ipc::Code::invalid, wish.error().text);
    using By = ipc::Worker::By;
    const bool by_table = wish->by == By::table;
    const std::string& name = wish->by == By::name ? wish->user : wish->of;
    if (auto fits = by_table ? Result<void>() : check_user_name(name); !fits) return refuse(ipc::Code::invalid, fits.error().text);
    ask_resolver(by_table ? ipc::UserType::keep : ipc::UserType::resolve, name,
                 [this, role = std::string(asker.role->name), instance = asker.instance, pid = asker.pid, request = message.request,
                  wish = *wish](const Result<ipc::UserReply>& found) { worker_resolved(role, instance, pid, request, wish, found); });
}

void Supervisor::worker_resolved(const std::string& role, uint32_t instance, pid_t pid, uint32_t request, const ipc::Worker& wish, const Result<ipc::UserReply>& found)
{
    Process* asker = find(role, instance);
    if (!asker || asker->pid != pid) return;    // whoever asked is gone
    const auto refuse = [&](ipc::Code code, const std::string& text) { answer(*asker, request, ipc::Control::worker, code, text); };
    if (!found) return refuse(ipc::Code::unavailable, found.error().text);
    if (found->found == ipc::UserReply::Found::temporary) return refuse(ipc::Code::unavailable, found->text);
    if (found->found == ipc::UserReply::Found::no) return refuse(ipc::Code::unknown, cat("no user ", wish.user));
    using By = ipc::Worker::By;
    if (auto fits = wish.by == By::table ? policy_.check_keeper(*found) : policy_.check(*found); !fits) {
        log::warning("refused a process for user ", printable(wish.user), ": ", fits.error().text);
        return refuse(ipc::Code::refused, fits.error().text);
    }
    ipc::UserReply whom = *found;
    // Whom the asker means by these ids is what the tables or the line say, or nothing.
    if (wish.by != By::name) {
        if ((wish.by == By::table ? found->name : table::ids_text(found->uid, found->gid)) != wish.user)
            return refuse(ipc::Code::unavailable, cat("uid and gid of ", printable(wish.of), " are others in this moment"));
        ipc::UserReply ids;
        ids.found = ipc::UserReply::Found::yes;
        ids.name = wish.user;
        ids.uid = found->uid;
        ids.gid = found->gid;
        whom = std::move(ids);
    }
    auto channel = order_process("worker", whom);
    if (!channel) return refuse(ipc::Code::unavailable, channel.error().text);
    answer(*asker, request, ipc::Control::worker, ipc::Code::ok, "", channel->get());
}

Result<Fd> Supervisor::order_process(const char* name, const ipc::UserReply& user)
{
    Process* zygote = find(name, 0);
    if (!zygote || zygote->state != Process::State::ready || !zygote->control) return unexpected(Error{ENOTCONN, cat("the zygote ", name, " is not ready")});
    ipc::Serve order = TRY(make_serve(user, options_.unprivileged));
    order.gid = policy_.gid_of_process(user.gid);
    auto pair = TRY(socket_pair(SOCK_SEQPACKET));
    TRY(send_serve(zygote->control->fd(), order, pair.first.get()));
    return std::move(pair.second);
}

void Supervisor::ask_resolver(ipc::UserType type, const std::string& user, std::function<void(Result<ipc::UserReply>)> done)
{
    if (!resolver_) return done(fail("resolver is not ready"));
    const auto question = std::make_shared<Question>(loop_, std::move(done));
    resolver_->call(static_cast<uint16_t>(type), ipc::UserRequest{user}.encode(), {}, resolve_deadline, [question](const Result<Message>& reply) {
        std::exchange(question->done, nullptr)(reply ? ipc::UserReply::decode(reply->body) : Result<ipc::UserReply>(unexpected(reply.error())));
    });
}

// authd alone vouches for a user; and only for the process of a login stage that asked it.
void Supervisor::take_ticket(Process& from, const Message& message)
{
    const auto answer_with = [&](ipc::Code code, const std::string& text) { answer(from, message.request, ipc::Control::ticket, code, text); };
    if (std::string_view(from.role->name) != "authd") {
        log::warning(from.role->name, " pid ", from.pid, " has a ticket to give and may not: refused");
        return answer_with(ipc::Code::refused, "not for this role");
    }
    auto ticket = ipc::Ticket::decode(message.body);
    if (!ticket) return answer_with(ipc::Code::invalid, ticket.error().text);
    if (daemon::session_zygote(ticket->role).empty()) return answer_with(ipc::Code::invalid, "a ticket for what is no login stage");
    const auto added = sessions_.add_ticket(std::move(*ticket));
    answer_with(added ? ipc::Code::ok : ipc::Code::unavailable, added ? "" : added.error().text);
}

void Supervisor::let_enter(Process& from, Message& message)
{
    const std::string zygote = daemon::session_zygote(from.role->name);
    if (zygote.empty()) {
        log::warning(from.role->name, " pid ", from.pid, " has a client to let in and may not: refused");
        return answer(from, message.request, ipc::Control::enter, ipc::Code::refused, "not for this role");
    }
    auto enter = ipc::Enter::decode(message.body);
    if (!enter || message.fds.size() != 1)
        return answer(from, message.request, ipc::Control::enter, ipc::Code::invalid, enter ? "a client without a descriptor" : enter.error().text);
    enter_begins(from);
    sessions_.enter(from.role->name, from.instance, zygote, std::move(*enter), std::move(message.fds[0]),
                    [this, role = std::string(from.role->name), instance = from.instance, pid = from.pid, request = message.request](ipc::Code code, const std::string& text) {
                        Process* asker = find(role, instance);
                        if (!asker || asker->pid != pid) return;
                        enter_answered(*asker, code == ipc::Code::ok);
                        answer(*asker, request, ipc::Control::enter, code, text);
                    });
}

}  // namespace veredus::master
