// local: the dispatcher between qmgr and the processes of users, both played by the test.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/log/log.h"
#include "lib/queue/file.h"
#include "local/dispatcher.h"

using namespace veredus;
using namespace veredus::local;
using ipc::Code;
using ipc::Outcome;
using Kind = queue::Child::Kind;

namespace {

constexpr auto blink = std::chrono::milliseconds(5);

struct Asked {
    std::string user;
    std::function<void(Code, std::string, Fd)> done;
    std::string of;
    ipc::Worker::By by = ipc::Worker::By::name;
};

class Stage {
public:
    Stage()
    {
        log::capture(&log);
        auto made = Loop::create();
        REQUIRE(made);
        loop = std::move(*made);
        rules.policy.origin = "example.org";
        rules.policy.delimiters = "+";
        rules.policy.is_local = [](std::string_view domain) -> Result<bool> { return domain == "example.org"; };
        rules.root_mailbox_user = "veredus-root";
        rules.idle = std::chrono::hours(1);
        rules.patience = std::chrono::milliseconds(0);
        mail_ = Fd(::memfd_create("queue", MFD_CLOEXEC));
    }
    ~Stage()
    {
        dispatcher.reset();
        log::capture(nullptr);
        if (!aliases_path_.empty()) ::unlink(aliases_path_.c_str());
    }
    void aliases_are(const std::string& text)
    {
        char name[] = "/tmp/veredus-aliases.XXXXXX";
        const Fd fd(::mkstemp(name));
        aliases_path_ = name;
        REQUIRE(write_all(fd.get(), text));
        aliases.configure({cat("hash:", aliases_path_)});
    }
    void start(Dispatcher::From from = Dispatcher::From::queue)
    {
        dispatcher = std::make_unique<Dispatcher>(*loop, rules, aliases, [this](const ipc::Worker& who, auto done) { asked.push_back({who.user, std::move(done), who.of, who.by}); },
                                                  [this](const std::string& name, auto done) {
                                                      looked_up.push_back(name);
                                                      const auto found = persons.find(name);
                                                      done(found == persons.end() ? ipc::UserReply{ipc::UserReply::Found::no, name, "", "", "", "", "", 0, 0} : found->second);
                                                  });
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        qmgr = std::move(pair->first);
        dispatcher->take_peer(std::move(pair->second), from);
    }
    void attempt(uint64_t number, std::vector<ipc::Target> targets, std::string header = "Subject: x\r\n", const char* transport = "local")
    {
        mail::Envelope envelope;
        envelope.recipients.push_back({{"x", "example.org"}, 0, ""});
        const std::string body = "body\r\n";
        REQUIRE(::ftruncate(mail_.get(), 0) == 0);
        REQUIRE(::lseek(mail_.get(), 0, SEEK_SET) == 0);
        REQUIRE(write_all(mail_.get(), cat(queue::file_start(), body, queue::encode_tail(body.size(), crc32c(0, body), false, false, header, envelope))));
        auto file = queue::read_mail_file(disk::posix_disk(), mail_, true);
        REQUIRE(file);
        ipc::Attempt a;
        a.attempt = number;
        a.queue_id = id;
        a.sender = "sender@example.net";
        a.transport = transport;
        a.layout = file->layout;
        a.targets = std::move(targets);
        a.arrival_us = a.active_us = system_clock().wall_us();
        ipc::Message m;
        m.type = static_cast<uint16_t>(ipc::AgentType::attempt);
        m.body = a.encode();
        m.fds.push_back(Fd(::dup(mail_.get())));
        REQUIRE(ipc::send_blocking(qmgr.get(), m, 1000));
    }
    const std::string& aliases_path() const { return aliases_path_; }
    // Turns the loop until `ready`.
    template <class F> void until(F ready)
    {
        const int64_t end = system_clock().mono_us() + 20 * us_per_second;
        while (!ready()) {
            REQUIRE(system_clock().mono_us() < end);
            loop->run_once(blink);
        }
    }
    std::optional<ipc::Message> read(const Fd& fd)
    {
        pollfd p{fd.get(), POLLIN, 0};
        if (::poll(&p, 1, 0) <= 0) return std::nullopt;
        auto m = ipc::recv_blocking(fd.get(), 1000);
        REQUIRE(m);
        if (!*m) return std::nullopt;
        return std::move(**m);
    }
    std::vector<ipc::Verdict> verdicts(std::size_t count)
    {
        std::vector<ipc::Verdict> all;
        until([&] {
            while (auto m = read(qmgr)) {
                auto v = ipc::Verdicts::decode(m->body);
                REQUIRE(v);
                for (auto& one : v->verdicts) all.push_back(std::move(one));
            }
            return all.size() >= count;
        });
        return all;
    }
    // The user's process, as the test plays it.
    Fd serve(std::size_t index = 0)
    {
        until([&] { return asked.size() > index; });
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        asked[index].done(Code::ok, "", std::move(pair->second));
        return std::move(pair->first);
    }
    ipc::Attempt job(const Fd& worker)
    {
        std::optional<ipc::Message> m;
        until([&] { return (m = read(worker)).has_value(); });
        auto a = ipc::Attempt::decode(m->body);
        REQUIRE(a);
        CHECK(m->fds.size() == 1);
        return *a;
    }
    void say(const Fd& worker, uint64_t attempt, std::vector<ipc::Verdict> list)
    {
        ipc::Message m;
        m.type = static_cast<uint16_t>(ipc::AgentType::verdicts);
        m.body = ipc::Verdicts{attempt, std::move(list)}.encode();
        REQUIRE(ipc::send_blocking(worker.get(), m, 1000));
    }

    std::string log, id = "65A3F00C12B7";
    std::unique_ptr<Loop> loop;
    DispatchRules rules;
    AliasMaps aliases;
    std::unique_ptr<Dispatcher> dispatcher;
    std::vector<Asked> asked;
    std::map<std::string, ipc::UserReply> persons;    // of passwd-files
    std::vector<std::string> looked_up;
    Fd qmgr;

private:
    Fd mail_;
    std::string aliases_path_;
};

ipc::Target to(uint32_t index, const std::string& address, Kind kind = Kind::address)
{
    ipc::Target t;
    t.index = index;
    t.kind = kind;
    t.address = address;
    t.sender = "-";
    return t;
}

// As somebody left it so many seconds ago: nothing has to be compared.
void rewrite(const std::string& path, std::string_view text, time_t age)
{
    std::ofstream(path) << text;
    const timespec times[2] = {{::time(nullptr) - age, 0}, {::time(nullptr) - age, 0}};
    REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

ipc::Verdict said(uint32_t index, Outcome outcome, const char* dsn, const char* text)
{
    ipc::Verdict v;
    v.index = index;
    v.outcome = outcome;
    v.dsn = dsn;
    v.text = text;
    return v;
}

}  // namespace

TEST_CASE("a recipient goes to his process, its verdict to qmgr and into the log", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(7, {to(4, "alice+x@example.org")});
    const Fd worker = s.serve();
    CHECK(s.asked[0].user == "alice");
    const auto job = s.job(worker);
    REQUIRE(job.targets.size() == 1);
    CHECK(job.targets[0].address == "alice+x@example.org");
    CHECK(job.targets[0].extension == "x");
    CHECK(job.sender == "sender@example.net");
    s.say(worker, job.attempt, {said(4, Outcome::delivered, "2.0.0", "delivered to maildir")});
    const auto v = s.verdicts(1);
    CHECK(v[0].index == 4);
    CHECK(v[0].outcome == Outcome::delivered);
    CHECK(v[0].relay == "local");
    CHECK(s.log.find("65A3F00C12B7: to=<alice+x@example.org>, relay=local, delay=") != std::string::npos);
    CHECK(s.log.find("dsn=2.0.0, status=sent (delivered to maildir)") != std::string::npos);
    CHECK(s.dispatcher->in_flight() == 0);
    // the second mail finds the process at work
    s.attempt(8, {to(0, "alice@example.org")});
    CHECK(s.job(worker).targets[0].index == 0);
    CHECK(s.asked.size() == 1);
}

TEST_CASE("aliases become children, without a process", "[local][dispatcher][alias]")
{
    Stage s;
    s.aliases_are("staff: alice, bob\nself: self\nroot: alice\n");
    s.start();
    s.attempt(1, {to(0, "Staff@example.org"), to(1, "postmaster@example.org"), to(2, "root@example.org"), to(3, "mailer-daemon@example.org")});
    auto v = s.verdicts(4);
    std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
    REQUIRE(v[0].outcome == Outcome::expanded);
    CHECK(v[0].children.size() == 2);
    CHECK(v[0].text == "expanded to 2 recipients");
    CHECK(v[1].children.at(0).text == "root@example.org");        // RFC 5321 §4.5.1, without an alias of its own
    CHECK(v[2].children.at(0).text == "alice@example.org");
    CHECK(v[3].children.at(0).text == "postmaster@example.org");
    CHECK(s.asked.empty());
    s.attempt(2, {to(0, "staff@example.org")}, "Delivered-To: STAFF@example.org\r\n");
    CHECK(s.verdicts(1)[0].dsn == "5.4.6");
    // an alias that names itself: the mailbox, with .forward
    s.attempt(3, {to(0, "self@example.org")});
    v = s.verdicts(1);
    CHECK(v[0].children.at(0).kind == Kind::mailbox);
    s.attempt(4, {to(0, v[0].children[0].text, Kind::mailbox)});
    const Fd worker = s.serve();
    CHECK(s.job(worker).targets.at(0).kind == Kind::address);
}

TEST_CASE("lists that take their time delay lists, and nobody else's mail", "[local][dispatcher][alias]")
{
    char name[] = "/tmp/veredus-list.XXXXXX";
    const Fd list(::mkstemp(name));
    char other[] = "/tmp/veredus-list.XXXXXX";
    const Fd other_list(::mkstemp(other));
    REQUIRE(write_all(list.get(), "x@slow.example\n"));
    REQUIRE(write_all(other_list.get(), "y@elsewhere.example\n"));
    for (const Fd* one : {&list, &other_list}) REQUIRE(::fchmod(one->get(), 0644) == 0);
    std::atomic<int> inside = 0, most = 0;
    Stage s;
    std::promise<void> gate;       // goes before the stage: whoever waits there must end first
    s.rules.policy.is_local = [&inside, &most, open = gate.get_future().share()](std::string_view domain) -> Result<bool> {
        if (domain == "slow.example") {
            const int now = ++inside;
            for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {}
            open.wait();
            --inside;
        }
        return domain == "example.org";
    };
    s.aliases_are(cat("slow: :include:", name, "\nslow2: :include:", name, "\nfast: :include:", other, "\nplain: bob\n"));
    s.start();
    for (uint64_t n = 1; n <= 8; ++n) s.attempt(n, {to(0, "slow@example.org")});
    s.until([&] { return inside >= 1; });
    s.attempt(9, {to(0, "plain@example.org")});
    CHECK(s.verdicts(1).at(0).children.at(0).text == "bob@example.org");
    s.attempt(10, {to(0, "fast@example.org")});                  // whoever owns the slow one
    CHECK(s.verdicts(1).at(0).children.at(0).text == "y@elsewhere.example");
    CHECK(most == 1);
    s.attempt(11, {to(0, "slow2+x@example.org")});
    s.until([&] { return inside >= 2; });
    s.attempt(12, {to(0, "plain@example.org")});
    CHECK(s.verdicts(1).at(0).children.at(0).text == "bob@example.org");
    CHECK(s.dispatcher->in_flight() == 9);
    CHECK(most == 2);
    gate.set_value();
    for (const auto& v : s.verdicts(9)) CHECK(v.children.at(0).text == "x@slow.example");
    for (const char* one : {name, other}) ::unlink(one);
}

TEST_CASE("a virtual user is nobody's account: his own address leads to him", "[local][dispatcher][virtual]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "\"bob@virtual.example\"@example.org"), to(1, "\"Bob@virtual.example+x\"@example.org"), to(2, "\\\"bob@virtual.example\"", Kind::mailbox)});
    for (const auto& v : s.verdicts(3)) {
        CHECK(v.outcome == Outcome::failed);
        CHECK(v.dsn == "5.1.1");
        CHECK(v.text == "unknown user: \"bob@virtual.example\"");
    }
    CHECK(s.asked.empty());
    s.rules.luser_relay = "postmaster";
    s.dispatcher->set_rules(s.rules);
    s.attempt(2, {to(0, "\"bob@virtual.example\"@example.org")});
    CHECK(s.verdicts(1).at(0).outcome == Outcome::expanded);
    CHECK(s.asked.empty());
}

TEST_CASE("a list longer than a message comes in pages", "[local][dispatcher][alias]")
{
    Stage s;
    std::string text = "all:";
    for (int i = 0; i < 5000; ++i) append(text, i ? ",\n  user" : " user", i, "@elsewhere.example.net");
    s.aliases_are(text + "\n");
    s.start();
    s.attempt(1, {to(0, "all@example.org")});
    std::size_t children = 0;
    bool more = true;
    s.until([&] {
        while (auto m = s.read(s.qmgr)) {
            auto v = ipc::Verdicts::decode(m->body);
            REQUIRE(v);
            for (const auto& one : v->verdicts) {
                CHECK(more);
                children += one.children.size();
                more = one.more;
            }
        }
        return !more;
    });
    CHECK(children == 5000);
    CHECK(s.log.find("(expanded to 5000 recipients)") != std::string::npos);
}

TEST_CASE("what master says of a user decides what becomes of his mail", "[local][dispatcher]")
{
    struct Case {
        const char* address;
        Code code;
        Outcome outcome;
        const char *dsn, *text;
    };
    const Case cases[] = {
        {"nobody-here@example.org", Code::unknown, Outcome::failed, "5.1.1", "unknown user: \"nobody-here\""},
        {"a/b@example.org", Code::invalid, Outcome::failed, "5.1.1", "unknown user: \"a/b\""},
        {"daemon@example.org", Code::refused, Outcome::failed, "5.2.1", "no delivery for user \"daemon\""},
        {"alice@example.org", Code::unavailable, Outcome::deferred, "4.3.0", "no process for user \"alice\""},
        {"root@example.org", Code::unknown, Outcome::deferred, "4.3.5", "root has no alias"},
        {"root@example.org", Code::refused, Outcome::deferred, "4.3.5", "root has no alias"},
    };
    for (const Case& c : cases) {
        INFO(c.address);
        Stage s;
        s.start();
        s.attempt(1, {to(0, c.address)});
        s.until([&] { return !s.asked.empty(); });
        s.asked[0].done(c.code, "because", Fd());
        const auto v = s.verdicts(1);
        CHECK(v[0].outcome == c.outcome);
        CHECK(v[0].dsn == c.dsn);
        CHECK(v[0].text.starts_with(c.text));
    }
    Stage s;
    s.start();
    s.attempt(1, {to(0, "|/bin/cat", Kind::command)});
    s.until([&] { return !s.asked.empty(); });
    CHECK(s.asked[0].user == "nobody");
    s.asked[0].done(Code::refused, "because", Fd());
    CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
}

TEST_CASE("a zygote that starts anew costs a moment, not a deferral", "[local][dispatcher]")
{
    Stage s;
    s.rules.patience = std::chrono::hours(1);
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    s.until([&] { return s.asked.size() == 1; });
    s.asked[0].done(Code::unavailable, "starting", Fd());
    const Fd worker = s.serve(1);
    CHECK(s.job(worker).targets.size() == 1);
    CHECK(s.log.empty());
}

TEST_CASE("root's mail goes to the user that keeps root's mailbox, never to .forward", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "root@example.org")});
    const Fd worker = s.serve();
    CHECK(s.asked[0].user == "veredus-root");
    const auto job = s.job(worker);
    CHECK(job.targets.at(0).kind == Kind::mailbox);
    CHECK(job.targets.at(0).address == "root@example.org");
}

TEST_CASE("what a process died with goes to its successor once, then it waits", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org"), to(1, "alice+x@example.org")});
    Fd worker = s.serve();
    const auto job = s.job(worker);
    s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    CHECK(s.verdicts(1)[0].index == 0);
    worker.reset();
    Fd successor = s.serve(1);
    const auto again = s.job(successor);
    REQUIRE(again.targets.size() == 1);      // what was delivered is not delivered again
    CHECK(again.targets[0].index == 1);
    successor.reset();
    const auto v = s.verdicts(1);
    CHECK(v[0].index == 1);
    CHECK(v[0].outcome == Outcome::deferred);
    CHECK(v[0].dsn == "4.3.0");
    CHECK(v[0].text.find("ended unexpectedly") != std::string::npos);
    s.attempt(2, {to(0, "alice@example.org")});
    const Fd next = s.serve(2);
    CHECK(s.job(next).targets.size() == 1);
}

TEST_CASE("what comes for a process that has just died goes to its successor, whether its end was noticed or not", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    Fd worker = s.serve();
    s.say(worker, s.job(worker).attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
    worker.reset();
    s.attempt(2, {to(0, "alice@example.org")});
    const Fd successor = s.serve(1);
    const auto job = s.job(successor);
    CHECK(job.targets.size() == 1);
    s.say(successor, job.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
}

TEST_CASE("processes that end before they take mail: a rest between two of them, and an end to it", "[local][dispatcher]")
{
    const bool patient = GENERATE(true, false);
    Stage s;
    s.rules.patience = patient ? std::chrono::hours(1) : std::chrono::milliseconds(0);
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    s.until([&] { return s.asked.size() == 1; });
    const auto stillborn = [&](std::size_t index) {
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        pair->first.reset();
        s.asked[index].done(Code::ok, "", std::move(pair->second));
    };
    stillborn(0);
    s.until([&] { return s.asked.size() == 2; });      // the first one is chance
    const int64_t second_at = system_clock().mono_us();
    stillborn(1);
    if (patient) {
        s.until([&] { return s.asked.size() == 3; });
        CHECK(system_clock().mono_us() - second_at >= 90'000);
        const Fd worker = s.serve(2);
        CHECK(s.job(worker).targets.size() == 1);
    } else {
        const auto v = s.verdicts(1);
        CHECK(v[0].outcome == Outcome::deferred);
        CHECK(v[0].dsn == "4.3.0");
        CHECK(v[0].text.find("end before they take mail") != std::string::npos);
        CHECK(s.dispatcher->in_flight() == 0);
        CHECK(s.asked.size() == 2);
    }
}

TEST_CASE("a process that hangs is given up", "[local][dispatcher]")
{
    Stage s;
    s.rules.timeout = std::chrono::milliseconds(50);
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd worker = s.serve();
    const auto v = s.verdicts(1);
    CHECK(v[0].outcome == Outcome::deferred);
    CHECK(v[0].text.find("does not answer") != std::string::npos);
}

TEST_CASE("a process can speak for nobody else's mail", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org"), to(1, "bob@example.org")});
    const Fd alice = s.serve(0), bob = s.serve(1);
    const auto for_alice = s.job(alice), for_bob = s.job(bob);
    const auto lie = said(1, Outcome::delivered, "2.0.0", "lie");
    s.say(alice, for_bob.attempt, {lie});
    s.say(alice, for_alice.attempt, {lie});
    s.say(alice, 4711, {lie});
    s.say(alice, for_alice.attempt, {said(0, Outcome::delivered, "5.0.0", "nonsense")});
    auto v = s.verdicts(1);
    CHECK(v[0].index == 0);
    CHECK(v[0].outcome == Outcome::deferred);
    s.say(bob, for_bob.attempt, {said(1, Outcome::failed, "5.1.1", "no")});
    v = s.verdicts(1);
    CHECK(v[0].index == 1);
    CHECK(v[0].text == "no");
    CHECK(s.log.find("lie") == std::string::npos);
}

TEST_CASE("pages of a .forward are gathered before they count", "[local][dispatcher][forward]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd worker = s.serve();
    const auto job = s.job(worker);
    auto page = said(0, Outcome::expanded, "2.0.0", "");
    page.more = true;
    page.children = {{Kind::address, "a@example.net", "", "-"}};
    s.say(worker, job.attempt, {page});
    page.more = false;
    page.children = {{Kind::command, "cat", "root", "-"}};
    s.say(worker, job.attempt, {page});
    const auto v = s.verdicts(1);
    REQUIRE(v[0].children.size() == 2);
    CHECK(v[0].children[1].run_as == "alice");
}

TEST_CASE("a message that cannot be read costs one mail another attempt, or a process its life, and nobody else anything", "[local][dispatcher]")
{
    Stage s;
    s.start();
    SECTION("two recipients of one number")
    {
        s.attempt(7, {to(0, "alice@example.org"), to(0, "bob@example.org")});
        std::optional<ipc::Message> m;
        s.until([&] { return (m = s.read(s.qmgr)).has_value(); });
        const auto v = ipc::Verdicts::decode(m->body);
        REQUIRE(v);
        CHECK(v->attempt == 7);
        CHECK(v->verdicts.empty());
        CHECK(s.asked.empty());
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("a process's nonsense about a mail, and its own word that it could not read it")
    {
        for (uint64_t i = 1; i <= 3; ++i) s.attempt(i, {to(static_cast<uint32_t>(i), "alice@example.org")});
        const Fd worker = s.serve();
        const auto first = s.job(worker), second = s.job(worker), third = s.job(worker);
        ipc::Message bad;
        bad.type = static_cast<uint16_t>(ipc::AgentType::verdicts);
        bad.body = ipc::Verdicts{first.attempt, {said(1, Outcome::delivered, "2.0.0", "ok")}}.encode() + "x";
        REQUIRE(ipc::send_blocking(worker.get(), bad, 1000));
        auto v = s.verdicts(1);
        CHECK(v[0].index == 1);
        CHECK(v[0].dsn == "4.3.0");
        CHECK(v[0].text.find("answered nonsense") != std::string::npos);
        s.say(worker, second.attempt, {});
        v = s.verdicts(1);
        CHECK(v[0].index == 2);
        CHECK(v[0].outcome == Outcome::deferred);
        s.say(worker, first.attempt, {said(1, Outcome::delivered, "2.0.0", "late")});    // of no use, and no harm
        s.say(worker, third.attempt, {said(3, Outcome::delivered, "2.0.0", "ok")});
        v = s.verdicts(1);
        CHECK(v[0].index == 3);
        CHECK(v[0].outcome == Outcome::delivered);
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("nobody can tell what it was about")
    {
        s.attempt(1, {to(0, "alice@example.org")});
        const Fd worker = s.serve();
        (void)s.job(worker);
        ipc::Message bad;
        bad.type = static_cast<uint16_t>(ipc::AgentType::verdicts);
        bad.body = "?";
        REQUIRE(ipc::send_blocking(worker.get(), bad, 1000));
        const Fd successor = s.serve(1);
        s.say(successor, s.job(successor).attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
        CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
    }
}

TEST_CASE("what a process says in pages is bounded in bytes", "[local][dispatcher][hostile]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org"), to(1, "alice+x@example.org")});
    const Fd worker = s.serve();
    const auto job = s.job(worker);
    auto page = said(0, Outcome::expanded, "2.0.0", "");
    page.more = true;
    for (int i = 0; i < 10; ++i) page.children.push_back({Kind::command, std::string(4000, 'c'), "", "-"});
    std::size_t pages = 0;
    std::vector<ipc::Verdict> answers;
    for (; answers.empty() && pages < 300; ++pages) {
        page.index = pages % 2;                // the bound is for all together
        s.say(worker, job.attempt, {page});
        s.loop->run_once(blink);
        s.loop->run_once(blink);
        if (auto m = s.read(s.qmgr)) answers = ipc::Verdicts::decode(m->body)->verdicts;
    }
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].outcome == Outcome::deferred);
    CHECK(answers[0].text.find("answered nonsense") != std::string::npos);
    CHECK(pages > 90);
    // The other one's list comes to its end.
    page.index = 1 - answers[0].index;
    page.more = false;
    page.children.resize(1);
    s.say(worker, job.attempt, {page});
    const auto v = s.verdicts(1);
    CHECK(v[0].index == page.index);
    CHECK(v[0].outcome == Outcome::expanded);
}

TEST_CASE("commands of thousands of bytes reach the process, in as many messages as they need", "[local][dispatcher][places]")
{
    Stage s;
    PlaceSettings settings;
    settings.command = cat("/bin/deliver ", std::string(conf::longest_mailbox_command - 13, 'x'));
    auto places = Places::create(settings);
    REQUIRE(places);
    s.rules.places = *places;
    s.start();
    std::vector<ipc::Target> targets;
    for (uint32_t i = 0; i < 40; ++i) targets.push_back(to(i, cat("alice+", i, "@example.org")));
    s.attempt(1, targets);
    const Fd worker = s.serve();
    std::set<uint32_t> seen;
    while (seen.size() < targets.size()) {
        const auto job = s.job(worker);
        std::vector<ipc::Verdict> list;
        for (const ipc::Target& t : job.targets) {
            CHECK(t.run_as == cat(command_mark, settings.command));
            CHECK(seen.insert(t.index).second);
            list.push_back(said(t.index, Outcome::delivered, "2.0.0", "ok"));
        }
        s.say(worker, job.attempt, std::move(list));
    }
    for (const auto& v : s.verdicts(targets.size())) CHECK(v.outcome == Outcome::delivered);
    CHECK(s.asked.size() == 1);
}

TEST_CASE("the number of processes is limited, idle ones make room", "[local][dispatcher]")
{
    Stage s;
    s.rules.workers = 1;
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    s.attempt(2, {to(0, "bob@example.org")});
    const Fd alice = s.serve(0);
    const auto job = s.job(alice);
    CHECK(s.asked.size() == 1);
    s.say(alice, job.attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
    const Fd bob = s.serve(1);
    CHECK(s.asked[1].user == "bob");
    CHECK(s.job(bob).targets.size() == 1);
    const auto gone = ipc::recv_blocking(alice.get(), 1000);
    REQUIRE(gone);
    CHECK_FALSE(*gone);    // alice's process was told to go
}

TEST_CASE("a process gets no mail when it is older than what is known of users", "[local][dispatcher]")
{
    Stage s;
    s.rules.lane_life = std::chrono::milliseconds(50);
    s.start();
    const auto grow_old = [&] {
        const int64_t end = system_clock().mono_us() + 80'000;
        s.until([&] { return system_clock().mono_us() > end; });
    };
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd first = s.serve(0);
    grow_old();
    s.say(first, s.job(first).attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    CHECK(s.verdicts(1).size() == 1);
    s.attempt(2, {to(0, "alice@example.org")});
    const Fd second = s.serve(1);                    // at rest: another one at once
    const auto slow = s.job(second);
    grow_old();
    s.attempt(3, {to(0, "alice@example.org")});      // at work: it finishes what it has
    const Fd third = s.serve(2);
    s.say(third, s.job(third).attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    s.say(second, slow.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
    CHECK(s.verdicts(2).size() == 2);
    s.attempt(4, {to(0, "cat", Kind::command)});
    const Fd nobody = s.serve(3);
    const auto command = s.job(nobody);
    grow_old();
    s.say(nobody, command.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to command: cat")});
    CHECK(s.verdicts(1).size() == 1);
    s.attempt(5, {to(0, "cat", Kind::command)});
    s.until([&] { return s.asked.size() == 5; });
}

TEST_CASE("an idle process is let go", "[local][dispatcher]")
{
    Stage s;
    s.rules.idle = std::chrono::milliseconds(20);
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd worker = s.serve();
    const auto job = s.job(worker);
    s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
    s.verdicts(1);
    pollfd p{worker.get(), POLLIN, 0};
    s.until([&] { return ::poll(&p, 1, 0) > 0; });
    const auto gone = ipc::recv_blocking(worker.get(), 1000);
    REQUIRE(gone);
    CHECK_FALSE(*gone);
}

TEST_CASE("new settings mean new processes; what the old ones have they finish", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    s.attempt(2, {to(0, "bob@example.org")});
    const Fd alice = s.serve(0), bob = s.serve(1);
    const auto for_alice = s.job(alice), for_bob = s.job(bob);
    s.say(bob, for_bob.attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
    s.verdicts(1);
    s.dispatcher->set_rules(s.rules);
    pollfd idle{bob.get(), POLLIN, 0}, busy{alice.get(), POLLIN, 0};
    s.until([&] { return ::poll(&idle, 1, 0) > 0; });
    CHECK(::poll(&busy, 1, 0) == 0);
    s.attempt(3, {to(0, "alice@example.org")});
    const Fd fresh = s.serve(2);
    CHECK(s.asked[2].user == "alice");
    s.job(fresh);
    s.say(alice, for_alice.attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
    s.until([&] { return ::poll(&busy, 1, 0) > 0; });
}

TEST_CASE("a slow command does not hold up the user's mailbox", "[local][dispatcher]")
{
    Stage s;
    s.start();
    auto command = to(0, "sleep 1000", Kind::command);
    command.run_as = "alice";
    s.attempt(1, {command, to(1, "alice@example.org")});
    const Fd first = s.serve(0), second = s.serve(1);
    CHECK(s.job(first).targets.at(0).kind == Kind::command);
    CHECK(s.job(second).targets.at(0).kind == Kind::address);
}

TEST_CASE("a slow command holds up itself and no other", "[local][dispatcher]")
{
    Stage s;
    s.rules.workers = 32;                    // four for one user's commands
    s.rules.default_privs = "nobody";
    s.start();
    uint64_t number = 0;
    const auto run = [&](const char* command) { s.attempt(++number, {to(0, command, Kind::command)}); };
    const auto at_work = [&](const Fd& worker) { return s.job(worker).targets.at(0).address; };
    run("slow");
    run("slow");
    run("slow");
    const Fd one = s.serve(0), two = s.serve(1);
    CHECK((at_work(one) == "slow" && at_work(two) == "slow"));
    run("fast");
    const Fd three = s.serve(2);
    const auto job = s.job(three);
    CHECK(job.targets.at(0).address == "fast");
    run("fast");                             // the last ones are for what has none
    const auto second = s.job(three);
    CHECK(second.targets.at(0).address == "fast");
    run("other");
    const Fd four = s.serve(3);
    CHECK(at_work(four) == "other");
    CHECK(at_work(one) == "slow");           // the third one waited behind the first
    s.say(three, job.attempt, {said(0, Outcome::delivered, "2.0.0", "")});
    s.say(three, second.attempt, {said(0, Outcome::delivered, "2.0.0", "")});
    CHECK(s.verdicts(2).size() == 2);
    run("more");                             // one that rests takes it
    CHECK(at_work(three) == "more");
    run("yet more");                         // no end of processes
    s.until([&] { return s.dispatcher->in_flight() == 6; });
    CHECK(s.asked.size() == 4);
}

TEST_CASE("stopping waits for what is in flight and takes nothing new", "[local][dispatcher]")
{
    Stage s;
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd worker = s.serve();
    const auto job = s.job(worker);
    bool stopped = false;
    s.dispatcher->stop([&] { stopped = true; });
    s.attempt(2, {to(0, "bob@example.org")});
    CHECK(s.verdicts(1)[0].dsn == "4.3.2");
    CHECK_FALSE(stopped);
    s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", "ok")});
    s.until([&] { return stopped; });
    CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
}

TEST_CASE("aliases are read again when the file changes, and an unreadable one keeps the old", "[local][alias]")
{
    std::string lines;
    log::capture(&lines);
    char name[] = "/tmp/veredus-aliases.XXXXXX";
    const Fd fd(::mkstemp(name));
    REQUIRE(write_all(fd.get(), "one: alice\n"));
    AliasMaps maps;
    maps.configure({cat("texthash:", name), "inline:{two=bob}"});
    CHECK((*maps.find("one")).has_value());
    CHECK((*maps.find("two")).has_value());
    CHECK_FALSE((*maps.find("three")).has_value());
    std::ofstream(name) << "three: carol, dave\n";
    const int64_t end = system_clock().mono_us() + 10 * us_per_second;
    while (!(*maps.find("three")).has_value()) {
        REQUIRE(system_clock().mono_us() < end);
        maps.refresh();
        ::usleep(20'000);
    }
    CHECK_FALSE((*maps.find("one")).has_value());
    ::unlink(name);
    AliasMaps missing;
    missing.configure({cat("hash:", name)});
    const auto none = missing.find("one");
    REQUIRE(none);
    CHECK_FALSE(none->has_value());
    CHECK(lines.find("does not exist") != std::string::npos);
    // What is no file at all makes every answer temporary, and is said once, until a file is there.
    REQUIRE(::mkdir(name, 0700) == 0);
    AliasMaps broken;
    lines.clear();
    broken.configure({cat("hash:", name)});
    for (int i = 0; i < 3; ++i) broken.refresh();
    CHECK_FALSE(broken.find("one"));
    CHECK_FALSE(broken.has("one"));
    const std::string trouble = cat(name, ": is not a regular file");
    CHECK(lines.find(trouble) != std::string::npos);
    CHECK(lines.find(trouble) == lines.rfind(trouble));
    ::rmdir(name);
    std::ofstream(name) << "one: carol\n";
    broken.refresh();
    CHECK(*broken.has("one"));
    ::unlink(name);
    log::capture(nullptr);
}

TEST_CASE("virtual users go to the account that keeps them, and to nobody of their name", "[local][dispatcher][virtual]")
{
    Stage s;
    table::VirtualSettings of_virtual;
    of_virtual.mailboxes = {"inline:{alice@v.example=a/, bob@v.example=b/, eve@v.example=../e}"};
    of_virtual.uids = {"static:5000"};
    of_virtual.base = "/srv/mail";
    of_virtual.delimiters = "+";
    s.rules.virtual_mailboxes = std::make_shared<VirtualMailboxes>(of_virtual, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional(table::KeeperAccount{"vmail", 5000}); });
    s.aliases_are("alice: nobody-else\n");
    s.start();
    SECTION("one process for all of them")
    {
        s.attempt(1, {to(0, "alice@v.example"), to(1, "bob@v.example"), to(2, "carol@v.example"), to(3, "eve@v.example")}, "Subject: x\r\n", "virtual");
        // carol is in no table, but may be a user of a passwd-file
        s.until([&] { return s.asked.size() == 1; });
        CHECK(s.looked_up == std::vector<std::string>{"carol@v.example"});
        CHECK((s.asked[0].user == "vmail" && s.asked[0].by == ipc::Worker::By::name));
        const Fd worker = s.serve(0);
        const auto job = s.job(worker);
        REQUIRE(job.targets.size() == 2);
        CHECK(job.targets[0].kind == Kind::mailbox);
        CHECK(job.targets[0].address == "alice@v.example");
        CHECK(job.targets[0].run_as == "/srv/mail/a/");
        CHECK(job.targets[1].run_as == "/srv/mail/b/");
        s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir"), said(1, Outcome::deferred, "4.2.2", "full")});
        auto v = s.verdicts(4);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        CHECK(v[0].outcome == Outcome::delivered);
        CHECK(v[0].relay == "virtual");
        CHECK(v[1].outcome == Outcome::deferred);
        CHECK(v[2].dsn == "5.1.1");
        CHECK(v[2].outcome == Outcome::failed);
        CHECK(v[3].dsn == "4.3.5");
        CHECK(s.asked.size() == 1);
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("users of a passwd-file with the same ids have one process for their Maildirs, and each his own for an mbox")
    {
        const auto person = [&](const std::string& name, const std::string& home, const std::string& mailbox, uint32_t uid = 6000) {
            s.persons[name] = {ipc::UserReply::Found::yes, name, home, "", "", "", mailbox, uid, 6001};
        };
        person("dave@v.example", "/home/v/dave", "");
        person("dave-x@v.example", "/home/v/dave-x", "/srv/dave-x/");
        person("erin@v.example", "/home/v/erin", "/home/v/erin/inbox");
        person("frank@v.example", "", "");
        person("gus@v.example", "", "/srv/gus/");
        s.persons["hal@v.example"] = {ipc::UserReply::Found::temporary, "hal@v.example", "", "", "", "line 7: nonsense", "", 0, 0};
        s.rules.policy.delimiters = "+-";
        s.dispatcher.reset();
        s.start();
        s.attempt(1, {to(0, "Dave+x@V.example"), to(1, "dave-x@v.example"), to(2, "dave-y@v.example"), to(3, "erin+x@v.example"), to(4, "frank@v.example"), to(5, "gus@v.example"),
                      to(6, "hal@v.example"), to(7, std::string(300, 'a') + "@v.example")}, "Subject: x\r\n", "virtual");
        s.until([&] { return s.asked.size() == 2; });
        CHECK((s.asked[0].user == "6000:6001" && s.asked[0].of == "dave@v.example" && s.asked[0].by == ipc::Worker::By::line));
        CHECK((s.asked[1].user == "erin@v.example" && s.asked[1].of.empty() && s.asked[1].by == ipc::Worker::By::name));
        const Fd worker = s.serve(0), own = s.serve(1);
        // Whose name has the delimiter in it gets his mail, and not who has what stands before it.
        for (const auto& [index, path] : {std::pair<uint32_t, const char*>{0, "/home/v/dave/Maildir/"}, {1, "/srv/dave-x/"}, {2, "/home/v/dave/Maildir/"}, {5, "/srv/gus/"}}) {
            const auto job = s.job(worker);
            REQUIRE(job.targets.size() == 1);
            CHECK((job.targets[0].index == index && job.targets[0].run_as == path && job.targets[0].kind == Kind::mailbox));
            s.say(worker, job.attempt, {said(index, Outcome::delivered, "2.0.0", "delivered to maildir")});
        }
        const auto job = s.job(own);
        CHECK((job.targets.at(0).index == 3 && job.targets[0].run_as.empty()));
        s.say(own, job.attempt, {said(3, Outcome::delivered, "2.0.0", "delivered to mailbox")});
        auto v = s.verdicts(8);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        for (const int i : {0, 1, 2, 3, 5}) CHECK((v[i].outcome == Outcome::delivered && v[i].relay == "virtual"));
        CHECK((v[4].dsn == "4.3.5" && v[4].text == "passdb: user frank@v.example has no home for his mailbox"));
        CHECK((v[6].dsn == "4.3.0" && v[6].text == "passdb: line 7: nonsense"));
        CHECK((v[7].dsn == "5.1.1" && v[7].outcome == Outcome::failed));
    }
    SECTION("a catch-all has what no user of a passwd-file has")
    {
        of_virtual.mailboxes = {"inline:{alice@v.example=a/, @v.example=all/}"};
        s.persons["dave@v.example"] = {ipc::UserReply::Found::yes, "dave@v.example", "/home/v/dave", "", "", "", "", 6000, 6001};
        s.dispatcher.reset();
        s.rules.virtual_mailboxes = std::make_shared<VirtualMailboxes>(of_virtual, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional(table::KeeperAccount{"vmail", 5000}); });
        s.start();
        s.attempt(1, {to(0, "dave@v.example"), to(1, "who.ever@v.example")}, "Subject: x\r\n", "virtual");
        s.until([&] { return s.asked.size() == 2; });
        CHECK(s.asked[0].user == "6000:6001");
        CHECK(s.asked[1].user == "vmail");
        CHECK(s.job(s.serve(1)).targets.at(0).run_as == "/srv/mail/all/");
        s.asked[0].done(Code::refused, "because", Fd());
        const auto v = s.verdicts(1);
        CHECK((v[0].dsn == "4.3.5" && v[0].text == "passdb: user dave@v.example: because"));
        // Who has a password and no mailbox is one of them, too; where there is no catch-all that is for the postmaster to mend.
        ipc::UserReply eve;
        eve.text = "/f: user eve has no uid and gid";
        eve.password_only = true;
        s.persons["eve@v.example"] = s.persons["eve@w.example"] = *ipc::UserReply::decode(eve.encode());
        s.attempt(2, {to(0, "eve+x@v.example"), to(1, "eve@w.example")}, "Subject: x\r\n", "virtual");
        const auto w = s.verdicts(1);
        CHECK((w[0].index == 1 && w[0].dsn == "4.3.0" && w[0].text == "passdb: /f: user eve has no uid and gid"));
    }
    SECTION("ids without an account: one process for all that have the same, and master hears of a mailbox that they keep")
    {
        of_virtual.uids = {"static:7777"};
        of_virtual.gids = {"inline:{bob@v.example=7702, @v.example=7701}"};
        of_virtual.mailboxes = {"inline:{alice@v.example=a/, a/b@v.example=b/, bob@v.example=b/, carol@v.example=c/}"};
        s.dispatcher.reset();
        s.rules.virtual_mailboxes = std::make_shared<VirtualMailboxes>(of_virtual, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional<table::KeeperAccount>(); });
        s.start();
        s.attempt(1, {to(0, "alice@v.example"), to(1, "a/b+c@v.example"), to(2, "bob@v.example")}, "Subject: x\r\n", "virtual");
        s.until([&] { return s.asked.size() == 2; });
        CHECK((s.asked[0].user == "7777:7701" && s.asked[0].of == "alice@v.example"));
        CHECK((s.asked[1].user == "7777:7702" && s.asked[1].of == "bob@v.example"));
        const Fd worker = s.serve(0);
        const auto job = s.job(worker);
        REQUIRE(job.targets.size() == 2);
        CHECK(job.targets[1].address == "a/b+c@v.example");
        s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir"), said(1, Outcome::delivered, "2.0.0", "delivered to maildir")});
        s.asked[1].done(Code::refused, "because", Fd());
        auto v = s.verdicts(3);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        CHECK((v[0].outcome == Outcome::delivered && v[1].outcome == Outcome::delivered));
        CHECK((v[2].outcome == Outcome::deferred && v[2].dsn == "4.3.5"));
        CHECK(v[2].text == "virtual_uid_maps, virtual_gid_maps: 7777:7702: because");
        // The one that took its mail takes the next, and no other is asked for.
        s.attempt(2, {to(0, "carol@v.example")}, "Subject: x\r\n", "virtual");
        const auto next = s.job(worker);
        CHECK(next.targets.at(0).address == "carol@v.example");
        CHECK(s.asked.size() == 2);
    }
    SECTION("an account that gets no process is the administrator's mistake, not the sender's")
    {
        const Code code = GENERATE(Code::unknown, Code::refused);
        s.attempt(1, {to(0, "alice@v.example")}, "Subject: x\r\n", "virtual");
        s.until([&] { return !s.asked.empty(); });
        s.asked[0].done(code, "because", Fd());
        const auto v = s.verdicts(1);
        CHECK(v[0].outcome == Outcome::deferred);
        CHECK(v[0].dsn == "4.3.5");
    }
}

TEST_CASE("a mailbox that holds up its process takes no other one of its account along", "[local][dispatcher][virtual]")
{
    Stage s;
    table::VirtualSettings of_virtual;
    of_virtual.mailboxes = {"inline:{a@v.example=a/, b@v.example=b/, c@v.example=c/, m@v.example=m, n@v.example=n, o@v.example=o, p@v.example=p, q@v.example=q}"};
    of_virtual.uids = {"static:5000"};
    of_virtual.base = "/srv/mail";
    s.rules.virtual_mailboxes = std::make_shared<VirtualMailboxes>(of_virtual, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional(table::KeeperAccount{"vmail", 5000}); });
    const auto send = [&](uint64_t number, const std::vector<const char*>& names) {
        std::vector<ipc::Target> list;
        for (const char* name : names) list.push_back(to(static_cast<uint32_t>(list.size()), cat(name, "@v.example")));
        s.attempt(number, std::move(list), "Subject: x\r\n", "virtual");
    };
    const auto take = [&](const Fd& worker) {
        const auto job = s.job(worker);
        REQUIRE(job.targets.size() == 1);
        s.say(worker, job.attempt, {said(job.targets[0].index, Outcome::delivered, "2.0.0", "delivered")});
        CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
        return job.targets[0].address;
    };
    const auto ends = [&](const Fd& worker) {
        s.until([&] {
            pollfd p{worker.get(), POLLIN, 0};
            char byte = 0;
            return ::poll(&p, 1, 0) > 0 && ::recv(worker.get(), &byte, 1, MSG_DONTWAIT) == 0;
        });
    };
    SECTION("its process dies: each gets one of his own, and who dies with that waits")
    {
        s.start();
        send(1, {"a", "b", "c"});
        Fd all = s.serve(0);
        CHECK(s.job(all).targets.size() == 3);
        all.reset();
        Fd a = s.serve(1);
        const Fd b = s.serve(2), c = s.serve(3);
        CHECK(s.job(a).targets.at(0).address == "a@v.example");
        CHECK(take(c) == "c@v.example");
        CHECK(take(b) == "b@v.example");
        a.reset();
        const auto v = s.verdicts(1);
        CHECK((v[0].outcome == Outcome::deferred && v[0].text == "the delivery process of user \"vmail\" ended unexpectedly"));
        CHECK(s.dispatcher->in_flight() == 0);
        send(2, {"a", "b"});
        const Fd first = s.serve(4), second = s.serve(5);
        CHECK(take(first) == "a@v.example");
        CHECK(take(second) == "b@v.example");
        send(3, {"a"});                      // it has answered: no stain is left
        CHECK(take(second) == "a@v.example");
        CHECK(s.asked.size() == 6);
    }
    SECTION("its process says nothing: further mail goes to others")
    {
        s.rules.slow = std::chrono::milliseconds(1);
        s.start();
        send(1, {"a", "b"});
        const Fd hangs = s.serve(0);
        const auto job = s.job(hangs);
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        send(2, {"c"});
        const Fd second = s.serve(1);
        CHECK(take(second) == "c@v.example");
        send(3, {"b"});                      // he may be the cause
        const Fd apart = s.serve(2);
        CHECK(take(apart) == "b@v.example");
        s.say(hangs, job.attempt, {said(0, Outcome::delivered, "2.0.0", ""), said(1, Outcome::delivered, "2.0.0", "")});
        CHECK(s.verdicts(2)[1].outcome == Outcome::delivered);
        send(4, {"a"});
        CHECK(take(hangs) == "a@v.example");
        CHECK(s.asked.size() == 3);
    }
    SECTION("its process hangs, alone, and stays: no other one is tried beside it")
    {
        s.rules.timeout = std::chrono::milliseconds(50);
        s.start();
        send(1, {"a"});
        const Fd together = s.serve(0);
        (void)s.job(together);
        CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
        ends(together);
        send(2, {"a"});
        const Fd hangs = s.serve(1);
        const auto job = s.job(hangs);
        CHECK(s.verdicts(1)[0].text == "the delivery process of user \"vmail\" does not answer");
        send(3, {"a"});
        CHECK(s.verdicts(1)[0].text == "a delivery process of this mailbox does not answer, and is still there");
        CHECK(s.asked.size() == 2);
        ends(hangs);                         // by which its parent knows whom to kill
        s.say(hangs, job.attempt, {said(0, Outcome::delivered, "2.0.0", "")});    // too late to count
        s.until([&] {
            pollfd p{hangs.get(), 0, 0};
            return ::poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) != 0;
        });
        s.rules.timeout = std::chrono::hours(1);
        s.dispatcher->set_rules(s.rules);
        send(4, {"a"});
        const Fd next = s.serve(2);
        CHECK(take(next) == "a@v.example");
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("an mbox may wait for its lock: it has a process of its own, and not too many have one at once")
    {
        s.rules.workers = 16;
        s.start();
        send(1, {"m", "n", "a"});
        const Fd m = s.serve(0), others = s.serve(1);
        const auto job = s.job(m);
        CHECK(job.targets.at(0).run_as == "/srv/mail/m");
        CHECK(take(others) == "a@v.example");
        CHECK(s.asked.size() == 2);
        send(2, {"m"});
        const auto second = s.job(m);
        s.say(m, job.attempt, {said(0, Outcome::deferred, "4.2.0", "locked")});
        s.say(m, second.attempt, {said(0, Outcome::delivered, "2.0.0", "")});
        CHECK(s.verdicts(2)[0].outcome == Outcome::deferred);
        const Fd n = s.serve(2);
        CHECK(take(n) == "n@v.example");
        send(3, {"m"});                      // its process has rested, and is there still
        CHECK(take(m) == "m@v.example");
    }
    SECTION("on a disk that stands still not each mailbox costs a process that stays")
    {
        s.rules.workers = 16;
        s.rules.timeout = std::chrono::milliseconds(50);
        s.start();
        send(1, {"m", "n", "o", "p", "q"});
        std::vector<Fd> stay;
        for (std::size_t i = 0; i < 4; ++i) {
            stay.push_back(s.serve(i));
            (void)s.job(stay.back());
        }
        const auto v = s.verdicts(5);
        CHECK(std::count_if(v.begin(), v.end(), [](const auto& each) { return each.text == "too many mailboxes of this account do not answer"; }) == 1);
        for (const auto& each : v) CHECK(each.outcome == Outcome::deferred);
        s.rules.timeout = std::chrono::hours(1);
        s.dispatcher->set_rules(s.rules);
        const auto gone = [&] {
            stay.erase(stay.begin());
            for (int i = 0; i < 5; ++i) s.loop->run_once(blink);
        };
        send(2, {"q"});
        CHECK(s.verdicts(1)[0].text == "too many mailboxes of this account do not answer");
        gone();
        send(3, {"q"});                      // nobody knows that he hangs
        const Fd q = s.serve(4);
        CHECK(take(q) == "q@v.example");
        send(4, {"m"});
        CHECK(s.verdicts(1)[0].text == "too many mailboxes of this account do not answer");
        gone();
        gone();
        send(5, {"m"});
        const Fd m = s.serve(5);
        CHECK(take(m) == "m@v.example");
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("a process that ends before it takes mail costs no end of others")
    {
        s.start();
        send(1, {"m"});
        s.until([&] { return s.asked.size() == 1; });
        for (std::size_t i = 0; i < 2; ++i) {
            s.until([&] { return s.asked.size() > i; });
            auto pair = socket_pair(SOCK_SEQPACKET);
            REQUIRE(pair);
            pair->first.reset();
            s.asked[i].done(Code::ok, "", std::move(pair->second));
        }
        CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
        CHECK(s.asked.size() == 2);
        CHECK(s.dispatcher->in_flight() == 0);
    }
}

TEST_CASE("a process that hangs is given up, though it gets further mail", "[local][dispatcher]")
{
    Stage s;
    s.rules.timeout = std::chrono::milliseconds(100);
    s.start();
    s.attempt(1, {to(0, "alice@example.org")});
    const Fd worker = s.serve();
    std::size_t answers = 0;
    uint64_t number = 1;
    s.until([&] {
        s.attempt(++number, {to(0, "alice@example.org")});
        while (s.read(s.qmgr)) ++answers;
        return answers > 0;
    });
    CHECK(s.log.find("the process of user alice does not answer") != std::string::npos);
}

TEST_CASE("a transport that is a command goes to its user, whoever the recipient is", "[local][dispatcher][pipe]")
{
    Stage s;
    s.rules.pipes = {{"lists", "list"}, {"ghost", "nobody-there"}};
    s.start();
    s.attempt(7, {to(1, "alice@lists.example"), to(2, "root@lists.example")}, "Subject: x\r\n", "lists");
    const Fd worker = s.serve(0), second = s.serve(1);    // each recipient has his turn
    CHECK((s.asked[0].user == "list" && s.asked[1].user == "list"));
    const auto job = s.job(worker), other = s.job(second);
    REQUIRE((job.targets.size() == 1 && other.targets.size() == 1));
    CHECK(job.transport == "lists");
    CHECK(job.targets[0].address == "alice@lists.example");
    ipc::Verdict more = said(2, Outcome::expanded, "2.0.0", "");
    more.children.push_back({Kind::address, "x@example.net", "", "-"});
    s.say(worker, job.attempt, {said(1, Outcome::delivered, "2.0.0", "delivered via lists service")});
    auto v = s.verdicts(1);
    s.say(second, other.attempt, {more});
    v.push_back(s.verdicts(1)[0]);
    CHECK(v[0].relay == "lists");
    CHECK(v[0].outcome == Outcome::delivered);
    CHECK(v[1].outcome == Outcome::deferred);    // a command's user expands nothing
    CHECK(s.log.find("to=<alice@lists.example>, relay=lists, delay=") != std::string::npos);
    // no user, or no such transport any more: the mail waits
    s.attempt(8, {to(1, "alice@lists.example")}, "Subject: x\r\n", "ghost");
    s.until([&] { return s.asked.size() == 3; });
    s.asked[2].done(Code::unknown, "no such user", Fd());
    const auto ghost = s.verdicts(1);
    CHECK(ghost[0].outcome == Outcome::deferred);
    CHECK(ghost[0].text == "pipe_transports: ghost: user nobody-there: no such user");
    s.attempt(9, {to(1, "alice@lists.example")}, "Subject: x\r\n", "gone");
    const auto gone = s.verdicts(1);
    CHECK(gone[0].dsn == "4.3.5");
    s.attempt(10, {to(1, "/var/x", Kind::file)}, "Subject: x\r\n", "lists");
    CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
}

TEST_CASE("luser_relay gets what nobody here gets", "[local][dispatcher]")
{
    struct Case {
        const char *setting, *address;
        Outcome outcome;
        const char* expected;    // child, or status
    };
    const Case cases[] = {
        {"admin+$local", "nobody-here@example.org", Outcome::expanded, "admin+nobody-here@example.org"},
        {"$user@other.example", "Nobody-Here+x@example.org", Outcome::expanded, "nobody-here@other.example"},
        {"$local@other.example", "nobody-here+x@example.org", Outcome::expanded, "nobody-here+x@other.example"},
        {"lost@example.org", "lost@example.org", Outcome::failed, "5.1.1"},
        {"admin+$extension", "nobody-here@example.org", Outcome::deferred, "4.3.5"},
    };
    for (const Case& c : cases) {
        INFO(c.setting);
        Stage s;
        s.rules.luser_relay = c.setting;
        s.start();
        s.attempt(1, {to(0, c.address)});
        s.until([&] { return !s.asked.empty(); });
        s.asked[0].done(Code::unknown, "because", Fd());
        const auto v = s.verdicts(1);
        CHECK(v[0].outcome == c.outcome);
        if (c.outcome != Outcome::expanded) {
            CHECK(v[0].dsn == c.expected);
        } else {
            REQUIRE(v[0].children.size() == 1);
            CHECK(v[0].children[0].text == c.expected);
            CHECK(v[0].children[0].kind == Kind::address);
        }
        CHECK(s.dispatcher->in_flight() == 0);
    }
}

TEST_CASE("a mailbox that is elsewhere: the recipient goes on to another transport", "[local][dispatcher][places]")
{
    Stage s;
    PlaceSettings settings;
    SECTION("of everybody, after his .forward")
    {
        settings.transport = "lmtp:unix:/run/lmtp";
        s.rules.places = *Places::create(settings);
        s.start();
        s.attempt(1, {to(0, "alice+x@example.org"), to(1, "\\bob", Kind::mailbox)});
        const Fd worker = s.serve();
        const auto job = s.job(worker);
        REQUIRE(job.targets.size() == 1);
        CHECK(job.targets[0].run_as == ">lmtp:unix:/run/lmtp");
        auto answer = said(0, Outcome::expanded, "2.0.0", "");
        answer.children = {{Kind::mailbox, "\\alice", "", "-"}, {Kind::address, "carol@example.net", "lmtp:unix:/run/secret", "-"}};
        s.say(worker, job.attempt, {answer});
        auto v = s.verdicts(2);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        REQUIRE(v[0].children.size() == 2);
        CHECK(v[0].children[0].kind == Kind::address);
        CHECK(v[0].children[0].text == "alice+x@example.org");
        CHECK(v[0].children[0].run_as == queue::by_place);
        CHECK(v[0].children[1].text == "carol@example.net");
        CHECK(v[0].children[1].run_as.empty());                       // a user chooses no transport
        REQUIRE(v[1].children.size() == 1);                           // past .forward: no process at all
        CHECK(v[1].children[0].text == "bob@example.org");
        CHECK(v[1].children[0].run_as == "lmtp:unix:/run/lmtp");
        CHECK(s.asked.size() == 1);
    }
    SECTION("who stands in his own .forward goes where his mailbox is now")
    {
        const bool elsewhere = GENERATE(true, false);
        if (elsewhere) settings.transport = "lmtp:unix:/run/lmtp";
        s.aliases_are("alice: carol\n");
        s.rules.places = *Places::create(settings);
        s.start();
        ipc::Target target = to(0, "alice+x@example.org");
        target.run_as = queue::by_place;
        s.attempt(1, {target});
        if (elsewhere) {
            const auto v = s.verdicts(1);
            REQUIRE(v[0].children.size() == 1);
            CHECK(v[0].children[0].text == "alice+x@example.org");
            CHECK(v[0].children[0].run_as == "lmtp:unix:/run/lmtp");
            CHECK(s.asked.empty());
        } else {
            const Fd worker = s.serve();
            const auto job = s.job(worker);
            CHECK(job.targets.at(0).kind == Kind::mailbox);
            CHECK(job.targets.at(0).address == "alice+x@example.org");
            CHECK(job.targets.at(0).run_as.empty());
        }
    }
    SECTION("of whom a table names; others keep theirs, or get their command")
    {
        settings.transport_maps = {"inline:{alice=smtp:[10.0.0.7], eve=local}"};
        settings.command_maps = {"inline:{{bob=/usr/bin/procmail -t}}"};
        s.rules.places = *Places::create(settings);
        s.start();
        s.attempt(1, {to(0, "\\alice", Kind::mailbox), to(1, "bob@example.org"), to(2, "carol@example.org"), to(3, "eve@example.org")});
        s.until([&] { return s.asked.size() == 2; });
        for (std::size_t i = 0; i < 2; ++i) {
            const Fd worker = s.serve(i);
            const auto job = s.job(worker);
            CHECK(job.targets.at(0).run_as == (s.asked[i].user == "bob" ? "|/usr/bin/procmail -t" : ""));
            s.say(worker, job.attempt, {said(job.targets[0].index, Outcome::delivered, "2.0.0", "")});
        }
        auto v = s.verdicts(4);
        std::sort(v.begin(), v.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        CHECK(v[0].children.at(0).run_as == "smtp:[10.0.0.7]");
        CHECK(v[3].outcome == Outcome::deferred);
        CHECK(v[3].dsn == "4.3.5");
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("of who has no account")
    {
        const bool fallback = GENERATE(true, false), tables = GENERATE(true, false);
        if (!fallback) settings.transport = "lmtp:inet:[10.0.0.7]";
        else if (tables) settings.fallback_maps = {"inline:{nobody-here=lmtp:inet:[10.0.0.7]}"};
        else settings.fallback_transport = "lmtp:inet:[10.0.0.7]";
        s.rules.places = *Places::create(settings);
        s.rules.luser_relay = "admin";
        s.start();
        s.attempt(1, {to(0, "Nobody-Here+x@example.org")});
        s.until([&] { return !s.asked.empty(); });
        const Code code = fallback ? GENERATE(Code::unknown, Code::invalid) : GENERATE(Code::unknown, Code::invalid, Code::refused);
        s.asked[0].done(code, "because", Fd());
        const auto v = s.verdicts(1);
        REQUIRE(v[0].outcome == Outcome::expanded);
        CHECK(v[0].children.at(0).text == "Nobody-Here+x@example.org");
        CHECK(v[0].children.at(0).run_as == "lmtp:inet:[10.0.0.7]");
        CHECK(s.dispatcher->in_flight() == 0);
    }
    SECTION("a table that cannot be read makes the mail wait")
    {
        settings.transport_maps = {"hash:/nowhere/at/all"};
        s.rules.places = *Places::create(settings);
        s.start();
        s.attempt(1, {to(0, "alice@example.org")});
        const auto v = s.verdicts(1);
        CHECK(v[0].outcome == Outcome::deferred);
        CHECK(v[0].dsn == "4.3.5");
        CHECK(v[0].text.starts_with("mailbox_transport_maps: "));
        CHECK(s.asked.empty());
    }
}

TEST_CASE("a transport for mailboxes is one that exists and does not come back", "[local][places]")
{
    struct Case {
        const char *text, *kept;    // kept: null for an error
    };
    const Case cases[] = {{"lmtp:unix:/run/x", "lmtp:unix:/run/x"}, {" smtp : [h]:25 ", "smtp:[h]:25"}, {"virtual", "virtual:"}, {"defer:5 later", "retry:5 later"},
                          {"local", nullptr}, {"local:x", nullptr}, {"uucp:x", nullptr}, {"", nullptr}, {"smtp:a\nb", nullptr}};
    for (const Case& c : cases) {
        INFO(c.text);
        const auto good = check_transport(c.text);
        CHECK(good.has_value() == (c.kept != nullptr));
        if (good && c.kept) CHECK(*good == c.kept);
    }
    CHECK(check_transport("cyrus:x", {"uucp", "cyrus"}));             // pipe_transports
    CHECK(!check_transport("lmtp:" + std::string(300, 'x')));
    PlaceSettings settings;
    settings.fallback_transport = "local";
    CHECK(!Places::create(settings));
    settings.fallback_transport = "smtp";
    CHECK(Places::create(settings));
    for (const std::string& command : {std::string(conf::longest_mailbox_command + 1, 'x'), std::string("a\tb")}) {
        settings.command = command;
        CHECK(!Places::create(settings));
        CHECK(!conf::check_value(*conf::find_setting("mailbox_command"), command));
    }
}

TEST_CASE("lmtpd names recipients and nothing else", "[local][dispatcher][lmtpd]")
{
    Stage s;
    s.aliases_are("list: bob, carol, \"|/bin/cat\"\n");
    s.id = "65A3F00C12B76A00";
    s.start(Dispatcher::From::lmtp);
    SECTION("a mailbox is delivered to, an alias keeps its members to itself")
    {
        s.attempt(1, {to(0, "alice@example.org"), to(1, "list@example.org")});
        const Fd worker = s.serve();
        const auto job = s.job(worker);
        auto answer = said(0, Outcome::expanded, "2.0.0", "");
        answer.children = {{Kind::address, "carol@example.net", "", "-"}};
        s.say(worker, job.attempt, {answer});
        auto v = s.verdicts(2);
        for (const auto& one : v) {
            CHECK(one.outcome == Outcome::expanded);
            CHECK(one.children.empty());
            CHECK_FALSE(one.more);
        }
    }
    SECTION("a mailbox whose process hangs collects no mail without end, and nobody else is told to wait")
    {
        s.dispatcher.reset();
        s.rules.lmtp_per_mailbox = 3;
        s.rules.lmtp_attempts = 5;
        s.start(Dispatcher::From::lmtp);
        s.attempt(1, {to(0, "alice@example.org"), to(1, "alice+x@example.org")});
        const Fd worker = s.serve();
        const auto job = s.job(worker);
        s.attempt(2, {to(0, "alice@example.org"), to(1, "alice@example.org"), to(2, "bob@example.org")});
        const auto v = s.verdicts(1);
        CHECK(v.at(0).outcome == Outcome::deferred);
        CHECK(v[0].text == "too much mail waits for this mailbox");
        CHECK(v[0].index == 1);
        const Fd other = s.serve(1);
        const auto for_bob = s.job(other);
        CHECK(for_bob.targets.at(0).index == 2);
        s.say(worker, job.attempt, {said(0, Outcome::delivered, "2.0.0", ""), said(1, Outcome::delivered, "2.0.0", "")});
        CHECK(s.verdicts(2)[0].outcome == Outcome::delivered);
        s.attempt(3, {to(0, "alice@example.org"), to(1, "alice@example.org")});    // there is room again
        CHECK(s.job(worker).targets.size() == 1);
        CHECK(s.job(worker).targets.size() == 2);
        CHECK(s.dispatcher->in_flight() == 2);
        for (uint64_t i = 4; i < 7; ++i) s.attempt(i, {to(0, cat("u", i, "@example.org"))});
        s.until([&] { return s.dispatcher->in_flight() == 5; });
        s.attempt(7, {to(0, "bob@example.org")});
        CHECK(s.verdicts(1)[0].text == "too many mails are being delivered");
        CHECK(s.dispatcher->in_flight() == 5);
    }
    SECTION("a command may take longer than LMTP waits: the queue takes who has one")
    {
        s.dispatcher.reset();
        PlaceSettings places;
        places.command_maps = {"inline:{alice=cat}"};
        s.rules.places = std::move(*Places::create(std::move(places)));
        s.start(Dispatcher::From::lmtp);
        s.attempt(1, {to(0, "alice@example.org"), to(1, "bob@example.org")});
        const auto v = s.verdicts(1);
        CHECK(v[0].index == 0);
        CHECK(v[0].outcome == Outcome::expanded);
        CHECK(s.job(s.serve()).targets.at(0).index == 1);
        CHECK(s.asked.size() == 1);
    }
    SECTION("what has rights is deferred, with a line in the log")
    {
        auto command = to(0, "id > /tmp/owned", Kind::command);
        command.run_as = "alice";
        auto place = to(0, "alice@example.org");
        place.run_as = "/etc/passwd";
        auto sender = to(0, "alice@example.org");
        sender.sender = "other@example.org";
        auto extension = to(0, "alice@example.org");
        extension.extension = "../x";
        const std::vector<ipc::Target> bad = {command, place, sender, extension, to(0, "\\alice", Kind::mailbox), to(0, "alice"), to(0, "/var/mail/alice", Kind::file)};
        for (std::size_t i = 0; i < bad.size(); ++i) {
            INFO(i);
            s.attempt(i, {bad[i], to(1, "bob@example.org")});
            const auto v = s.verdicts(2);
            CHECK(v[0].outcome == Outcome::deferred);
            CHECK(v[1].outcome == Outcome::deferred);
        }
        CHECK(s.asked.empty());
        CHECK(s.log.find("lmtpd hands in an address with rights: deferred") != std::string::npos);
        s.attempt(100, {to(0, "alice@example.org")}, "Subject: x\r\n", "smtp");
        CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
        s.id = "../../etc";
        s.attempt(101, {to(0, "alice@example.org")});
        CHECK(s.verdicts(1)[0].outcome == Outcome::deferred);
        CHECK(s.asked.empty());
        CHECK(s.dispatcher->in_flight() == 0);
    }
}

namespace {

// A server of tables that takes questions and says nothing until it is told to.
class SilentServer {
public:
    SilentServer()
    {
        REQUIRE(::mkdtemp(folder_));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = cat(std::string_view(folder_), "/s");
        std::copy(path.begin(), path.end(), address.sun_path);
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        REQUIRE(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(listener_.get(), 16) == 0);
    }
    ~SilentServer()
    {
        ::unlink(cat(std::string_view(folder_), "/s").c_str());
        ::rmdir(folder_);
    }
    std::string spec() const { return cat("socketmap:unix:", std::string_view(folder_), "/s:map"); }
    // What was asked since; to be called until it is all there.
    std::vector<std::string> questions()
    {
        for (Fd client; (client = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));) clients_.push_back({std::move(client), false});
        for (auto& [client, waits] : clients_) {
            char buffer[4096];
            const ssize_t n = ::read(client.get(), buffer, sizeof buffer);
            if (n <= 0) continue;
            waits = true;
            asked_.emplace_back(buffer, static_cast<std::size_t>(n));
        }
        return asked_;
    }
    void answer(const std::string& reply)
    {
        for (auto& [client, waits] : clients_)
            if (std::exchange(waits, false)) REQUIRE(write_all(client.get(), cat(reply.size(), ':', reply, ',')));
    }

private:
    char folder_[32] = "/tmp/veredus-silent.XXXXXX";
    Fd listener_;
    std::vector<std::pair<Fd, bool>> clients_;
    std::vector<std::string> asked_;
};

}  // namespace

TEST_CASE("a server of tables that hangs delays only the mail that needs it", "[local][dispatcher][places][virtual]")
{
    SilentServer server;
    Stage s;
    const auto served = [&](const char* address) {
        // another recipient, whom no server is asked for, meanwhile
        const std::size_t before = s.asked.size();
        s.attempt(2, {to(0, "bob@example.org")});
        const Fd worker = s.serve(before);
        CHECK(s.asked[before].user == "bob");
        s.say(worker, s.job(worker).attempt, {said(0, Outcome::delivered, "2.0.0", "delivered to maildir")});
        CHECK(s.verdicts(1)[0].outcome == Outcome::delivered);
        CHECK(s.dispatcher->in_flight() == 1);
        CHECK_FALSE(server.questions().empty());
        CHECK(s.log.find(address) == std::string::npos);
    };
    const auto asked = [&](const char* question) {
        s.until([&] { return !server.questions().empty(); });
        CHECK(server.questions()[0] == question);
    };
    SECTION("places of mailboxes")
    {
        PlaceSettings settings;
        settings.command_maps = {"inline:{{bob=/bin/cat}}", server.spec()};
        s.rules.places = *Places::create(settings);
        s.start();
        s.attempt(1, {to(0, "alice@example.org")});
        asked("9:map alice,");
        served("to=<alice");
        server.answer("OK /bin/true");
        const Fd worker = s.serve(1);
        CHECK(s.job(worker).targets.at(0).run_as == "|/bin/true");
    }
    SECTION("aliases, of which a chain asks one after the other")
    {
        s.aliases.configure({"inline:{{bob=\\bob}, {owner-bob=bob}}", server.spec()});
        s.start();
        s.attempt(1, {to(0, "alice@example.org")});
        asked("9:map alice,");
        s.attempt(2, {to(0, "bob@example.org")});
        const auto bob = s.verdicts(1);
        CHECK(bob[0].children.at(0).text == "\\bob");
        server.answer("OK carol, x@elsewhere.example.net");
        // owner-alice, carol
        while (s.dispatcher->in_flight() > 0) {
            server.questions();
            server.answer("NOTFOUND ");
            s.loop->run_once(blink);
        }
        const auto v = s.verdicts(1);
        REQUIRE(v[0].children.size() == 2);
        CHECK(v[0].children[0].text == "carol@example.org");
    }
    SECTION("aliases that are none")
    {
        s.aliases.configure({server.spec()});
        s.start();
        s.attempt(1, {to(0, "alice@example.org"), to(1, "postmaster@example.org")});
        while (s.asked.empty() || s.log.find("to=<postmaster@") == std::string::npos) {
            server.questions();
            server.answer("NOTFOUND ");
            s.loop->run_once(blink);
        }
        CHECK(s.asked[0].user == "alice");
        const auto v = s.verdicts(1);
        CHECK(v[0].children.at(0).text == "root@example.org");
    }
    SECTION("mailboxes of virtual users")
    {
        table::VirtualSettings settings;
        settings.mailboxes = {"inline:{bob@v.example=b/}", server.spec()};
        settings.uids = {"static:5000"};
        settings.base = "/srv/mail";
        s.rules.virtual_mailboxes = std::make_shared<table::VirtualMailboxes>(settings, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional(table::KeeperAccount{"vmail", 5000}); });
        s.start();
        s.attempt(1, {to(0, "alice@v.example")}, "Subject: x\r\n", "virtual");
        asked("19:map alice@v.example,");
        s.attempt(2, {to(0, "bob@v.example")}, "Subject: x\r\n", "virtual");
        const Fd worker = s.serve();
        const auto job = s.job(worker);
        CHECK(job.targets.at(0).run_as == "/srv/mail/b/");
        server.answer("OK a/");
        CHECK(s.job(worker).targets.at(0).run_as == "/srv/mail/a/");
    }
}

TEST_CASE("a long file of aliases is read beside the loop, and answers as before until then", "[local][alias]")
{
    std::string lines;
    log::capture(&lines);
    char name[] = "/tmp/veredus-aliases.XXXXXX";
    const Fd fd(::mkstemp(name));
    const auto write = [&](std::string_view first, int number, time_t age) {
        std::string text = cat(first, '\n');
        for (int i = 0; i < number; ++i) append(text, "name", i, ": user", i, '\n');
        std::ofstream(name) << text;
        const timespec times[2] = {{::time(nullptr) - age, 0}, {::time(nullptr) - age, 0}};
        REQUIRE(::utimensat(AT_FDCWD, name, times, 0) == 0);
    };
    write("one: alice", 20'000, 100);
    std::vector<std::pair<AliasMaps::Step, AliasMaps::Step>> asked;
    const AliasMaps::Run later = [&](AliasMaps::Step work, AliasMaps::Step done) { asked.emplace_back(std::move(work), std::move(done)); };
    AliasMaps maps;
    maps.configure({"inline:{inl=bob}", cat("hash:", name)});
    maps.refresh(later);
    maps.refresh(later);
    REQUIRE(asked.size() == 1);                     // one thread at a time
    CHECK(maps.loading());
    CHECK(*maps.has("inl"));
    CHECK(maps.has("one").error().text == cat("alias_maps: hash:", name, ": is being read"));
    CHECK_FALSE(maps.find("other"));                // nobody is unknown meanwhile
    asked[0].first();
    asked[0].second();
    CHECK_FALSE(maps.loading());
    CHECK(*maps.has("one"));
    CHECK(maps.doubt().empty());
    maps.configure({cat("hash:", name), "inline:{inl=bob}"});   // other settings, the same file
    maps.refresh(later);
    CHECK(*maps.has("one"));
    REQUIRE(asked.size() == 2);                     // the end of what was there before
    asked.clear();
    write("two: bob\nbroken", 20'000, 90);
    maps.refresh(later);
    maps.refresh(later);
    REQUIRE(asked.size() == 1);
    CHECK(*maps.has("one"));
    CHECK(*maps.has("inl"));
    CHECK_FALSE(*maps.has("two"));
    CHECK(maps.doubt() == "alias_maps is being changed");
    asked[0].first();
    CHECK_FALSE(*maps.has("two"));
    asked[0].second();
    CHECK(*maps.has("two"));
    CHECK_FALSE(*maps.has("one"));
    CHECK(maps.doubt().empty());
    CHECK(lines.find(": 20001 aliases are in force") != std::string::npos);
    CHECK(lines.find("line 2: ") != std::string::npos);
    REQUIRE(asked.size() == 2);                     // the end of the old content
    asked[1].first();
    asked[1].second();
    maps.refresh(later);
    CHECK(asked.size() == 2);
    // one that cannot be read is read once and said once; who is in none may be in that
    asked.clear();
    write(std::string_view("nul: \0", 6), 20'000, 85);
    lines.clear();
    maps.refresh(later);
    REQUIRE(asked.size() == 1);
    asked[0].first();
    asked[0].second();
    for (int i = 0; i < 3; ++i) maps.refresh(later);
    CHECK(asked.size() == 2);                       // the end of nothing
    CHECK(*maps.has("two"));
    CHECK(maps.doubt() == "alias_maps cannot be read");
    CHECK(lines.find(name) != std::string::npos);
    CHECK(lines.find(name) == lines.rfind(name));
    write("two: bob", 20'000, 84);
    maps.refresh(later);
    REQUIRE(asked.size() == 3);
    asked[2].first();
    asked[2].second();
    CHECK(maps.doubt().empty());
    asked.clear();
    asked.resize(2);
    // it goes while it is being read: what it held stays, and that is said once
    write("three: carol", 20'000, 80);
    maps.refresh(later);
    REQUIRE(asked.size() == 3);
    ::unlink(name);
    lines.clear();
    asked[2].first();
    asked[2].second();
    for (int i = 0; i < 3; ++i) maps.refresh(later);
    CHECK(*maps.has("two"));
    CHECK(lines.find(name) == lines.rfind(name));
    // other settings while it is being read: the reading is nobody's
    write("four: dave", 20'000, 70);
    asked.clear();
    maps.refresh(later);
    REQUIRE(asked.size() == 1);
    maps.configure({"inline:{other=bob}"});
    asked[0].first();
    asked[0].second();
    CHECK_FALSE(*maps.has("four"));
    CHECK(*maps.has("other"));
    CHECK(maps.doubt().empty());
    // a short file is in force at once
    write("five: erin", 3, 60);
    maps.configure({cat("hash:", name)});
    CHECK(*maps.has("five"));
    write("six: frank", 3, 50);
    asked.clear();
    maps.refresh(later);
    CHECK(asked.empty());
    CHECK(*maps.has("six"));
    ::unlink(name);
    log::capture(nullptr);
}

TEST_CASE("nobody is unknown while the file that may hold his alias is being written", "[local][dispatcher][alias]")
{
    Stage s;
    s.aliases_are("oth");
    s.start();
    s.attempt(1, {to(0, "list@example.org")});
    s.until([&] { return !s.asked.empty(); });
    s.asked[0].done(Code::unknown, "no such user", Fd());
    const auto v = s.verdicts(1);
    CHECK(v[0].outcome == Outcome::deferred);
    CHECK(v[0].text == "alias_maps is being changed");
}

TEST_CASE("mail waits for a long aliases file that is read for the first time, unless it has no business with aliases", "[local][dispatcher][alias]")
{
    for (const bool stops : {false, true}) {
        Stage s;
        std::promise<void> gate;
        s.rules.policy.is_local = [opened = gate.get_future().share()](std::string_view) -> Result<bool> {
            opened.wait();
            return true;
        };
        s.rules.pipes.emplace("pipe", "piper");
        s.aliases_are("busy: bob\n");
        s.start();
        for (uint64_t i = 1; i <= 4; ++i) s.attempt(i, {to(0, "busy@example.org")});    // all threads have something to do
        s.until([&] { return s.dispatcher->in_flight() == 4; });
        REQUIRE(::unlink(s.aliases_path().c_str()) == 0);
        std::string text = "busy: bob\n";
        for (int i = 0; i < 10'000; ++i) append(text, "name", i, ": user", i, '\n');
        s.aliases_are(text);
        s.dispatcher->set_rules(s.rules);
        CHECK(s.aliases.loading());
        s.attempt(5, {to(0, "name7@example.org"), to(1, "carol@example.org")});
        s.attempt(6, {to(0, "name8@example.org")}, "Subject: x\r\n", "pipe");
        s.until([&] { return !s.asked.empty(); });
        CHECK((s.asked.size() == 1 && s.asked[0].user == "piper"));
        if (stops) {                                   // nobody waits for a file then
            s.dispatcher->stop([] {});
            for (const auto& v : s.verdicts(2)) CHECK((v.outcome == Outcome::deferred && v.dsn == "4.3.2"));
            gate.set_value();
            continue;
        }
        CHECK(s.dispatcher->in_flight() == 6);
        gate.set_value();
        bool found = false;
        for (const auto& v : s.verdicts(5)) {
            CHECK(v.outcome == Outcome::expanded);
            found = found || v.children.at(0).text == "user7@example.org";
        }
        CHECK(found);
        s.until([&] { return s.asked.size() == 2; });
        CHECK(s.asked[1].user == "carol");
    }
}

TEST_CASE("who is in no alias while a long file is read anew waits until that is done", "[local][dispatcher][alias]")
{
    Stage s;
    std::promise<void> gate;
    s.rules.policy.is_local = [opened = gate.get_future().share()](std::string_view) -> Result<bool> {
        opened.wait();
        return true;
    };
    std::string text = "busy: bob\n";
    for (int i = 0; i < 10'000; ++i) append(text, "name", i, ": user", i, '\n');
    s.aliases_are(text);
    time_t age = 1000;
    const auto write = [&](const std::string& content) {     // long ago: nothing has to be compared
        std::ofstream(s.aliases_path()) << content;
        const timespec times[2] = {{::time(nullptr) - --age, 0}, {::time(nullptr) - age, 0}};
        REQUIRE(::utimensat(AT_FDCWD, s.aliases_path().c_str(), times, 0) == 0);
    };
    write(text);
    std::vector<std::pair<AliasMaps::Step, AliasMaps::Step>> asked;
    s.aliases.refresh([&](AliasMaps::Step work, AliasMaps::Step done) { asked.emplace_back(std::move(work), std::move(done)); });
    REQUIRE(asked.size() == 1);
    asked[0].first();
    const auto done = asked[0].second;
    done();
    s.start();
    for (uint64_t i = 1; i <= 4; ++i) s.attempt(i, {to(0, "busy@example.org")});    // all threads have something to do
    s.until([&] { return s.dispatcher->in_flight() == 4; });
    write(text + "new: dave\n");
    s.attempt(5, {to(0, "new@example.org")});
    s.until([&] { return !s.asked.empty(); });
    CHECK(s.aliases.reading());
    s.asked[0].done(Code::unknown, "no such user", Fd());
    for (int i = 0; i < 5; ++i) s.loop->run_once(blink);
    CHECK(s.dispatcher->in_flight() == 5);
    gate.set_value();
    for (const auto& v : s.verdicts(5)) CHECK(v.outcome == Outcome::expanded);
    // who is past his aliases stays it
    ipc::Target final = to(0, "busy@example.org");
    final.run_as = queue::by_place;
    s.attempt(8, {final});
    s.until([&] { return s.asked.size() == 2; });
    s.asked[1].done(Code::unknown, "no such user", Fd());
    CHECK(s.verdicts(1)[0].outcome == Outcome::failed);
    CHECK(s.asked.size() == 2);
    // and who has an alias when his process is found not to be there
    s.attempt(6, {to(0, "newest@example.org")});
    s.until([&] { return s.asked.size() == 3; });
    write("newest: erin\n");
    s.attempt(7, {to(0, "newest@example.org")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
    s.asked[2].done(Code::unknown, "no such user", Fd());
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
}

TEST_CASE("aliases are looked at for mail that may have some, and for no other", "[local][dispatcher][alias]")
{
    Stage s;
    s.aliases_are("one: bob\n");
    s.rules.pipes.emplace("pipe", "piper");
    s.start();
    std::ofstream(s.aliases_path()) << "one: bob\ntwo: carol\n";
    s.attempt(1, {to(0, "two@example.org")}, "Subject: x\r\n", "pipe");
    s.until([&] { return !s.asked.empty(); });
    CHECK_FALSE(*s.aliases.has("two"));
    s.attempt(2, {to(0, "two@example.org")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
}

TEST_CASE("what an aliases file makes others do is done as its owner, and waits while he has no name", "[local][dispatcher][alias]")
{
    if (::geteuid() != 0) return;
    Stage s;
    s.aliases_are("cmd: \"|/bin/cat\", ~/box, alice\nplain: alice\n");
    const passwd* const daemon = ::getpwnam("daemon");
    REQUIRE(daemon);
    const std::string name = daemon->pw_name, home = daemon->pw_dir;
    REQUIRE(::chown(s.aliases_path().c_str(), daemon->pw_uid, 0) == 0);
    s.aliases.configure({});
    s.aliases.configure({cat("hash:", s.aliases_path())});
    s.start();
    s.attempt(1, {to(0, "cmd@example.org")});
    auto v = s.verdicts(1);
    REQUIRE(v[0].children.size() == 3);
    CHECK((v[0].children[0].kind == Kind::command && v[0].children[0].run_as == name));
    CHECK((v[0].children[1].kind == Kind::file && v[0].children[1].run_as == name && v[0].children[1].text == home + "/box"));
    CHECK((v[0].children[2].kind == Kind::address && v[0].children[2].run_as.empty()));
    REQUIRE(::chown(s.aliases_path().c_str(), 3'999'999'999u, 0) == 0);
    s.aliases.configure({});
    s.aliases.configure({cat("hash:", s.aliases_path())});
    s.attempt(2, {to(0, "cmd@example.org")});
    v = s.verdicts(1);
    CHECK((v[0].outcome == Outcome::deferred && v[0].dsn == "4.3.0"));
    CHECK(v[0].text == "alias_maps: the table with alias cmd: its owner, uid 3999999999, has no name; chown it to a user");
    s.attempt(3, {to(0, "plain@example.org")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
}

TEST_CASE("nobody is unknown while the file that may hold his alias cannot be read", "[local][dispatcher][alias]")
{
    Stage s;
    s.aliases_are("one: bob\n");
    s.start();
    REQUIRE(::unlink(s.aliases_path().c_str()) == 0);
    s.attempt(1, {to(0, "new@example.org"), to(1, "one@example.org")});
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
    s.until([&] { return !s.asked.empty(); });
    s.asked[0].done(Code::unknown, "no such user", Fd());
    const auto v = s.verdicts(1);
    CHECK(v[0].outcome == Outcome::deferred);
    CHECK(v[0].text == "alias_maps cannot be read");
}

TEST_CASE("aliases that many recipients of one mail get while they are looked for are found by each of them", "[local][dispatcher][alias]")
{
    constexpr uint32_t number = 30;
    Stage s;
    s.aliases_are("one: bob\n");
    s.start();
    std::vector<ipc::Target> many;
    std::string text = "one: bob\n";
    for (uint32_t i = 0; i < number; ++i) {
        many.push_back(to(i, cat("new", i, "@example.org")));
        append(text, "new", i, ": bob\n");
    }
    s.attempt(1, many);
    s.until([&] { return s.asked.size() == number; });
    rewrite(s.aliases_path(), text, 100);
    s.attempt(2, {to(0, "one@example.org")});    // looks at the file
    CHECK(s.verdicts(1)[0].outcome == Outcome::expanded);
    for (uint32_t i = 0; i < number; ++i) s.asked[i].done(Code::unknown, "no such user", Fd());
    for (const auto& v : s.verdicts(number)) CHECK(v.outcome == Outcome::expanded);
}

TEST_CASE("who has an alias each time that his user is not there waits for another attempt in the end, and does not fail", "[local][dispatcher][alias]")
{
    Stage s;
    s.aliases_are("one: bob\n");
    std::string text;
    for (int i = 0; i < 6000; ++i) append(text, "name", i, ": user", i, '\n');
    std::vector<std::pair<AliasMaps::Step, AliasMaps::Step>> readings;
    const AliasMaps::Run later = [&](AliasMaps::Step work, AliasMaps::Step done) { readings.emplace_back(std::move(work), std::move(done)); };
    time_t age = 1000;
    const auto write = [&](const std::string& content) {
        rewrite(s.aliases_path(), content, --age);
        readings.clear();
        s.aliases.refresh(later);
        REQUIRE(readings.size() == 1);
    };
    const auto take = [&] {
        readings[0].first();
        const auto done = readings[0].second;
        done();
    };
    write(text);
    take();
    s.start();
    s.attempt(1, {to(0, "new@example.org")});
    for (std::size_t i = 0; i < 20; ++i) {
        s.until([&] { return s.asked.size() == i + 1; });
        write(text);
        s.asked[i].done(Code::unknown, "no such user", Fd());
        CHECK(s.dispatcher->in_flight() == 1);
        take();
        s.dispatcher->set_rules(s.rules);    // the reading was the test's: somebody has to say that it is over
    }
    s.until([&] { return s.asked.size() == 21; });
    write(text + "new: dave\n");
    take();
    CHECK(s.aliases.doubt().empty());
    s.asked[20].done(Code::unknown, "no such user", Fd());
    const auto v = s.verdicts(1);
    CHECK((v[0].outcome == Outcome::deferred && v[0].dsn == "4.3.0"));
    CHECK(v[0].text == "alias_maps changes all the time");
}

TEST_CASE("while a map of mailboxes cannot be read, who is not in what was read before waits", "[local][places]")
{
    std::string folder = "/tmp/veredus-places-XXXXXX";
    REQUIRE(::mkdtemp(folder.data()));
    const std::string path = folder + "/map", away = folder + "/away";
    std::string lines;
    log::capture(&lines);
    for (auto map : {&PlaceSettings::transport_maps, &PlaceSettings::command_maps, &PlaceSettings::fallback_maps}) {
        const bool unknown = map == &PlaceSettings::fallback_maps, command = map == &PlaceSettings::command_maps;
        PlaceSettings settings;
        settings.*map = {cat("hash:", path)};
        rewrite(path, command ? "alice /usr/bin/procmail\n" : "alice lmtp:inet:[10.0.0.7]\n", 100);
        const auto places = *Places::create(settings);
        const auto kind = [&](const char* user) {
            places->refresh();
            return (unknown ? places->of_unknown(user) : places->of_mailbox(user)).kind;
        };
        const auto served = command ? Place::Kind::command : Place::Kind::transport;
        const auto without = kind("bob");
        CHECK((without != Place::Kind::deferred && without != served));
        CHECK(kind("alice") == served);
        REQUIRE(::rename(path.c_str(), away.c_str()) == 0);
        CHECK(kind("bob") == Place::Kind::deferred);
        CHECK(kind("alice") == served);
        REQUIRE(::rename(away.c_str(), path.c_str()) == 0);
        CHECK(kind("bob") == without);
    }
    log::capture(nullptr);
    ::unlink(path.c_str());
    ::rmdir(folder.c_str());
}

TEST_CASE("of very many lines with a problem some are said, and none again when the file is read again", "[local][alias]")
{
    std::string lines, text;
    log::capture(&lines);
    for (int i = 0; i < 500; ++i) append(text, "user", i, "@example.org: bob\n");
    char name[] = "/tmp/veredus-aliases.XXXXXX";
    const Fd fd(::mkstemp(name));
    rewrite(name, text, 100);
    AliasMaps maps;
    maps.configure({cat("hash:", name)});
    const auto count = [&](std::string_view what) {
        std::size_t number = 0;
        for (std::size_t at = lines.find(what); at != std::string::npos; at = lines.find(what, at + 1)) ++number;
        return number;
    };
    CHECK(count("have no domain") == 10);
    CHECK(count("… and 490 more such lines; newaliases -oAFILE lists those of a file") == 1);
    lines.clear();
    rewrite(name, text + "last@example.org: bob\n", 90);
    maps.refresh();
    CHECK(count("have no domain") == 1);
    CHECK(count("last@example.org") == 1);
    CHECK(count("more such lines") == 0);
    log::capture(nullptr);
    ::unlink(name);
}
