// The dispatcher: what qmgr and lmtpd hand in, whose it is, and what they are told of it.
#include "local/dispatcher.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"
#include "lib/queue/child.h"
#include "lib/queue/file.h"
#include "lib/queue/id.h"
#include "local/dispatcher_parts.h"
#include "local/forward.h"
#include "local/worker.h"

namespace veredus::local {

using ipc::Outcome;
using ipc::Target;
using ipc::Verdict;
using Kind = queue::Child::Kind;

constexpr unsigned most_waits = 20;    // of one recipient: somebody may write into a file all day

static_assert(table::longest_virtual_path <= ipc::max_run_as);

namespace {

double seconds(int64_t us) { return static_cast<double>(std::max<int64_t>(us, 0)) / 1e6; }

// What lmtpd may not ask for: it names recipients, and never who runs what. Empty: it asks for nothing of the kind.
std::string overreach(const ipc::Attempt& attempt, const std::vector<Target>& targets, const Fd& mail)
{
    struct stat st {};
    if (::fstat(mail.get(), &st) < 0 || !S_ISREG(st.st_mode)) return "what is no file";
    if (!queue::is_queue_id(attempt.queue_id)) return "a mail without an ID";
    if (attempt.transport != "local" && attempt.transport != "virtual") return "mail for another transport";
    if (!attempt.delivered_to.empty() || !attempt.nexthop.empty() || !attempt.auth_user.empty()) return "more than a mail";
    for (const Target& target : targets) {
        const auto address = mail::parse_address(target.address);
        if (target.kind != Kind::address || !address || address->domain.empty()) return "what is no address";
        if (!target.run_as.empty() || target.sender != "-" || !target.extension.empty()) return "an address with rights";
        if (!target.original.empty() && !mail::parse_address(target.original)) return "what is no address";
    }
    return {};
}

// Addresses are the same, whoever names them.
bool has_rights(const Targets& targets)
{
    return std::any_of(targets.begin(), targets.end(), [](const table::AliasTarget& target) { return target.kind != table::AliasTarget::Kind::address && target.kind != table::AliasTarget::Kind::bad; });
}

// RFC 5321 §4.5.1 wants postmaster to work, whatever the aliases say.
const char* built_in_alias(std::string_view name)
{
    if (name == "mailer-daemon") return "postmaster";
    if (name == "postmaster") return "root";
    return nullptr;
}

}  // namespace

Result<Verdict> vouch(Verdict v, Kind kind, std::string_view user)
{
    v.relay = "local";
    v.remote_mta.clear();
    v.site = false;
    v.text = printable(v.text, max_text);
    const char wanted = v.outcome == Outcome::failed ? '5' : v.outcome == Outcome::deferred ? '4' : '2';
    if (!mail::is_enhanced_code(v.dsn) || v.dsn[0] != wanted) return fail("a status code that does not fit its outcome");
    if (v.outcome != Outcome::expanded) {
        if (!v.children.empty() || v.more) return fail("children without an expansion");
        return v;
    }
    if (kind != Kind::address && kind != Kind::mailbox) return fail("an expansion of what cannot expand");
    for (queue::Child& child : v.children) {
        if (kind == Kind::mailbox && child.kind != Kind::address && child.kind != Kind::file) return fail("an expansion of a mailbox that leads back to it");
        // A user's word binds nobody but himself: commands and files are his own, the sender stays who it was.
        // What he may not have fails, and he may let his own mail fail.
        const bool refused = child.kind == Kind::address && child.run_as.starts_with(refused_mark);
        child.run_as = child.kind == Kind::command || child.kind == Kind::file ? std::string(user) : refused ? child.run_as : std::string();
        child.sender = "-";
        if (const std::string why = queue::why_unfit(child); !why.empty()) return fail(cat("an expansion to ", why));
        if (child.kind == Kind::file && child.text[0] != '/') return fail("a file without its path");
        if (child.kind == Kind::address && !mail::parse_address(child.text)) return fail("a child that is no address");
    }
    return v;
}

Result<Addressee> addressee(const Target& target, const Policy& policy)
{
    Addressee to;
    std::string_view text = target.address;
    if (target.kind == Kind::mailbox) {
        // "user": an alias that came back to its own name, so .forward is still to be asked; "\user" and "user@domain" are final.
        to.aliases = false;
        to.forward = !text.starts_with('\\') && text.find('@') == std::string_view::npos;
        if (text.starts_with('\\')) text.remove_prefix(1);
    }
    auto address = mail::parse_address(text);
    if (!address || address->local.empty()) return fail(cat("not an address: ", printable(text, 200)));
    if (address->domain.empty()) address->domain = policy.origin;
    to.full = address->text();
    to.local = address->local;
    to.domain = address->domain;
    const auto split = mail::split_extension(to.local, policy.delimiters);
    to.user = lower(split.user);
    to.extension = target.extension.empty() ? split.extension.value_or("") : target.extension;
    if (!is_extension(to.extension)) to.extension.clear();
    return to;
}

Dispatcher::Dispatcher(Loop& loop, DispatchRules rules, AliasMaps& aliases, WorkerSource source, UserSource users)
    : loop_(loop), rules_(std::move(rules)), aliases_(aliases), source_(std::move(source)), users_(std::move(users)), alive_(std::make_shared<bool>(true)),
      apart_timer_(std::make_unique<Timer>(loop, [this] { start_all_apart(); })), lookups_(std::make_unique<daemon::Lookups>(loop))
{
    look_at_aliases();
}

Dispatcher::~Dispatcher() { *alive_ = false; }

void Dispatcher::set_rules(DispatchRules rules)
{
    rules_ = std::move(rules);
    ++age_;
    for (auto& [key, lane] : lanes_)
        if (lane->state == Lane::State::running && lane->load() == 0) rest(*lane);
    look_at_aliases();
    route_unrouted();    // what they waited for may be in no setting any more
}

void Dispatcher::look_at_aliases()
{
    aliases_.refresh([this](AliasMaps::Step work, AliasMaps::Step done) {
        lookups_->run(std::move(work), [this, done = std::move(done), alive = alive_] {
            done();
            if (*alive) route_unrouted();
        });
    });
}

void Dispatcher::route_unrouted()
{
    if (unrouted_.empty() || aliases_.reading()) return;
    for (const auto& [number, targets] : std::exchange(unrouted_, {})) route_local(number, targets);
}

template <class Which> void Dispatcher::give_up_unrouted(Which which, const char* why)
{
    const auto first = std::stable_partition(unrouted_.begin(), unrouted_.end(), [&](const auto& one) { return !which(*flights_.at(one.first)); });
    const std::vector<std::pair<uint64_t, std::vector<Target>>> some(std::make_move_iterator(first), std::make_move_iterator(unrouted_.end()));
    unrouted_.erase(first, unrouted_.end());
    for (const auto& [number, targets] : some)
        for (const Target& target : targets) finish(number, target.index, verdict(Outcome::deferred, "4.3.2", why), 0);
}

void Dispatcher::take_peer(Fd channel, From from)
{
    const uint64_t number = ++last_number_;
    ipc::Channel::User user{[this, number](ipc::Message m) { on_peer_message(number, std::move(m)); },
                            [this, number](const std::string&) { loop_.defer([this, number, alive = alive_] {
                                if (*alive) peers_.erase(number);    // its flights go on: the log tells what became of them
                            }); }};
    peers_[number].from = from;
    peers_[number].channel = std::make_unique<ipc::Channel>(loop_, std::move(channel), std::move(user));
}

void Dispatcher::on_peer_message(uint64_t peer, ipc::Message message)
{
    if (message.type == static_cast<uint16_t>(ipc::AgentType::attempt) && message.fds.size() == 1) {
        auto attempt = ipc::Attempt::decode(message.body);
        if (attempt) return begin(peer, std::move(*attempt), std::move(message.fds[0]));
        log::error("attempt of qmgr: ", attempt.error().text);
        const auto number = ipc::attempt_number(message.body);
        const auto sender = peers_.find(peer);
        if (number && sender != peers_.end()) (void)sender->second.channel->send(static_cast<uint16_t>(ipc::AgentType::verdicts), ipc::Verdicts{*number, {}}.encode());
        return;
    }
    if (message.type == static_cast<uint16_t>(ipc::AgentType::cancel)) {
        ipc::Reader r(message.body);
        const uint64_t attempt = r.u64();
        if (r.done()) return cancel(peer, attempt);
    }
    log::error("message ", message.type, " of qmgr is malformed");
}

void Dispatcher::begin(uint64_t peer, ipc::Attempt attempt, Fd mail)
{
    const uint64_t number = ++last_number_;
    auto& flight = flights_[number] = std::make_unique<Flight>();
    flight->peer = peer;
    flight->mail = std::make_shared<const Fd>(std::move(mail));
    flight->taken_wall_us = system_clock().wall_us();
    flight->taken_us = system_clock().mono_us();
    for (Target& target : attempt.targets) flight->open[target.index] = target;
    const std::vector<Target> targets = std::move(attempt.targets);
    attempt.targets.clear();
    flight->attempt = std::move(attempt);
    const auto sender = peers_.find(peer);
    flight->lmtp = sender != peers_.end() && sender->second.from == From::lmtp;
    lmtp_flights_ += flight->lmtp;
    ready_.insert(number);    // one without targets is over at once
    schedule_flush();
    if (stopped_) {
        for (const Target& target : targets) finish(number, target.index, verdict(Outcome::deferred, "4.3.2", "local delivery is being stopped"), 0);
        return;
    }
    if (flight->lmtp) {
        if (lmtp_flights_ > rules_.lmtp_attempts) {
            for (const Target& target : targets) finish(number, target.index, verdict(Outcome::deferred, "4.3.2", "too many mails are being delivered"), 0);
            return;
        }
        if (const std::string wrong = overreach(flight->attempt, targets, *flight->mail); !wrong.empty()) {
            log::error("lmtpd hands in ", wrong, ": deferred");
            for (const Target& target : targets) finish(number, target.index, verdict(Outcome::deferred, "4.3.0", "mail system error"), 0);
            return;
        }
    }
    const std::string& transport = flights_.at(number)->attempt.transport;
    if (transport == "virtual") return route_virtual(number, targets);
    if (transport != "local") return to_pipe(number, targets);
    look_at_aliases();
    if (aliases_.loading() && !targets.empty()) unrouted_.emplace_back(number, targets);
    else route_local(number, targets);
}

void Dispatcher::route_local(uint64_t number, const std::vector<Target>& targets)
{
    ByUser by_user;
    for (const Target& target : targets) route(number, target, by_user);
    find_places(number, std::move(by_user));
}

// pipe_transports: each recipient is the command's, whoever he is.
void Dispatcher::to_pipe(uint64_t number, const std::vector<Target>& targets)
{
    const std::string transport = flights_.at(number)->attempt.transport;
    const auto pipe = rules_.pipes.find(transport);
    std::vector<Target> taken;
    for (const Target& target : targets) {
        if (pipe == rules_.pipes.end())
            finish(number, target.index, verdict(Outcome::deferred, "4.3.5", cat("transport ", transport, " is not one of pipe_transports")), 0);
        else if (target.kind != Kind::address)
            finish(number, target.index, verdict(Outcome::deferred, "4.3.0", cat("not an address, as transport ", transport, " wants it")), 0);
        else
            taken.push_back(target);
    }
    if (!taken.empty()) hand_over(number, {pipe->second}, std::move(taken), true);
}

std::string Dispatcher::pipe_of(uint64_t job) const
{
    const std::string& transport = transport_of(job);
    return transport == "local" || transport == "virtual" ? std::string() : transport;
}

const Dispatcher::Flight* Dispatcher::flight_of(uint64_t number) const
{
    const auto job = jobs_.find(number);
    if (job == jobs_.end()) return nullptr;
    const auto flight = flights_.find(job->second.flight);
    return flight == flights_.end() ? nullptr : flight->second.get();
}

const std::string& Dispatcher::transport_of(uint64_t job) const
{
    static const std::string local = "local";
    const Flight* const flight = flight_of(job);
    return flight ? flight->attempt.transport : local;
}

// What takes the place of each user's mailbox: known at once, unless tables have to be asked.
void Dispatcher::find_places(uint64_t number, ByUser by_user)
{
    auto places = std::make_shared<std::map<std::string, Place>>();    // shared_ptr: std::function wants to be copied
    for (const auto& [user, list] : by_user)
        if (std::any_of(list.begin(), list.end(), is_addressed)) (*places)[user];
    if (!rules_.places || places->empty()) return hand_out(number, std::move(by_user), *places);
    auto work = [places, asked = rules_.places, root = rules_.root_mailbox_user] {
        if (asked->asks_tables()) asked->refresh();
        for (auto& [user, place] : *places) place = asked->of_mailbox(user == root ? "root" : user);
        // Nothing runs as root, nor as who keeps its mailbox.
        if (const auto of_root = places->find(root); of_root != places->end() && of_root->second.kind == Place::Kind::command) of_root->second = {};
    };
    if (!rules_.places->asks_tables()) {
        work();
        return hand_out(number, std::move(by_user), *places);
    }
    lookups_->run(std::move(work), [this, number, by_user = std::move(by_user), places, alive = alive_] {
        if (*alive) hand_out(number, by_user, *places);
    });
}

void Dispatcher::hand_out(uint64_t number, ByUser by_user, const std::map<std::string, Place>& places)
{
    const auto flight = flights_.find(number);
    const bool lmtp = flight != flights_.end() && flight->second->lmtp;
    for (auto& [user, list] : by_user) {
        const auto found = places.find(user);
        const Place place = found == places.end() ? Place() : found->second;
        std::vector<Target> commands, others;
        for (Target& target : list) {
            const bool addressed = is_addressed(target);
            if (addressed && place.kind == Place::Kind::deferred) {
                finish(number, target.index, verdict(Outcome::deferred, "4.3.5", place.value), 0);
                continue;
            }
            if (addressed && place.kind == Place::Kind::transport) {
                if (target.kind == Kind::mailbox) {    // past .forward: no process is needed
                    pass_on(number, target, place.value, 0);
                    continue;
                }
                target.run_as = cat(transport_mark, place.value);
            }
            if (addressed && place.kind == Place::Kind::command) target.run_as = cat(command_mark, place.value);
            // Commands may take long.
            const bool command = target.kind == Kind::command || (addressed && place.kind == Place::Kind::command);
            if (command && lmtp) {    // longer than LMTP waits, and the others with it: the queue takes him
                finish(number, target.index, verdict(Outcome::expanded, "2.0.0", ""), 0);
                continue;
            }
            (command ? commands : others).push_back(std::move(target));
        }
        if (!commands.empty()) hand_over(number, {user}, std::move(commands), true);
        if (!others.empty()) hand_over(number, {user}, std::move(others), false);
    }
}

// The recipient stays who he is, another transport takes him, for this attempt.
void Dispatcher::pass_on(uint64_t number, const Target& target, const std::string& transport, int64_t handed_us)
{
    Verdict v = verdict(Outcome::expanded, "2.0.0", "");
    v.children.push_back({Kind::address, target.address, transport, "-"});
    finish(number, target.index, std::move(v), handed_us);
}

void Dispatcher::route(uint64_t flight, const Target& target, std::map<std::string, std::vector<Target>>& by_user)
{
    if (target.kind == Kind::command || target.kind == Kind::file) {
        Target for_worker = target;
        const std::string& user = target.run_as.empty() ? rules_.default_privs : target.run_as;
        by_user[user].push_back(std::move(for_worker));
        return;
    }
    auto to = addressee(target, rules_.policy);
    if (!to) return finish(flight, target.index, verdict(Outcome::failed, "5.1.3", to.error().text), 0);
    if (target.run_as == queue::by_place) to->aliases = to->forward = false;
    if (!to->aliases) return to_user(flight, target, *to, by_user);
    // Only a look here whether there is an alias; what it holds may have to be read from lists, or asked of a server, elsewhere.
    table::Questions questions;
    const table::Questions::Scope scope(questions);
    for (const std::string& name : {lower(to->local), to->user}) {
        const auto found = aliases_.has(name);
        if (!questions.take_open().empty()) return expand(flight, target, *to);
        if (!found) return finish(flight, target.index, verdict(Outcome::deferred, "4.3.0", found.error().text), 0);
        if (*found) return expand(flight, target, *to);
    }
    without_alias(flight, target, *to, by_user);
}

void Dispatcher::without_alias(uint64_t flight, const Target& target, const Addressee& to, ByUser& by_user)
{
    const char* const name = built_in_alias(to.user);
    if (!name) return to_user(flight, target, to, by_user);
    Expansion expansion{Expansion::Kind::expanded, {}, "2.0.0", {}};
    expansion.children.push_back({Kind::address, mail::Address{name, to.domain}.text(), "", "-"});
    expanded(flight, target, to, std::move(expansion));
}

// A user of a virtual domain is not the account of that name: no alias, no .forward.
void Dispatcher::route_virtual(uint64_t number, std::vector<Target> targets)
{
    auto found = std::make_shared<std::vector<VirtualMailbox>>();    // shared_ptr: std::function wants to be copied
    auto work = [found, targets, maps = rules_.virtual_mailboxes] {
        found->clear();
        if (maps) maps->refresh();
        for (const Target& target : targets) {
            const auto address = mail::parse_address(target.address);
            if (!maps)
                found->push_back({VirtualMailbox::Kind::deferred, {}, {}, "4.3.5", "there are no settings for virtual mailboxes", 0, 0});
            else if (target.kind != Kind::address || !address || address->domain.empty())
                found->push_back({VirtualMailbox::Kind::deferred, {}, {}, "4.3.0", "not the address of a virtual user", 0, 0});
            else
                found->push_back(maps->find(*address));
        }
    };
    lookups_->run(std::move(work), [this, number, targets, found, alive = alive_] {
        if (*alive) virtual_found(number, targets, *found);
    });
}

namespace {
// To a worker: the mailbox, instead of its user's own.
Target kept_at(Target target, std::string path)
{
    target.kind = Kind::mailbox;
    target.run_as = std::move(path);
    return target;
}

ipc::Worker keeper_of(const VirtualMailbox& mailbox, const std::string& address)
{
    if (table::is_ids(mailbox.user)) return {mailbox.user, address, ipc::Worker::By::table};
    return {mailbox.user};
}
}  // namespace

void Dispatcher::virtual_found(uint64_t flight, const std::vector<Target>& targets, const std::vector<VirtualMailbox>& mailboxes)
{
    std::map<std::string, std::vector<Target>> by_keeper;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        const Target& target = targets[i];
        const VirtualMailbox& mailbox = mailboxes[i];
        if (mailbox.kind == VirtualMailbox::Kind::deferred) {
            finish(flight, target.index, verdict(Outcome::deferred, mailbox.dsn, mailbox.text), 0);
            continue;
        }
        if (mailbox.kind == VirtualMailbox::Kind::found && !mailbox.catch_all) {
            by_keeper[mailbox.user].push_back(kept_at(target, mailbox.path));
            continue;
        }
        // Who is in no table may be a user of a passwd-file. His name may have the delimiter in it: whose the whole is comes first.
        const auto address = mail::parse_address(target.address);
        std::vector<std::string> names;
        for (const std::string& local : {address->local, std::string(mail::split_extension(address->local, rules_.policy.delimiters).user)}) {
            std::string name = lower(cat(local, '@', address->domain));
            if (name.size() <= ipc::max_user && (names.empty() || names[0] != name)) names.push_back(std::move(name));
        }
        look_for_person(flight, target, mailbox, std::move(names));
    }
    for (auto& [user, list] : by_keeper) {
        const ipc::Worker who = table::is_ids(user) ? ipc::Worker{user, list[0].address, ipc::Worker::By::table} : ipc::Worker{user};
        hand_over(flight, who, std::move(list), false);
    }
}

void Dispatcher::look_for_person(uint64_t flight, const Target& target, const VirtualMailbox& mailbox, std::vector<std::string> names)
{
    if (names.empty()) {
        if (mailbox.kind == VirtualMailbox::Kind::found) return hand_over(flight, keeper_of(mailbox, target.address), {kept_at(target, mailbox.path)}, false);
        return finish(flight, target.index, verdict(Outcome::failed, "5.1.1", cat("unknown user: \"", printable(target.address, 200), '"')), 0);
    }
    const std::string name = names.front();
    names.erase(names.begin());
    users_(name, [this, flight, target, mailbox, names = std::move(names), alive = alive_](const Result<ipc::UserReply>& person) {
        if (!*alive || !flights_.contains(flight)) return;
        // Who only submits has no mailbox of his own.
        if (person && person->password_only && mailbox.kind == VirtualMailbox::Kind::found) return look_for_person(flight, target, mailbox, names);
        if (!person || person->found == ipc::UserReply::Found::temporary)
            return finish(flight, target.index, verdict(Outcome::deferred, "4.3.0", cat("passdb: ", person ? person->text : person.error().text)), 0);
        if (person->found == ipc::UserReply::Found::no) return look_for_person(flight, target, mailbox, names);
        to_person(flight, target, *person);
    });
}

// Maildirs of all who have the same ids are one process's work. An mbox, whose lock may let it wait, and which may lie in the mail spool,
// is that of a process of its owner's name, who knows himself where it is.
void Dispatcher::to_person(uint64_t flight, const Target& target, const ipc::UserReply& person)
{
    std::string path = person.mailbox;
    if (path.empty() && rules_.home_mailbox.starts_with('/')) path = rules_.home_mailbox;
    if (path.empty() && person.home.empty())
        return finish(flight, target.index, verdict(Outcome::deferred, "4.3.5", cat("passdb: user ", printable(person.name, 200), " has no home for his mailbox")), 0);
    if (path.empty()) path = cat(person.home, '/', rules_.home_mailbox.empty() ? "Maildir/" : rules_.home_mailbox);
    if (!path.ends_with('/') || path.size() > table::longest_virtual_path) return hand_over(flight, {person.name}, {kept_at(target, "")}, false);
    hand_over(flight, {table::ids_text(person.uid, person.gid), person.name, ipc::Worker::By::line}, {kept_at(target, std::move(path))}, false);
}

// Beside the loop: tables may be slow, and the header must be looked at for a loop. What has lists to read begins anew where lists are
// read (`lists`): users write them, so these may be many, long, and on a slow disk. Of one alias they are read for one mail at a time:
// whoever owns a list that takes long leaves a thread to those of others.
void Dispatcher::expand(uint64_t number, const Target& target, const Addressee& to, bool lists)
{
    if (lists) {
        const auto [turn, free] = with_lists_.try_emplace(to.user);
        if (!free) return turn->second.push_back({number, target, to});
    }
    expand_now(number, target, to, lists);
}

void Dispatcher::next_with_lists(const std::string& name)
{
    const auto turn = with_lists_.find(name);
    while (turn != with_lists_.end() && !turn->second.empty()) {
        const WithLists next = std::move(turn->second.front());
        turn->second.pop_front();
        if (flights_.contains(next.flight)) return expand_now(next.flight, next.target, next.to, true);
    }
    if (turn != with_lists_.end()) with_lists_.erase(turn);
}

void Dispatcher::expand_now(uint64_t number, const Target& target, const Addressee& to, bool lists)
{
    const Flight& flight = *flights_.at(number);
    auto result = std::make_shared<Expansion>();    // shared_ptr: std::function wants to be copied
    const bool null_sender = target.sender == "-" ? flight.attempt.sender.empty() : target.sender.empty();
    auto has_lists = std::make_shared<bool>(false), unread = std::make_shared<bool>(false);
    auto work = [mail = flight.mail, result, has_lists, unread, lists, to, null_sender, policy = rules_.policy, layout = flight.attempt.layout, &aliases = aliases_] {
        Sources sources;
        *has_lists = *unread = false;
        sources.alias = [&aliases, &has_lists = *has_lists, &unread = *unread, lists](std::string_view name) -> Result<std::optional<Alias>> {
            auto found = aliases.find(name);
            if (!found) unread = unread || found.error().code == table::AliasMaps::being_read;
            auto entry = TRY(std::move(found));
            if (!entry) return std::optional<Alias>();
            Alias alias{std::move(entry->targets), {}};
            if (entry->owner == 0 || !has_rights(alias.targets)) return std::optional(std::move(alias));
            has_lists = true;    // whose it is may take as long
            if (!lists) return std::optional(std::move(alias));
            auto owner = owner_of(entry->owner, ::getpwuid_r);
            if (!owner) return fail(cat("alias_maps: the table with alias ", printable(name, 200), ": ", owner.error().text));
            alias.owner = std::move(*owner);
            return std::optional(std::move(alias));
        };
        sources.include = [&has_lists = *has_lists, lists](const std::string& path) -> Result<Include> {
            if (lists) return read_owned_include(path, max_list_size);
            has_lists = true;
            return fail("it is read elsewhere");
        };
        *result = expand_alias(policy, sources, to.local, to.domain, null_sender);
        if (result->kind != Expansion::Kind::expanded) return;
        const auto header = queue::read_header(*mail, layout, queue::max_header_size);
        if (!header) {
            *result = {Expansion::Kind::deferred, {}, "4.3.0", header.error().text};
            return;
        }
        for (const std::string& earlier : stored_header(*header).delivered_to) {
            if (!iequals(earlier, to.full)) continue;
            *result = {Expansion::Kind::failed, {}, "5.4.6", cat("mail forwarding loop for ", to.full)};
            return;
        }
    };
    auto done = [this, number, target, to, lists, result, has_lists, unread, alive = alive_] {
        if (!*alive) return;
        if (lists) next_with_lists(to.user);
        if (!flights_.contains(number)) return;
        if (*unread) {    // other settings came in between
            unrouted_.push_back({number, {target}});
            return route_unrouted();
        }
        if (*has_lists && !lists) return expand(number, target, to, true);
        expanded(number, target, to, std::move(*result));
    };
    lookups_->run(std::move(work), std::move(done), lists ? daemon::Lookups::Threads::lists : daemon::Lookups::Threads::tables);
}

void Dispatcher::expanded(uint64_t flight, const Target& target, const Addressee& to, Expansion expansion)
{
    if (expansion.kind == Expansion::Kind::none) {
        ByUser by_user;
        without_alias(flight, target, to, by_user);
        return find_places(flight, std::move(by_user));
    }
    if (expansion.kind == Expansion::Kind::deferred) return finish(flight, target.index, verdict(Outcome::deferred, expansion.dsn, expansion.text), 0);
    if (expansion.kind == Expansion::Kind::failed) return finish(flight, target.index, verdict(Outcome::failed, expansion.dsn, expansion.text), 0);
    // A list may have lost its last member; as under Postfix nobody is told.
    if (expansion.children.empty()) return finish(flight, target.index, verdict(Outcome::delivered, "2.0.0", "discarded: the lists that it leads to name nobody"), 0);
    Verdict v = verdict(Outcome::expanded, "2.0.0", "");
    v.children = std::move(expansion.children);
    finish(flight, target.index, std::move(v), 0);
}

void Dispatcher::to_user(uint64_t flight, const Target& target, const Addressee& to, std::map<std::string, std::vector<Target>>& by_user)
{
    if (to.user == "root" && rules_.root_mailbox_user.empty())
        return finish(flight, target.index, verdict(Outcome::deferred, "4.3.5", "root has no alias, and nothing is delivered as root: add \"root: you\" to the aliases"), 0);
    Target for_worker = target;
    for_worker.kind = to.forward && to.user != "root" ? Kind::address : Kind::mailbox;
    for_worker.address = to.full;
    for_worker.run_as.clear();
    for_worker.extension = to.extension;
    if (to.user.find('@') != std::string::npos) {    // a virtual user has neither alias nor .forward; his own address leads to him
        Job& job = jobs_[++last_number_];
        job.flight = flight;
        job.open[for_worker.index] = std::move(for_worker);
        return unknown_user(last_number_, to.user);
    }
    by_user[to.user == "root" ? rules_.root_mailbox_user : to.user].push_back(std::move(for_worker));
}

// Nothing runs as him; but a mailbox that is elsewhere takes his mail, without his .forward.
void Dispatcher::refused_user(uint64_t number, const std::string& user, const std::string& why)
{
    const auto found = jobs_.find(number);
    if (found == jobs_.end()) return;
    Job& job = found->second;
    std::vector<Target> elsewhere;
    for (const auto& [index, target] : job.open)
        if (is_addressed(target) && target.run_as.starts_with(transport_mark)) elsewhere.push_back(target);
    for (const Target& target : elsewhere) {
        job.open.erase(target.index);
        pass_on(job.flight, target, target.run_as.substr(1), job.handed_us);
    }
    refuse(number, Outcome::failed, "5.2.1", cat("no delivery for user \"", user, "\": ", why));
}

// Who has no account: mailbox_transport may know him, then fallback_transport.
void Dispatcher::unknown_user(uint64_t number, const std::string& user)
{
    const auto found = jobs_.find(number);
    if (found == jobs_.end()) return;
    const bool is_virtual_user = is_virtual(number);
    const Job job = std::move(found->second);
    jobs_.erase(found);
    if (is_virtual_user) {
        for (const auto& [index, target] : job.open) finish(job.flight, index, verdict(Outcome::failed, "5.1.1", cat("unknown user: \"", user, '"')), job.handed_us);
        return;
    }
    if (!rules_.places || !rules_.places->unknown_asks_tables()) return relay_unknown(job, user, rules_.places ? rules_.places->of_unknown(user) : Place());
    auto place = std::make_shared<Place>();    // shared_ptr: std::function wants to be copied
    auto work = [place, user, places = rules_.places] {
        places->refresh();
        *place = places->of_unknown(user);
    };
    lookups_->run(std::move(work), [this, place, job, user, alive = alive_] {
        if (*alive) relay_unknown(job, user, *place);
    });
}

// luser_relay: what nobody else takes goes there; commands and files of nobody do not.
void Dispatcher::relay_unknown(const Job& job, const std::string& user, const Place& place)
{
    for (const auto& [index, target] : job.open) {
        const bool addressed = is_addressed(target);
        if (addressed && target.run_as.starts_with(transport_mark)) {
            pass_on(job.flight, target, target.run_as.substr(1), job.handed_us);
            continue;
        }
        if (addressed && place.kind == Place::Kind::transport) {
            pass_on(job.flight, target, place.value, job.handed_us);
            continue;
        }
        Verdict v = verdict(Outcome::failed, "5.1.1", cat("unknown user: \"", user, '"'));
        if (addressed && place.kind == Place::Kind::deferred) {
            v = verdict(Outcome::deferred, "4.3.5", place.value);
        } else if (const auto to = addressee(target, rules_.policy); addressed && to && !rules_.luser_relay.empty()) {
            const ForwardNames names{"", to->user, "", lower(to->extension), to->domain, lower(to->local), to->full, delimiter_in(to->local, rules_.policy.delimiters)};
            auto relay = mail::parse_address(expand_names(rules_.luser_relay, names).value_or(""));
            if (relay && relay->domain.empty()) relay->domain = rules_.policy.origin;
            if (!relay || relay->local.empty()) {
                v = verdict(Outcome::deferred, "4.3.5", cat("luser_relay = ", rules_.luser_relay, ": makes no address of ", to->full));
            } else if (!iequals(relay->text(), to->full)) {    // itself unknown: the end
                v = verdict(Outcome::expanded, "2.0.0", "");
                v.children.push_back({Kind::address, relay->text(), "", "-"});
            }
        }
        // An alias of that name may be about to be written; who comes out of an alias has none.
        const auto flight = flights_.find(job.flight);
        if (flight == flights_.end()) return;
        const auto sent = flight->second->open.find(index);
        const bool of_address = v.outcome == Outcome::failed && sent != flight->second->open.end() && sent->second.kind == Kind::address;
        const bool may_have_one = of_address && (aliases_.reading() || has_alias_now(sent->second));
        if (may_have_one && flight->second->waits[index]++ < most_waits) {
            unrouted_.push_back({job.flight, {sent->second}});
            continue;
        }
        if (of_address) {
            std::string doubt = aliases_.doubt();
            if (may_have_one && doubt.empty()) doubt = "alias_maps changes all the time";
            if (!doubt.empty()) v = verdict(Outcome::deferred, "4.3.0", std::move(doubt));
        }
        finish(job.flight, index, std::move(v), job.handed_us);
    }
    route_unrouted();
}

// Aliases may have changed since he was looked for. (No server is asked again.)
bool Dispatcher::has_alias_now(const Target& target) const
{
    const auto to = addressee(target, rules_.policy);
    table::Questions questions;
    const table::Questions::Scope scope(questions);
    const auto has = [&](const std::string& name) {
        const auto found = aliases_.has(name);
        return found && *found;
    };
    return to && to->aliases && target.run_as != queue::by_place && (has(lower(to->local)) || has(to->user));
}

bool Dispatcher::is_virtual(uint64_t job) const { return transport_of(job) == "virtual"; }

void Dispatcher::refuse(uint64_t number, Outcome outcome, const std::string& dsn, const std::string& text)
{
    const auto it = jobs_.find(number);
    if (it == jobs_.end()) return;
    const Job job = std::move(it->second);
    jobs_.erase(it);
    for (const auto& [index, target] : job.open) finish(job.flight, index, verdict(outcome, dsn, text), job.handed_us);
}

void Dispatcher::finish(uint64_t number, uint32_t index, Verdict v, int64_t handed_us)
{
    const auto it = flights_.find(number);
    if (it == flights_.end()) return;
    Flight& flight = *it->second;
    const auto open = flight.open.find(index);
    if (open == flight.open.end()) return;
    v.index = index;
    if (flight.attempt.transport != "local") v.relay = flight.attempt.transport;
    if (v.outcome == Outcome::expanded) v.text = cat("expanded to ", v.children.size(), v.children.size() == 1 ? " recipient" : " recipients");
    const int64_t now = system_clock().mono_us();
    const int64_t handed = handed_us ? handed_us : now;
    Target shown = open->second;
    if (shown.kind == Kind::mailbox)
        if (const auto to = addressee(shown, rules_.policy)) shown.address = to->full;
    log::info(ipc::delivery_line(flight.attempt, shown, v, seconds(flight.taken_wall_us - flight.attempt.active_us), seconds(handed - flight.taken_us),
                                 seconds(now - handed), system_clock().wall_us()));
    flight.open.erase(open);
    if (const auto counted = flight.counted.find(index); counted != flight.counted.end()) {
        const auto of = of_lmtp_.find(counted->second);
        if (--of->second == 0) of_lmtp_.erase(of);
    }
    if (flight.lmtp) v.children.clear();
    for (Verdict& page : in_pages(std::move(v))) flight.ready.push_back(std::move(page));
    ready_.insert(number);
    schedule_flush();
}

// Once a turn: what several processes said in the meantime goes to qmgr together.
void Dispatcher::schedule_flush()
{
    if (flush_scheduled_) return;
    flush_scheduled_ = true;
    loop_.defer([this, alive = alive_] {
        if (*alive) flush();
    });
}

void Dispatcher::flush()
{
    flush_scheduled_ = false;
    for (const uint64_t number : std::exchange(ready_, {})) {
        const auto it = flights_.find(number);
        if (it == flights_.end()) continue;
        Flight& flight = *it->second;
        const auto peer = peers_.find(flight.peer);
        for (ipc::Verdicts& out : in_messages(flight.attempt.attempt, std::move(flight.ready)))
            if (peer != peers_.end())
                if (auto sent = peer->second.channel->send(static_cast<uint16_t>(ipc::AgentType::verdicts), out.encode()); !sent) log::warning("verdict to qmgr: ", sent.error().text);
        flight.ready.clear();
        if (!flight.open.empty()) continue;
        lmtp_flights_ -= flight.lmtp;
        flights_.erase(it);
    }
    if (stopped_ && flights_.empty()) std::exchange(stopped_, nullptr)();
}

// What no process has got yet is given up; what one has will have its verdict.
void Dispatcher::cancel(uint64_t peer, uint64_t attempt)
{
    give_up_unrouted([&](const Flight& flight) { return flight.peer == peer && flight.attempt.attempt == attempt; }, "delivery was given up");
    for (auto& [key, lane] : lanes_) {
        std::vector<uint64_t> given_up;
        for (const uint64_t number : lane->waiting) {
            const Flight* const flight = flight_of(number);
            if (flight && flight->peer == peer && flight->attempt.attempt == attempt) given_up.push_back(number);
        }
        for (const uint64_t number : given_up) {
            lane->waiting.erase(std::find(lane->waiting.begin(), lane->waiting.end(), number));
            refuse(number, Outcome::deferred, "4.3.2", "delivery was given up");
        }
    }
}

void Dispatcher::stop(std::function<void()> done)
{
    stopped_ = std::move(done);
    give_up_unrouted([](const Flight&) { return true; }, "local delivery is being stopped");
    schedule_flush();
}

}  // namespace veredus::local
