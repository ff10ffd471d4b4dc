// The worker: batches in, verdicts out.
#include "local/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/control.h"
#include "lib/ipc/user.h"
#include "lib/ipc/wire.h"
#include "lib/log/log.h"
#include "lib/mail/address.h"
#include "lib/mail/date.h"
#include "lib/mail/header.h"
#include "lib/queue/file.h"
#include "lib/store/mbox_reader.h"
#include "local/places.h"

namespace veredus::local {

namespace {

using ipc::Outcome;
using Kind = queue::Child::Kind;
using store::Problem;

constexpr std::size_t max_batch = 100;
constexpr std::size_t most_brought = 1000;
constexpr int rest_after_ms = 200;
constexpr std::size_t worth_a_thread = 16;    // mails of a wait

// Mails at once. Each may take twelve descriptors: itself, its file, three for its Maildir and the index there, and as many, without the
// mails, of the two batches before, of which the earlier one has closed its files, unless they are few, which are among the others.
std::size_t batch_size()
{
    constexpr rlim_t others = 56, each = 12;
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur < others) return 1;
    return static_cast<std::size_t>(std::clamp<rlim_t>((files.rlim_cur - others) / each, 1, max_batch));
}

ipc::Verdict verdict(Outcome outcome, std::string dsn, std::string text)
{
    ipc::Verdict v;
    v.outcome = outcome;
    v.dsn = std::move(dsn);
    v.text = printable(text);
    return v;
}

ipc::Verdict verdict_of(const Problem& problem) { return verdict(problem.permanent() ? Outcome::failed : Outcome::deferred, problem.dsn, problem.text); }

bool is_addressed(const ipc::Target& target) { return target.kind == Kind::address || target.kind == Kind::mailbox; }

// The address whose mail it is: of a command or a file that whose alias or .forward names it.
const std::string& recipient_of(const ipc::Target& target)
{
    if (is_addressed(target)) return target.address;
    return target.extension.empty() ? target.original : target.extension;
}

std::string one_line(std::string_view text)
{
    std::string out(text);
    for (char& c : out)
        if (c == '\r' || c == '\n' || c == 0) c = '?';
    return out;
}

}  // namespace

Result<WorkerRules> WorkerRules::read(const conf::Values& values)
{
    WorkerRules rules;
    rules.policy.origin = values.text("myorigin");
    rules.policy.delimiters = values.text("recipient_delimiter");
    rules.policy.commands = TRY(Allowed::parse(values.list("allow_mail_to_commands")));
    rules.policy.files = TRY(Allowed::parse(values.list("allow_mail_to_files")));
    rules.policy.propagate = Allowed::among(values.list("propagate_unmatched_extensions"));
    rules.forward_path = values.text("forward_path");
    rules.home_mailbox = values.text("home_mailbox");
    rules.plus_folders = values.flag("local_plus_folders");
    rules.spool = values.text("mail_spool_directory");
    rules.lock_socket = cat(values.text("run_directory"), "/lockd");
    rules.root_mailbox_user = values.text("root_mailbox_user");
    for (auto& pipe : TRY(conf::read_pipe_transports(values))) rules.pipes.emplace(pipe.name, pipe);
    rules.exported = values.list("export_environment");
    rules.command.filter = values.text("command_expansion_filter");
    rules.command.shell = values.text("local_command_shell");
    rules.command.time_limit = std::chrono::seconds(values.seconds("command_time_limit"));
    rules.mbox.size_limit = static_cast<uint64_t>(values.number("mailbox_size_limit"));
    rules.mbox.lock_attempts = static_cast<int>(values.number("deliver_lock_attempts"));
    rules.mbox.lock_delay = std::chrono::seconds(values.seconds("deliver_lock_delay"));
    return rules;
}

Worker::Worker(WorkerRules rules, Person person, uid_t uid, gid_t gid, Seams seams)
    : rules_(std::move(rules)), person_(std::move(person)), uid_(uid), gid_(gid), disk_(seams.disk), batch_(batch_size()), placement_(std::move(seams.placement)),
      quota_(std::move(seams.quota)), outbox_(std::move(seams.outbox)), syncs_(store::delivery_sync_threads, std::move(seams.whole))
{
    if (!placement_) placement_ = std::make_unique<OwnMailbox>(rules_.plus_folders);
    if (!quota_) quota_ = std::make_unique<KernelQuota>();
    if (!outbox_) outbox_ = std::make_unique<SendmailOutbox>(person_, rules_.command);
    rules_.mbox.owner = uid;
    rules_.command.directory = person_.home;
    keeper_ = std::make_unique<daemon::SpoolKeeper>(rules_.lock_socket, mailbox_name());
}

// root's mailbox is kept by a user made for it (main.cf(5), root_mailbox_user).
std::string Worker::mailbox_name() const { return person_.user == rules_.root_mailbox_user ? "root" : person_.user; }

int Worker::serve(Fd channel)
{
    channel_ = std::move(channel);
    for (Jobs jobs; take(jobs);) {
        if (wait_ && jobs.size() < batch_) {
            end_wait();    // more may have come meanwhile, for the same next wait
            continue;
        }
        if (jobs.empty()) finish_underway();
        else process(std::exchange(jobs, {}));
        log::flush();
    }
    return 0;
}

// Takes what is there: one lock and one wait for the disk then serve all of it. Waits for a first mail, unless something is under way:
// then there may be none. False: the dispatcher is gone.
bool Worker::take(Jobs& jobs)
{
    while (jobs.size() < batch_) {
        const bool wait = jobs.empty() && !underway();
        if (wait && syncs_.has_threads()) wait_for_mail();
        std::string_view bytes;
        auto got = ipc::receive_datagram(channel_.get(), bytes, wait ? 0 : MSG_DONTWAIT);
        if (!got) {
            log::warning("channel of a user's process: ", got.error().text);
            return false;
        }
        if (got->kind == ipc::Received::Kind::closed) return false;    // what is in flight is the dispatcher's to defer: it heard no verdict
        if (got->kind == ipc::Received::Kind::nothing && !wait) return true;
        if (got->kind == ipc::Received::Kind::nothing) wait_for_mail();
        else if (!take_one(jobs, bytes, std::move(got->fds))) return false;
    }
    return true;
}

// Threads count as the user's processes: a rest ends them.
void Worker::wait_for_mail()
{
    pollfd p{channel_.get(), POLLIN, 0};
    if (syncs_.has_threads() && ::poll(&p, 1, rest_after_ms) == 0) syncs_.rest();
    (void)::poll(&p, 1, -1);    // what it cannot wait for, the next read tells
}

bool Worker::take_one(Jobs& jobs, std::string_view bytes, std::vector<Fd> fds)
{
    auto message = ipc::decode_message(bytes);
    if (!message) {
        log::warning("channel of a user's process: ", message.error().text);
        return false;
    }
    if (message->type != static_cast<uint16_t>(ipc::AgentType::attempt) || fds.size() != 1) return true;
    auto attempt = ipc::Attempt::decode(message->body);
    if (!attempt) {
        log::warning("channel of a user's process: ", attempt.error().text);
        const auto number = ipc::attempt_number(message->body);
        if (!number) return false;
        say({*number, {}});    // the others of the batch have done nothing
        return true;
    }
    auto job = std::make_unique<Job>();
    job->attempt = std::move(*attempt);
    job->mail = std::move(fds[0]);
    prepare(*job);
    jobs.push_back(std::move(job));
    return true;
}

void Worker::prepare(Job& job) const
{
    auto wire = queue::read_header(job.mail, job.attempt.layout, queue::max_header_size);
    if (!wire) {
        job.broken = wire.error().text;
        return;
    }
    auto stored = stored_header(*wire);
    job.head = std::move(stored.text);
    job.delivered_to = std::move(stored.delivered_to);
}

void Worker::process(Jobs jobs)
{
    groups_.clear();
    forwards_.clear();
    ready_.clear();
    jobs_ = std::make_shared<Jobs>(std::move(jobs));
    for (auto& job : *jobs_) {
        for (const ipc::Target& target : job->attempt.targets) {
            Item item{job.get(), &target, {}, is_addressed(target) ? target.extension : std::string(), {}, {}};
            if (auto address = mail::parse_address(recipient_of(target))) {
                const auto split = mail::split_extension(address->local, rules_.policy.delimiters);
                item.user = split.user;
                item.domain = address->domain;
                if (item.extension.empty()) item.extension = split.extension.value_or("");
            }
            if (!is_extension(item.extension) && !rules_.pipes.contains(job->attempt.transport)) {
                log::warning(job->attempt.queue_id, ": ", printable(recipient_of(target), 200), ": an extension with a slash is not used");
                item.extension.clear();
            }
            decide(item);
        }
    }
    deliver_groups();
    flush();
    jobs_.reset();
}

void Worker::decide(const Item& item)
{
    if (!item.job->broken.empty()) return answer(item, verdict(Outcome::deferred, "4.3.0", item.job->broken));
    const ipc::Target& target = *item.target;
    if (const auto pipe = rules_.pipes.find(item.job->attempt.transport); pipe != rules_.pipes.end()) return to_pipe(item, pipe->second);
    if (target.kind == Kind::command) return to_command(item, target.address);
    if (target.kind == Kind::file) {
        if (target.address == "/dev/null") return answer(item, verdict(Outcome::delivered, "2.0.0", "delivered to file: /dev/null"));
        const Copy copy = copy_of(target.address);
        return to_copy(item, copy, copy.mailbox == spool_mailbox(), "file: ");
    }
    const auto same = [&](const std::string& earlier) { return iequals(earlier, target.address); };
    if (std::any_of(item.job->delivered_to.begin(), item.job->delivered_to.end(), same))
        return answer(item, verdict(Outcome::failed, "5.4.6", cat("mail forwarding loop for ", target.address)));
    if (target.kind == Kind::address && forward(item)) return;
    to_mailbox(item);
}

// True: his .forward has answered for this mail.
bool Worker::forward(const Item& item)
{
    const auto [found, fresh] = forwards_.try_emplace(cat(item.extension, '\0', item.target->address));
    if (fresh) {
        const auto at = item.target->address.rfind('@');
        const std::string local = lower(item.target->address.substr(0, at));    // as Postfix: ~/.forward+work is that of user+Work, too
        const ForwardNames names{person_.home, person_.user, person_.shell, lower(item.extension), lower(item.domain), local, item.target->address, delimiter_in(local, rules_.policy.delimiters)};
        found->second = read_forward(forward_paths(rules_.forward_path, names), uid_, gid_, person_.user, person_.home);
        if (!found->second.ignored.empty()) log::warning(item.job->attempt.queue_id, ": ", printable(found->second.ignored));
    }
    const ForwardFile& file = found->second;
    if (file.kind == ForwardFile::Kind::none) return false;
    if (file.kind == ForwardFile::Kind::deferred) return answer(item, verdict(Outcome::deferred, "4.3.5", file.text)), true;
    Policy policy = rules_.policy;
    policy.is_local = [&](std::string_view domain) -> Result<bool> {
        return iequals(domain, policy.origin) || iequals(domain, item.domain) || iequals(domain, "localhost");
    };
    Sources sources;
    sources.include = [](const std::string& path) { return read_include(path, max_list_size); };
    auto expansion = expand_forward(policy, sources, file.targets, person_.user, unmatched(item, file.path), item.target->address, person_.home);
    if (expansion.kind == Expansion::Kind::failed) return answer(item, verdict(Outcome::failed, expansion.dsn, expansion.text)), true;
    if (expansion.kind == Expansion::Kind::deferred) return answer(item, verdict(Outcome::deferred, expansion.dsn, cat(file.path, ": ", expansion.text))), true;
    if (expansion.children.empty()) return false;    // lists without members: as an empty file, his mailbox
    // Only his own mailbox: no detour through the queue.
    const auto own = [&](const queue::Child& child) { return child.kind == Kind::mailbox && child.text == final_mailbox(person_.user); };
    if (expansion.children.size() == 1 && own(expansion.children[0])) return false;
    ipc::Verdict v = verdict(Outcome::expanded, "2.0.0", "");
    v.children = std::move(expansion.children);
    answer(item, std::move(v));
    return true;
}

// The "+ext" of an address that has no .forward of its own.
std::string Worker::unmatched(const Item& item, const std::string& forward_file) const
{
    if (item.extension.empty()) return {};
    const std::string local = item.target->address.substr(0, item.target->address.rfind('@'));
    const ForwardNames names{person_.home, person_.user, person_.shell, "", item.domain, person_.user, cat(person_.user, '@', item.domain), ""};
    const auto plain = forward_paths(rules_.forward_path, names);
    if (std::find(plain.begin(), plain.end(), forward_file) == plain.end()) return {};
    const auto split = mail::split_extension(local, rules_.policy.delimiters);
    return split.extension ? local.substr(split.user.size()) : cat(rules_.policy.delimiters.substr(0, 1), item.extension);
}

void Worker::to_mailbox(const Item& item)
{
    // The dispatcher says what takes the place of a mailbox, and where a virtual user's is.
    if (const std::string& place = item.target->run_as; !place.empty()) {
        if (place[0] == command_mark) return to_command(item, place.substr(1));
        if (place[0] == transport_mark) return to_transport(item);
        return to_own(item, place, false);
    }
    // Who keeps root's mailbox has no home and reads nothing by himself.
    const bool for_root = mailbox_name() != person_.user;
    // A virtual user of a passwd-file has a home and no place in the spool.
    const bool is_virtual = person_.user.find('@') != std::string::npos;
    if (is_virtual && rules_.home_mailbox.empty()) return to_own(item, cat(person_.home, "/Maildir/"), false);
    if (rules_.home_mailbox.empty() || for_root) return to_own(item, spool_mailbox(), true);
    const std::string path = rules_.home_mailbox.starts_with('/') ? rules_.home_mailbox : cat(person_.home, '/', rules_.home_mailbox);
    to_own(item, path, !path.ends_with('/') && path == spool_mailbox());    // a passwd-file may say INBOX=/var/mail/user
}

// One mailbox gets the mail here and now; more than that becomes children, so that a copy that fails repeats no other.
void Worker::to_own(const Item& item, const std::string& mailbox, bool spool)
{
    const ipc::Attempt& attempt = item.job->attempt;
    const Letter letter{attempt.sender, item.job->head, item.job->mail.get(), attempt.layout.body_offset, attempt.layout.body_size};
    const std::string& original = item.target->original.empty() ? item.target->address : item.target->original;
    auto plan = placement_->place(letter, {item.target->address, original, item.extension, mailbox});
    if (!plan) return answer(item, verdict(Outcome::deferred, "4.3.0", plan.error().text));
    if (!plan->refusal.empty()) return answer(item, verdict(Outcome::failed, plan->refusal_dsn, plan->refusal));
    if (!plan->replies.empty()) {
        finish_underway();
        syncs_.rest();    // its threads count as his processes
    }
    for (const Reply& reply : plan->replies)
        if (auto sent = outbox_->send(reply); !sent) log::warning(attempt.queue_id, ": ", printable(sent.error().text));
    if (plan->copies.empty() && plan->redirects.empty()) return answer(item, verdict(Outcome::delivered, "2.0.0", "discarded"));
    if (plan->copies.size() == 1 && plan->redirects.empty()) return to_copy(item, plan->copies[0], spool && plan->copies[0].mailbox == mailbox, "mailbox");
    ipc::Verdict v = verdict(Outcome::expanded, "2.0.0", "");
    for (const Copy& copy : plan->copies) v.children.push_back({Kind::file, copy_text(copy), "", "-"});
    for (std::string& address : plan->redirects) v.children.push_back({Kind::address, std::move(address), "", "-"});
    answer(item, std::move(v));
}

// With flags: an mbox says them in the mail, a Maildir's index has to be told.
void Worker::to_copy(const Item& item, const Copy& copy, bool spool, const char* what)
{
    if (copy.marked() && copy.mailbox.ends_with('/')) return marked_.emplace_back(item, copy), void();
    Item stored = item;
    if (copy.marked()) stored.status = store::status_headers({copy.flags, false, copy.keywords});
    to_path(stored, copy.mailbox, spool, what);
}

// His .forward left it to his mailbox, and that is elsewhere: the dispatcher knows where.
void Worker::to_transport(const Item& item)
{
    ipc::Verdict v = verdict(Outcome::expanded, "2.0.0", "");
    v.children.push_back({Kind::mailbox, final_mailbox(person_.user), "", "-"});
    answer(item, std::move(v));
}

// "\alice, alice" in an alias is one copy, as Postfix has it; two recipients of the mail itself are two. Empty: it is none of an alias.
std::string Worker::key_of(const Item& item, const std::string& path)
{
    const ipc::Target& target = *item.target;
    if (target.kind == Kind::file || target.original.empty() || target.original == target.address) return {};
    return cat(item.job->attempt.queue_id, '\0', target.original, '\0', target.address, '\0', path);
}

bool Worker::is_brought(const std::string& key) const { return std::find(brought_.begin(), brought_.end(), key) != brought_.end(); }

void Worker::to_path(const Item& item, const std::string& path, bool spool, const char* what)
{
    Group& group = groups_[path];
    group.spool = spool;
    const bool file = item.target->kind == Kind::file;
    group.text = cat("delivered to ", path.ends_with('/') ? "maildir" : file ? cat(what, path) : std::string(what));
    if (const std::string key = key_of(item, path); !key.empty()) {
        if (copies_underway()) finish_underway();
        const auto same = [&](const Item& earlier) { return key_of(earlier, path) == key; };
        const bool waits = std::any_of(group.items.begin(), group.items.end(), same);
        if (waits || is_brought(key)) return group.doubles.push_back(item);
    }
    group.items.push_back(item);
}

Facts Worker::facts_of(const Item& item) const
{
    const ipc::Attempt& attempt = item.job->attempt;
    Facts facts;
    facts.sender = item.target->sender == "-" ? attempt.sender : item.target->sender;
    facts.recipient = recipient_of(*item.target);
    facts.original_recipient = item.target->original;
    // In lower case, as under Postfix: commands compare them.
    facts.local = lower(item.extension.empty() ? item.user : facts.recipient.substr(0, facts.recipient.rfind('@')));
    facts.domain = lower(item.domain);
    facts.extension = lower(item.extension);
    facts.client_name = attempt.client_name;
    facts.client_address = attempt.client_address;
    facts.helo = attempt.helo;
    facts.protocol = attempt.protocol;
    facts.auth_user = attempt.auth_user;
    return facts;
}

void Worker::to_command(const Item& item, const std::string& line)
{
    const Facts facts = facts_of(item);
    const auto mail = content(item);
    // A command of an alias of root's is nobody's own: as under Postfix it has the alias' name and no home, whoever runs it.
    const bool of_nobody = item.target->kind == Kind::command && item.target->run_as.empty() && !item.user.empty();
    const Person person = of_nobody ? Person{lower(item.user), "", ""} : person_;
    finish_underway();
    syncs_.rest();    // its threads count as his processes
    answer(item, judge(run_command(line, command_environment(person, facts, rules_.exported, rules_.command.filter), rules_.command, mail), line));
    flush();    // the next one may take its time
}

store::Content Worker::content(const Item& item) const
{
    const ipc::Target& target = *item.target;
    const std::string& sender = target.sender == "-" ? item.job->attempt.sender : target.sender;
    const std::string& delivered = recipient_of(target);
    store::Content c;
    c.from_line = from_line(sender, system_clock().wall_us());
    c.head = trace_lines(sender, target.original.empty() ? delivered : target.original, delivered) + item.job->head;
    c.file = item.job->mail.get();
    c.offset = item.job->attempt.layout.body_offset;
    c.size = item.job->attempt.layout.body_size;
    c.binary = item.job->attempt.body == mail::Body::binary;
    c.status = item.status;
    return c;
}

void Worker::deliver_groups()
{
    for (auto& [path, group] : groups_) {
        if (!path.ends_with('/')) finish_underway();    // a lock may let us wait for long
        deliver_group(path, group.items, group.spool, group.text);
        flush();
    }
    deliver_maildirs();
    deliver_marked();
    for (const auto& job : *jobs_) job->mail = Fd();    // all of it is written
    for (const auto& [path, group] : groups_)
        for (const Item& item : group.doubles) answer_double(item, path, group.text);
    groups_.clear();
    while (brought_.size() > most_brought) brought_.pop_front();    // not before its doubles had a look
}

void Worker::answer_double(const Item& item, const std::string& path, const std::string& text)
{
    finish_underway();
    answer(item, is_brought(key_of(item, path)) ? verdict(Outcome::delivered, "2.0.0", text)
                                                : verdict(Outcome::deferred, "4.2.0", "the same alias names this mailbox twice, and the first copy was not delivered"));
}

void Worker::deliver_group(const std::string& path, const Batch& wanted, bool spool, const std::string& text)
{
    const Batch items = admitted(path, wanted);
    if (items.empty()) return;
    if (path.ends_with('/')) deliver_maildir(path, items, text);
    else deliver_mbox(path, items, spool, text);
}

// What the quota lets in; the others have their answer.
Worker::Batch Worker::admitted(const std::string& path, const Batch& items)
{
    std::vector<uint64_t> sizes;
    for (const Item& item : items) sizes.push_back(item.job->head.size() + item.job->attempt.layout.body_size);
    const auto answers = quota_->admit(path, sizes);
    Batch in;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (answers[i]) answer(items[i], verdict_of(*answers[i]));
        else in.push_back(items[i]);
    }
    return in;
}

void Worker::deliver_maildir(const std::string& path, const Batch& items, const std::string& text) { filled_.push_back({path, text, items}); }

// Maildirs of a batch together: where one account keeps the mail of many virtual users, most have but one mail each. Each wait for the disk
// is for the files of some and for the names of those before.
void Worker::deliver_maildirs()
{
    while (!filled_.empty()) {
        std::vector<Filled> some = next_maildirs();
        open_maildirs(some);
        if (!some.empty()) advance(written(std::move(some)));
        flush();
        if (maildirs_.size() > batch_) maildirs_.clear();
    }
}

Worker::Underway Worker::written(std::vector<Filled> some)
{
    Underway next;
    next.jobs = jobs_;
    std::vector<store::Maildir::Load> loads;
    for (const Filled& filled : some) {
        store::Maildir::Load load;
        next.maildirs.push_back(maildirs_.at(filled.path));
        load.maildir = next.maildirs.back().get();
        for (const Item& item : filled.items) {
            load.mails.push_back(content(item));
            next.copies = next.copies || !key_of(item, filled.path).empty();
        }
        loads.push_back(std::move(load));
    }
    next.delivery = std::make_unique<store::Maildir::Delivery>(std::move(loads));
    next.filled = std::move(some);
    return next;
}

void Worker::advance(std::optional<Underway> next)
{
    end_wait();
    begin_wait(std::move(next));
}

// For many there is time to write the next ones meanwhile.
void Worker::begin_wait(std::optional<Underway> next)
{
    written_ = std::move(next);
    wait_ = std::make_unique<store::Maildir::Delivery::Wait>(named_ ? named_->delivery.get() : nullptr, written_ ? written_->delivery.get() : nullptr);
    if (written_ && written_->delivery->size() >= worth_a_thread) {
        auto thread = disk::Thread::start([wait = wait_.get(), this] { wait->run(syncs_); });
        if (thread) {
            waiting_ = std::move(*thread);
            return;
        }
    }
    wait_->run(syncs_);
    end_wait();
}

// Answers what had names before, and gives names to the files that are durable now.
void Worker::end_wait()
{
    if (!wait_) return;
    waiting_ = disk::Thread();    // joined
    wait_->end();
    wait_.reset();
    if (named_) {
        const auto& loads = named_->delivery->loads();
        for (std::size_t i = 0; i < loads.size(); ++i) answer_all(named_->filled[i].path, named_->filled[i].items, loads[i].answers, named_->filled[i].text);
        flush();
    }
    named_ = std::exchange(written_, std::nullopt);
}

void Worker::finish_underway()
{
    end_wait();
    if (named_) advance(std::nullopt);
}

void Worker::deliver_marked()
{
    if (!marked_.empty()) finish_underway();
    for (const auto& [item, copy] : std::exchange(marked_, {})) {
        const std::string text = item.target->kind == Kind::file ? cat("delivered to file: ", copy.mailbox) : std::string("delivered to maildir");
        const std::string key = key_of(item, copy.mailbox);
        if (!key.empty() && is_brought(key)) answer(item, verdict(Outcome::delivered, "2.0.0", text));
        else if (const Batch in = admitted(copy.mailbox, {item}); !in.empty()) answer_all(copy.mailbox, in, {file_marked(disk_, copy, content(item))}, text);
        flush();
    }
}

// As many mails as there are descriptors for: one that lmtpd hands in may have many recipients.
std::vector<Worker::Filled> Worker::next_maildirs()
{
    std::vector<Filled> some;
    for (std::size_t room = batch_; room > 0 && !filled_.empty();) {
        Filled& last = filled_.back();
        const auto end = last.items.begin() + static_cast<std::ptrdiff_t>(std::min(room, last.items.size()));
        some.push_back({last.path, last.text, Batch(last.items.begin(), end)});
        room -= some.back().items.size();
        last.items.erase(last.items.begin(), end);
        if (last.items.empty()) filled_.pop_back();
    }
    return some;
}

// Who cannot be opened leaves the list, with answers.
void Worker::open_maildirs(std::vector<Filled>& some)
{
    std::vector<store::Maildir::Opening> openings;
    std::vector<const Filled*> closed;
    for (const Filled& filled : some) {
        auto& kept = maildirs_[filled.path];
        if (kept && !kept->still_there()) kept.reset();
        if (kept) continue;
        openings.emplace_back(filled.path);
        closed.push_back(&filled);
    }
    store::Maildir::open_all(disk_, openings);
    for (std::size_t i = 0; i < closed.size(); ++i) {
        if (openings[i].result) {
            maildirs_[closed[i]->path] = std::move(openings[i].maildir);
            continue;
        }
        maildirs_.erase(closed[i]->path);
        for (const Item& item : closed[i]->items) answer(item, verdict_of(store::problem_of(openings[i].result.error())));
    }
    std::erase_if(some, [&](const Filled& filled) { return !maildirs_.contains(filled.path); });
}

// A shell runs what it understands of such a file, and strangers write the mail. (Of a mailbox nobody chose the name.)
Worker::Batch Worker::without_programs(const std::string& path, const Batch& wanted)
{
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode) || !(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH))) return wanted;
    Batch items;
    for (const Item& item : wanted) {
        if (item.target->kind == Kind::file) answer(item, verdict(Outcome::failed, "5.7.1", cat("destination file is executable: ", path)));
        else items.push_back(item);
    }
    return items;
}

void Worker::deliver_mbox(const std::string& path, const Batch& wanted, bool spool, const std::string& text)
{
    const Batch items = without_programs(path, wanted);
    if (items.empty()) return;
    std::vector<store::Content> mails;
    for (const Item& item : items) mails.push_back(content(item));
    store::OwnKeeper own(path);
    store::MboxKeeper& keeper = spool ? static_cast<store::MboxKeeper&>(*keeper_) : own;
    answer_all(path, items, store::deliver_mbox(disk_, path, keeper, rules_.mbox, mails), text);
}

void Worker::answer_all(const std::string& path, const Batch& items, const std::vector<store::Delivered>& results, const std::string& text)
{
    for (std::size_t i = 0; i < items.size(); ++i) {
        answer(items[i], results[i] ? verdict_of(*results[i]) : verdict(Outcome::delivered, "2.0.0", text));
        if (std::string key = key_of(items[i], path); !results[i] && !key.empty()) brought_.push_back(std::move(key));
    }
}

void Worker::answer(const Item& item, ipc::Verdict v)
{
    v.relay = "local";
    auto& list = ready_[item.job->attempt.attempt];
    v.index = item.target->index;
    for (auto& page : in_pages(std::move(v))) list.push_back(std::move(page));
}

// One message for each mail, as large as may be; long lists in several. A dispatcher that is gone reads nothing: then
// serve() ends at its next read.
void Worker::flush()
{
    for (auto& [attempt, list] : ready_) {
        for (const ipc::Verdicts& out : in_messages(attempt, std::move(list))) say(out);
    }
    ready_.clear();
}

void Worker::say(const ipc::Verdicts& verdicts)
{
    ipc::Message message;
    message.type = static_cast<uint16_t>(ipc::AgentType::verdicts);
    message.body = verdicts.encode();
    if (auto sent = ipc::send_blocking(channel_.get(), message, 60'000); !sent) log::warning("verdict to the dispatcher: ", sent.error().text);
}

StoredHeader stored_header(std::string_view wire)
{
    StoredHeader out;
    auto block = mail::HeaderBlock::parse(wire);
    block.remove("Return-Path");
    for (const auto& field : block.fields())
        if (iequals(field.name(), "Delivered-To")) out.delivered_to.push_back(std::string(trim(field.unfolded())));
    store::LineEnds ends;
    ends.feed(block.text(), out.text);
    ends.feed(block.rest(), out.text);
    ends.finish(out.text);
    return out;
}

std::string trace_lines(std::string_view sender, std::string_view original, std::string_view delivered)
{
    std::string out = cat("Return-Path: <", one_line(sender), ">\n");
    if (!original.empty()) append(out, "X-Original-To: ", one_line(original), '\n');
    if (!delivered.empty()) append(out, "Delivered-To: ", one_line(delivered), '\n');
    return out;
}

std::string from_line(std::string_view sender, int64_t now_us)
{
    return cat("From ", sender.empty() ? std::string("MAILER-DAEMON") : one_line(sender), ' ', mail::date_asctime(now_us), '\n');
}

namespace {
std::size_t size_of(const queue::Child& child) { return child.text.size() + child.run_as.size() + child.sender.size() + 20; }
}  // namespace

std::vector<ipc::Verdicts> in_messages(uint64_t attempt, std::vector<ipc::Verdict> verdicts)
{
    std::vector<ipc::Verdicts> messages;
    std::size_t size = SIZE_MAX / 2;
    for (ipc::Verdict& v : verdicts) {
        std::size_t own = 200 + v.text.size();
        for (const auto& child : v.children) own += size_of(child);
        if (size + own > 50'000) {
            messages.push_back({attempt, {}});
            size = 0;
        }
        size += own;
        messages.back().verdicts.push_back(std::move(v));
    }
    return messages;
}

std::vector<ipc::Verdict> in_pages(ipc::Verdict v, std::size_t limit)
{
    std::vector<queue::Child> children = std::move(v.children);
    v.children.clear();
    std::vector<ipc::Verdict> pages{v};
    std::size_t size = 0;
    for (auto& child : children) {
        const std::size_t own = size_of(child);
        if (size + own > limit && !pages.back().children.empty()) {
            pages.back().more = true;
            pages.push_back(v);
            size = 0;
        }
        size += own;
        pages.back().children.push_back(std::move(child));
    }
    return pages;
}

}  // namespace veredus::local
