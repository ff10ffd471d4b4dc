#include "qmgr/public.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/ipc/control.h"
#include "lib/log/log.h"
#include "qmgr/query.h"

namespace veredus::qmgr {

namespace {
constexpr std::size_t clients_limit = 200, places_for_admins = 20, clients_of_one_user = 10;
constexpr std::size_t open_limit = 8, open_of_one_user = 2;
constexpr int64_t warnings_window_us = 60 * us_per_second;
constexpr unsigned warnings_at_once = 20;
constexpr std::size_t page_bytes = 40'000;
constexpr std::size_t longest_reason = 1000;
constexpr std::size_t acts_at_once = 10'000;      // one move, with few syncs

Rights::List read_list(const std::vector<std::string>& words)
{
    Rights::List list;
    for (const std::string& word : words) {
        if (word == "static:anyone" || word == "static:all") {
            list.anyone = true;
        } else if (const passwd* user = ::getpwnam(word.c_str())) {
            list.uids.insert(user->pw_uid);
        } else {
            log::warning("authorized users of the queue: there is no user ", printable(word));
        }
    }
    return list;
}

std::size_t weight(const ipc::Listed& l)
{
    std::size_t n = 120 + l.sender.size();
    for (const auto& r : l.recipients) n += r.address.size() + r.reason.size() + 8;
    return n;
}

// One mail with thousands of recipients must still fit into an answer.
void bound(ipc::Listed& l)
{
    for (auto& r : l.recipients)
        if (r.reason.size() > longest_reason) r.reason.resize(longest_reason);
    std::size_t n = 0, kept = 0;
    while (kept < l.recipients.size() && n < page_bytes) {
        n += l.recipients[kept].address.size() + l.recipients[kept].reason.size() + 8;
        ++kept;
    }
    if (kept == l.recipients.size()) return;
    const std::size_t more = l.recipients.size() - kept;
    l.recipients.resize(kept);
    l.recipients.push_back({cat("(and ", more, " more)"), ""});
}
}  // namespace

Rights Rights::read(const conf::Values& values, bool unprivileged)
{
    Rights rights;
    rights.mailq = read_list(values.list("authorized_mailq_users"));
    rights.flush = read_list(values.list("authorized_flush_users"));
    rights.admins.insert(0);
    if (unprivileged) rights.admins.insert(::getuid());
    if (const group* g = ::getgrnam(daemon::admin_group)) {
        rights.admin_groups.insert(g->gr_gid);
        for (char** name = g->gr_mem; name && *name; ++name)
            if (const passwd* user = ::getpwnam(*name)) rights.admins.insert(user->pw_uid);
    }
    return rights;
}

Caller Caller::from_socket(int fd, const Rights& rights)
{
    Caller caller;
    const auto who = ipc::peer_credentials(fd);
    if (!who) return caller;
    caller.uid = who->uid;
    std::vector<gid_t> groups(1024);
    socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) size = 0;
    groups.resize(size / sizeof(gid_t));
    groups.push_back(who->gid);
    caller.admin = rights.admins.contains(caller.uid) || std::any_of(groups.begin(), groups.end(), [&](gid_t g) { return rights.admin_groups.contains(g); });
    caller.lists_all = caller.admin || rights.mailq.has(caller.uid);
    caller.flushes = caller.admin || rights.flush.has(caller.uid);
    return caller;
}

struct Public::Client {
    Caller caller;
    bool busy = false;                 // with a question that waits or is being answered
    std::unique_ptr<ipc::Channel> channel;
    std::unique_ptr<Timer> idle;
    std::shared_ptr<Share> share = std::make_shared<Share>();     // of its listing
};

Public::Public(Loop& loop, Core& core, Rights rights, std::chrono::milliseconds idle)
    : loop_(loop), core_(core), rights_(std::move(rights)), idle_(idle)
{
}
Public::~Public() { *alive_ = false; }

// Anybody can make us say these things, as often as he likes.
void Public::warn(const std::string& text)
{
    const int64_t now = core_.now().mono_us;
    if (now - warned_since_us_ > warnings_window_us) {
        if (warned_ > warnings_at_once) log::warning("the public socket: ", warned_ - warnings_at_once, " more warnings like these were not logged");
        warned_since_us_ = now;
        warned_ = 0;
    }
    if (++warned_ <= warnings_at_once) log::warning("the public socket: ", text);
}

bool Public::has_place(const Caller& caller)
{
    if (clients_.size() >= clients_limit || (!caller.admin && clients_.size() + places_for_admins >= clients_limit)) {
        warn(cat(clients_.size(), " programs ask about the queue at once; one of uid ", caller.uid, " is turned away"));
        return false;
    }
    if (caller.admin) return true;
    const auto same = std::count_if(clients_.begin(), clients_.end(), [&](const auto& c) { return c.second->caller.uid == caller.uid; });
    if (static_cast<std::size_t>(same) < clients_of_one_user) return true;
    warn(cat("uid ", caller.uid, " has ", same, " connections; another is turned away"));
    return false;
}

void Public::client(Fd fd)
{
    const Caller caller = Caller::from_socket(fd.get(), rights_);
    if (!has_place(caller)) return;
    const uint64_t number = next_client_++;
    auto client = std::make_unique<Client>();
    client->caller = caller;
    client->idle = std::make_unique<Timer>(loop_, [this, number] { idle(number); });
    client->idle->start(idle_);
    ipc::Channel::User user;
    user.message = [this, number](ipc::Message message) { asked(number, std::move(message)); };
    user.closed = [this, number, alive = alive_](const std::string&) {
        loop_.defer([this, number, alive] {
            if (*alive) clients_.erase(number);
        });
    };
    client->channel = std::make_unique<ipc::Channel>(loop_, std::move(fd), std::move(user));
    client->channel->one_request_at_a_time();
    clients_.emplace(number, std::move(client));
}

// Nothing asked for a while, or an answer that is not read: the place is for others. mailq(1) comes back by itself.
void Public::idle(uint64_t number)
{
    const auto it = clients_.find(number);
    if (it == clients_.end() || it->second->busy) return;
    loop_.defer([this, number, alive = alive_] {
        if (*alive) clients_.erase(number);
    });
}

void Public::asked(uint64_t number, ipc::Message message)
{
    const auto from = clients_.find(number);
    if (from == clients_.end()) return;
    from->second->busy = true;
    from->second->idle->stop();
    if (may_start(from->second->caller)) return start(number, message);
    waiting_.push_back({number, std::move(message)});
}

bool Public::may_start(const Caller& caller) const
{
    if (caller.admin) return true;
    std::size_t all = 0;
    for (const auto& [uid, n] : open_) all += n;
    const auto own = open_.find(caller.uid);
    return all < open_limit && (own == open_.end() || own->second < open_of_one_user);
}

void Public::start(uint64_t number, const ipc::Message& message)
{
    const Caller caller = clients_.at(number)->caller;
    const std::shared_ptr<Share> share = clients_.at(number)->share;
    if (!caller.admin) ++open_[caller.uid];
    ask(caller, message, share, [this, number, caller, alive = alive_, request = message.request, type = message.type](std::string body, Fd file) {
        if (!*alive) return;
        if (!caller.admin && --open_[caller.uid] == 0) open_.erase(caller.uid);
        if (const auto to = clients_.find(number); to != clients_.end()) {
            Client& client = *to->second;
            client.busy = false;
            client.idle->start(idle_);
            const int fds[] = {file.get()};
            const auto sent = client.channel->reply(request, type, std::move(body), file ? std::span<const int>(fds) : std::span<const int>());
            if (!sent && sent.error().code != EPIPE && sent.error().code != ECONNRESET) warn(cat("answering a question: ", sent.error().text));
        }
        start_waiting();
    });
}

void Public::start_waiting()
{
    if (waiting_.empty()) return;
    loop_.defer([this, alive = alive_] {
        if (!*alive) return;
        for (auto it = waiting_.begin(); it != waiting_.end();) {
            const auto client = clients_.find(it->client);
            if (client != clients_.end() && !may_start(client->second->caller)) {
                ++it;
                continue;
            }
            const Question question = std::move(*it);
            it = waiting_.erase(it);
            if (client != clients_.end()) start(question.client, question.message);
        }
    });
}

void Public::ask(const Caller& caller, const ipc::Message& message, const std::shared_ptr<Share>& share, std::function<void(std::string, Fd)> answer)
{
    using ipc::QueueType;
    const auto refuse = [&](const std::string& why) {
        warn(cat("uid ", caller.uid, " sent ", why));
        answer(ipc::ActReply{static_cast<uint32_t>(ipc::Code::invalid), 0, why}.encode(), Fd());
    };
    switch (static_cast<QueueType>(message.type)) {
    case QueueType::list: {
        const auto request = ipc::ListRequest::decode(message.body);
        if (!request) return refuse(request.error().text);
        return list(caller, *request, share, std::move(answer));
    }
    case QueueType::act: {
        const auto request = ipc::ActRequest::decode(message.body);
        if (!request) return refuse(request.error().text);
        return act(caller, *request, std::move(answer));
    }
    case QueueType::status: return answer(status(), Fd());
    case QueueType::content: {
        // The ID as it is, or as a counted string.
        ipc::Reader reader(message.body);
        const std::string counted = reader.str(32);
        return content(caller, reader.done() ? counted : message.body, std::move(answer));
    }
    case QueueType::queued:
    case QueueType::disowned: break;
    }
    refuse(cat("a message of type ", message.type));
}

void Public::list(const Caller& caller, const ipc::ListRequest& request, const std::shared_ptr<Share>& share, std::function<void(std::string, Fd)> answer)
{
    auto reply = std::make_shared<ipc::ListReply>();
    auto bytes = std::make_shared<std::size_t>(0);
    const auto seen = [caller, reply, bytes](Seen& mail) {
        if (!caller.lists_all && mail.uid != caller.uid) return true;
        bound(mail.listed);
        const std::size_t more = weight(mail.listed);
        if (!reply->mails.empty() && *bytes + more > page_bytes) return false;
        *bytes += more;
        reply->mails.push_back(std::move(mail.listed));
        return true;
    };
    Query::run(core_, request.filter, request.after, true, share, seen, [reply, answer = std::move(answer)](bool more) {
        reply->more = more;
        answer(reply->encode(), Fd());
    });
}

void Public::act(const Caller& caller, const ipc::ActRequest& request, std::function<void(std::string, Fd)> answer)
{
    const auto say = [](ipc::Code code, uint64_t count, std::string text) {
        return ipc::ActReply{static_cast<uint32_t>(code), count, std::move(text)}.encode();
    };
    const bool may = request.act == ipc::Act::flush ? caller.flushes : caller.admin;
    if (!may) {
        warn(cat("uid ", caller.uid, " may not ", request.act == ipc::Act::flush ? "flush" : "change", " the queue"));
        return answer(say(ipc::Code::refused, 0, "only root and members of the group veredus-admin may do this"), Fd());
    }
    if (request.act < ipc::Act::flush || request.act > ipc::Act::requeue) return answer(say(ipc::Code::invalid, 0, "no such act"), Fd());
    const ipc::Filter& f = request.filter;
    const bool empty = f.ids.empty() && f.sender.empty() && f.recipient.empty() && f.reason.empty() && f.site.empty() && f.state.empty() && f.older_than_s <= 0 && f.younger_than_s <= 0;
    if (empty && !request.all) return answer(say(ipc::Code::invalid, 0, "which mails? An empty filter means none; say that you mean all"), Fd());
    if (empty && request.act == ipc::Act::flush) return answer(say(ipc::Code::ok, core_.scheduler().flush_all(), ""), Fd());

    auto ids = std::make_shared<std::vector<uint64_t>>();
    auto count = std::make_shared<uint64_t>(0);
    // Nobody hears "done" of what a crash could undo. Told outside of the scheduler's own work.
    const auto over = [this, alive = alive_, count, say, answer = std::move(answer)](const Deed& deed) {
        std::string text;
        if (deed.failed > 0)
            text = cat(deed.failed, " of ", *count, " mails could not be moved and will be tried again, as long as the queue manager runs: ", deed.trouble);
        else if (deed.later > 0)
            text = cat(deed.later, " of ", *count, " mails are being delivered now: it happens when that attempt ends, unless it ends the mail");
        const ipc::Code code = deed.failed > 0 ? ipc::Code::unavailable : ipc::Code::ok;
        if (!*alive) return;
        loop_.defer([alive, answer, body = say(code, *count, std::move(text))] {
            if (*alive) answer(body, Fd());
        });
    };
    auto deed = std::make_shared<std::shared_ptr<Deed>>(std::make_shared<Deed>(over));
    const auto apply = [&core = core_, act = request.act, ids, count, deed] {
        Scheduler& s = core.scheduler();
        switch (act) {
        case ipc::Act::flush: *count += s.flush(*ids); break;
        case ipc::Act::hold: *count += s.hold(*ids, *deed); break;
        case ipc::Act::release: *count += s.release(*ids, *deed); break;
        case ipc::Act::remove: *count += s.remove(*ids, *deed); break;
        case ipc::Act::requeue: *count += s.requeue(*ids, *deed); break;
        }
        ids->clear();
    };
    const auto seen = [ids, apply](Seen& mail) {
        ids->push_back(id_number(mail.listed.id));
        if (ids->size() >= acts_at_once) apply();
        return true;
    };
    Query::run(core_, f, "", false, nullptr, seen, [apply, deed](bool) {
        apply();
        deed->reset();
    });
}

void Public::content(const Caller& caller, const std::string& id, std::function<void(std::string, Fd)> answer)
{
    const auto say = [&](ipc::Code code, std::string text) { answer(ipc::Status{code, std::move(text)}.encode(), Fd()); };
    const Entry* const entry = queue::is_queue_id(id) ? core_.scheduler().catalog().find(id_number(id)) : nullptr;
    if (!entry) return say(ipc::Code::unknown, "there is no such mail in the queue");
    auto file = core_.spool().open_mail(id, entry->place());
    if (!file) return say(ipc::Code::unavailable, file.error().text);
    if (!caller.admin) {
        const auto mail = queue::read_mail_file(core_.spool().disk(), *file, false);
        if (!mail || mail->envelope.uid != caller.uid) return say(ipc::Code::refused, "this mail is another user's");
    }
    answer(ipc::Status{ipc::Code::ok, ""}.encode(), std::move(*file));
}

std::string Public::status()
{
    Scheduler& s = core_.scheduler();
    const Counts c = s.counts();
    std::string out = cat("incoming ", c.incoming, "\nactive ", c.active, "\ndeferred ", c.deferred, "\nhold ", c.hold, "\nattempts ", s.attempts_in_flight(), "\n");
    const int64_t now = core_.now().mono_us;
    s.each_destination([&](const Destination& d) {
        if (out.size() > page_bytes || (d.queue.empty() && d.parked.empty() && d.in_flight == 0 && !d.window.dead())) return;
        append(out, "destination ", printable(d.key, 300), " queued ", d.queue.groups() + d.parked.size(), " attempts ", d.in_flight, " window ", d.window.size());
        if (d.window.dead()) append(out, " dead ", std::max<int64_t>(0, (d.dead_until_us - now) / us_per_second), " ", printable(d.dead_text, 300));
        out += '\n';
    });
    return out;
}

}  // namespace veredus::qmgr
