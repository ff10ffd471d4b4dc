// lib/ipc and lib/loop: messages, channels, calls with deadlines, hostile bytes.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/ipc/agent.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/control.h"
#include "lib/ipc/queue.h"
#include "lib/ipc/route.h"
#include "lib/ipc/user.h"
#include "lib/ipc/wire.h"

using namespace veredus;
using namespace std::chrono_literals;

namespace {

void turn_until(Loop& loop, const std::function<bool()>& condition)
{
    for (int i = 0; i < 3000 && !condition(); ++i) loop.run_once(10ms);
    REQUIRE(condition());
}

std::pair<Fd, Fd> pair()
{
    auto p = socket_pair(SOCK_SEQPACKET);
    REQUIRE(p);
    return std::move(*p);
}

}  // namespace

TEST_CASE("a posted function runs on the loop, a timer fires once", "[loop]")
{
    auto loop = Loop::create();
    REQUIRE(loop);
    int posted = 0, fired = 0, turns = 0;
    (*loop)->each_turn([&] { ++turns; });
    (*loop)->post([&] { ++posted; });
    Timer timer(**loop, [&] { ++fired; });
    timer.start(1ms);
    turn_until(**loop, [&] { return posted == 1 && fired == 1; });
    CHECK_FALSE(timer.armed());
    CHECK(turns > 0);
    (*loop)->defer([&] { (*loop)->stop(); });
    (*loop)->run();
}

TEST_CASE("a watch may be destroyed inside its own callback", "[loop]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    std::unique_ptr<Watch> watch;
    int calls = 0;
    watch = std::make_unique<Watch>(**loop, a.get(), readable, [&](unsigned) {
        ++calls;
        watch.reset();
    });
    REQUIRE(::send(b.get(), "x", 1, 0) == 1);
    turn_until(**loop, [&] { return calls == 1; });
}

TEST_CASE("a call is answered, with a file descriptor", "[ipc]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    std::unique_ptr<ipc::Channel> server;
    server = std::make_unique<ipc::Channel>(**loop, std::move(b), ipc::Channel::User{[&](ipc::Message m) {
        CHECK(m.type == 7);
        CHECK(m.body == "question");
        const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        const int fds[] = {fd};
        CHECK(server->reply(m, 8, "answer", fds));
        ::close(fd);
    }, {}});
    ipc::Channel client(**loop, std::move(a), {});
    bool done = false;
    client.call(7, "question", {}, 5s, [&](Result<ipc::Message> m) {
        REQUIRE(m);
        CHECK(m->type == 8);
        CHECK(m->answer);
        CHECK(m->body == "answer");
        REQUIRE(m->fds.size() == 1);
        CHECK((::fcntl(m->fds[0].get(), F_GETFD) & FD_CLOEXEC));
        done = true;
    });
    turn_until(**loop, [&] { return done; });
    CHECK(client.in_flight() == 0);
}

TEST_CASE("a call that nobody answers ends with its deadline, one whose peer dies ends at once", "[ipc]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    ipc::Channel client(**loop, std::move(a), {});
    int late = 0, dead = 0, closed = 0;
    client.call(1, "", {}, 20ms, [&](Result<ipc::Message> m) { late += !m && m.error().code == ETIMEDOUT; });
    turn_until(**loop, [&] { return late == 1; });
    client.call(1, "", {}, 60s, [&](Result<ipc::Message> m) { dead += !m; });
    b.reset();
    turn_until(**loop, [&] { return dead == 1; });
    client.call(1, "", {}, 60s, [&](Result<ipc::Message> m) { closed += !m; });
    turn_until(**loop, [&] { return closed == 1; });
}

TEST_CASE("more messages than the socket holds arrive all, in order", "[ipc]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    uint32_t next = 0;
    ipc::Channel server(**loop, std::move(b), {[&](ipc::Message m) {
        ipc::Reader r(m.body);
        CHECK(r.u32() == next++);
    }, {}});
    ipc::Channel client(**loop, std::move(a), {});
    for (uint32_t i = 0; i < 3000; ++i) REQUIRE(client.send(1, ipc::Writer().u32(i).str(std::string(500, 'x')).take()));
    CHECK(client.congested());
    turn_until(**loop, [&] { return next == 3000; });
}

TEST_CASE("calls beyond the credit wait and are all answered", "[ipc]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    std::unique_ptr<ipc::Channel> server;
    std::size_t most = 0, unanswered = 0;
    std::vector<ipc::Message> waiting;
    server = std::make_unique<ipc::Channel>(**loop, std::move(b), ipc::Channel::User{[&](ipc::Message m) {
        most = std::max(most, ++unanswered);
        waiting.push_back(std::move(m));
    }, {}});
    Timer answer(**loop, [&] {
        for (auto& m : waiting) CHECK(server->reply(m, 2, ""));
        unanswered = 0;
        waiting.clear();
        answer.start(1ms);
    });
    answer.start(1ms);
    ipc::Channel client(**loop, std::move(a), {}, 4);
    int done = 0;
    for (int i = 0; i < 50; ++i) client.call(1, "", {}, 60s, [&](Result<ipc::Message> m) { done += m.has_value(); });
    turn_until(**loop, [&] { return done == 50; });
    CHECK(most <= 4);
}

TEST_CASE("a call that nobody wants any more when its turn comes is never sent", "[ipc][hostile]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    std::vector<std::string> heard;
    std::vector<ipc::Message> questions;
    int cancelled = 0, answered = 0;
    bool wanted = true;
    const auto done = [&](const Result<ipc::Message>& answer) {
        answered += answer.has_value();
        cancelled += !answer && answer.error().code == ECANCELED;
    };
    const auto still = [&] { return wanted; };
    SECTION("beyond the credit")
    {
        ipc::Channel client(**loop, std::move(a), {}, 2);
        for (const char* body : {"1", "2", "3", "4", "5"}) client.call(7, body, {}, 60s, done, *body == '5' ? ipc::Channel::Wanted() : still);
        wanted = false;
        std::unique_ptr<ipc::Channel> server;
        server = std::make_unique<ipc::Channel>(**loop, std::move(b), ipc::Channel::User{[&](ipc::Message m) {
            heard.push_back(m.body);
            CHECK(server->reply(m, 8, ""));
        }, {}});
        turn_until(**loop, [&] { return answered + cancelled == 5; });
        CHECK(heard == std::vector<std::string>{"1", "2", "5"});        // two were sent before
        CHECK(cancelled == 2);
        CHECK(client.in_flight() == 0);
    }
    SECTION("when the socket is full")
    {
        ipc::Channel client(**loop, std::move(a), {}, 100);
        const std::string large(60'000, 'x');
        while (!client.congested()) REQUIRE(client.send(1, large));
        client.call(7, "unwanted", {}, 60s, done, still);
        for (int i = 0; i < 99; ++i) client.call(7, "wanted", {}, 60s, done);
        client.call(7, "held", {}, 60s, done);
        wanted = false;
        std::unique_ptr<ipc::Channel> server;
        server = std::make_unique<ipc::Channel>(**loop, std::move(b), ipc::Channel::User{[&](ipc::Message m) {
            if (m.type == 7) heard.push_back(m.body);
            if (m.body == "held") CHECK(server->reply(m, 8, ""));       // it has the place of the one that was not sent
        }, {}});
        turn_until(**loop, [&] { return answered == 1 && cancelled == 1; });
        CHECK(heard.size() == 100);
        CHECK(std::find(heard.begin(), heard.end(), "unwanted") == heard.end());
        CHECK(client.in_flight() == 99);
    }
    SECTION("they do not take the room of others")
    {
        ipc::Channel client(**loop, std::move(a), {}, 1);
        for (int i = 0; i < 20'001; ++i) client.call(7, "", {}, 60s, done, still);
        wanted = false;
        client.call(7, "honest", {}, 60s, done);
        CHECK(client.in_flight() == 2);
        turn_until(**loop, [&] { return cancelled == 20'000; });
        std::unique_ptr<ipc::Channel> server;
        server = std::make_unique<ipc::Channel>(**loop, std::move(b), ipc::Channel::User{[&](ipc::Message m) { CHECK(server->reply(m, 8, "")); }, {}});
        turn_until(**loop, [&] { return answered == 2; });
    }
}

TEST_CASE("a datagram that is no message closes the channel", "[ipc]")
{
    for (const std::string& bytes : {std::string("x"), std::string("\x07\0\1\0\0\0\0\0\0\0\0\0", 12)}) {
        auto loop = Loop::create();
        auto [a, b] = pair();
        std::string why;
        int messages = 0;
        ipc::Channel channel(**loop, std::move(a), {[&](ipc::Message) { ++messages; }, [&](const std::string& w) { why = w; }});
        REQUIRE(::send(b.get(), bytes.data(), bytes.size(), 0) > 0);
        turn_until(**loop, [&] { return !why.empty(); });
        CHECK(messages == 0);
    }
}

TEST_CASE("surplus file descriptors are closed or the message refused, never leaked", "[ipc]")
{
    const auto open_fds = [] {
        int n = 0;
        for (int i = 0; i < 256; ++i) n += ::fcntl(i, F_GETFD) >= 0;
        return n;
    };
    auto [a, b] = pair();
    const int before = open_fds();
    int many[20];
    for (int& f : many) f = 0;
    iovec io{const_cast<char*>("hi"), 2};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof many)] = {};
    msghdr header{};
    header.msg_iov = &io;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof many);
    std::memcpy(CMSG_DATA(c), many, sizeof many);
    REQUIRE(::sendmsg(a.get(), &header, 0) == 2);
    std::string_view buffer;
    {
        auto got = ipc::receive_datagram(b.get(), buffer, MSG_DONTWAIT);
        CHECK_FALSE(got);
    }
    CHECK(open_fds() == before);
}

TEST_CASE("every message survives its encoding, and no prefix or bit flip of it crashes a decoder", "[ipc]")
{
    ipc::Attempt a;
    a.attempt = 42;
    a.queue_id = "65A3F00C80000001";
    a.sender = "a@example.org";
    a.transport = "smtp";
    a.nexthop = "example.net";
    a.layout.body_size = 77;
    a.layout.leading_dot = true;
    a.ret = mail::Ret::headers;
    a.targets.resize(2);
    a.targets[1].index = 1;
    a.targets[1].kind = queue::Child::Kind::command;
    a.targets[1].address = "procmail -a x";
    a.targets[1].run_as = "alice";
    const std::string bytes = a.encode();
    auto back = ipc::Attempt::decode(bytes);
    REQUIRE(back);
    CHECK(back->targets[1].address == "procmail -a x");
    CHECK(back->targets[1].kind == queue::Child::Kind::command);
    CHECK(back->layout.leading_dot);
    CHECK(back->ret == mail::Ret::headers);
    for (std::size_t i = 0; i < bytes.size(); ++i) CHECK_FALSE(ipc::Attempt::decode(std::string_view(bytes).substr(0, i)));
    CHECK_FALSE(ipc::Attempt::decode(bytes + "x"));
    CHECK(ipc::attempt_number(bytes + "x") == a.attempt);
    CHECK_FALSE(ipc::attempt_number(std::string_view(bytes).substr(0, 7)));
    a.targets[1].run_as = std::string(ipc::max_run_as, '|');
    CHECK(ipc::Attempt::decode(a.encode()));
    a.targets[1].run_as += 'x';
    CHECK_FALSE(ipc::Attempt::decode(a.encode()));
    a.targets[1].run_as.clear();
    a.targets[1].index = 0;                    // one recipient twice
    CHECK_FALSE(ipc::Attempt::decode(a.encode()));

    ipc::Verdicts v{9, {{0, ipc::Outcome::expanded, "2.0.0", "text", "local", "", false, {{queue::Child::Kind::file, "/x", "u", "-"}}}}};
    REQUIRE(ipc::Verdicts::decode(v.encode()));
    CHECK(ipc::Verdicts::decode(v.encode())->verdicts[0].children[0].run_as == "u");
    v.verdicts.push_back(v.verdicts[0]);
    CHECK_FALSE(ipc::Verdicts::decode(v.encode()));
    v.verdicts[0].more = true;                 // a page of the same list
    CHECK(ipc::Verdicts::decode(v.encode()));
    CHECK_FALSE(ipc::Verdicts::decode(v.encode())->verdicts[0].dsn_taken);
    v.verdicts[0].dsn_taken = true;
    CHECK(ipc::Verdicts::decode(v.encode())->verdicts[0].dsn_taken);

    ipc::RouteReply r{3, {{ipc::Route::Kind::deliver, ipc::AddressClass::relay, "a@b", "relay", "[x]:25", {}, "", ""}}};
    REQUIRE(ipc::RouteReply::decode(r.encode()));
    CHECK(ipc::RouteReply::decode(r.encode())->routes[0].nexthop == "[x]:25");

    ipc::ListReply l{true, {{"65A3F00C80000001", "deferred", 1, 2, 3, 4, "s@x", {{"r@y", "why"}}}}};
    REQUIRE(ipc::ListReply::decode(l.encode()));
    CHECK(ipc::ListReply::decode(l.encode())->mails[0].recipients[0].reason == "why");

    ipc::Hello h;
    h.role = "smtpd";
    h.log_rfc3339 = true;
    REQUIRE(ipc::Hello::decode(h.encode()));
    CHECK(ipc::Hello::decode(h.encode())->log_rfc3339);
    CHECK_FALSE(ipc::Hello::decode(h.encode())->quiet);
    h.quiet = true;
    CHECK(ipc::Hello::decode(h.encode())->quiet);

    const std::string all[] = {bytes, v.encode(), r.encode(), l.encode(), h.encode(), ipc::ActRequest{}.encode(),
                               ipc::UserReply{}.encode(), ipc::RouteRequest{"s", true, {"a", "b"}}.encode()};
    for (const std::string& one : all) {
        for (int i = 0; i < 400; ++i) {
            std::string bad = one;
            for (int k = 0; k < 3; ++k) bad[random_below(static_cast<uint32_t>(bad.size()))] = static_cast<char>(random_u64());
            (void)ipc::Attempt::decode(bad);
            (void)ipc::Verdicts::decode(bad);
            (void)ipc::RouteReply::decode(bad);
            (void)ipc::RouteRequest::decode(bad);
            (void)ipc::ListReply::decode(bad);
            (void)ipc::ListRequest::decode(bad);
            (void)ipc::ActRequest::decode(bad);
            (void)ipc::Hello::decode(bad);
            (void)ipc::UserReply::decode(bad);
            (void)ipc::Queued::decode(bad);
        }
    }
}

TEST_CASE("a count that could not fit reserves nothing", "[ipc]")
{
    ipc::Reader r(std::string_view("\xff\xff\xff\xff", 4));
    CHECK(r.count(1) == 0);
    CHECK_FALSE(r.ok());
}

TEST_CASE("the delivery line has Postfix's shape", "[ipc][log]")
{
    ipc::Attempt a;
    a.queue_id = "65A3F00C80000001";
    a.arrival_us = 1'000'000;
    a.active_us = 1'100'000;
    ipc::Target t;
    t.address = "b@example.net";
    t.original = "a@example.org";
    const ipc::Verdict v{0, ipc::Outcome::delivered, "2.0.0", "250 2.0.0 Ok: queued as X", "mx.example.net[192.0.2.1]:25", "", false, {}};
    CHECK(ipc::delivery_line(a, t, v, 0.01, 0.5, 0.6, 2'210'000) ==
          "65A3F00C80000001: to=<b@example.net>, orig_to=<a@example.org>, relay=mx.example.net[192.0.2.1]:25, delay=1.2, "
          "delays=0.1/0.01/0.5/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)");
    CHECK(ipc::format_delay(0) == "0");
    CHECK(ipc::format_delay(330.4) == "330");
    CHECK(ipc::format_delay(12.4) == "12");
    CHECK(ipc::format_delay(0.999) == "1");
}

TEST_CASE("blocking send and receive see messages, time-outs and the end", "[ipc]")
{
    auto [a, b] = pair();
    ipc::Message m;
    m.type = 5;
    m.body = "hi";
    m.request = 3;
    REQUIRE(ipc::send_blocking(a.get(), m, 1000));
    auto got = ipc::recv_blocking(b.get(), 1000);
    REQUIRE(got);
    REQUIRE(got->has_value());
    CHECK((*got)->request == 3);
    CHECK(ipc::recv_blocking(b.get(), 1).error().code == ETIMEDOUT);
    a.reset();
    auto end = ipc::recv_blocking(b.get(), 1000);
    REQUIRE(end);
    CHECK_FALSE(end->has_value());
}

TEST_CASE("a channel of one request at a time reads the next when the last is answered and the answer is taken", "[ipc]")
{
    auto loop = Loop::create();
    auto [a, b] = pair();
    std::vector<uint32_t> asked;
    ipc::Channel door(**loop, std::move(a), {[&](ipc::Message m) { asked.push_back(m.request); }, [](const std::string&) {}});
    door.one_request_at_a_time();
    for (uint32_t i = 1; i <= 20; ++i) {
        ipc::Message m;
        m.type = 9;
        m.request = i;
        REQUIRE(ipc::send_blocking(b.get(), m, 1000));
    }
    turn_until(**loop, [&] { return asked.size() == 1; });
    for (int i = 0; i < 5; ++i) (*loop)->run_once(1ms);
    CHECK(asked == std::vector<uint32_t>{1});
    // The peer takes nothing: answers fill its socket, and then not even an answered request lets the next one in.
    const std::string big(60'000, 'x');
    std::size_t before = 0;
    for (int i = 0; i < 200 && asked.size() < 20 && !door.congested(); ++i) {
        before = asked.size();
        REQUIRE(door.reply(asked.back(), 9, big));
        if (!door.congested()) turn_until(**loop, [&] { return asked.size() > before; });
    }
    REQUIRE(door.congested());
    for (int i = 0; i < 5; ++i) (*loop)->run_once(1ms);
    CHECK(asked.size() == before);
    std::size_t answers = 0;
    std::string_view buffer;
    while (answers < before) {
        auto got = ipc::receive_datagram(b.get(), buffer, MSG_DONTWAIT);
        REQUIRE(got);
        if (got->kind == ipc::Received::Kind::message) ++answers;
        else (*loop)->run_once(1ms);
    }
    turn_until(**loop, [&] { return asked.size() == before + 1; });
    b.reset();
}
