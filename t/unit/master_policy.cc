// Back-off, the worker policy, orders to a zygote, the status file, watched names of users.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/daemon/instance.h"
#include "lib/daemon/worker_policy.h"
#include "lib/daemon/zygote.h"
#include "master/sockets.h"
#include "master/backoff.h"
#include "master/notify.h"
#include "master/resolver/local_accounts.h"
#include "master/resolver/users.h"
#include "master/veredus/edit.h"
#include "master/worker_policy.h"

using namespace veredus;

TEST_CASE("a role that cannot start waits twice as long each time, and afresh after a good life", "[master][backoff]")
{
    master::Backoff backoff(1000, 60'000);
    for (const int64_t wait : {1000, 2000, 4000, 8000, 16'000, 32'000, 60'000, 60'000}) CHECK(backoff.died(10, false) == wait);
    CHECK(backoff.died(30'000, false) == 60'000);     // long, but never ready
    CHECK(backoff.died(1000, true) == 0);
    CHECK(backoff.died(10, false) == 1000);
}

TEST_CASE("a role that was at work comes back at once, however often it is killed", "[master][backoff]")
{
    master::Backoff backoff(1000, 60'000);
    for (int i = 0; i < 20; ++i) CHECK(backoff.died(1000 + i, true) == 0);
    // Ready, and dead at once: three times are somebody's kill -9, more are a fault of its own.
    for (const int64_t wait : {0, 0, 0, 1000, 2000, 4000}) CHECK(backoff.died(999, true) == wait);
    CHECK(backoff.died(2000, true) == 0);
    CHECK(backoff.died(10, true) == 0);
}

static ipc::UserReply user(std::string name, uint32_t uid, uint32_t gid)
{
    ipc::UserReply reply;
    reply.found = ipc::UserReply::Found::yes;
    reply.name = std::move(name);
    reply.uid = uid;
    reply.gid = gid;
    return reply;
}

TEST_CASE("no process is ever started for root, for our own users, or below the minimum", "[master][worker]")
{
    daemon::WorkerPolicy policy;
    policy.minimum_uid = 1000;
    policy.listed = {"www-data"};
    CHECK(policy.check(user("alice", 1000, 1000)));
    CHECK(policy.check(user("nobody", 65534, 65534)));
    CHECK(policy.check(user("www-data", 33, 33)));
    CHECK_FALSE(policy.check(user("daemon", 1, 1)));
    CHECK_FALSE(policy.check(user("alice", 999, 1000)));
    CHECK_FALSE(policy.check(user("alice", 1000, 0)));
    CHECK_FALSE(policy.check(user("veredus-queue", 1001, 1001)));
    CHECK_FALSE(policy.check(user("x", UINT32_MAX, 5)));
    CHECK(policy.check(user("veredus-root", 120, 120)));    // keeps root's mailbox
    CHECK_FALSE(policy.check(user("veredus-root", 0, 120)));
    // Whatever stands before the uid.
    policy.suite_uids = {1500};
    policy.suite_gids = {1600};
    policy.commands_uid = 1700;
    CHECK_FALSE(policy.check(user("eve@v.example", 1500, 1500)));
    CHECK_FALSE(policy.check(user("eve", 1500, 1500)));
    CHECK_FALSE(policy.check(user("eve@v.example", 1501, 1600)));
    CHECK(policy.check(user("eve", 1501, 1600)));    // an account: its group is its administrator's choice
    CHECK(policy.check(user("nobody", 1700, 1700)));
    CHECK(policy.check_keeper(user("5000:5001", 5000, 5001)));
    for (const auto& [uid, gid] : {std::pair<uint32_t, uint32_t>{0, 5000}, {5000, 0}, {999, 5000}, {1500, 5000}, {5000, 1600}, {1700, 5000}, {UINT32_MAX, 5000}})
        CHECK_FALSE(policy.check_keeper(user(table::ids_text(uid, gid), uid, gid)));
    // Nobody's process has group mail, whoever gave it to him.
    policy.closed_gids = {8, 42};
    policy.powerless_gid = 65533;
    CHECK((policy.gid_of_process(8) == 65533 && policy.gid_of_process(42) == 65533 && policy.gid_of_process(1000) == 1000));
    policy.listed = {"root", "toor"};
    CHECK_FALSE(policy.check(user("root", 0, 0)));
    CHECK_FALSE(policy.check(user("toor", 0, 5)));
}

TEST_CASE("whoever gets no process is nobody for router, and nothing else changes", "[master][worker]")
{
    using Found = ipc::UserReply::Found;
    daemon::WorkerPolicy policy;
    policy.minimum_uid = 1000;
    CHECK(policy.as_recipient(user("alice", 1000, 1000)).found == Found::yes);
    CHECK(policy.as_recipient(user("veredus-root", 120, 120)).found == Found::yes);
    for (const ipc::UserReply& refused : {user("daemon", 1, 1), user("veredus-queue", 1001, 1001), user("toor", 0, 0)}) {
        const auto told = policy.as_recipient(refused);
        CHECK(told.found == Found::no);
        CHECK(told.name == refused.name);
        CHECK(told.uid == 0);
    }
    ipc::UserReply away;
    CHECK(policy.as_recipient(away).found == Found::temporary);
}

TEST_CASE("without root only our own uid is served", "[master][worker]")
{
    daemon::WorkerPolicy policy;
    policy.unprivileged = true;
    policy.own_uid = 1234;
    CHECK(policy.check(user("alice", 1234, 1234)));
    CHECK_FALSE(policy.check(user("bob", 1235, 1234)));
    CHECK(policy.check_keeper(user("1234:5", 1234, 5)));
    CHECK_FALSE(policy.check_keeper(user("1235:5", 1235, 5)));
}

TEST_CASE("the ids of the mail system's own users are those of this host", "[master][worker]")
{
    auto values = conf::Values::defaults();
    const passwd* nobody = ::getpwnam("nobody");
    const auto policy = daemon::WorkerPolicy::from(values, false, 0);
    CHECK((policy.commands_uid == (nobody ? std::optional<uint32_t>(nobody->pw_uid) : std::nullopt)));
    const passwd* queue = ::getpwnam("veredus-queue");
    CHECK(policy.check(user("eve", queue ? queue->pw_uid : 5000, 5000)).has_value() == (queue == nullptr));
    CHECK(daemon::WorkerPolicy::from(values, true, 0).suite_uids.empty());
    const group* mail = ::getgrnam("mail");
    REQUIRE(mail);
    CHECK((policy.gid_of_process(mail->gr_gid) == policy.powerless_gid && daemon::WorkerPolicy::from(values, true, 0).gid_of_process(mail->gr_gid) == mail->gr_gid));
}

TEST_CASE("names that are no user names are refused before anyone is asked", "[master][worker]")
{
    for (const std::string& name : {std::string(), std::string(256, 'a'), std::string("a/b"), std::string("a:b"), std::string("a b"), std::string("a\n"), std::string("a\0b", 3)})
        CHECK_FALSE(master::check_user_name(name));
    for (const std::string& name : {std::string("alice"), std::string(255, 'a'), std::string("web.user-1_x")}) CHECK(master::check_user_name(name));
}

static std::pair<Fd, Fd> pair()
{
    auto made = socket_pair(SOCK_SEQPACKET);
    REQUIRE(made);
    return std::move(*made);
}

TEST_CASE("an order crosses to the zygote with its channel", "[master][daemon][zygote]")
{
    auto [ours, theirs] = pair();
    auto [channel, other] = pair();
    auto reply = user("alice", 1000, 100);
    reply.home = "/home/alice";
    reply.shell = "/bin/sh";
    const auto order = master::make_serve(reply, false);
    REQUIRE(order);
    REQUIRE(master::send_serve(ours.get(), *order, channel.get()));
    auto got = daemon::receive_serve(theirs.get(), false);
    REQUIRE(got);
    CHECK(std::string(got->who.name) == "alice");
    CHECK(std::string(got->who.home) == "/home/alice");
    CHECK(got->who.uid == 1000);
    CHECK(got->who.gid == 100);
    REQUIRE(::write(other.get(), "x", 1) == 1);
    char byte = 0;
    CHECK(::read(got->channel.get(), &byte, 1) == 1);
    CHECK(daemon::receive_serve(theirs.get(), false).error().code == EAGAIN);
    ours.reset();
    CHECK(daemon::receive_serve(theirs.get(), false).error().code == ENOTCONN);
}

TEST_CASE("a zygote refuses orders that are misshapen, without a channel, for root or for another mode", "[daemon][zygote]")
{
    auto [ours, theirs] = pair();
    ipc::Serve good{};
    std::strcpy(good.name, "alice");
    good.uid = good.gid = 1000;
    const auto refused = [&](const ipc::Serve& order, bool unprivileged) {
        REQUIRE(master::send_serve(ours.get(), order, ours.get()));
        const auto got = daemon::receive_serve(theirs.get(), unprivileged);
        return !got && got.error().code == EBADMSG;
    };
    CHECK_FALSE(refused(good, false));
    CHECK(refused(good, true));
    auto bad = good;
    bad.uid = 0;
    CHECK(refused(bad, false));
    bad = good;
    bad.name[0] = 0;
    CHECK(refused(bad, false));
    bad = good;
    std::memset(bad.home, 'x', sizeof bad.home);
    CHECK(refused(bad, false));
    REQUIRE(::send(ours.get(), &good, sizeof good, 0) == static_cast<ssize_t>(sizeof good));     // no descriptor
    CHECK(daemon::receive_serve(theirs.get(), false).error().code == EBADMSG);
    REQUIRE(::send(ours.get(), &good, 100, 0) == 100);
    CHECK(daemon::receive_serve(theirs.get(), false).error().code == EBADMSG);
}

TEST_CASE("a home that does not fit an order is an error, not cut off", "[master][worker]")
{
    auto reply = user("alice", 1000, 1000);
    reply.home = std::string(1024, 'h');
    CHECK_FALSE(master::make_serve(reply, false));
    reply.home = std::string("/a\0b", 4);
    CHECK_FALSE(master::make_serve(reply, false));
}

TEST_CASE("the status file says again what was written", "[daemon][instance]")
{
    daemon::Status status;
    status.version = "0.1.0";
    status.pid = 42;
    status.since = 1'700'000'000;
    status.reloads = 3;
    status.last_reload_good = false;
    status.unprivileged = true;
    status.processes = {{"smtpd", "ready", 1, 77, 5, 2, "killed by signal 11"}, {"qmgr", "down", 0, 0, 6, 0, ""}};
    const auto again = daemon::Status::decode(status.encode());
    REQUIRE(again);
    CHECK(again->encode() == status.encode());
    CHECK(again->processes == status.processes);
    CHECK_FALSE(again->last_reload_good);
    for (const char* text : {"", "pid x\n", "pid 4\nprocess smtpd\n", "pid 4\nprocess smtpd x ready 1 1 1 \n"}) CHECK_FALSE(daemon::Status::decode(text));
}

TEST_CASE("the pid file's lock tells a living master from a stale file", "[daemon][instance]")
{
    char folder[] = "/tmp/veredus-unit-XXXXXX";
    REQUIRE(::mkdtemp(folder));
    const auto before = daemon::find_running(folder);
    REQUIRE(before);
    CHECK(before->pid == 0);
    CHECK_FALSE(before->stale_file);
    int gate[2];
    REQUIRE(::pipe(gate) == 0);
    int done[2];
    REQUIRE(::pipe(done) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto file = daemon::PidFile::take(folder);
        if (file) file->write(::getpid());
        [[maybe_unused]] auto n = ::write(gate[1], file ? "y" : "n", 1);
        char byte;
        n = ::read(done[0], &byte, 1);
        ::_exit(0);
    }
    char byte = 0;
    REQUIRE(::read(gate[0], &byte, 1) == 1);
    CHECK(byte == 'y');
    const auto during = daemon::find_running(folder);
    REQUIRE(during);
    CHECK(during->pid == child);
    const auto second = daemon::PidFile::take(folder);
    REQUIRE_FALSE(second);
    CHECK(second.error().text.find(cat(child)) != std::string::npos);
    REQUIRE(::write(done[1], "x", 1) == 1);
    while (::kill(child, 0) == 0 && ::waitpid(child, nullptr, 0) < 0) {
    }
    const auto after = daemon::find_running(folder);
    REQUIRE(after);
    CHECK(after->pid == 0);
    CHECK(after->stale_file);
    ::unlink(cat(folder, "/master.pid").c_str());
    ::rmdir(folder);
}

TEST_CASE("a passwd-file names users as Dovecot's does, and bad lines hide nobody", "[resolver]")
{
    const auto file = resolver::PasswdFile::parse("# comment\n\nalice:{PLAIN}x:1000:1001:Alice A:/home/alice:/bin/sh:userdb_mail=maildir:~/x\nbob:::::\nbob:x:5:5\r\n"
                                                  "carol\n:x:1:1\ndave:x:ten:1\neve:x:1:1::relative\nfred:x:4294967295:1\n",
                                                  7, 8);
    REQUIRE(file.find("alice"));
    CHECK(file.find("alice")->uid == 1000);
    CHECK(file.find("alice")->gid == 1001);
    CHECK(file.find("alice")->gecos == "Alice A");
    CHECK(file.find("alice")->home == "/home/alice");
    CHECK(file.find("alice")->shell == "/bin/sh");
    REQUIRE(file.find("bob"));
    CHECK(file.find("bob")->uid == 7);         // the first line counts
    CHECK(file.find("carol"));
    // Nobody is unknown, and refused for good, for a slip of the pen in his line.
    for (const auto& [name, flaw] : {std::pair{"dave", "line 8: uid \"ten\": neither a number nor a name"}, {"eve", "line 9: home \"relative\": is no absolute path"}, {"fred", "line 10: uid \"4294967295\""}}) {
        REQUIRE(file.find(name));
        CHECK(file.find(name)->found == ipc::UserReply::Found::temporary);
        CHECK(file.find(name)->text.starts_with(flaw));
    }
    CHECK(file.misfits() == 1);
    CHECK(file.size() == 6);
    CHECK(file.problems().size() == 3);
}

TEST_CASE("ids of a passwd-file may be names, and Dovecot's extra fields may say them", "[resolver]")
{
    const passwd* daemon = ::getpwnam("daemon");
    const group* sys = ::getgrnam("sys");
    REQUIRE((daemon && sys));
    const uint32_t uid = daemon->pw_uid, gid = sys->gr_gid;
    const auto file = resolver::PasswdFile::parse("a:x:daemon:sys::/h\nb:x:no-such-user:sys::/h\nc:x:daemon:no-such-group::/h\nd:x:::::: userdb_uid=daemon userdb_gid=7 userdb_home=/srv/d\n"
                                                  "e:x:9:9::/old::userdb_home=/new userdb_mail=maildir:~/m\nf:x:-1:1::/h\ng:x:12x:1::/h\nh:x:5000:::/h\n",
                                                  UINT32_MAX, UINT32_MAX);
    using Found = ipc::UserReply::Found;
    CHECK((file.find("a")->found == Found::yes && file.find("a")->uid == uid && file.find("a")->gid == gid));
    for (const char* name : {"b", "c", "f", "g"}) {
        INFO(name);
        CHECK(file.find(name)->found == Found::temporary);
        CHECK(file.find(name)->text.find("neither a number nor a name that the system has") != std::string::npos);
    }
    CHECK((file.find("d")->uid == uid && file.find("d")->gid == 7 && file.find("d")->home == "/srv/d"));
    CHECK((file.find("e")->home == "/new" && file.find("e")->mailbox == "/new/m/"));
    CHECK(file.find("h")->gid == UINT32_MAX);    // there for the password alone
    std::string many;
    for (int i = 0; i < 1100; ++i) append(many, 'u', i, ":x:no-such-", i, ":1::/h\n");
    CHECK(resolver::PasswdFile::parse(many, 7, 8).find("u1099")->text.find("write numbers") != std::string::npos);
}

TEST_CASE("a passwd-file may say where a user's mail is", "[resolver]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"userdb_mail=maildir:~/Maildir", "/home/a/Maildir/"}, {"nologin=n userdb_mail=maildir:/srv/a/:INDEX=/x allow_nets=::1/128", "/srv/a/"},
        {"userdb_mail=mbox:~/inbox", "/home/a/inbox"},         {"userdb_mail=maildir:~", "/home/a/"},
        {"userdb_mail_path=~/Y userdb_mail_driver=maildir", "/home/a/Y/"}, {"", ""},
        {"userdb_mail_driver=mbox userdb_mail_path=%{home}/mail userdb_mail_inbox_path=/var/mail/%{user}", "/var/mail/a"},
        {"userdb_mail=maildir:/srv/m:LAYOUT=Maildir++", "/srv/m/"}, {"userdb_mail= userdb_quota_rule=*:storage=1G", ""},
        {"userdb_mail=maildir:/srv/m:INDEX=/x:CONTROL=/y:LAYOUT=maildir++:INBOX=/srv/m", "/srv/m/"},
        {"userdb_mail=mbox:~/mail:INBOX=/var/mail/%u:INDEX=/x:LAYOUT=fs", "/var/mail/a"},
        {"userdb_mail=mbox:%h/mail/:INBOX=~/.inbox", "/home/a/.inbox"},
    };
    for (const auto& [extra, mailbox] : cases) {
        INFO(extra);
        const auto file = resolver::PasswdFile::parse(cat("a:x:1000:1000::/home/a:/bin/sh:", extra, "\n"), 7, 8);
        REQUIRE(file.find("a"));
        CHECK(file.find("a")->found == ipc::UserReply::Found::yes);
        CHECK(file.find("a")->mailbox == mailbox);
    }
}

TEST_CASE("one template in a passwd-file is a mailbox of each user, and of no name another's", "[resolver]")
{
    const struct {
        const char *name, *mail, *mailbox, *flaw;    // mailbox: empty where `flaw` is said
    } cases[] = {
        {"ann@v.example", "maildir:/srv/%d/%n", "/srv/v.example/ann/", ""},
        {"ben@v.example", "maildir:/srv/%d/%n", "/srv/v.example/ben/", ""},
        {"ben@w.example", "maildir:/srv/%d/%n", "/srv/w.example/ben/", ""},
        {"Ann@V.example", "maildir:/srv/%Ld/%Un/%LUu", "/srv/v.example/ANN/ann@v.example/", ""},
        {"Ann@v.example", "maildir:/srv/%{user|domain}/%{user|username|lower}", "/srv/v.example/ann/", ""},
        {"ann@v.example", "maildir:%{home}/%{username}%%d:INDEX=/x/%u", "/home/%d/ann%d/", ""},
        {"ann@v.example", "mbox:%h/%n", "/home/%d/ann", ""},
        {"a%d@v.example", "maildir:/srv/%u", "/srv/a%d@v.example/", ""},
        {"..@v.example", "maildir:/srv/%d/%n", "", "%n: \"..\" cannot be part"},
        {".@v.example", "maildir:/srv/%d/%n", "", "%n: \".\" cannot be part"},
        {"ann@..", "maildir:/srv/%d/%n", "", "%d: \"..\" cannot be part"},
        {"x@..", "maildir:/srv/%{user|lower|domain}/x", "", "cannot be part"},
        {".@v.example", "maildir:/srv/.%{user|lower|username}/x", "", "cannot be part"},
        {"ann", "maildir:/srv/%d/%n", "", "%d: the user's name has nothing for it"},
        {"@v.example", "maildir:/srv/%d/%n", "", "%n: the user's name has nothing for it"},
        {"ann@v.example", "maildir:/srv/%2.26Hn", "", "%2: not a variable"},
        {"ann@v.example", "maildir:/srv/%{user|sha1}", "", "\"sha1\": not a modifier"},
        {"ann@v.example", "maildir:/srv/%{nonsense}", "", "%nonsense: not a variable"},
        {"ann@v.example", "maildir:/srv/%{user", "", "%{ without }"},
        {"ann@v.example", "maildir:/srv/%{}", "", "not a variable"},
        {"ann@v.example", "maildir:/srv/%L", "", "% without a variable"},
        {"ann@v.example", "maildir:/srv/%", "", "% without a variable"},
        {"ann@v.example", "maildir:%n", "", "no absolute path"},
        {"ann@v.example", "maildir:/", "", "no absolute path"},
        {"ann@v.example", "maildir:/srv/../etc", "", "has a part \"..\""},
        {"ann@v.example", "maildir:/srv/m:LAYOUT=fs", "", "LAYOUT=fs: not understood"},
        {"ann@v.example", "mdbox:~/mdbox", "", "of this kind are not read here; maildir and mbox are"},
        {"ann@v.example", "sdbox:~/x", "", "of this kind are not read here"},
        {"ann@v.example", "~/Maildir", "", "its kind comes first"},
        {"ann@v.example", "maildir:/srv/m:UTF-8", "", "UTF-8: not understood"},
        {"ann@v.example", "maildir:/srv/m:", "", "an empty word: not understood"},
        {"ann@v.example", "maildir:/srv/m:INBOX=/srv/n", "", "INBOX=: a Maildir has its INBOX at its top"},
        {"ann@v.example", "mbox:~/Mail:INBOX=/var/mail/%n", "", "/home/%d/Mail: the folders beside INBOX= are in ~/mail"},
    };
    for (const auto& c : cases) {
        INFO(c.name << ' ' << c.mail);
        const auto file = resolver::PasswdFile::parse(cat("# users\n\n", c.name, "::5000:5000::/home/%d::userdb_mail=", c.mail, "\n"), 7, 8);
        const auto* found = file.find(c.name);
        REQUIRE(found);
        CHECK(found->mailbox == c.mailbox);
        if (*c.flaw) {
            CHECK(found->found == ipc::UserReply::Found::temporary);
            CHECK(found->text.starts_with(cat("line 3: userdb_mail=", c.mail, ": ")));
            CHECK(found->text.find(c.flaw) != std::string::npos);
            REQUIRE(file.problems().size() == 1);
            CHECK(file.problems()[0].starts_with(found->text));
        } else {
            CHECK(found->found == ipc::UserReply::Found::yes);
            CHECK(file.problems().empty());
        }
    }
    // ~ and %h of who has no home are not the root of the file system.
    for (const char* mail : {"maildir:~/m", "maildir:%h/m", "mbox:~", "mbox:~/mail:INBOX=/var/mail/x"})
        CHECK(resolver::PasswdFile::parse(cat("x::1:1::::userdb_mail=", mail), 7, 8).find("x")->text.find("no home") != std::string::npos);
    for (const auto& [extra, flaw] : {std::pair{"userdb_mail_path=~/Y", "userdb_mail_driver=maildir or mbox has to stand beside it"}, {"userdb_mail_driver=sdbox userdb_mail_path=~/Y", "of this kind are not read here"},
                                      {"userdb_mail_driver=maildir", "userdb_mail_path has to stand beside it"}, {"userdb_mail_driver=maildir userdb_mail_path=../x", "userdb_mail_path=../x: "}}) {
        const auto file = resolver::PasswdFile::parse(cat("x::1:1::/h::", extra), 7, 8);
        CHECK(file.find("x")->found == ipc::UserReply::Found::temporary);
        CHECK(file.find("x")->text.find(flaw) != std::string::npos);
    }
    // What is not used is not complained about.
    CHECK(resolver::PasswdFile::parse("x:::::::userdb_mail=maildir:%d\nb::1:1::/b\nb::1:1::/b::userdb_mail=maildir:%d\n", UINT32_MAX, UINT32_MAX).problems().empty());
    std::string many;
    for (int i = 0; i < 50; ++i) append(many, 'u', i, "::1:1::::userdb_mail=maildir:", std::string(2000, 'x'), "\n");
    const auto file = resolver::PasswdFile::parse(many, 7, 8);
    CHECK(file.size() == 50);
    CHECK(file.problems().size() == 20);
    CHECK(file.problems()[0].size() < 700);
}

namespace {
struct HandClock final : Clock {
    int64_t now = 1;
    int64_t wall_us() const override { return now; }
    int64_t mono_us() const override { return now; }
};
}  // namespace

TEST_CASE("answers about users are cached for a while, temporary ones never, and the cache is bounded", "[resolver]")
{
    HandClock clock;
    resolver::Cache cache(clock, 10, 3);
    cache.keep("a", user("a", 1, 1));
    REQUIRE(cache.find("a"));
    clock.now += 10 * us_per_second;
    CHECK_FALSE(cache.find("a"));
    ipc::UserReply unknown;
    unknown.found = ipc::UserReply::Found::temporary;
    cache.keep("t", unknown);
    CHECK_FALSE(cache.find("t"));
    for (const char* name : {"a", "b", "c", "d", "d"}) cache.keep(name, user(name, 1, 1));
    CHECK(cache.size() == 3);
    CHECK_FALSE(cache.find("a"));
    CHECK(cache.find("d"));
}

TEST_CASE("sources of users are asked in order, and trouble with one is temporary, never absence", "[resolver]")
{
    HandClock clock;
    int asked = 0;
    bool broken = false;
    resolver::Users users(clock, 10, false, [&](const std::string& name) {
        ++asked;
        ipc::UserReply reply;
        reply.found = broken ? ipc::UserReply::Found::temporary : name == "sys" ? ipc::UserReply::Found::yes : ipc::UserReply::Found::no;
        reply.name = name;
        reply.uid = reply.gid = 500;
        return reply;
    });
    users.set_sources({"system", "file:/x"});
    CHECK(users.find("virtual").found == ipc::UserReply::Found::temporary);    // the file has not been read
    users.set_file("/x", "virtual:x:600:600::/v\nsys:x:1:1\nhalf:x::\nlost:x:600:600::/v::userdb_mail=maildir:/srv/%d\n");
    CHECK(users.find("virtual").uid == 600);
    CHECK(users.find("lost").found == ipc::UserReply::Found::temporary);
    CHECK(users.find("lost").text.starts_with("/x, line 4: userdb_mail=maildir:/srv/%d: %d: "));
    CHECK(users.find("sys").uid == 500);
    CHECK(users.find("nobody-here").found == ipc::UserReply::Found::no);
    CHECK(users.find("half").found == ipc::UserReply::Found::temporary);
    const int before = asked;
    CHECK(users.find("sys").uid == 500);
    CHECK(asked == before);
    broken = true;
    clock.now += 11 * us_per_second;
    CHECK(users.find("virtual").found == ipc::UserReply::Found::temporary);
    for (const char* name : {"", "a/b", "a:b", "a\nb"}) CHECK(users.find(name).found == ipc::UserReply::Found::no);
}

TEST_CASE("/etc/passwd answers where it is asked first, as glibc would, and what it does not say is left to the system", "[resolver]")
{
    char folder[] = "/tmp/veredus-accounts.XXXXXX";
    REQUIRE(::mkdtemp(folder));
    const std::string passwd = cat(folder, "/passwd"), order = cat(folder, "/nsswitch.conf");
    const auto put = [](const std::string& path, const std::string& text) {
        const std::string next = path + ".next";
        const Fd file(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        REQUIRE(write_all(file.get(), text));
        REQUIRE(::rename(next.c_str(), path.c_str()) == 0);
    };
    put(order, "# passwd: ldap\n\npasswd:\tfiles systemd   # as Debian\ngroup: files\n");
    put(passwd, "root:x:0:0:root:/root:/bin/sh\n  blank:x:5:5::/:/bin/sh\n#anna:x:1:1::/:/bin/sh\n+nis:x:1:1::/:/bin/sh\n"
                "anna:x:1000:1001:Anna A.,,,:/home/anna:/bin/bash\nanna:x:2:2::/:/bin/sh\nodd:x:many:1::/:/bin/sh\nodd:x:7:7::/:/bin/sh\nshort:x:1:1\n:x:1:1::/:/x\n\n");
    resolver::LocalAccounts accounts(system_clock(), passwd, order);
    const auto anna = accounts.find("anna");
    REQUIRE(anna);
    CHECK(anna->found == ipc::UserReply::Found::yes);
    CHECK(anna->name == "anna");
    CHECK(anna->uid == 1000);
    CHECK(anna->gid == 1001);
    CHECK(anna->gecos == "Anna A.,,,");
    CHECK(anna->home == "/home/anna");
    CHECK(anna->shell == "/bin/bash");
    CHECK(anna->mailbox.empty());
    REQUIRE(accounts.find("blank"));
    CHECK(accounts.find("blank")->uid == 5);
    for (const char* name : {"nobody", "nis", "+nis", "odd", "short", "#anna"}) CHECK_FALSE(accounts.find(name));
    // Changes are seen at once, in either file, also one that leaves size and time as they were.
    for (int uid = 1000; uid < 1050; ++uid) {
        const Fd file(::open(passwd.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
        REQUIRE(write_all(file.get(), cat("anna:x:", uid, ":1::/home/anna:/bin/sh\n")));
        REQUIRE(accounts.find("anna"));
        CHECK(accounts.find("anna")->uid == static_cast<uint32_t>(uid));
    }
    struct Order {
        const char* text;
        bool first;
    };
    for (const Order& o : {Order{"passwd: files\n", true}, {"passwd: ldap files\n", false}, {"passwd: files [SUCCESS=continue] ldap\n", false}, {"passwd:\n", false}, {"group: files\n", false},
                           {"passwd: files\npasswd: ldap\n", false}, {" passwd : files ldap [NOTFOUND=return]", true}, {"passwd: compat\n", false}, {"", false}}) {
        put(order, o.text);
        INFO(o.text);
        CHECK(accounts.find("anna").has_value() == o.first);
    }
    put(order, "passwd: files\n");
    REQUIRE(::unlink(passwd.c_str()) == 0);
    CHECK_FALSE(accounts.find("anna"));
    REQUIRE(::unlink(order.c_str()) == 0);
    CHECK_FALSE(accounts.find("anna"));
    // The machine's own, as getpwnam(3) has it.
    resolver::LocalAccounts real(system_clock());
    if (const auto root = real.find("root")) {
        const auto system = resolver::system_user("root");
        CHECK(root->home == system.home);
        CHECK(root->shell == system.shell);
        CHECK(root->gecos == system.gecos);
    }
    REQUIRE(::rmdir(folder) == 0);
}

TEST_CASE("a virtual user of tables has his mailbox, with the rights of the account that keeps it", "[resolver]")
{
    HandClock clock;
    table::VirtualSettings settings;
    settings.mailboxes = {"inline:{bob@v.example=v.example/bob/, box@v.example=box, both@v.example=both/, @all.example=all/}"};
    settings.uids = {"static:5000"};
    settings.base = "/srv/mail";
    table::VirtualMailboxes tables(settings, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional(table::KeeperAccount{"vmail", 5001}); });
    resolver::Users users(clock, 10, false, [&](const std::string& name) { return ipc::UserReply{ipc::UserReply::Found::no, name, "", "", "", "", "", 0, 0}; });
    users.set_sources({"file:/x"});
    users.set_file("/x", "bob@v.example:{PLAIN}x\nown@v.example:x:600:600::/v\nboth@v.example:x:600:600::/v\nbobby:x\npass@all.example:x\nline@all.example:x:600:600::/v\n");
    using Said = resolver::VirtualUsers::Said;
    const auto find = [&](const std::string& name, bool first = false) {
        const Said said{resolver::user_of_tables(tables, name, false), first};
        return users.find(name, &said);
    };
    CHECK(users.find("bob@v.example").found == ipc::UserReply::Found::temporary);
    const auto bob = find("Bob@V.example");
    CHECK(bob.found == ipc::UserReply::Found::yes);
    CHECK(bob.name == "bob@v.example");
    CHECK(bob.mailbox == "/srv/mail/v.example/bob/");
    CHECK(bob.home.empty());
    CHECK((bob.uid == 5000 && bob.gid == 5001));
    CHECK(find("box@v.example").mailbox == "/srv/mail/box");
    // A catch-all is nobody's by his password in that domain: not of who has a line, nor of who has a password alone.
    CHECK(find("pass@all.example", true).found == ipc::UserReply::Found::temporary);
    CHECK(find("pass@all.example", true).text.find("virtual_mailbox_maps has no entry of his own") != std::string::npos);
    CHECK(find("line@all.example", true).uid == 600);
    CHECK(find("none@all.example", true).found == ipc::UserReply::Found::no);
    CHECK(find("own@v.example").uid == 600);
    CHECK(find("nobody@v.example").found == ipc::UserReply::Found::no);
    // In both: tables go first in a virtual domain, as for his mail, and a line of his own elsewhere.
    CHECK(find("both@v.example", false).uid == 600);
    CHECK(users.find("both@v.example").uid == 600);         // router's question, which is kept
    CHECK(find("both@v.example", true).mailbox == "/srv/mail/both/");
    CHECK(find("own@v.example", true).uid == 600);
    const Said trouble{ipc::UserReply{}, true};
    CHECK(users.find("own@v.example", &trouble).found == ipc::UserReply::Found::temporary);
    // Whether a recipient exists, router finds by its domain.
    CHECK(users.find("box@v.example").found == ipc::UserReply::Found::no);
    CHECK(resolver::user_of_tables(tables, "bob", false).found == ipc::UserReply::Found::no);
    if (::getuid() != 5000) CHECK(resolver::user_of_tables(tables, "bob@v.example", true).found == ipc::UserReply::Found::no);
    // Who keeps his mailbox need be no account.
    settings.uids = {"static:7777"};
    settings.gids = {"static:7700"};
    table::VirtualMailboxes nameless(settings, [](uid_t) -> Result<std::optional<table::KeeperAccount>> { return std::optional<table::KeeperAccount>(); });
    const auto kept = resolver::user_of_tables(nameless, "bob@v.example", false);
    CHECK((kept.found == ipc::UserReply::Found::yes && kept.name == "bob@v.example" && kept.uid == 7777 && kept.gid == 7700));
    settings.uids = {"static:x"};
    table::VirtualMailboxes broken(settings);
    CHECK(resolver::user_of_tables(broken, "bob@v.example", false).found == ipc::UserReply::Found::temporary);
}

TEST_CASE("tables go first where virtual_mailbox_domains has the domain, and nobody guesses when that cannot be told", "[resolver]")
{
    const auto first = [](const std::string& domains, const std::string& name) {
        const auto file = conf::File::parse(cat("virtual_mailbox_maps = inline:{bob@v.example=bob/, bob@w.example=bob/}\nvirtual_uid_maps = static:65534\n"
                                                "virtual_mailbox_base = /srv\nvirtual_mailbox_domains = ", domains, "\n"),
                                            "main.cf");
        REQUIRE(file.ok());
        return resolver::VirtualUsers(file.values(), false).find(name);
    };
    const auto here = first("v.example", "Bob@v.example"), elsewhere = first("v.example", "bob@w.example");
    CHECK((here.user.mailbox == "/srv/bob/" && here.first));
    CHECK((elsewhere.user.mailbox == "/srv/bob/" && !elsewhere.first));
    CHECK_FALSE(first("v.example", "carol@v.example").first);
    const auto file = conf::File::parse("virtual_mailbox_maps = inline:{bob@v.example=bob/}\nvirtual_uid_maps = inline:{bob@v.example=3999999999, low@v.example=7}\n"
                                        "virtual_mailbox_base = /srv\nvirtual_gid_maps = static:3999999998\n", "main.cf");
    REQUIRE(file.ok());
    resolver::VirtualUsers users(file.values(), false);
    const auto keeper = users.keeper("Bob+x@V.example");
    CHECK((keeper.found == ipc::UserReply::Found::yes && keeper.name == "3999999999:3999999998" && keeper.uid == 3999999999 && keeper.gid == 3999999998 && keeper.mailbox.empty()));
    for (const std::string& text : {std::string("low@v.example"), std::string("eve@v.example"), cat(std::string(2000, 'a'), "@v.example")}) {
        CHECK(users.keeper(text).found != ipc::UserReply::Found::yes);
        CHECK(ipc::UserReply::decode(users.keeper(text).encode()));
    }
    CHECK(users.keeper("bob").found == ipc::UserReply::Found::no);
    const auto trouble = first("socketmap:unix:/nonexistent/s:domains", "bob@v.example");
    CHECK((trouble.user.found == ipc::UserReply::Found::temporary && trouble.first));
    CHECK(first("socketmap:unix:/nonexistent/s:domains", "carol@v.example").user.found == ipc::UserReply::Found::no);
}

TEST_CASE("while the list of virtual domains cannot be read, nobody guesses for a domain that was not in it", "[resolver]")
{
    char name[] = "/tmp/veredus-domains.XXXXXX";
    const Fd list(::mkstemp(name));
    REQUIRE(write_all(list.get(), "v.example\n"));
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    REQUIRE(::futimens(list.get(), times) == 0);
    const auto file = conf::File::parse(cat("virtual_mailbox_maps = inline:{bob@v.example=bob/, bob@w.example=bob/}\nvirtual_uid_maps = static:65534\n"
                                            "virtual_mailbox_base = /srv\nvirtual_mailbox_domains = ", name, "\n"),
                                        "main.cf");
    REQUIRE(file.ok());
    resolver::VirtualUsers users(file.values(), false);
    CHECK_FALSE(users.find("bob@w.example").first);
    ::unlink(name);
    const auto doubtful = users.find("bob@w.example"), known = users.find("bob@v.example");
    CHECK((doubtful.first && doubtful.user.found == ipc::UserReply::Found::temporary));
    CHECK((known.first && known.user.found == ipc::UserReply::Found::yes));
}

TEST_CASE("a setting is edited in its place and everything else stays", "[veredus][config]")
{
    using admin::edit_setting;
    CHECK(edit_setting("", "a", "1") == "a = 1\n");
    CHECK(edit_setting("a = 0", "b", "1") == "a = 0\nb = 1\n");
    CHECK(edit_setting("# c\na = 0\nb = 2\n", "a", "1") == "# c\na = 1\nb = 2\n");
    CHECK(edit_setting("a = 0,\n  more\n# comment\n  still\nb = 2\n", "a", "1") == "a = 1\n# comment\nb = 2\n");
    CHECK(edit_setting("a=0\nb = 2\na = 3\n", "a", "1") == "a = 1\nb = 2\n");
    CHECK(edit_setting("ab = 0\n#a = 5\n", "a", "1") == "ab = 0\n#a = 5\na = 1\n");
    CHECK(edit_setting("a = 0\n  x\nb = 2\n", "a", std::nullopt) == "b = 2\n");
    CHECK(edit_setting("b = 2\n", "a", std::nullopt) == "b = 2\n");
    CHECK(edit_setting("  a = 0\n", "a", "1") == "  a = 0\na = 1\n");
}

TEST_CASE("systemd hears what was said, on a path and on an abstract socket, and roles do not inherit its address", "[master][notify]")
{
    for (const std::string& path : {cat("/tmp/veredus-unit-", ::getpid(), ".notify"), cat("@veredus-unit-", ::getpid())}) {
        const Fd listener(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        if (path[0] == '@') address.sun_path[0] = 0;
        REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size())) == 0);
        ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
        ::setenv("WATCHDOG_USEC", "30000000", 1);
        ::setenv("WATCHDOG_PID", cat(::getpid()).c_str(), 1);
        const auto notifier = master::Notifier::from_environment();
        CHECK(notifier.watchdog_ms() == 30'000);
        CHECK(::getenv("NOTIFY_SOCKET") == nullptr);
        CHECK(::getenv("WATCHDOG_USEC") == nullptr);
        notifier.say("READY=1\nSTATUS=running");
        notifier.reloading();
        char buffer[256];
        ssize_t n = ::recv(listener.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        REQUIRE(n > 0);
        CHECK(std::string(buffer, static_cast<std::size_t>(n)) == "READY=1\nSTATUS=running");
        n = ::recv(listener.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        REQUIRE(n > 0);
        CHECK(std::string(buffer, static_cast<std::size_t>(n)).find("RELOADING=1\nMONOTONIC_USEC=") == 0);
        if (path[0] == '/') ::unlink(path.c_str());
    }
    ::setenv("WATCHDOG_USEC", "30000000", 1);
    ::setenv("WATCHDOG_PID", "1", 1);     // somebody else's
    CHECK(master::Notifier::from_environment().watchdog_ms() == 0);
}

TEST_CASE("master connects to Unix sockets that main.cf names, and to no other", "[master]")
{
    auto values = conf::Values::defaults();
    values.set_for_test("lmtp_unix_sockets", "/run/dovecot/lmtp, /srv/lmtp/");
    values.set_for_test("virtual_transport", "lmtp:unix:/run/cyrus/lmtp");
    for (const char* good : {"/run/dovecot/lmtp", "/srv/lmtp/a", "/srv/lmtp/b/c", "/run/cyrus/lmtp"}) {
        INFO(good);
        CHECK(master::may_connect(good, values));
    }
    for (const std::string& bad : std::vector<std::string>{"/run/docker.sock", "/run/dovecot/lmtp2", "/run/dovecot", "/srv/lmtp", "/srv/lmtp/", "/srv/lmtp/../docker.sock", "/srv/lmtp/./a", "//run/dovecot/lmtp",
                                  "run/dovecot/lmtp", "", "/", "/srv/lmtpx"}) {
        INFO(bad);
        CHECK_FALSE(master::may_connect(bad, values));
    }
    CHECK_FALSE(master::may_connect("/srv/lmtp/" + std::string(200, 'a'), values));
    CHECK_FALSE(master::may_connect(std::string("/srv/lmtp/a\0b", 13), values));
}
