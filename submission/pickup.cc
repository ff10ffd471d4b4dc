#include "submission/pickup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/date.h"
#include "lib/queue/drop_format.h"
#include "lib/smtp/dot.h"

namespace veredus::submission {

namespace {

using queue::drop::Parser;
using queue::drop::Type;

constexpr std::size_t most_at_once = 64;
constexpr std::size_t most_recipients = 2 * queue::drop::max_recipients;    // of all mails at once, 30 MB or so; one is taken whatever it has
constexpr std::size_t slice = 64 * 1024;                  // of one file, before the others get their turn
constexpr std::size_t turn_bytes = 64 * 1024;             // of all files, before the loop's other work gets its turn
constexpr std::size_t mail_costs = 1024;                  // as much work as so many bytes
constexpr uint64_t envelope_allowance = 64u << 20;        // what a file may have besides content
constexpr int64_t abandoned_us = 86'400 * us_per_second;
constexpr std::size_t most_odd_names = 1000;
constexpr unsigned failures_to_pause = 5;

// An errno says that the system would not; everything else is wrong with the file, to-morrow as to-day.
bool our_trouble(const Error& error) { return error.code != 0 && error.code != EBADMSG; }

// What is wrong with the file itself: an Error that sets it aside.
Unexpected bad_file(std::string text) { return unexpected(Error{EBADMSG, std::move(text)}); }

Result<mail::Address> address_of(std::string_view text)
{
    if (text.empty()) return mail::Address{};
    auto address = mail::parse_address(text);
    if (!address) return bad_file(cat("address \"", printable(text, 200), "\": ", address.error().text));
    return address;
}

}  // namespace

// A file as it is read, piece by piece, where waiting for a disk stops nobody.
struct Pickup::Source {
    Source(std::string n, int d) : name(std::move(n)), directory(d) {}
    void read_on()
    {
        if (!file && !open()) return;
        if (!S_ISREG(st.st_mode)) return;
        // A byte more than there should be, so that the end shows.
        if (size == bytes.size()) bytes.resize(bytes.empty() ? std::min(slice, static_cast<std::size_t>(st.st_size) + 1) : slice);
        for (size = 0; size < bytes.size() && !whole;) {
            const ssize_t n = ::read(file.get(), bytes.data() + size, bytes.size() - size);
            if (n < 0) {
                error = fail_errno("read").error;
                return;
            }
            whole = n == 0;
            size += static_cast<std::size_t>(n);
        }
    }
    std::string_view piece() const { return std::string_view(bytes).substr(0, size); }
    std::string name;
    int directory;
    Fd file;
    struct stat st {};
    std::string bytes;
    std::size_t size = 0;                            // of the piece in `bytes`
    bool whole = false;                              // nothing comes after it
    std::optional<Error> error;

private:
    bool open()
    {
        file = Fd(openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
        if (!file || fstat(file.get(), &st)) error = fail_errno("open").error;
        return !error;
    }
};

// One file on its way.
struct Pickup::Taking {
    Taking(std::string n, int directory, uint64_t limit)
        : name(n), source(std::make_shared<Source>(std::move(n), directory)), parser(limit, crc32c), cutter(queue::max_intake_header)
    {
    }
    std::string name;
    std::shared_ptr<Source> source;                  // shared with the thread that reads; ours while none does
    uint32_t uid = 0;
    Parser parser;
    smtp::DotReader lines{smtp::DotReader::Dots::plain};    // veredus-drop may be fed by anyone: CRLF line ends only from here on
    mail::HeaderCutter cutter;
    mail::Envelope envelope;
    std::optional<queue::Draft> draft;

    std::shared_ptr<const queue::CheckRules> rules;
    std::unique_ptr<queue::ContentCheck> check;      // null: nothing is checked
    std::string header;                              // once the cutter is done

    Result<void> content(std::string_view bytes)
    {
        if (cutter.done()) return body(bytes);
        bytes = cutter.feed(bytes);
        if (cutter.too_long()) return bad_file("its header is too long");
        if (!cutter.done()) return {};
        TRY(begin_body());
        return body(bytes);
    }
    Result<void> finish()
    {
        if (!cutter.done()) {
            cutter.finish();
            TRY(begin_body());
        }
        std::string rest;
        if (check) check->finish_body(rest);
        return draft->append(rest);
    }

private:
    Result<void> begin_body()
    {
        header = cutter.take_header();
        if (rules) {
            queue::CheckedMail about{name, "local", envelope.sender.text(), {}, {}, {}};
            if (!envelope.recipients.empty()) about.recipient = envelope.recipients.back().address.text();
            check = std::make_unique<queue::ContentCheck>(rules, std::move(about));
            check->begin_body(header);
        }
        return body(cutter.take_body_start());
    }
    Result<void> body(std::string_view bytes)
    {
        if (!check) return draft->append(bytes);
        std::string checked;
        check->body(bytes, checked);
        return draft->append(checked);
    }
};

Pickup::Pickup(disk::Directory fresh, disk::Directory tmp, queue::Intake& intake, disk::Pool* pool, const Clock& clock, PickupSettings settings, Doors doors)
    : fresh_(std::move(fresh)), tmp_(std::move(tmp)), intake_(intake), pool_(pool), clock_(clock), settings_(std::move(settings)),
      doors_(std::move(doors)), alive_(std::make_shared<bool>(true))
{
}

Pickup::~Pickup() { *alive_ = false; }

Result<unsigned> Pickup::reconcile()
{
    disk::Disk& disk = disk::posix_disk();
    unsigned gone = 0;
    for (const std::string& name : TRY(disk.list(fresh_))) {
        if (!queue::is_queue_id(name) || faccessat(intake_.new_directory().fd.get(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW)) continue;
        TRY(disk.unlink(fresh_, name));
        ++gone;
    }
    if (gone) TRY(disk.sync(fresh_));
    return gone;
}

Result<void> Pickup::scan()
{
    failures_ = 0;
    auto names = TRY(disk::posix_disk().list(fresh_));
    // In order of time, but what failed before comes last: it must not stand in the others' way.
    std::sort(names.begin(), names.end(), [this](const std::string& a, const std::string& b) {
        const bool a_failed = failed_.contains(a), b_failed = failed_.contains(b);
        return a_failed != b_failed ? b_failed : a < b;
    });
    for (const std::string& name : names) found(name);
    return {};
}

void Pickup::found(const std::string& name)
{
    if (!queue::is_queue_id(name)) {
        if (odd_.size() < most_odd_names && odd_.insert(name).second)
            log::warning("maildrop/new/", printable(name, 100), ": no name that veredus-drop makes; left alone");
        return;
    }
    if (stopping_ || !known_.insert(name).second) return;
    waiting_.push_back(name);
    pump_soon();
}

void Pickup::soon(bool& pending, void (Pickup::*work)())
{
    if (std::exchange(pending, true)) return;
    doors_.defer([this, alive = alive_, &pending, work] {
        if (!*alive) return;
        pending = false;
        (this->*work)();
    });
}

void Pickup::pump_soon() { soon(pumping_, &Pickup::pump); }
void Pickup::turn_soon() { soon(turning_, &Pickup::turn); }

Result<unsigned> Pickup::sweep()
{
    disk::Disk& disk = disk::posix_disk();
    unsigned gone = 0;
    for (const std::string& name : TRY(disk.list(tmp_))) {
        const auto info = queue::is_queue_id(name) ? disk.stat(tmp_, name) : fail("");
        if (info && info->changed_us < clock_.wall_us() - abandoned_us && disk.unlink(tmp_, name)) ++gone;
    }
    return gone;
}

void Pickup::pump()
{
    resume();
    const auto paused = [this] { return stopping_ || failures_ >= failures_to_pause; };
    // None is begun while there are too many recipients, or those that wait for that to end would be overtaken for ever.
    const auto room = [this] { return takings_.empty() || (takings_.size() < most_at_once && recipients() < most_recipients); };
    while (!waiting_.empty() && room() && !paused()) {
        const std::string name = std::move(waiting_.front());
        waiting_.pop_front();
        begin(name);
    }
    if (!paused()) return;
    for (const std::string& name : waiting_) known_.erase(name);     // the next scan finds them again
    waiting_.clear();
    check_stopped();
}

void Pickup::begin(const std::string& name)
{
    const auto free = intake_.free_bytes();
    if (!free || *free < settings_.minimum_free)
        return keep(name, free ? Error{ENOSPC, cat("insufficient system storage: ", *free, " bytes free, queue_minfree wants ", settings_.minimum_free)} : free.error());
    read(*(takings_[name] = std::make_unique<Taking>(name, fresh_.fd.get(), settings_.size_limit)));
}

void Pickup::read(Taking& taking)
{
    auto work = [source = taking.source] { source->read_on(); };
    auto done = [this, alive = alive_, name = taking.name] {
        if (!*alive) return;
        ready_.push_back(name);
        turn_soon();
    };
    if (pool_) return pool_->run(std::move(work), std::move(done));
    work();
    done();
}

// However many files there are, and however large, the sessions beside us wait for little of it.
void Pickup::turn()
{
    for (std::size_t spent = 0; spent < turn_bytes && !ready_.empty();) {
        Taking& taking = *takings_.at(ready_.front());
        ready_.pop_front();
        spent += mail_costs + taking.source->size;
        step(taking);
    }
    if (!ready_.empty()) turn_soon();
}

std::size_t Pickup::recipients() const
{
    std::size_t all = 0;
    for (const auto& [name, taking] : takings_) all += taking->envelope.recipients.size();
    return all;
}

// Those that wait for others to end go on, one at least when nothing else does.
void Pickup::resume()
{
    while (!crowded_.empty() && (crowded_.size() == takings_.size() || recipients() < most_recipients)) {
        ready_.push_back(std::move(crowded_.front()));
        crowded_.pop_front();
        turn_soon();
    }
}

void Pickup::step(Taking& taking)
{
    if (!taking.draft && !admit(taking)) return;
    if (takings_.size() - crowded_.size() > 1 && recipients() >= most_recipients) {
        crowded_.push_back(taking.name);
        return;
    }
    const auto whole = take_in(taking);
    if (!whole) {
        const std::string name = taking.name;
        return our_trouble(whole.error()) ? keep(name, whole.error()) : set_aside(name, taking.uid, whole.error().text);
    }
    if (*whole) return complete_mail(taking);
    if (!taking.draft->behind()) return read(taking);
    taking.draft->when_caught_up([this, &taking] { read(taking); });
}

// design.md §2: a regular file with one link and a sane size, and its owner is the caller. False: it has been seen to otherwise.
bool Pickup::admit(Taking& taking)
{
    const std::string name = taking.name;
    const struct stat& st = taking.source->st;
    if (const auto& error = taking.source->error) {
        if (error->code == ENOENT) ended(name);
        else if (error->code == ELOOP || error->code == ENXIO) set_aside(name, 0, "not a regular file");
        else keep(name, *error);
        return false;
    }
    const auto refuse = [&](const std::string& why) {
        set_aside(name, st.st_uid, why);
        return false;
    };
    if (!S_ISREG(st.st_mode)) return refuse("not a regular file");
    if (st.st_nlink != 1) {
        // veredus-drop without renameat2 makes two for a moment; what stays so is somebody's trick.
        if (int64_t{st.st_ctim.tv_sec} * us_per_second <= clock_.wall_us() - 60 * us_per_second) return refuse(cat("it has ", st.st_nlink, " links"));
        ended(name);
        return false;
    }
    if (settings_.size_limit && static_cast<uint64_t>(st.st_size) > settings_.size_limit + settings_.size_limit / 8 + envelope_allowance)
        return refuse("the mail is larger than message_size_limit");
    auto draft = intake_.create(name);
    if (!draft) {
        keep(name, draft.error());
        return false;
    }
    draft->write_in_background();
    taking.draft.emplace(std::move(*draft));
    taking.uid = st.st_uid;
    taking.rules = settings_.checks;
    taking.envelope.origin = mail::Origin::local;
    taking.envelope.uid = st.st_uid;
    taking.envelope.arrival_us = std::min(clock_.wall_us(), int64_t{st.st_mtim.tv_sec} * us_per_second + st.st_mtim.tv_nsec / 1000);
    return true;
}

// The piece that was read. True: it was the last one, and the mail is whole.
Result<bool> Pickup::take_in(Taking& taking)
{
    static thread_local std::string clean;
    const Source& source = *taking.source;
    if (source.error) return unexpected(*source.error);
    std::string_view bytes = source.piece();
    for (bool more = true; more;) {
        switch (taking.parser.next(bytes)) {
        case Parser::Step::more: more = false; break;
        case Parser::Step::end: break;
        case Parser::Step::bad: return bad_file(taking.parser.error());
        case Parser::Step::record: TRY(record(taking)); break;
        case Parser::Step::content: {
            clean.clear();
            taking.lines.feed(taking.parser.payload(), clean);
            TRY(taking.content(clean));
            break;
        }
        }
    }
    if (!source.whole) return false;
    if (!taking.parser.ended()) return bad_file("it ends too early");
    clean.clear();
    taking.lines.finish(clean);
    TRY(taking.content(clean));
    TRY(taking.finish());
    return true;
}

Result<void> Pickup::record(Taking& taking)
{
    mail::Envelope& envelope = taking.envelope;
    const std::string_view payload = taking.parser.payload();
    switch (taking.parser.type()) {
    case Type::sender: envelope.sender = TRY(address_of(payload)); break;
    case Type::body: envelope.body = mail::Body::eight_bit; break;
    case Type::ret: envelope.ret = payload == "FULL" ? mail::Ret::full : mail::Ret::headers; break;
    case Type::envid: envelope.envid = payload; break;
    case Type::utf8: envelope.smtputf8 = true; break;
    case Type::recipient: {
        queue::drop::RecipientView view;
        if (!queue::drop::split_recipient(payload, view)) return bad_file("a recipient record is malformed");
        mail::Recipient recipient;
        recipient.address = TRY(address_of(view.address));
        complete(recipient.address, settings_.mend.origin);
        recipient.notify = view.notify;
        recipient.orcpt = view.orcpt;
        envelope.recipients.push_back(std::move(recipient));
        break;
    }
    default: break;
    }
    return {};
}

void Pickup::complete_mail(Taking& taking)
{
    mail::Envelope& envelope = taking.envelope;
    const std::string name = taking.name;
    log::info(name, ": uid=", taking.uid, " from=<", printable(envelope.sender.text()), ">");
    auto header = mail::HeaderBlock::parse(taking.header);
    if (taking.draft->eight_bit() || header.has_8bit()) envelope.body = mail::Body::eight_bit;
    queue::note_tls_wish(header, envelope);
    // A refusal puts on hold what a person may release later: that is mended like every other mail.
    queue::Decision decision = queue::hop_count(settings_.inspect)->finish(header, envelope);
    std::vector<std::unique_ptr<queue::Inspector>> chain;
    chain.push_back(completer(settings_.mend));
    chain.push_back(queue::mender(settings_.inspect, name));
    const queue::Decision mended = queue::inspect(chain, header, envelope);
    if (decision.kind == queue::Decision::Kind::accept) decision = mended;
    const bool resent = header.find("Resent-Message-ID") != nullptr;
    const mail::Field* message_id = header.find(resent ? "Resent-Message-ID" : "Message-ID");
    log::info(name, ": ", resent ? "resent-message-id=" : "message-id=", message_id ? printable(trim(message_id->unfolded())) : "");

    header.prepend("Received", cat("by ", settings_.inspect.myhostname, " (", settings_.mail_name, ", from userid ", taking.uid, ")\r\n\tid ", name, "; ",
                                   mail::date_rfc5322(clock_.wall_us())));
    using Kind = queue::Decision::Kind;
    if (taking.check && decision.kind == Kind::accept) decision = taking.check->finish(header, envelope);
    if (decision.kind == Kind::reject && decision.code < 500)      // a rule could not be asked: later, then
        return keep(name, Error{EAGAIN, cat("header and body checks: ", decision.text)});
    if (decision.kind == Kind::discard) {
        log::info(name, ": discard: ", printable(decision.text));
        takings_.erase(name);
        taken_.push_back(name);
        pump_soon();
        return remove_taken();
    }
    if (decision.kind != Kind::accept) {
        // Nobody is on the line to hear a refusal, and a mail that loops must not go round again: a person decides.
        if (decision.kind == Kind::reject) log::warning(name, ": placed on hold: ", decision.enhanced, " ", printable(decision.text));
        else log::info(name, ": placed on hold: ", printable(decision.text));
        envelope.hold = true;
    }
    auto draft = std::make_shared<queue::Draft>(std::move(*taking.draft));     // shared: a std::function must be copyable
    taking.draft.reset();
    const auto commit = [this, name, draft](const mail::HeaderBlock& h, const mail::Envelope& e) {
        intake_.commit(std::move(*draft), h, e, [this, name](Result<queue::Receipt> result) { committed(name, result); });
    };
    if (!doors_.rewriter || !doors_.rewriter->wanted()) return commit(header, envelope);
    doors_.rewriter->run({std::move(header), envelope}, [this, alive = alive_, name, commit](const Result<reception::Rewriter::Mail>& mail) {
        if (!*alive) return;
        if (mail) return commit(mail->header, mail->envelope);
        committed(name, unexpected({EAGAIN, cat("its addresses cannot be looked up: ", mail.error().text)}));    // the file stays, for later
    });
}

void Pickup::committed(const std::string& name, const Result<queue::Receipt>& result)
{
    const uint32_t uid = takings_[name] ? takings_[name]->uid : 0;
    takings_.erase(name);
    pump_soon();
    if (!result) {
        // EEXIST: queued in an earlier life, which ended before it could remove the file here. Unless it is only a draft of that
        // life that stands in the way, which is swept.
        const Error& error = result.error();
        const bool queued = error.code == EEXIST && faccessat(intake_.new_directory().fd.get(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        if (!queued) return our_trouble(error) ? keep(name, error) : set_aside(name, uid, error.text);
    }
    failed_.erase(name);
    taken_.push_back(name);
    remove_taken();
}

void Pickup::ended(const std::string& name)
{
    takings_.erase(name);
    known_.erase(name);
    pump_soon();
    check_stopped();
}

void Pickup::set_aside(const std::string& name, uint32_t uid, const std::string& why)
{
    const std::string bad = name + ".bad";
    if (renameat(fresh_.fd.get(), name.c_str(), tmp_.fd.get(), bad.c_str()))
        log::warning("maildrop/new/", name, " (uid ", uid, "): ", why, "; moving it aside: ", fail_errno("rename").error.text);
    else
        log::warning("maildrop/new/", name, " (uid ", uid, "): ", why, "; put aside as maildrop/tmp/", bad);
    ended(name);
}

void Pickup::keep(const std::string& name, const Error& error)
{
    ++failures_;
    if (failed_.insert(name).second || failures_ == 1)
        log::warning("maildrop/new/", name, ": ", error.text, "; it stays there and is tried again");
    doors_.trouble();
    ended(name);
}

// Removed and synced before qmgr hears of them: else a crash could bring the file back after its mail is delivered and forgotten.
void Pickup::remove_taken()
{
    if (removing_ || taken_.empty()) return;
    removing_ = true;
    struct Job {
        std::vector<std::string> names;
        Result<void> result;
    };
    auto job = std::make_shared<Job>();      // shared: work and done both need it
    job->names.swap(taken_);
    auto work = [job, fd = fresh_.fd.get()] {
        for (const std::string& name : job->names)
            if (unlinkat(fd, name.c_str(), 0) && errno != ENOENT) job->result = fail_errno(cat("unlink ", name));
        if (fsync(fd) && job->result) job->result = fail_errno("fsync");
    };
    auto done = [this, alive = alive_, job] {
        if (*alive) removed(std::move(job->names), job->result);
    };
    if (pool_) return pool_->run(std::move(work), std::move(done));
    work();
    done();
}

void Pickup::removed(std::vector<std::string> names, const Result<void>& synced)
{
    // What could not be removed stays known, so that it is not taken up a second time.
    if (!synced) log::warning("maildrop/new: ", synced.error().text);
    else for (const std::string& name : names) known_.erase(name);
    doors_.queued(std::move(names));
    removing_ = false;
    remove_taken();
    check_stopped();
}

void Pickup::stop(std::function<void()> done)
{
    stopping_ = true;
    stopped_ = std::move(done);
    pump_soon();
}

void Pickup::check_stopped()
{
    if (!stopping_ || !stopped_ || removing_ || !taken_.empty() || !takings_.empty()) return;
    std::exchange(stopped_, nullptr)();
}

}  // namespace veredus::submission
