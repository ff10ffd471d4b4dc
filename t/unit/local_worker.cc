// local: a user's process from an attempt to its verdicts, commands and what their end means, and the locks of the spool.
#include "t/unit/catch.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/queue/child.h"
#include "lib/queue/file.h"
#include "lib/store/folder.h"
#include "lib/store/mailbox.h"
#include "local/command.h"
#include "local/dispatcher.h"
#include "local/lockd/locks.h"
#include "local/worker.h"

using namespace veredus;
using namespace veredus::local;
using ipc::Outcome;
using Kind = queue::Child::Kind;

namespace {

struct TempHome {
    std::string path;
    TempHome()
    {
        char name[] = "/tmp/veredus-home.XXXXXX";
        path = ::mkdtemp(name);
    }
    ~TempHome() { (void)std::system(cat("rm -rf ", path).c_str()); }
    std::string file(const std::string& name) const
    {
        auto text = read_file(path + "/" + name, 10'000'000);
        return text ? *text : cat("(", text.error().text, ")");
    }
    void write(const std::string& name, const std::string& text) const
    {
        std::ofstream(path + "/" + name) << text;
        REQUIRE(::chmod((path + "/" + name).c_str(), 0600) == 0);
    }
    std::vector<std::string> names(const std::string& name) const
    {
        std::vector<std::string> out;
        DIR* dir = ::opendir((path + "/" + name).c_str());
        if (!dir) return out;
        while (const dirent* e = ::readdir(dir))
            if (e->d_name[0] != '.') out.push_back(e->d_name);
        ::closedir(dir);
        return out;
    }
};

struct MailInQueue {
    Fd fd;
    queue::Layout layout;
};

MailInQueue queued(std::string_view header, std::string_view body)
{
    MailInQueue m;
    m.fd = Fd(::memfd_create("queue", MFD_CLOEXEC));
    mail::Envelope envelope;
    envelope.sender = {"sender", "example.net"};
    envelope.recipients.push_back({{"alice", "example.org"}, 0, ""});
    std::string bytes = queue::file_start();
    append(bytes, body, queue::encode_tail(body.size(), crc32c(0, body), false, false, header, envelope));
    REQUIRE(write_all(m.fd.get(), bytes));
    auto file = queue::read_mail_file(disk::posix_disk(), m.fd, true);
    REQUIRE(file);
    m.layout = file->layout;
    return m;
}

ipc::Target target(uint32_t index, Kind kind, const std::string& address)
{
    ipc::Target t;
    t.index = index;
    t.kind = kind;
    t.address = address;
    t.sender = "-";
    return t;
}

ipc::Attempt attempt(uint64_t number, const MailInQueue& mail, std::vector<ipc::Target> targets)
{
    ipc::Attempt a;
    a.attempt = number;
    a.queue_id = "65A3F00C12B7";
    a.sender = "sender@example.net";
    a.transport = "local";
    a.layout = mail.layout;
    a.targets = std::move(targets);
    return a;
}

WorkerRules worker_rules(const TempHome& home)
{
    WorkerRules r;
    r.policy.origin = "example.org";
    r.policy.delimiters = "+";
    r.forward_path = "$home/.forward${recipient_delimiter}${extension}, $home/.forward";
    r.home_mailbox = "Maildir/";
    r.spool = home.path + "/spool";
    r.lock_socket = home.path + "/lockd";
    r.root_mailbox_user = "veredus-root";
    r.exported = {"LANG=C"};
    r.command.time_limit = std::chrono::seconds(20);
    r.mbox.lock_attempts = 3;
    r.mbox.lock_delay = std::chrono::milliseconds(10);
    return r;
}

// posix_disk whose writes and syncs fail, or wait, as the test says.
class SickDisk final : public disk::Disk {
public:
    int write_code = 0, sync_code = 0;         // 0: it works
    Result<disk::Directory> open_directory(const disk::Directory* b, const std::string& p) override { return real_.open_directory(b, p); }
    Result<Fd> create(const disk::Directory& d, const std::string& n, mode_t m) override { return real_.create(d, n, m); }
    Result<Fd> open_read(const disk::Directory& d, const std::string& n) override { return real_.open_read(d, n); }
    Result<Fd> open_append(const disk::Directory& d, const std::string& n, mode_t m) override { return real_.open_append(d, n, m); }
    Result<void> write(const Fd& f, std::string_view bytes) override
    {
        if (write_code == 0) return real_.write(f, bytes);
        (void)real_.write(f, bytes.substr(0, bytes.size() / 2));
        return fail_errno("write", write_code);
    }
    Result<void> truncate(const Fd& f, uint64_t s) override { return real_.truncate(f, s); }
    Result<std::string> read(const Fd& f, uint64_t o, std::size_t s) override { return real_.read(f, o, s); }
    Result<uint64_t> size(const Fd& f) override { return real_.size(f); }
    Result<void> write_out(const Fd& f) override { return real_.write_out(f); }
    Result<void> sync(const Fd& f) override { return sync_code ? Result<void>(fail_errno("sync", sync_code)) : slow(real_.sync(f)); }
    Result<void> sync(const disk::Directory& d) override { return sync_code ? Result<void>(fail_errno("sync", sync_code)) : slow(real_.sync(d)); }
    Result<void> rename(const disk::Directory& f, const std::string& n, const disk::Directory& t, const std::string& m) override { return real_.rename(f, n, t, m); }
    Result<void> rename_new(const disk::Directory& f, const std::string& n, const disk::Directory& t, const std::string& m) override { return real_.rename_new(f, n, t, m); }
    Result<void> link(const disk::Directory& f, const std::string& n, const disk::Directory& t, const std::string& m) override { return real_.link(f, n, t, m); }
    Result<void> unlink(const disk::Directory& d, const std::string& n) override { return real_.unlink(d, n); }
    Result<std::vector<std::string>> list(const disk::Directory& d) override { return real_.list(d); }
    Result<disk::FileInfo> stat(const disk::Directory& d, const std::string& n) override { return real_.stat(d, n); }
    Result<uint64_t> free_bytes(const disk::Directory& d) override { return real_.free_bytes(d); }

    void hold()
    {
        const std::lock_guard lock(mutex_);
        held_ = true;
    }
    void release()
    {
        const std::lock_guard lock(mutex_);
        held_ = false;
        changed_.notify_all();
    }
    void wait_for_somebody()
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return waiting_ > 0; });
    }

private:
    Result<void> slow(Result<void> result)
    {
        std::unique_lock lock(mutex_);
        ++waiting_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !held_; });
        --waiting_;
        return result;
    }
    disk::Disk& real_ = disk::posix_disk();
    std::mutex mutex_;
    std::condition_variable changed_;
    bool held_ = false;
    int waiting_ = 0;
};

// A worker on a thread of its own; the test plays the dispatcher.
class RunningWorker {
public:
    RunningWorker(WorkerRules rules, const TempHome& home, const char* name = "alice", std::function<Worker::Seams()> seams = [] { return Worker::Seams(); })
    {
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        ours_ = std::move(pair->first);
        thread_ = std::thread([r = std::move(rules), path = home.path, user = std::string(name), fd = pair->second.release(), make = std::move(seams)]() mutable {
            Worker(std::move(r), Person{user, path, "/bin/sh"}, ::getuid(), ::getgid(), make()).serve(Fd(fd));
        });
    }
    ~RunningWorker()
    {
        ours_.reset();
        thread_.join();
    }
    void send(const ipc::Attempt& a, const MailInQueue& mail)
    {
        ipc::Message m;
        m.type = static_cast<uint16_t>(ipc::AgentType::attempt);
        m.body = a.encode();
        m.fds.push_back(Fd(::dup(mail.fd.get())));
        REQUIRE(ipc::send_blocking(ours_.get(), m, 10'000));
    }
    void send_raw(std::string body, const MailInQueue& mail)
    {
        ipc::Message m;
        m.type = static_cast<uint16_t>(ipc::AgentType::attempt);
        m.body = std::move(body);
        m.fds.push_back(Fd(::dup(mail.fd.get())));
        REQUIRE(ipc::send_blocking(ours_.get(), m, 10'000));
    }
    ipc::Verdicts message()
    {
        auto m = ipc::recv_blocking(ours_.get(), 30'000);
        REQUIRE(m);
        REQUIRE(*m);
        auto v = ipc::Verdicts::decode((*m)->body);
        REQUIRE(v);
        return std::move(*v);
    }
    bool silent() const
    {
        pollfd p{ours_.get(), POLLIN, 0};
        return ::poll(&p, 1, 0) == 0;
    }
    std::vector<ipc::Verdict> verdicts(std::size_t count)
    {
        std::vector<ipc::Verdict> all;
        while (all.size() < count) {
            auto m = ipc::recv_blocking(ours_.get(), 30'000);
            REQUIRE(m);
            REQUIRE(*m);
            auto v = ipc::Verdicts::decode((*m)->body);
            REQUIRE(v);
            for (auto& one : v->verdicts) all.push_back(std::move(one));
        }
        return all;
    }
    ipc::Verdict deliver(const MailInQueue& mail, ipc::Target t)
    {
        send(attempt(1, mail, {std::move(t)}), mail);
        return verdicts(1).at(0);
    }

private:
    Fd ours_;
    std::thread thread_;
};

ipc::Verdict ended(int status, std::string output = {}) { return judge({Ending::How::exited, status, std::move(output)}, "cmd"); }

std::string run(const std::string& line, std::string_view body = "body\r\n", std::chrono::milliseconds limit = std::chrono::seconds(20))
{
    const MailInQueue mail = queued("Subject: x\r\n", body);
    store::Content content{"From s\n", "Subject: x\n", mail.fd.get(), mail.layout.body_offset, mail.layout.body_size, false, {}};
    const Ending e = run_command(line, {"PATH=/usr/bin:/bin"}, {limit, "/", ""}, content);
    static const char* how[] = {"exited ", "signal ", "timed out ", "not started "};
    return cat(how[static_cast<int>(e.how)], e.status, ": ", e.output);
}

}  // namespace

TEST_CASE("a command without shell characters is split into words, any other goes to the shell", "[local][command]")
{
    using Words = std::vector<std::string>;
    CHECK(split_command("/usr/bin/procmail -a x") == Words{"/usr/bin/procmail", "-a", "x"});
    CHECK(split_command("  vacation\talice ") == Words{"vacation", "alice"});
    for (const char* line : {"a; b", "a | b", "a $HOME", "a `b`", "a > b", "\"a b\"", "exec a", "A=b c", "a\nb", "if true", "a * b", "~/bin/x", ""}) {
        INFO(line);
        CHECK(split_command(line).empty());
    }
}

TEST_CASE("a command that has left its process group ends in its time, too", "[local][command]")
{
    const int64_t start = system_clock().mono_us();
    CHECK(run("perl -e 'my $p = fork; if (!$p) { setpgrp(0, 0); sleep 3; exit } 1 until setpgrp(0, $p) or getpgrp(0) == $p; sleep 60'", "x\r\n", std::chrono::seconds(1)).starts_with("timed out"));
    CHECK(system_clock().mono_us() - start < 30 * us_per_second);
}

TEST_CASE("nothing of a mail can speak to a shell", "[local][command]")
{
    CHECK(harmless("bob+x@example.org") == "bob+x@example.org");
    CHECK(harmless("a;rm -rf $HOME`x`\"'\n|") == "a_rm_-rf__HOME_x_____");
    CHECK(harmless(std::string("a\0b", 3)) == "a_b");
    CHECK(harmless("a b#c\n", "ab #\n") == "a b#__");          // command_expansion_filter; never a control character
    Facts facts;
    facts.recipient = "bob+$(id)@example.org";
    facts.local = "bob+$(id)";
    facts.extension = "$(id)";
    const auto env = command_environment({"bob", "/home/bob", ""}, facts, {"X=1", "VEREDUS_NOT_SET"});
    const auto has = [&](const char* line) { return std::find(env.begin(), env.end(), line) != env.end(); };
    CHECK(has("HOME=/home/bob"));
    CHECK(has("USER=bob"));
    CHECK(has("LOGNAME=bob"));
    CHECK(has("SHELL=/bin/sh"));
    CHECK(has("SENDER=MAILER-DAEMON"));
    CHECK(has("RECIPIENT=bob+__id_@example.org"));
    CHECK(has("ORIGINAL_RECIPIENT=bob+__id_@example.org"));
    CHECK(has("EXTENSION=__id_"));
    CHECK(has("X=1"));
    for (const auto& line : env) CHECK_FALSE(line.starts_with("VEREDUS_NOT_SET"));
}

TEST_CASE("the end of a command is read as sysexits has it", "[local][command]")
{
    struct Case {
        int status;
        Outcome outcome;
        const char* dsn;
    };
    const Case cases[] = {
        {0, Outcome::delivered, "2.0.0"},        {EX_USAGE, Outcome::failed, "5.3.5"},     {EX_DATAERR, Outcome::failed, "5.6.0"},
        {EX_NOUSER, Outcome::failed, "5.1.1"},   {EX_NOHOST, Outcome::failed, "5.1.2"},    {EX_UNAVAILABLE, Outcome::failed, "5.3.0"},
        {EX_OSERR, Outcome::deferred, "4.3.0"},  {EX_CANTCREAT, Outcome::failed, "5.2.0"}, {EX_IOERR, Outcome::deferred, "4.3.0"},
        {EX_TEMPFAIL, Outcome::deferred, "4.3.0"}, {EX_NOPERM, Outcome::failed, "5.7.0"},  {EX_CONFIG, Outcome::failed, "5.3.5"},
        {1, Outcome::failed, "5.3.0"},           {126, Outcome::deferred, "4.3.5"},        {127, Outcome::deferred, "4.3.5"},
    };
    for (const Case& c : cases) {
        INFO(c.status);
        CHECK(ended(c.status).outcome == c.outcome);
        CHECK(ended(c.status).dsn == c.dsn);
    }
    CHECK(ended(0).text == "delivered to command: cmd");
    CHECK(ended(EX_UNAVAILABLE, "5.7.1 not today\n").dsn == "5.7.1");
    CHECK(ended(EX_UNAVAILABLE, "5.7.1 not today\n").text == "not today");
    // the command's own code comes first, whatever its exit status (Postfix's pipe_command); one of success does not count
    struct Said {
        int status;
        const char* output;
        Outcome outcome;
        const char *dsn, *text;
    };
    const Said said[] = {
        {EX_TEMPFAIL, "5.7.1 not for you", Outcome::failed, "5.7.1", "not for you"},
        {EX_NOUSER, "4.2.2 mailbox full\nfor now\n", Outcome::deferred, "4.2.2", "mailbox full for now"},
        {1, "4.3.0\ttry later", Outcome::deferred, "4.3.0", "try later"},
        {127, "5.3.0 no", Outcome::failed, "5.3.0", "no"},
        {1, "5.1.1\n", Outcome::failed, "5.1.1", "Command died with status 1: \"cmd\""},
        {EX_TEMPFAIL, "2.0.0 fine", Outcome::deferred, "4.3.0", "temporary failure. Command output: 2.0.0 fine"},
        {1, "2.0.0 fine", Outcome::failed, "5.3.0", "Command died with status 1: \"cmd\". Command output: 2.0.0 fine"},
        {1, "5.7.1no code", Outcome::failed, "5.3.0", "Command died with status 1: \"cmd\". Command output: 5.7.1no code"},
        {0, "5.7.1 it was delivered", Outcome::delivered, "2.0.0", "delivered to command: cmd"},
    };
    for (const Said& s : said) {
        INFO(s.status << " " << s.output);
        const auto v = ended(s.status, s.output);
        CHECK(v.outcome == s.outcome);
        CHECK(v.dsn == s.dsn);
        CHECK(v.text == s.text);
    }
    CHECK(ended(EX_NOUSER, "who?\nnobody").text == "user unknown. Command output: who? nobody");
    CHECK(judge({Ending::How::signalled, 9, ""}, "cmd").outcome == Outcome::deferred);
    CHECK(judge({Ending::How::timed_out, 0, ""}, "cmd").text == "Command time limit exceeded: \"cmd\"");
    CHECK(ended(1, std::string(100'000, 'x')).text.size() < 1000);
}

TEST_CASE("commands get the mail, say their word, and may not overstay", "[local][command]")
{
    CHECK(run("cat") == "exited 0: From s\nSubject: x\n\nbody\n");
    CHECK(run("cat >/dev/null; echo no; exit 67") == "exited 67: no\n");
    CHECK(run("kill -9 $$") == "signal 9: ");
    CHECK(run("/nonexistent/command").starts_with("exited 127: "));
    CHECK(run("sleep 60 & sleep 60", "body\r\n", std::chrono::milliseconds(200)).starts_with("timed out"));
    // one that reads nothing, one that talks before it listens: neither blocks
    const std::string large(1'000'000, 'x');
    CHECK(run("exit 0", large) == "exited 0: ");
    CHECK(run("head -c 300000 /dev/zero; cat >/dev/null", large).starts_with("exited 0: "));
    // a child that keeps the output open is not waited for
    CHECK(run("sleep 30 & echo done") == "exited 0: done\n");
    CHECK(run("readlink /proc/self/fd/9 || echo closed") == "exited 0: closed\n");
}

TEST_CASE("a command that cannot be started, for want of descriptors or processes, makes the mail wait", "[local][command]")
{
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit none{0, before.rlim_max};
    store::Content content;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const Ending e = run_command("cat", {}, {std::chrono::seconds(5), "/", ""}, content);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(e.how == Ending::How::not_started);
    const auto v = judge(e, "cat");
    CHECK(v.outcome == Outcome::deferred);
    CHECK(v.dsn == "4.3.0");
    CHECK(v.text.find("Too many open files") != std::string::npos);
}

TEST_CASE("local_command_shell gets every command, or it is not run at all", "[local][command]")
{
    const MailInQueue mail = queued("Subject: x\r\n", "body\r\n");
    const auto with = [&](const char* shell, const char* line) {
        store::Content content{"From s\n", "Subject: x\n", mail.fd.get(), mail.layout.body_offset, mail.layout.body_size, false, {}};
        const Ending e = run_command(line, {"PATH=/usr/bin:/bin"}, {std::chrono::seconds(20), "/", shell}, content);
        return cat(e.status, ": ", e.output);
    };
    CHECK(with("/bin/echo -n got", "cat /etc/passwd; id") == "0: got cat /etc/passwd; id");
    CHECK(with("/bin/echo  -n", "plain words") == "0: plain words");
    CHECK(with("/nonexistent/smrsh -c", "echo escaped") == "126: ");
    CHECK(with("/nonexistent/smrsh -c", "echo a; echo b") == "126: ");
    CHECK(with("", "echo a; echo b") == "0: a\nb\n");
}

TEST_CASE("a header is stored with LF lines, without the Return-Path it came with", "[local][rfc5321-4.4]")
{
    const auto h = stored_header("Return-Path: <x@y>\r\nDelivered-To: a@b\r\nSubject: one\r\n two\r\nDELIVERED-TO:  c@d \r\n");
    CHECK(h.text == "Delivered-To: a@b\nSubject: one\n two\nDELIVERED-TO:  c@d \n");
    CHECK(h.delivered_to == std::vector<std::string>{"a@b", "c@d"});
    CHECK(trace_lines("", "o@x", "d@x") == "Return-Path: <>\nX-Original-To: o@x\nDelivered-To: d@x\n");
    CHECK(trace_lines("a\nb", "", "") == "Return-Path: <a?b>\n");
    CHECK(from_line("", 0).starts_with("From MAILER-DAEMON "));
}

TEST_CASE("long expansions go in pages that fit a message", "[local]")
{
    ipc::Verdict v;
    v.outcome = Outcome::expanded;
    for (int i = 0; i < 5000; ++i) v.children.push_back({Kind::address, cat("user", i, "@example.org"), "", "-"});
    const auto pages = in_pages(v);
    REQUIRE(pages.size() > 1);
    std::size_t total = 0;
    for (std::size_t i = 0; i < pages.size(); ++i) {
        CHECK(pages[i].more == (i + 1 < pages.size()));
        total += pages[i].children.size();
    }
    CHECK(total == 5000);
    for (const auto& message : in_messages(7, pages)) CHECK(message.encode().size() < ipc::max_message);
    CHECK(in_messages(7, {}).empty());
}

TEST_CASE("a worker puts mail into a Maildir with its trace", "[local][worker]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const MailInQueue mail = queued("Return-Path: <forged@x>\r\nSubject: hi\r\n", "line\r\n");
    auto t = target(3, Kind::address, "alice@example.org");
    t.original = "postmaster@example.org";
    const auto v = worker.deliver(mail, t);
    CHECK(v.index == 3);
    CHECK(v.outcome == Outcome::delivered);
    CHECK(v.text == "delivered to maildir");
    CHECK(v.dsn == "2.0.0");
    const auto names = home.names("Maildir/new");
    REQUIRE(names.size() == 1);
    CHECK(home.file("Maildir/new/" + names[0]) ==
          "Return-Path: <sender@example.net>\nX-Original-To: postmaster@example.org\nDelivered-To: alice@example.org\nSubject: hi\n\nline\n");
    CHECK(home.names("Maildir/tmp").empty());
    // what an alias brings once more is there; another recipient's mail goes into directories that are open already, also after the user moved them away
    CHECK(worker.deliver(mail, t).text == "delivered to maildir");
    CHECK(home.names("Maildir/new").size() == 1);
    t.original = "webmaster@example.org";
    CHECK(worker.deliver(mail, t).outcome == Outcome::delivered);
    REQUIRE(::rename((home.path + "/Maildir").c_str(), (home.path + "/Old").c_str()) == 0);
    t.original.clear();
    CHECK(worker.deliver(mail, t).outcome == Outcome::delivered);
    CHECK(home.names("Old/new").size() == 2);
    CHECK(home.names("Maildir/new").size() == 1);
}

TEST_CASE("a batch of mails has a verdict for each recipient", "[local][worker]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    rules.home_mailbox = "box";
    RunningWorker worker(rules, home);
    const MailInQueue mail = queued("Subject: hi\r\n", "From me\r\n");
    for (uint64_t i = 1; i <= 20; ++i) worker.send(attempt(i, mail, {target(0, Kind::address, "alice@example.org"), target(1, Kind::address, "alice+x@example.org")}), mail);
    for (const auto& v : worker.verdicts(40)) CHECK(v.text == "delivered to mailbox");
    const std::string box = home.file("box");
    std::size_t mails = 0;
    for (std::size_t at = 0; (at = box.find("From sender@example.net ", at)) != std::string::npos; ++at) ++mails;
    CHECK(mails == 40);
    CHECK(box.find("\n>From me\n") != std::string::npos);
}

TEST_CASE("what one alias names twice is one copy with two verdicts", "[local][worker]")
{
    for (const char* mailbox : {"Maildir/", "box"}) {
        TempHome home;
        WorkerRules rules = worker_rules(home);
        rules.home_mailbox = mailbox;
        RunningWorker worker(rules, home);
        const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
        auto past = target(1, Kind::mailbox, "alice@example.org"), plain = target(2, Kind::address, "alice@example.org"), other = target(3, Kind::address, "alice@example.org");
        past.original = plain.original = "jail@example.org";
        other.original = "cell@example.org";
        worker.send(attempt(1, mail, {past, plain, other, target(4, Kind::address, "alice@example.org")}), mail);
        auto v = worker.verdicts(4);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(v[i].index == i + 1);
            CHECK(v[i].outcome == Outcome::delivered);
        }
        const std::string text = home.file("box");
        std::size_t mails = home.names("Maildir/new").size();
        for (std::size_t at = 0; (at = text.find("Subject: hi", at)) != std::string::npos; ++at) ++mails;
        CHECK(mails == 3);
    }
}

TEST_CASE("a mail that was delivered to this address before is a loop", "[local][worker]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const auto v = worker.deliver(queued("Delivered-To: ALICE@example.org\r\n", "x\r\n"), target(0, Kind::address, "alice@example.org"));
    CHECK(v.outcome == Outcome::failed);
    CHECK(v.dsn == "5.4.6");
    CHECK(v.text == "mail forwarding loop for alice@example.org");
}

TEST_CASE("a .forward answers for its user, and its own mailbox needs no detour", "[local][worker][forward]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    const auto to = target(0, Kind::address, "alice@example.org");
    home.write(".forward", "\\alice, bob@elsewhere.net, \"|/bin/cat\"\n");
    auto v = worker.deliver(mail, to);
    CHECK(v.outcome == Outcome::expanded);
    REQUIRE(v.children.size() == 3);
    CHECK(v.children[0].kind == Kind::mailbox);
    CHECK(v.children[0].text == "\\alice");
    CHECK(v.children[1].text == "bob@elsewhere.net");
    CHECK(v.children[2].run_as == "alice");
    // the mailbox child skips it
    CHECK(worker.deliver(mail, target(0, Kind::mailbox, "alice@example.org")).text == "delivered to maildir");
    home.write(".forward+ext", "ext@elsewhere.net\n");
    v = worker.deliver(mail, target(0, Kind::address, "alice+ext@example.org"));
    REQUIRE(v.children.size() == 1);
    CHECK(v.children[0].text == "ext@elsewhere.net");
    CHECK(worker.deliver(mail, target(0, Kind::address, "alice+EXT@example.org")).children == v.children);    // as under Postfix
    CHECK(worker.deliver(mail, target(0, Kind::address, "alice+../../ext@example.org")).children.size() == 3);   // no extension: paths are made of it
    home.write(".forward", "alice\n");
    CHECK(worker.deliver(mail, to).text == "delivered to maildir");
    home.write(".forward", "~/box, ~/Mail/.x/, ~bob/box\n");
    v = worker.deliver(mail, to);
    REQUIRE(v.children.size() == 3);
    CHECK((v.children[0].kind == Kind::file && v.children[0].text == home.path + "/box"));
    CHECK((v.children[1].kind == Kind::file && v.children[1].text == home.path + "/Mail/.x/"));
    CHECK(v.children[2].kind == Kind::address);
    home.write(".forward", "\"broken\n");
    v = worker.deliver(mail, to);
    CHECK(v.outcome == Outcome::deferred);
    CHECK(v.dsn == "4.3.5");
    REQUIRE(::unlink((home.path + "/.forward").c_str()) == 0);
    CHECK(worker.deliver(mail, to).text == "delivered to maildir");
}

TEST_CASE("commands and files of a user are run and written as told", "[local][worker]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    auto command = target(0, Kind::command, "cat > got; echo $SENDER $RECIPIENT $USER >> got");
    command.original = "list@example.org";
    command.run_as = "alice";
    auto v = worker.deliver(mail, command);
    CHECK(v.outcome == Outcome::delivered);
    CHECK(v.text.starts_with("delivered to command: cat > got"));
    const std::string got = home.file("got");
    CHECK(got.starts_with("From sender@example.net "));
    CHECK(got.find("\nReturn-Path: <sender@example.net>\nX-Original-To: list@example.org\nDelivered-To: list@example.org\nSubject: hi\n\nx\n") != std::string::npos);
    CHECK(got.ends_with("sender@example.net list@example.org alice\n"));
    // whose alias or .forward it is, and how the mail was addressed; an alias of root's is nobody's own
    for (const bool of_root : {false, true}) {
        auto named = target(0, Kind::command, "cat > got; echo $RECIPIENT,$ORIGINAL_RECIPIENT,$LOCAL,$EXTENSION,$USER,$LOGNAME,${HOME-none} >> got");
        named.original = "sales@example.com";
        named.extension = "Staff+all@example.org";
        if (!of_root) named.run_as = "alice";
        CHECK(worker.deliver(mail, named).outcome == Outcome::delivered);
        const std::string text = home.file("got");
        CHECK(text.find("\nReturn-Path: <sender@example.net>\nX-Original-To: sales@example.com\nDelivered-To: Staff+all@example.org\n") != std::string::npos);
        CHECK(text.ends_with(cat("Staff+all@example.org,sales@example.com,staff+all,all,", of_root ? "staff,staff,none" : cat("alice,alice,", home.path), "\n")));
    }
    auto odd = target(0, Kind::command, "cat > got; echo $RECIPIENT,$LOCAL,${EXTENSION-none},$DOMAIN >> got");
    odd.original = odd.extension = "Alice+Some/../Where@Example.ORG";
    CHECK(worker.deliver(mail, odd).outcome == Outcome::delivered);
    CHECK(home.file("got").ends_with("\nAlice+Some/../Where@Example.ORG,alice,none,example.org\n"));
    v = worker.deliver(mail, target(0, Kind::file, home.path + "/box"));
    CHECK(v.text == cat("delivered to file: ", home.path, "/box"));
    CHECK(home.file("box").find("Subject: hi") != std::string::npos);
    for (const mode_t mode : {0700, 0610, 0601}) {
        REQUIRE(::chmod((home.path + "/box").c_str(), mode) == 0);
        v = worker.deliver(mail, target(0, Kind::file, home.path + "/box"));
        CHECK(v.outcome == Outcome::failed);
        CHECK(v.dsn == "5.7.1");
        CHECK(v.text == cat("destination file is executable: ", home.path, "/box"));
    }
    CHECK(worker.deliver(mail, target(0, Kind::file, "/dev/null")).outcome == Outcome::delivered);
    CHECK(worker.deliver(mail, target(0, Kind::file, home.path + "/dir/")).text == "delivered to maildir");
    v = worker.deliver(mail, target(0, Kind::file, home.path + "/absent/box"));
    CHECK(v.outcome == Outcome::deferred);
    // what is no file: nobody waits for a reader of a pipe
    REQUIRE(::mkfifo((home.path + "/pipe").c_str(), 0600) == 0);
    v = worker.deliver(mail, target(0, Kind::file, home.path + "/pipe"));
    CHECK(v.outcome == Outcome::deferred);
    CHECK(v.text.find("is not a regular file") != std::string::npos);
}

TEST_CASE("a virtual user's mailbox is made where the dispatcher says, whatever the account's own is", "[local][worker][virtual]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    home.write(".forward", "elsewhere@example.net\n");
    RunningWorker worker(rules, home);
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    auto t = target(0, Kind::mailbox, "bob+x@v.example");
    t.run_as = home.path + "/v.example/bob/";
    CHECK(worker.deliver(mail, t).text == "delivered to maildir");
    const auto names = home.names("v.example/bob/new");
    REQUIRE(names.size() == 1);
    CHECK(home.file("v.example/bob/new/" + names[0]).find("\nDelivered-To: bob+x@v.example\n") != std::string::npos);
    struct stat st {};
    REQUIRE(::stat((home.path + "/v.example").c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0700);
    t.run_as = home.path + "/v.example/box";
    CHECK(worker.deliver(mail, t).text == "delivered to mailbox");
    t.run_as = home.path + "/absent/box";
    CHECK(worker.deliver(mail, t).outcome == Outcome::deferred);
    CHECK(worker.deliver(queued("Delivered-To: BOB+x@v.example\r\n", "x\r\n"), t).dsn == "5.4.6");
}

TEST_CASE("Maildirs of many users of one account fill together, and one that cannot be opened delays no other", "[local][worker]")
{
    TempHome home;
    home.write("taken", "a file where a Maildir should be\n");
    // So few descriptors that they cannot all be open at once.
    struct Few {
        rlimit before{};
        Few()
        {
            REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
            rlimit few = before;
            few.rlim_cur = std::min<rlim_t>(200, few.rlim_max);
            REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        }
        ~Few() { ::setrlimit(RLIMIT_NOFILE, &before); }
    } few;
    RunningWorker worker(worker_rules(home), home, "vmail");
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    // More than are kept open, in several messages, twice: the second time they are there.
    constexpr uint32_t boxes = 130;
    for (std::size_t round = 1; round <= 2; ++round) {
        for (uint32_t i = 0; i < boxes; i += 10) {
            std::vector<ipc::Target> targets;
            for (uint32_t n = i; n < i + 10; ++n) {
                auto t = target(n, Kind::mailbox, cat("u", n, "@v.example"));
                t.run_as = n == 77 ? home.path + "/taken/" : cat(home.path, "/v/u", n, "/");
                targets.push_back(std::move(t));
            }
            worker.send(attempt(i + 1, mail, std::move(targets)), mail);
        }
        std::set<uint32_t> answered;
        for (const auto& v : worker.verdicts(boxes)) {
            INFO(v.index << ": " << v.text);
            CHECK(answered.insert(v.index).second);
            CHECK(v.outcome == (v.index == 77 ? Outcome::deferred : Outcome::delivered));
        }
        for (uint32_t n = 0; n < boxes; ++n)
            if (n != 77) CHECK(home.names(cat("v/u", n, "/new")).size() == round);
    }
}

TEST_CASE("an attempt that cannot be read costs its own mail another one, and those beside it nothing", "[local][worker]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    const auto to = target(4, Kind::address, "alice@example.org");
    worker.send(attempt(1, mail, {to}), mail);
    worker.send_raw(attempt(2, mail, {to}).encode() + "x", mail);
    worker.send(attempt(3, mail, {to}), mail);
    std::map<uint64_t, std::size_t> said;
    while (said.size() < 3) {
        const auto v = worker.message();
        said[v.attempt] = v.verdicts.size();
    }
    CHECK(said == std::map<uint64_t, std::size_t>{{1, 1}, {2, 0}, {3, 1}});
    CHECK(home.names("Maildir/new").size() == 2);
}

TEST_CASE("indexes count among the descriptors of a batch", "[local][worker]")
{
    TempHome home;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit few = before;
    few.rlim_cur = std::min<rlim_t>(400, few.rlim_max);
    constexpr uint32_t boxes = 60;             // a batch, if each mail took six
    for (uint32_t i = 0; i < 2 * boxes; ++i) {
        for (const char* part : {"cur", "new", "tmp", ".veredus"}) std::filesystem::create_directories(cat(home.path, "/v/u", i, '/', part));
        home.write(cat("v/u", i, "/.veredus/uidlog"), "");
    }
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    SickDisk disk;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    {
        RunningWorker worker(worker_rules(home), home, "vmail", [&] { return Worker::Seams{disk}; });
        const auto send = [&](uint32_t box) {
            auto t = target(box, Kind::mailbox, cat("u", box, "@v.example"));
            t.run_as = cat(home.path, "/v/u", box, "/");
            worker.send(attempt(box + 1, mail, {t}), mail);
        };
        for (uint32_t i = 0; i < boxes; ++i) send(i);
        for (const auto& v : worker.verdicts(boxes)) CHECK(v.outcome == Outcome::delivered);
        disk.hold();                           // what comes meanwhile is one batch
        send(0);
        disk.wait_for_somebody();
        for (uint32_t i = boxes; i < 2 * boxes; ++i) send(i);
        disk.release();
        for (const auto& v : worker.verdicts(boxes + 1)) {
            INFO(v.index << ": " << v.text);
            CHECK(v.outcome == Outcome::delivered);
        }
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("a double is known to be one at the end of a batch of any size", "[local][worker]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    rules.home_mailbox = "box";
    RunningWorker worker(rules, home);
    // The aliases of one mail: more than are remembered from batch to batch.
    std::vector<ipc::Target> targets;
    for (uint32_t i = 0; i <= 1010; ++i) {
        targets.push_back(target(i, Kind::mailbox, "a@b"));
        targets.back().original = cat(i == 1010 ? 0 : i, "@c");
    }
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    worker.send(attempt(1, mail, targets), mail);
    for (const auto& v : worker.verdicts(targets.size())) {
        INFO(v.index << ": " << v.text);
        CHECK(v.outcome == Outcome::delivered);
    }
}

TEST_CASE("batches that come one behind the other share the waits for the disk, and each mail has one answer", "[local][worker]")
{
    TempHome home;
    SickDisk disk;
    RunningWorker worker(worker_rules(home), home, "alice", [&] { return Worker::Seams{disk}; });
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    disk.hold();
    uint64_t sent = 0;
    const auto send = [&](const std::string& to, const std::string& original = "") {
        auto t = target(0, original.empty() ? Kind::address : Kind::mailbox, to);
        t.original = original;
        worker.send(attempt(++sent, mail, {t}), mail);
    };
    // The first is alone; what comes while its file is synced goes with its name, among it a copy by an alias and its double, and what
    // makes the batch wait for what is no Maildir.
    send("alice@example.org");
    disk.wait_for_somebody();
    send("alice@example.org");
    send("alice@example.org", "list@example.org");
    send("alice@example.org", "list@example.org");
    for (int i = 0; i < 20; ++i) send("alice@example.org");
    auto t = target(0, Kind::file, home.path + "/box");
    worker.send(attempt(++sent, mail, {t}), mail);
    t = target(0, Kind::command, "cat >/dev/null");
    worker.send(attempt(++sent, mail, {t}), mail);
    CHECK(worker.silent());
    disk.release();
    std::set<uint64_t> answered;
    while (answered.size() < sent) {
        const auto v = worker.message();
        REQUIRE(v.verdicts.size() == 1);
        CHECK(v.verdicts[0].outcome == Outcome::delivered);
        CHECK(answered.insert(v.attempt).second);
    }
    CHECK(worker.silent());
    CHECK(home.names("Maildir/new").size() == sent - 3);      // the double, the mbox and the command
    CHECK(home.names("Maildir/tmp").empty());
    // One that fails beside one that does not.
    disk.hold();
    send("alice@example.org");
    disk.wait_for_somebody();
    send("alice@example.org");
    disk.sync_code = EIO;
    disk.release();
    for (const auto& v : worker.verdicts(2)) CHECK((v.outcome == Outcome::deferred || v.outcome == Outcome::delivered));
    disk.sync_code = 0;
    CHECK(worker.deliver(mail, target(0, Kind::address, "alice@example.org")).outcome == Outcome::delivered);
    CHECK(home.names("Maildir/tmp").empty());
}

TEST_CASE("a worker that rests has no threads, which would count as its user's processes", "[local][worker]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    const auto threads = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator()); };
    const auto before = threads();
    std::vector<ipc::Target> targets;
    for (uint32_t i = 0; i < 20; ++i) targets.push_back(target(i, Kind::address, "alice@example.org"));
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    worker.send(attempt(1, mail, targets), mail);
    CHECK(worker.verdicts(20).size() == 20);
    const int64_t end = system_clock().mono_us() + 20 * us_per_second;
    while (threads() > before && system_clock().mono_us() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(threads() == before);
    CHECK(worker.deliver(mail, targets[0]).outcome == Outcome::delivered);
}

TEST_CASE("user+folder goes into a folder that exists, and nowhere else", "[local][worker]")
{
    TempHome home;
    REQUIRE(std::system(cat("cd ", home.path, " && mkdir -p M/.lists.dev/cur M/.a/cur M/.file && touch M/.file/cur && ln -s .a M/.link && mkdir M/.inner && ln -s ../.a/cur M/.inner/cur").c_str()) == 0);
    const std::string maildir = home.path + "/M/";
    CHECK(plus_folder(maildir, "a") == maildir + ".a/");
    CHECK(plus_folder(maildir, "lists.dev") == maildir + ".lists.dev/");
    for (const char* none : {"", "b", "A", "file", "link", "inner", ".a", "a.", "lists..dev", "../M/.a", "a/../.a", "a/", "a\n", "&a"}) {
        INFO(none);
        CHECK(plus_folder(maildir, none) == maildir);
    }
    CHECK(plus_folder(maildir, std::string(300, 'a')) == maildir);
    CHECK(plus_folder(home.path + "/M", "a") == home.path + "/M");
    for (const bool wished : {true, false}) {
        WorkerRules rules = worker_rules(home);
        rules.home_mailbox = "M/";
        rules.plus_folders = wished;
        RunningWorker worker(rules, home);
        CHECK(worker.deliver(queued("Subject: hi\r\n", "x\r\n"), target(0, Kind::address, "alice+a@example.org")).text == "delivered to maildir");
        CHECK(home.names("M/.a/new").size() == 1);
        CHECK(home.names("M/new").size() == (wished ? 0 : 1));
    }
}

TEST_CASE("mailbox_command takes the place of the mailbox", "[local][worker]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    RunningWorker worker(rules, home);
    auto to = target(0, Kind::address, "alice+list@example.org");
    to.run_as = "|cat > \"$HOME/mail.$EXTENSION\"";
    CHECK(worker.deliver(queued("Subject: hi\r\n", "x\r\n"), to).outcome == Outcome::delivered);
    CHECK(home.file("mail.list").find("Delivered-To: alice+list@example.org\n") != std::string::npos);
}

TEST_CASE("a command of pipe_transports gets its words, its header lines and the mail", "[local][worker][pipe]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    const auto pipes = conf::parse_pipe_transports(cat("{lists flags=DFORhu user=alice argv=/bin/sh -c printf=x ignored}\n"
                                                       "{args flags=DFORhu user=alice directory=", home.path, " argv=/usr/bin/tee args/${nexthop} ${recipient} f$sender ${user}-${extension}@${domain}-$(size)-$$ ${queue_id}}"
                                                       "{small user=alice size=10 argv=/bin/true} {bob user=bob argv=/bin/true} {fails user=alice argv=/bin/false} {none user=alice argv=/nonexistent/x}"
                                                       "{dash user=alice argv=/bin/true -f ${recipient}}"));
    REQUIRE(pipes);
    for (const auto& pipe : *pipes) rules.pipes.emplace(pipe.name, pipe);
    REQUIRE(::mkdir((home.path + "/args").c_str(), 0700) == 0);
    RunningWorker worker(rules, home);
    const MailInQueue mail = queued("Subject: hi\r\n", "body\r\n");
    const auto deliver = [&](const char* transport, ipc::Target to, const MailInQueue& what) {
        auto a = attempt(1, what, {std::move(to)});
        a.transport = transport;
        a.nexthop = "hop";
        worker.send(a, what);
        return worker.verdicts(1).at(0);
    };
    // tee writes what it reads into files of its words' names
    const auto v = deliver("args", target(3, Kind::address, "Joe+List@Example.ORG"), mail);
    CHECK(v.text == "delivered via args service");
    CHECK(v.outcome == Outcome::delivered);
    const std::string text = "Return-Path: <sender@example.net>\nX-Original-To: Joe+List@Example.ORG\nDelivered-To: joe+list@example.org\nSubject: hi\n\nbody\n";
    for (const std::string& name : {std::string("args/hop"), std::string("joe+list@example.org"), std::string("fsender@example.net"), cat("joe-list@example.org-", mail.layout.content_size(), "-$"), std::string("65A3F00C12B7")}) {
        const std::string got = home.file(name);
        CHECK(got.starts_with("From sender@example.net "));
        CHECK(got.ends_with(text));
    }
    CHECK(deliver("small", target(3, Kind::address, "a@example.org"), mail).dsn == "5.2.3");
    CHECK(deliver("bob", target(3, Kind::address, "a@example.org"), mail).outcome == Outcome::deferred);
    CHECK(deliver("fails", target(3, Kind::address, "a@example.org"), mail).outcome == Outcome::failed);
    CHECK(deliver("none", target(3, Kind::address, "a@example.org"), mail).dsn == "4.3.5");
    CHECK(deliver("dash", target(3, Kind::address, "-oQ/tmp@example.org"), mail).dsn == "5.1.3");
    CHECK(deliver("dash", target(3, Kind::address, "a@example.org"), mail).outcome == Outcome::delivered);
    CHECK(deliver("args", target(3, Kind::address, "a@example.org"), queued("Delivered-To: A@example.org\r\n", "x\r\n")).dsn == "5.4.6");
}

TEST_CASE("pipe_transports is read as master.cf's lines are, and what it means is certain", "[local][conf][pipe]")
{
    const auto pipes = conf::parse_pipe_transports(" {mailman flags=FR user=list argv=/usr/lib/mailman/bin/postfix-to-mailman.py ${nexthop} ${user}},\n\t{x user=y null_sender= size=5 argv=/bin/x}");
    REQUIRE(pipes);
    REQUIRE(pipes->size() == 2);
    CHECK((*pipes)[0].argv == std::vector<std::string>{"/usr/lib/mailman/bin/postfix-to-mailman.py", "${nexthop}", "${user}"});
    CHECK(((*pipes)[0].from_line && (*pipes)[0].return_path && !(*pipes)[0].delivered_to));
    CHECK(((*pipes)[1].null_sender.empty() && (*pipes)[1].size == 5));
    CHECK(conf::parse_pipe_transports("")->empty());
    for (const char* wrong : {"x", "{", "{}", "{x}", "{x user=y}", "{x argv=/bin/x}", "{x user=y argv=x}", "{x user=y argv=}", "{smtp user=y argv=/x}", "{x user=y:z argv=/x}",
                              "{x user=y flags=. argv=/x}", "{x user=y what argv=/x}", "{x user=y chroot=/ argv=/x}", "{x user=y argv=/x $nothing}", "{x user=y argv=/x ${recipient}",
                              "{x user=y argv=/x $(recipient}", "{x user=y argv=/x} {x user=y argv=/x}", "{x user=y directory=tmp argv=/x}", "{x user=y size=z argv=/x}", "{../x user=y argv=/x}"}) {
        INFO(wrong);
        CHECK_FALSE(conf::parse_pipe_transports(wrong));
    }
    const auto value = [](std::string_view name) { return cat('-', name); };
    CHECK(*conf::expand_pipe_word("-f${sender}$recipient.x", value) == "-f-sender-recipient.x");
    CHECK(*conf::expand_pipe_word("$$$$", value) == "$$");
    CHECK_FALSE(conf::expand_pipe_word("$sender", value));
}

TEST_CASE("a mailbox that is elsewhere is left to the dispatcher, after .forward", "[local][worker][forward]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home);
    auto to = target(0, Kind::address, "alice+x@example.org");
    to.run_as = ">lmtp:unix:/run/x";
    auto v = worker.deliver(queued("Subject: hi\r\n", "x\r\n"), to);
    REQUIRE(v.outcome == Outcome::expanded);
    REQUIRE(v.children.size() == 1);
    CHECK(v.children[0].kind == Kind::mailbox);
    CHECK(v.children[0].text == "\\alice");
    home.write(".forward", "bob@example.net\n");
    v = worker.deliver(queued("Subject: hi\r\n", "x\r\n"), to);
    REQUIRE(v.children.size() == 1);
    CHECK(v.children[0].text == "bob@example.net");
}

TEST_CASE("a .forward hands an extension on that has no .forward of its own", "[local][worker][forward]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    rules.policy.propagate.forward = true;
    RunningWorker worker(rules, home);
    home.write(".forward", "bob@example.net\n");
    home.write(".forward+own", "carol@example.net\n");
    const auto goes_to = [&](const char* address) {
        const auto v = worker.deliver(queued("Subject: hi\r\n", "x\r\n"), target(0, Kind::address, address));
        return v.children.size() == 1 ? v.children[0].text : std::string("?");
    };
    CHECK(goes_to("alice@example.org") == "bob@example.net");
    CHECK(goes_to("alice+x@example.org") == "bob+x@example.net");
    CHECK(goes_to("alice+own@example.org") == "carol@example.net");
}

TEST_CASE("a virtual user of a passwd-file has a Maildir in his home, for he has no place in the spool", "[local][worker][virtual]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    rules.home_mailbox = GENERATE("", "Mail/");
    RunningWorker worker(rules, home, "dave@v.example");
    CHECK(worker.deliver(queued("Subject: hi\r\n", "x\r\n"), target(0, Kind::mailbox, "dave@v.example")).text == "delivered to maildir");
    CHECK(home.names(rules.home_mailbox.empty() ? "Maildir/new" : "Mail/new").size() == 1);
}

TEST_CASE("a spool directory with a slash at its end has Maildirs, which need no lockd", "[local][worker]")
{
    TempHome home;
    REQUIRE(::mkdir((home.path + "/spool").c_str(), 0700) == 0);
    WorkerRules rules = worker_rules(home);
    rules.home_mailbox.clear();
    rules.spool = home.path + "/spool/";
    RunningWorker worker(rules, home);
    const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
    CHECK(worker.deliver(mail, target(0, Kind::address, "alice@example.org")).text == "delivered to maildir");
    CHECK(worker.deliver(mail, target(0, Kind::file, home.path + "/spool/alice/")).text == "delivered to maildir");
    CHECK(home.names("spool/alice/new").size() == 2);
    CHECK(daemon::spool_mailbox("/var/mail", "alice") == "/var/mail/alice");
}

TEST_CASE("without lockd, mail for the spool waits", "[local][worker]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    REQUIRE(::mkdir(rules.spool.c_str(), 0700) == 0);
    for (const std::string& written : {std::string(), rules.spool + "/alice"}) {    // the second is a passwd-file's INBOX=
        INFO(written);
        rules.home_mailbox = written;
        RunningWorker worker(rules, home);
        const auto v = worker.deliver(queued("Subject: hi\r\n", "x\r\n"), target(0, Kind::address, "alice@example.org"));
        CHECK(v.outcome == Outcome::deferred);
        CHECK(v.text.find("lockd") != std::string::npos);
    }
}

TEST_CASE("names of mailboxes are names of users and nothing else", "[lockd]")
{
    for (const char* good : {"alice", "a.b", "veredus-root", "x_1", "Üser"}) CHECK(lockd::is_mailbox_name(good));
    for (const char* bad : {"", ".", "..", ".hidden", "a/b", "/etc", "alice.lock", "a.LOCK", "-x", "a b", "a\nb"}) CHECK_FALSE(lockd::is_mailbox_name(bad));
    CHECK_FALSE(lockd::is_mailbox_name(std::string(65, 'a')));
    CHECK(lockd::owner_of("alice", "keeper") == "alice");
    CHECK(lockd::owner_of("root", "keeper") == "keeper");
}

TEST_CASE("a lock lasts as long as its holder's connection", "[lockd]")
{
    TempHome spool;
    const auto open = [&] { return std::move(*disk::posix_disk().open_directory(nullptr, spool.path)); };
    lockd::Locks locks(open(), store::this_process());
    const ipc::Credentials peer{static_cast<uint32_t>(::getppid()), ::getuid(), ::getgid()};
    CHECK(locks.lock(1, peer, "alice").code == ipc::Code::ok);
    CHECK(spool.file("alice.lock").starts_with(cat(::getppid(), ' ')));
    CHECK(locks.lock(2, peer, "alice").code == ipc::Code::unavailable);
    CHECK(locks.unlock(2, "alice").code == ipc::Code::refused);
    CHECK(locks.lock(2, peer, "bob").code == ipc::Code::ok);
    locks.closed(1);
    CHECK(spool.names("") == std::vector<std::string>{"bob.lock"});
    CHECK(locks.lock(2, peer, "alice").code == ipc::Code::ok);
    CHECK(locks.unlock(2, "alice").code == ipc::Code::ok);
    // another program's lock is respected
    spool.write("carol.lock", "0");
    CHECK(locks.lock(2, peer, "carol").code == ipc::Code::unavailable);
    locks.closed(2);
    CHECK(spool.names("") == std::vector<std::string>{"carol.lock"});
    CHECK(locks.held() == 0);
}

TEST_CASE("a new mailbox is made by its owner and moved into place", "[lockd]")
{
    TempHome spool;
    lockd::Locks locks(std::move(*disk::posix_disk().open_directory(nullptr, spool.path)), store::this_process());
    const ipc::Credentials peer{1, ::getuid(), ::getgid()};
    const auto make = [](const Fd& dir, const char* name, const char* text, mode_t mode) {
        const Fd file(::openat(dir.get(), name, O_CREAT | O_EXCL | O_WRONLY, 0600));
        REQUIRE(file);
        REQUIRE(::fchmod(file.get(), mode) == 0);
        REQUIRE(write_all(file.get(), text));
    };
    const auto left = [&] { return std::system(cat("test -e ", spool.path, "/", lockd::nursery).c_str()) == 0; };
    auto offer = locks.create(1, "alice");
    REQUIRE(offer.status.code == ipc::Code::ok);
    REQUIRE(offer.directory);
    CHECK(left());
    make(offer.directory, "alice", "", 0600);
    CHECK(locks.created(1, peer, "alice").code == ipc::Code::ok);
    struct stat st {};
    REQUIRE(::stat((spool.path + "/alice").c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0600);
    CHECK_FALSE(left());
    CHECK(locks.created(1, peer, "alice").code == ipc::Code::refused);    // once
    offer = locks.create(1, "alice");
    CHECK(offer.status.code == ipc::Code::ok);
    CHECK_FALSE(offer.directory);                                        // it is there
    SECTION("what is not an empty private file of the peer's is refused")
    {
        offer = locks.create(1, "bob");
        SECTION("content") { make(offer.directory, "bob", "x", 0600); }
        SECTION("mode") { make(offer.directory, "bob", "", 0666); }
        SECTION("set-user-ID") { make(offer.directory, "bob", "", 04600); }
        SECTION("symbolic link") { REQUIRE(::symlinkat("/etc/passwd", offer.directory.get(), "bob") == 0); }
        SECTION("directory") { REQUIRE(::mkdirat(offer.directory.get(), "bob", 0700) == 0); }
        SECTION("second link")
        {
            make(offer.directory, "bob", "", 0600);
            REQUIRE(::linkat(offer.directory.get(), "bob", offer.directory.get(), "again", 0) == 0);
        }
        SECTION("nothing") {}
        CHECK(locks.created(1, peer, "bob").code != ipc::Code::ok);
        CHECK(spool.names("") == std::vector<std::string>{"alice"});
        CHECK_FALSE(left());
    }
    SECTION("another's file")
    {
        offer = locks.create(1, "bob");
        make(offer.directory, "bob", "", 0600);
        ipc::Credentials other = peer;
        other.uid += 1;
        CHECK(locks.created(1, other, "bob").code == ipc::Code::refused);
        CHECK(spool.names("") == std::vector<std::string>{"alice"});
    }
    SECTION("a mailbox that came meanwhile stays")
    {
        offer = locks.create(1, "bob");
        make(offer.directory, "bob", "", 0600);
        spool.write("bob", "mail");
        CHECK(locks.created(1, peer, "bob").code == ipc::Code::ok);
        CHECK(spool.file("bob") == "mail");
    }
    SECTION("whatever is put into a draft goes with it, to a depth and a number")
    {
        offer = locks.create(1, "bob");
        const std::string draft = std::filesystem::read_symlink(cat("/proc/self/fd/", offer.directory.get()));
        SECTION("deep") { REQUIRE(std::system(cat("cd ", draft, " && mkdir -p a/b/c/d .x && touch a/1 a/b/2 a/b/c/d/3 .x/4 && ln -s /etc a/b/etc").c_str()) == 0); }
        SECTION("too deep")
        {
            REQUIRE(std::system(cat("cd ", draft, " && mkdir -p 1/2/3/4/5/6/7/8/9/10").c_str()) == 0);
            locks.closed(1);
            CHECK(left());
            REQUIRE(std::system(cat("cd ", draft, " && rm -rf 1").c_str()) == 0);
        }
        SECTION("too many") { REQUIRE(std::system(cat("cd ", draft, " && mkdir a && cd a && seq 1500 | xargs touch").c_str()) == 0); }
        locks.closed(1);
        locks.sweep();
        locks.sweep();
        CHECK_FALSE(left());
        CHECK(::access("/etc/passwd", F_OK) == 0);
    }
    SECTION("who goes away leaves nothing, and a new lockd cleans up after an old one")
    {
        offer = locks.create(1, "bob");
        make(offer.directory, "bob", "", 0600);
        locks.closed(1);
        CHECK_FALSE(left());
        offer = locks.create(2, "bob");
        make(offer.directory, "bob", "", 0600);
        lockd::Locks next(std::move(*disk::posix_disk().open_directory(nullptr, spool.path)), store::this_process());
        next.sweep();
        CHECK_FALSE(left());
    }
}

TEST_CASE("an include file is a regular file that not everyone may write to", "[local][expand]")
{
    TempHome home;
    home.write("list", "bob, \"|cmd\"\n");
    auto list = read_include(home.path + "/list", 1000);    // 0600: its owner and root read it
    REQUIRE(list);
    CHECK(list->targets.size() == 2);
    REQUIRE(::chmod((home.path + "/list").c_str(), 0640) == 0);
    CHECK(read_include(home.path + "/list", 1000));
    REQUIRE(::chmod((home.path + "/list").c_str(), 0646) == 0);
    CHECK(read_include(home.path + "/list", 1000).error().text.find("everyone may write") != std::string::npos);
    REQUIRE(::mkfifo((home.path + "/pipe").c_str(), 0600) == 0);
    CHECK(read_include(home.path + "/pipe", 1000).error().text.find("not a regular file") != std::string::npos);    // and nobody waits for a writer
    CHECK_FALSE(read_include("list", 1000));
    CHECK_FALSE(read_include(home.path, 1000));
}

TEST_CASE("a user's word counts only in form and for himself", "[local][dispatcher]")
{
    ipc::Verdict v;
    v.outcome = Outcome::delivered;
    v.dsn = "2.0.0";
    v.text = "ok\nforged: line";
    v.relay = "mx.example.org";
    auto good = vouch(v, Kind::address, "alice");
    REQUIRE(good);
    CHECK(good->relay == "local");
    CHECK(good->text == "ok?forged: line");
    v.dsn = "5.0.0";
    CHECK_FALSE(vouch(v, Kind::address, "alice"));
    v.outcome = Outcome::failed;
    CHECK(vouch(v, Kind::address, "alice"));
    v.dsn = "hello";
    CHECK_FALSE(vouch(v, Kind::address, "alice"));
    v.outcome = Outcome::expanded;
    v.dsn = "2.0.0";
    v.children = {{Kind::command, "rm -rf /", "root", "boss@example.org"}, {Kind::address, "x@y", "root", "-"}};
    good = vouch(v, Kind::address, "alice");
    REQUIRE(good);
    CHECK(good->children[0].run_as == "alice");
    CHECK(good->children[0].sender == "-");
    CHECK(good->children[1].run_as.empty());
    CHECK_FALSE(vouch(v, Kind::command, "alice"));
    v.children = {{Kind::address, "x@y", "error:5.7.1 restricted", "-"}, {Kind::address, "x@y", "error:4.0.0 for ever", "-"}, {Kind::address, "x@y", "smtp:[192.0.2.1]", "-"}};
    good = vouch(v, Kind::address, "alice");
    REQUIRE(good);
    CHECK(good->children[0].run_as == "error:5.7.1 restricted");          // a refusal of his own, and no way of his own
    CHECK(good->children[1].run_as.empty());
    CHECK(good->children[2].run_as.empty());
    for (const std::string& bad : {std::string(), std::string("a\nb"), std::string("a\rb"), std::string("a\x1b[1m"), std::string(4097, 'c')}) {
        v.children = {{Kind::command, bad, "", "-"}};
        CHECK_FALSE(vouch(v, Kind::address, "alice"));
    }
    v.children = {{Kind::command, std::string(4096, 'c'), "", "-"}, {Kind::command, "a\tb", "", "-"}};
    good = vouch(v, Kind::address, "alice");
    REQUIRE(good);
    for (const auto& child : good->children) CHECK(queue::why_unfit(child).empty());     // what qmgr takes, too
    v.children = {{Kind::file, "relative", "", "-"}};
    CHECK_FALSE(vouch(v, Kind::address, "alice"));
    v.outcome = Outcome::delivered;
    CHECK_FALSE(vouch(v, Kind::address, "alice"));
}

TEST_CASE("whatever qmgr calls a recipient, its user and its way are clear", "[local][dispatcher]")
{
    Policy policy;
    policy.origin = "example.org";
    policy.delimiters = "+";
    struct Case {
        Kind kind;
        const char *text, *full, *user, *extension;
        bool aliases, forward;
    };
    const Case cases[] = {
        {Kind::address, "Alice+x@example.org", "Alice+x@example.org", "alice", "x", true, true},
        {Kind::address, "alice", "alice@example.org", "alice", "", true, true},
        {Kind::mailbox, "\\alice", "alice@example.org", "alice", "", false, false},
        {Kind::mailbox, "alice", "alice@example.org", "alice", "", false, true},
        {Kind::mailbox, "alice@localhost", "alice@localhost", "alice", "", false, false},
        {Kind::address, "postmaster+x@example.org", "postmaster+x@example.org", "postmaster", "x", true, true},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        const auto to = addressee(target(0, c.kind, c.text), policy);
        REQUIRE(to);
        CHECK(to->full == c.full);
        CHECK(to->user == c.user);
        CHECK(to->extension == c.extension);
        CHECK(to->aliases == c.aliases);
        CHECK(to->forward == c.forward);
    }
    CHECK_FALSE(addressee(target(0, Kind::address, ""), policy));
    CHECK_FALSE(addressee(target(0, Kind::address, "@example.org"), policy));
}

namespace {

// What a filter language would say, by the mail's Subject.
class Filter final : public Placement {
public:
    explicit Filter(std::string home) : home_(std::move(home)) {}
    Result<Plan> place(const Letter& letter, const Addressed& to) override
    {
        const auto says = [&](const char* word) { return letter.head.find(cat("Subject: ", word, "\n")) != std::string_view::npos; };
        Plan plan;
        if (says("wait")) return fail("the script cannot be read");
        if (says("junk")) return plan;
        if (says("spam")) return plan.refusal = "spam", plan.refusal_dsn = "5.7.0", plan;
        if (says("flags")) return plan.copies.push_back({std::string(to.mailbox), store::seen | store::flagged, {"$Junk", "work"}}), plan;
        if (says("filed")) return plan.copies.push_back({cat(home_, "/Maildir/.list.Entw&APw-rfe/"), store::answered, {"work"}}), plan;
        if (says("three")) {
            plan.copies = {{std::string(to.mailbox), store::seen, {}}, {cat(home_, "/Maildir/.list/"), store::deleted, {"work"}}, {cat(home_, "/box"), 0, {}}};
            plan.redirects = {"bob@elsewhere.net"};
        }
        if (says("away")) plan.replies = {{"sender@example.net", cat("Subject: away\n\n", to.original, " is away\n")}};
        if (says("three")) return plan;
        if (says("refuse")) return plan.refusal = "not wanted", plan;
        if (says("list")) return plan.copies.push_back({cat(home_, "/Maildir/.list/"), 0, {}}), plan;
        if (says("both")) plan.copies.push_back({cat(home_, "/Maildir/.list/"), 0, {}});
        if (says("both")) plan.redirects.push_back("bob@elsewhere.net");
        plan.copies.push_back({std::string(to.mailbox), 0, {}});
        const auto body = pread_exact(letter.file, letter.body_offset, letter.body_size);
        if (letter.sender != "sender@example.net" || !body || *body != "x\r\n") return fail("another mail");
        if (says("who")) return fail(cat(to.recipient, ' ', to.extension, ' ', to.mailbox));
        return plan;
    }

private:
    std::string home_;
};

class Outgoing final : public Outbox {
public:
    explicit Outgoing(std::string file) : file_(std::move(file)) {}
    Result<void> send(const Reply& reply) override
    {
        std::ofstream(file_, std::ios::app) << "to " << reply.to << ": " << reply.text;
        return std::exchange(first_, false) ? Result<void>() : Result<void>(fail("no way out"));
    }

private:
    std::string file_;
    bool first_ = true;
};

// Room for so many bytes and so many mails in each mailbox.
class Bounds final : public Quota {
public:
    Bounds(uint64_t bytes, std::size_t mails) : bytes_(bytes), mails_(mails) {}
    std::vector<store::Delivered> admit(const std::string& mailbox, std::span<const uint64_t> sizes) override
    {
        std::vector<store::Delivered> answers;
        auto& [bytes, mails] = used_[mailbox];
        for (const uint64_t size : sizes) {
            const bool fits = bytes + size <= bytes_ && mails < mails_;
            answers.push_back(fits ? store::Delivered() : store::Problem{"5.2.2", "over quota"});
            if (fits) bytes += size, ++mails;
        }
        return answers;
    }

private:
    uint64_t bytes_;
    std::size_t mails_;
    std::map<std::string, std::pair<uint64_t, std::size_t>> used_;
};

}  // namespace

TEST_CASE("a filter decides what becomes of a mail, and a .forward comes before it", "[local][worker][placement]")
{
    TempHome home;
    RunningWorker worker(worker_rules(home), home, "alice", [&] { return Worker::Seams{disk::posix_disk(), std::make_unique<Filter>(home.path)}; });
    const auto deliver = [&](const char* subject, Kind kind = Kind::address, const char* to = "alice+x@example.org") {
        return worker.deliver(queued(cat("Subject: ", std::string_view(subject), "\r\n"), "x\r\n"), target(0, kind, to));
    };
    CHECK(deliver("plain").text == "delivered to maildir");
    CHECK(home.names("Maildir/new").size() == 1);
    CHECK(deliver("list").text == "delivered to maildir");
    CHECK(home.names("Maildir/.list/new").size() == 1);
    auto v = deliver("junk");
    CHECK(v.outcome == Outcome::delivered);
    CHECK(v.text == "discarded");
    v = deliver("refuse");
    CHECK(v.outcome == Outcome::failed);
    CHECK(v.dsn == "5.7.1");
    CHECK(v.text == "not wanted");
    v = deliver("wait");
    CHECK(v.outcome == Outcome::deferred);
    CHECK(v.dsn == "4.3.0");
    CHECK(deliver("who").text == cat("alice+x@example.org x ", home.path, "/Maildir/"));
    // copies are children of their own: one that fails repeats no other; also of what comes past .forward
    for (const Kind kind : {Kind::address, Kind::mailbox}) {
        v = deliver("both", kind);
        CHECK(v.outcome == Outcome::expanded);
        REQUIRE(v.children.size() == 3);
        CHECK((v.children[0].kind == Kind::file && v.children[0].text == home.path + "/Maildir/.list/"));
        CHECK((v.children[1].kind == Kind::file && v.children[1].text == home.path + "/Maildir/"));
        CHECK((v.children[2].kind == Kind::address && v.children[2].text == "bob@elsewhere.net"));
        REQUIRE(vouch(v, kind, "alice"));
        CHECK(vouch(v, kind, "alice")->children[0].run_as == "alice");
    }
    v.children = {{Kind::mailbox, "\\alice", "", "-"}};
    CHECK_FALSE(vouch(v, Kind::mailbox, "alice"));                // it would come back here for ever
    // the children are files: no filter is asked again
    CHECK(deliver("both", Kind::file, (home.path + "/Maildir/").c_str()).text == "delivered to maildir");
    home.write(".forward", "carol@elsewhere.net\n");
    v = deliver("junk");
    REQUIRE(v.children.size() == 1);
    CHECK(v.children[0].text == "carol@elsewhere.net");
    CHECK(home.names("Maildir/new").size() == 2);
}

TEST_CASE("a filter marks what it files, in Maildirs and mboxes, now or as a child", "[local][worker][placement][rfc5232-5]")
{
    TempHome home;
    WorkerRules rules = worker_rules(home);
    const bool mbox = GENERATE(false, true);
    rules.home_mailbox = mbox ? "inbox" : "Maildir/";
    RunningWorker worker(rules, home, "alice", [&] { return Worker::Seams{disk::posix_disk(), std::make_unique<Filter>(home.path), nullptr, std::make_unique<Outgoing>(home.path + "/out")}; });
    const auto deliver = [&](const char* subject, Kind kind = Kind::address, const std::string& to = "alice+x@example.org") {
        return worker.deliver(queued(cat("Subject: ", std::string_view(subject), "\r\n"), "x\r\n"), target(0, kind, to.c_str()));
    };
    // flags and keywords of the newest mail in a folder, as a reader finds them
    const auto marks = [&](const char* name) {
        auto box = store::open_maildir(home.path + "/Maildir");
        REQUIRE(box);
        auto folder = (*box)->open(name);
        INFO((folder ? "" : folder.error().text));
        REQUIRE(folder);
        REQUIRE_FALSE((*folder)->table().messages().empty());
        const auto& m = (*folder)->table().messages().back();
        std::string out = cat(int{m.flags});
        for (const std::string& word : store::keywords_of((*folder)->table(), m)) append(out, ' ', word);
        return out;
    };
    auto v = deliver("spam");
    CHECK((v.outcome == Outcome::failed && v.dsn == "5.7.0" && v.text == "spam"));
    v = deliver("flags");
    CHECK(v.outcome == Outcome::delivered);
    if (mbox) {
        CHECK(home.file("inbox").find("\nStatus: R\nX-Status: F\nX-Keywords: $Junk work\n\nx\n\n") != std::string::npos);
    } else {
        CHECK(v.text == "delivered to maildir");
        CHECK(home.names("Maildir/cur").size() == 1);
        CHECK(home.names("Maildir/new").empty());
        CHECK(marks("INBOX") == cat(int{store::seen | store::flagged}, " $Junk work"));
    }
    CHECK(deliver("plain").outcome == Outcome::delivered);           // others are as new as ever
    if (!mbox) CHECK(home.names("Maildir/new").size() == 1);
    if (!mbox) {
        CHECK(deliver("filed").outcome == Outcome::delivered);       // made on the way, and known to its parent
        CHECK(marks("list.Entw\xc3\xbcrfe") == cat(int{store::answered}, " work"));
    }
    v = deliver("three");
    REQUIRE(v.outcome == Outcome::expanded);
    REQUIRE(v.children.size() == 4);
    CHECK(v.children[0].text == cat(home.path, mbox ? "/inbox//./:2,S" : "/Maildir/./:2,S"));
    CHECK(v.children[1].text == cat(home.path, "/Maildir/.list/./:2,T work"));
    CHECK(v.children[2].text == cat(home.path, "/box"));
    CHECK(v.children[3].text == "bob@elsewhere.net");
    REQUIRE(vouch(v, Kind::address, "alice"));
    for (const std::size_t i : {0, 1, 2}) CHECK(deliver("child", Kind::file, v.children[i].text).outcome == Outcome::delivered);
    if (mbox) CHECK(home.file("inbox").find("Subject: child\nStatus: R\n\nx\n\n") != std::string::npos);
    else CHECK(marks("INBOX") == cat(int{store::seen}));
    if (!mbox) CHECK(marks("list") == cat(int{store::deleted}, " work"));
    CHECK(home.file("box").find("Status:") == std::string::npos);
    // a reply that cannot go costs the mail nothing
    for (int i = 0; i < 2; ++i) CHECK(deliver("away").outcome == Outcome::delivered);
    const std::string reply = "to sender@example.net: Subject: away\n\nalice+x@example.org is away\n";
    CHECK(home.file("out") == reply + reply);
}

TEST_CASE("a reply goes when no thread waits for the disk any more, for the threads are needed no longer then", "[local][worker][placement]")
{
    // Looks at what is in the mailbox when a reply is sent.
    class Looking final : public Outbox {
    public:
        Looking(const TempHome& home, std::size_t& seen) : home_(home), seen_(seen) {}
        Result<void> send(const Reply&) override { return seen_ = home_.names("Maildir/new").size(), Result<void>(); }

    private:
        const TempHome& home_;
        std::size_t& seen_;
    };
    TempHome home;
    SickDisk disk;
    std::size_t seen = 0;                      // read after the last verdict
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit few = before;
    few.rlim_cur = 400;
    constexpr uint64_t batch = 28;             // what so many descriptors are enough for
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    {
        RunningWorker worker(worker_rules(home), home, "alice", [&] { return Worker::Seams{disk, std::make_unique<Filter>(home.path), nullptr, std::make_unique<Looking>(home, seen)}; });
        uint64_t sent = 0;
        const auto send = [&](const char* subject) {
            const MailInQueue mail = queued(cat("Subject: ", subject, "\r\n"), "x\r\n");
            worker.send(attempt(++sent, mail, {target(0, Kind::address, "alice@example.org")}), mail);
        };
        disk.hold();                           // what comes meanwhile is two full batches
        send("plain");
        disk.wait_for_somebody();
        for (uint64_t i = 0; i < batch; ++i) send("plain");
        for (uint64_t i = 0; i < batch; ++i) send(i == 4 ? "away" : "plain");
        disk.release();
        for (const auto& v : worker.verdicts(sent)) CHECK(v.outcome == Outcome::delivered);
        CHECK(seen == 1 + batch);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("what a copy is marked with stands behind its path, and what is no mark is path", "[local][placement][hostile]")
{
    const std::vector<std::string> words{"$Junk", "work"};
    for (const Copy& copy : {Copy{"/home/a/Maildir/", 0, {}}, Copy{"/home/a/box", 0, {}}, Copy{"/home/a/Maildir/", store::all_flags, {}}, Copy{"/home/a/Maildir/.x/", 0, words}, Copy{"/box", store::seen, words}, Copy{"/a b", store::draft, {}}}) {
        INFO(copy_text(copy));
        CHECK(copy_of(copy_text(copy)) == copy);
    }
    CHECK(copy_text({"/home/a/Maildir//", store::seen, {"bad word", "bad\nword", "", "good"}}) == "/home/a/Maildir/./:2,S good");
    CHECK(copy_of(copy_text({"/m/", 0, std::vector<std::string>(100, "w")})).keywords.size() == 64);
    for (const char* path : {"", "/", "./:2,S", "/./:2,", "//./:2,S", "/x/./:2,Z", "/x/./:2,S  two", "/x/./:2,S a(b", "/x./:2,S", "/x/./:2,S ", "/dev/null", "x/./:2,S"}) {
        INFO(path);
        CHECK(copy_of(path).mailbox == path);
        CHECK_FALSE(copy_of(path).marked());
    }
}

TEST_CASE("a reply leaves by sendmail, without a sender", "[local][placement][rfc3834-3.3]")
{
    TempHome home;
    home.write("sendmail", "#!/bin/sh\necho \"$@\" > args\ncat > mail\ntest ! -e no || { echo '4.3.0 not now'; exit 75; }\n");
    REQUIRE(::chmod((home.path + "/sendmail").c_str(), 0700) == 0);
    CommandRules rules;
    rules.directory = home.path;
    SendmailOutbox out(Person{"alice", home.path, "/bin/sh"}, rules, home.path + "/sendmail");
    for (const char* text : {"Subject: away\nAuto-Submitted: auto-replied\n\nFrom now on\n", "Subject: only a header\n", "\nonly a body\n", ""}) {
        const auto sent = out.send({"bob@example.net", text});
        INFO((sent ? "" : sent.error().text));
        REQUIRE(sent);
        CHECK(home.file("args") == "-i -f <> -- bob@example.net\n");
        CHECK(home.file("mail").starts_with("From MAILER-DAEMON "));
        CHECK(home.file("mail").find(*text ? text : "\n") != std::string::npos);
    }
    home.write("no", "");
    const auto refused = out.send({"bob@example.net", "Subject: x\n\n"});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("bob@example.net") != std::string::npos);
}

TEST_CASE("a quota is asked before mails are appended, and one that is over it costs the others nothing", "[local][worker][placement]")
{
    for (const char* mailbox : {"Maildir/", "box"}) {
        INFO(mailbox);
        TempHome home;
        WorkerRules rules = worker_rules(home);
        rules.home_mailbox = mailbox;
        RunningWorker worker(rules, home, "alice", [] { return Worker::Seams{disk::posix_disk(), nullptr, std::make_unique<Bounds>(1000, 3)}; });
        const MailInQueue small = queued("Subject: small\r\n", "x\r\n"), large = queued("Subject: large\r\n", std::string(2000, 'x') + "\r\n");
        CHECK(worker.deliver(small, target(0, Kind::address, "alice@example.org")).outcome == Outcome::delivered);
        const auto v = worker.deliver(large, target(0, Kind::address, "alice@example.org"));
        CHECK(v.outcome == Outcome::failed);
        CHECK(v.dsn == "5.2.2");
        CHECK(v.text == "over quota");
        CHECK(worker.deliver(small, target(0, Kind::address, "alice@example.org")).outcome == Outcome::delivered);
        CHECK(worker.deliver(small, target(0, Kind::address, "alice@example.org")).outcome == Outcome::delivered);
        CHECK(worker.deliver(small, target(0, Kind::address, "alice@example.org")).dsn == "5.2.2");    // a fourth mail
        if (std::string_view(mailbox) == "box") CHECK(home.file("box").find("large") == std::string::npos);
        else CHECK(home.names("Maildir/new").size() == 3);
    }
}

TEST_CASE("a quota of the file system and a broken disk make the mail wait, whole and once", "[local][worker]")
{
    struct Case {
        int write_code, sync_code;
        const char* dsn;
    };
    const Case cases[] = {{EDQUOT, 0, "4.2.2"}, {ENOSPC, 0, "4.3.1"}, {EIO, 0, "4.3.0"}, {0, EIO, "4.3.0"}, {0, EDQUOT, "4.2.2"}};
    for (const char* mailbox : {"Maildir/", "box"})
        for (const Case& c : cases) {
            INFO(mailbox << ' ' << c.write_code << ' ' << c.sync_code);
            TempHome home;
            WorkerRules rules = worker_rules(home);
            rules.home_mailbox = mailbox;
            SickDisk disk;
            RunningWorker worker(rules, home, "alice", [&] { return Worker::Seams{disk}; });
            const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
            const auto to = target(0, Kind::address, "alice@example.org");
            const auto found = [&] {
                if (std::string_view(mailbox) != "box") return home.names("Maildir/new").size() + home.names("Maildir/tmp").size();
                const std::string text = home.file("box");
                return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) / 7;      // lines of a mail
            };
            CHECK(worker.deliver(mail, to).outcome == Outcome::delivered);
            REQUIRE(found() == 1);
            disk.write_code = c.write_code, disk.sync_code = c.sync_code;
            const auto v = worker.deliver(mail, to);
            CHECK(v.outcome == Outcome::deferred);
            CHECK(v.dsn == c.dsn);
            CHECK(found() == 1);
            disk.write_code = disk.sync_code = 0;
            CHECK(worker.deliver(mail, to).outcome == Outcome::delivered);
            CHECK(found() == 2);
        }
}

TEST_CASE("a slow disk: no word before the mail is on it, and then one", "[local][worker]")
{
    for (const char* mailbox : {"Maildir/", "box"}) {
        INFO(mailbox);
        TempHome home;
        WorkerRules rules = worker_rules(home);
        rules.home_mailbox = mailbox;
        SickDisk disk;
        RunningWorker worker(rules, home, "alice", [&] { return Worker::Seams{disk}; });
        const MailInQueue mail = queued("Subject: hi\r\n", "x\r\n");
        disk.hold();
        worker.send(attempt(1, mail, {target(0, Kind::address, "alice@example.org")}), mail);
        disk.wait_for_somebody();
        CHECK(worker.silent());
        disk.release();
        CHECK(worker.verdicts(1)[0].outcome == Outcome::delivered);
        CHECK(worker.silent());
        CHECK(home.names("Maildir/tmp").empty());
    }
}

TEST_CASE("a process that cannot be made is a deferral", "[local][command]")
{
    // As another user, whose processes are counted: root's are not.
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit none{0, 0};
        if (::getuid() == 0 && (::setgid(54321) != 0 || ::setuid(54321) != 0)) ::_exit(2);
        if (::setrlimit(RLIMIT_NPROC, &none) != 0) ::_exit(3);
        const Ending e = run_command("cat", {}, {std::chrono::seconds(5), "/", ""}, store::Content());
        const auto v = judge(e, "cat");
        ::_exit(e.how == Ending::How::not_started && v.outcome == Outcome::deferred && v.dsn == "4.3.0" && v.text.find("Resource temporarily unavailable") != std::string::npos ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
}
