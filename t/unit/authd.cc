// authd: the gate for guessers, spelling of names, the cache, and whole exchanges with a role that the test plays.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>

#include "lib/auth/passwd_file.h"
#include "lib/auth/password.h"
#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/log/log.h"
#include "lib/reception/logins.h"
#include "master/authd/confine.h"
#include "master/authd/exchanges.h"
#include "master/authd/lasting_key.h"
#include "master/authd/passwd_files.h"
#include "master/authd/turns.h"
#include "t/unit/scram_client.h"

using namespace veredus;
using namespace veredus::authd;
using ipc::AuthFailure;
using auth::IsLocal;
using auth::names_of;
using Outcome = Gate::Outcome;
using ReplyKind = ipc::AuthReply::Kind;
using std::chrono::milliseconds;
using namespace std::string_literals;

namespace {

constexpr int64_t second = us_per_second;

// Tries one wrong password after the other, as fast as the gate lets it; says how many were looked at until `until`.
struct Guesser {
    Gate& gate;
    std::string address, user;
    unsigned looked_at = 0, refused = 0;
    void guess(int64_t& now, const std::string& attempt)
    {
        bool begun = false, over = false;
        gate.enter(address, user, now, [&](bool may) {
            over = true;
            begun = may;
        });
        while (!over) {
            REQUIRE(gate.next_us() != INT64_MAX);
            now = std::max(now, gate.next_us());
            gate.turn(now);
        }
        if (begun) {
            ++looked_at;
            gate.done(address, user, now, Outcome::failure, attempt);
        } else {
            ++refused;
            now += second;
        }
    }
};

bool enters_at_once(Gate& gate, const std::string& address, const std::string& user, int64_t now, Outcome outcome = Outcome::success)
{
    const auto begun = std::make_shared<bool>(false);    // shared: a start that the gate puts off comes after this returned
    gate.enter(address, user, now, [begun](bool may) { *begun = may; });
    if (*begun) gate.done(address, user, now, outcome, "right");
    return *begun;
}

}  // namespace

TEST_CASE("a guesser crawls while the honest user logs in at once", "[authd][gate]")
{
    Gate gate{Gate::Limits()};
    int64_t now = 1000 * second;
    REQUIRE(enters_at_once(gate, "home", "alice", now));
    Guesser guesser{gate, "evil", "alice"};
    const int64_t end = now + 3600 * second;
    for (int i = 0; now < end; ++i) {
        guesser.guess(now, cat("guess", i));
        CHECK(enters_at_once(gate, "home", "alice", now));
        CHECK(enters_at_once(gate, "elsewhere", "alice", now));
        CHECK(enters_at_once(gate, "evil2", "bob", now));
    }
    CHECK(guesser.looked_at < 300);      // in an hour; 16 s each
    CHECK(guesser.looked_at > 100);
}

TEST_CASE("many connections at once gain a guesser nothing", "[authd][gate]")
{
    Gate gate{Gate::Limits()};
    int64_t now = 1000 * second;
    unsigned looked_at = 0, refused = 0;
    std::size_t under_way = 0;
    const auto flood = [&] {
        for (int i = 0; i < 1000; ++i)
            gate.enter("evil", "alice", now, [&](bool may) {
                ++(may ? looked_at : refused);
                if (may) ++under_way;
            });
    };
    const int64_t end = now + 600 * second;
    int attempt = 0;
    while (now < end) {
        flood();
        for (; under_way > 0; --under_way) gate.done("evil", "alice", now, Outcome::failure, cat("guess", ++attempt));
        now += second;
        gate.turn(now);
        CHECK(gate.waiting() <= 100);
    }
    CHECK(looked_at < 60);
    CHECK(refused > 100'000);
}

TEST_CASE("who guesses at many users is slowed down by his address, but not the neighbours who were there before", "[authd][gate]")
{
    Gate gate{Gate::Limits()};
    int64_t now = 1000 * second;
    REQUIRE(enters_at_once(gate, "office", "alice", now));
    Guesser guesser{gate, "office", ""};
    for (int i = 0; i < 60; ++i) {
        guesser.user = cat("user", i);
        guesser.guess(now, "Summer2026");
    }
    CHECK(now > 1000 * second + 400 * second);
    CHECK(enters_at_once(gate, "office", "alice", now));
    CHECK(enters_at_once(gate, "home", "user5", now));
    CHECK_FALSE(enters_at_once(gate, "office", "stranger", now));
}

TEST_CASE("what speaks for a try: who was there before, and whether anything failed from there", "[authd][gate]")
{
    Gate gate{Gate::Limits()};
    int64_t now = 1000 * second;
    CHECK(gate.standing("home", "alice", now) == Standing::fresh);
    REQUIRE(enters_at_once(gate, "home", "alice", now));
    REQUIRE(enters_at_once(gate, "home", "bob", now, Outcome::neither));
    CHECK(gate.standing("home", "alice", now) == Standing::known);
    CHECK(gate.standing("home", "bob", now) == Standing::fresh);
    REQUIRE(enters_at_once(gate, "home", "bob", now, Outcome::failure));
    CHECK(gate.standing("home", "alice", now) == Standing::known);
    CHECK(gate.standing("home", "bob", now) == Standing::failing);
    CHECK(gate.standing("home", "carol", now) == Standing::failing);
    CHECK(gate.standing("else", "alice", now) == Standing::fresh);
    CHECK(gate.standing("home", "bob", now + 61 * second) == Standing::fresh);     // pardoned
}

TEST_CASE("an old phone that repeats the same wrong password counts once, and failures are forgotten", "[authd][gate]")
{
    Gate gate{Gate::Limits()};
    int64_t now = 1000 * second;
    for (int i = 0; i < 1000; ++i) REQUIRE(enters_at_once(gate, "phone", "alice", now += second, Outcome::failure));
    Guesser guesser{gate, "phone", "alice"};
    for (int i = 0; i < 5; ++i) guesser.guess(now, cat("guess", i));
    CHECK_FALSE(enters_at_once(gate, "phone", "alice", now));
    now += 16 * 60 * second;
    gate.turn(now);
    CHECK(enters_at_once(gate, "phone", "alice", now));
}

TEST_CASE("the gate's memory is bounded, and who waits is not forgotten", "[authd][gate][hostile]")
{
    Gate::Limits limits;
    limits.entries = 100;
    Gate gate(limits);
    int64_t now = 1000 * second;
    Guesser guesser{gate, "evil", "alice"};
    for (int i = 0; i < 4; ++i) guesser.guess(now, cat("guess", i));
    bool answered = false;
    gate.enter("evil", "alice", now, [&](bool) { answered = true; });
    CHECK_FALSE(answered);
    for (int i = 0; i < 5000; ++i) enters_at_once(gate, cat("address", i), cat("user", i), now, Outcome::failure);
    CHECK(gate.entries() < 300);
    now += 60 * second;
    gate.turn(now);
    CHECK(answered);
    CHECK(gate.waiting() == 0);
    CHECK(gate.next_us() == INT64_MAX);
    gate.done("nobody", "nobody", now, Outcome::failure, "");      // what nobody began
}

TEST_CASE("one address fills no more than its share of the places at the gate, and who need not wait is asked for none", "[authd][gate][hostile]")
{
    Gate::Limits limits;
    limits.waiting = 60;
    Gate gate(limits);
    int64_t now = 1000 * second;
    REQUIRE(enters_at_once(gate, "evil", "bob", now));        // whom his neighbours do not slow down
    for (int i = 0; i < 20; ++i) enters_at_once(gate, "evil", cat("first", i), now, Outcome::failure);
    unsigned refused = 0;
    const auto flood = [&](const std::string& address) {
        for (int i = 0; i < 2000; ++i)
            gate.enter(address, cat("name", i), now, [&, address, i](bool may) {
                if (may) gate.done(address, cat("name", i), now, Outcome::failure, "");
                else ++refused;
            });
    };
    flood("evil");
    CHECK(gate.waiting() == limits.suspects_per_address);
    CHECK(refused == 2000 - limits.suspects_per_address);
    for (int i = 0; i < 20; ++i) enters_at_once(gate, "evil2", cat("first", i), now, Outcome::failure);
    flood("evil2");
    CHECK(gate.waiting() == limits.waiting);
    CHECK(enters_at_once(gate, "home", "alice", now));
    CHECK(enters_at_once(gate, "evil", "bob", now));
    for (int i = 0; i < 100; ++i) gate.turn(now += second);
    CHECK(gate.waiting() == 0);
    flood("evil");                                           // the places are free again
    CHECK(gate.waiting() == limits.suspects_per_address);
}

TEST_CASE("jobs are taken from each address in its turn", "[authd][turns]")
{
    auto loop = std::move(*Loop::create());
    std::vector<std::string> order;
    std::string gone;
    std::atomic<bool> go = false;
    disk::Pool pool(1, [&](std::function<void()> done) { loop->post(std::move(done)); });
    auto turns = std::make_unique<Turns>(pool, 2, 2);
    const auto add = [&](const std::string& whose) {
        turns->run(whose, [] { return Standing::fresh; }, [&] { while (!go) ::usleep(100); }, [&order, whose] { order.push_back(whose); }, [&gone, whose] { return gone == whose; });
    };
    for (int i = 0; i < 50; ++i) add("evil");
    for (int i = 0; i < 3; ++i) add("home");
    for (int i = 0; i < 300; ++i) add("hung up");
    add("office");
    CHECK(turns->waiting() == 352);
    gone = "hung up";                                        // they cost no thread a moment
    go = true;
    for (int i = 0; i < 1000 && order.size() < 54; ++i) loop->run_once(milliseconds(10));
    REQUIRE(order.size() == 54);
    order.resize(9);
    CHECK(order == std::vector<std::string>{"evil", "evil", "home", "office", "evil", "home", "evil", "home", "evil"});
    add("late");
    turns.reset();                                           // what comes back now is nobody's
    for (int i = 0; i < 5; ++i) loop->run_once(milliseconds(10));
    CHECK(order.size() == 9);
}

TEST_CASE("one address has no more than its share of the threads", "[authd][turns]")
{
    auto loop = std::move(*Loop::create());
    std::vector<std::string> order;
    std::atomic<bool> go = false;
    disk::Pool pool(4, [&](std::function<void()> done) { loop->post(std::move(done)); });
    Turns turns(pool, 4, 2);
    const auto add = [&](const std::string& whose, bool waits) {
        turns.run(whose, [] { return Standing::fresh; }, [&go, waits] { while (waits && !go) ::usleep(100); }, [&order, whose] { order.push_back(whose); }, [] { return false; });
    };
    const auto until = [&](std::size_t size) {
        for (int i = 0; i < 1000 && order.size() < size; ++i) loop->run_once(milliseconds(10));
        return order.size() == size;
    };
    for (int i = 0; i < 20; ++i) add("hangs", true);
    for (int i = 0; i < 20; ++i) add("home", false);
    CHECK(until(20));                                        // whatever those do, who have their two threads
    CHECK(turns.waiting() == 18);
    add("hangs", true);
    go = true;
    CHECK(until(41));
    CHECK(turns.waiting() == 0);
}

TEST_CASE("who does not guess comes before a thousand addresses that do, and nobody starves", "[authd][turns]")
{
    auto loop = std::move(*Loop::create());
    std::vector<std::string> order;
    std::string failed;
    std::atomic<bool> go = false;
    disk::Pool pool(1, [&](std::function<void()> done) { loop->post(std::move(done)); });
    Turns turns(pool, 1, 1);
    const auto add = [&](const std::string& whose, Standing standing) {
        turns.run(whose, [&failed, whose, standing] { return failed == whose ? Standing::failing : standing; }, [&] { while (!go) ::usleep(100); }, [&order, whose] { order.push_back(whose.substr(0, 5)); }, [] { return false; });
    };
    for (int i = 0; i < 1000; ++i) add(cat("guess", i), Standing::failing);
    for (int i = 0; i < 20; ++i) add(cat("other", i), Standing::fresh);
    for (int i = 0; i < 4; ++i) add(cat("alice", i), Standing::known);
    add("guess999", Standing::known);                        // behind the same NAT: after what is under way from there
    add("guess0", Standing::known);
    for (int i = 0; i < 10; ++i) add("later", Standing::fresh);
    failed = "later";                                        // since they came
    go = true;
    for (int i = 0; i < 100'000 && order.size() < 1036; ++i) loop->run_once(milliseconds(10));
    REQUIRE(order.size() == 1036);
    CHECK(turns.waiting() == 0);
    const auto upto = [&](std::size_t size, std::string_view name) { return std::count(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(size), name); };
    CHECK(upto(9, "alice") == 4);
    CHECK(upto(9, "guess") >= 2);
    CHECK(upto(9, "other") >= 2);
    CHECK(upto(40, "other") == 20);
    CHECK(upto(500, "later") == 0);
}

TEST_CASE("a guesser is an IPv4 address or an IPv6 network of 64 bits", "[authd][gate]")
{
    CHECK(guesser_of("2001:db8::1") == guesser_of("2001:db8:0:0:ffff::2"));
    CHECK(guesser_of("2001:db8::1") != guesser_of("2001:db8:0:1::1"));
    CHECK(guesser_of("192.0.2.1") != guesser_of("192.0.2.2"));
    CHECK(guesser_of("unknown") == "unknown");
}

TEST_CASE("a login name is looked up as written, in lower case, and without a domain of ours", "[authd][names]")
{
    const IsLocal local = [](std::string_view domain) -> Result<bool> { return iequals(domain, "example.org"); };
    using Names = std::vector<std::string>;
    CHECK(*names_of("%u", "alice", local) == Names{"alice"});
    CHECK(*names_of("%u", "Alice", local) == Names{"Alice", "alice"});
    CHECK(*names_of("%u", "Alice@Example.ORG", local) == Names{"Alice@Example.ORG", "alice@example.org", "Alice", "alice"});
    CHECK(*names_of("%u", "alice@example.net", local) == Names{"alice@example.net"});
    CHECK(*names_of("%Lu", "Alice", local) == Names{"alice"});
    CHECK(*names_of("%n", "alice@example.net", local) == Names{"alice"});
    CHECK(*names_of("%Ud/%n", "alice@example.net", local) == Names{"EXAMPLE.NET/alice", "example.net/alice"});
    CHECK(*conf::format_user_name("100%%", "x") == "100%");
    for (const char* bad : {"%", "%x", "%L", "%Lx"}) CHECK_FALSE(conf::format_user_name(bad, "x"));
}

TEST_CASE("the cache knows a right password for its time, until the passdb changes", "[authd][cache]")
{
    Cache cache("key");
    cache.set_lifetime(60 * second);
    const std::string mark = cache.mark("alice", "secret");
    CHECK(mark != cache.mark("alices", "ecret"));
    CHECK(mark != Cache("other key").mark("alice", "secret"));
    CHECK_FALSE(cache.find(mark, "1", 0));
    cache.add(mark, "1", {AuthFailure::none, "passwd-file", "", {"alice", "hash", "passwd-file", {}, {}}}, 0);
    REQUIRE(cache.find(mark, "1", 59 * second));
    CHECK(cache.find(mark, "1", 0)->found.user == "alice");
    CHECK(cache.find(mark, "1", 0)->found.password.empty());
    CHECK_FALSE(cache.find(cache.mark("alice", "Secret"), "1", 0));
    CHECK_FALSE(cache.find(mark, "1", 60 * second));
    cache.add(mark, "1", {}, 0);
    CHECK_FALSE(cache.find(mark, "2", 0));
    CHECK_FALSE(cache.find(mark, "1", 0));
    cache.set_lifetime(0);
    cache.add(mark, "1", {}, 0);
    CHECK(cache.size() == 0);
    cache.set_lifetime(second);
    for (int i = 0; i < 50'000; ++i) cache.add(cache.mark("user", cat(i)), "1", {}, 0);
    CHECK(cache.size() <= 20'000);
}

namespace {

// A role with its channel to authd, and the passdb of the test.
class Scene {
public:
    explicit Scene(const std::string& passwd, milliseconds delay = milliseconds(0))
    {
        log::capture(&log);
        exchanges = std::make_unique<Exchanges>(*loop, system_clock(), 2, Gate::Limits());
        rules.failure_delay = delay;
        rules.is_local = [](std::string_view domain) -> Result<bool> { return domain == "example.org"; };
        exchanges->set_rules(rules);
        passdb(passwd);
        channel = connect();
    }
    ~Scene()
    {
        channel.reset();
        exchanges.reset();
        log::capture(nullptr);
    }
    std::unique_ptr<ipc::Channel> connect(std::size_t credit = 1000)
    {
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        exchanges->add_peer("submission", 0, std::move(pair->first));
        ipc::Channel::User user;
        user.message = [this](ipc::Message m) {
            if (m.type == static_cast<uint16_t>(ipc::AuthType::offer)) offers.push_back(ipc::AuthOffer::decode(m.body)->mechanisms);
        };
        user.closed = [this](const std::string&) { closed = true; };
        return std::make_unique<ipc::Channel>(*loop, std::move(pair->second), std::move(user), credit);
    }
    // Begins without waiting for what comes of it.
    void send_plain(const std::string& user, const std::string& password, const std::string& client, std::function<void(ipc::AuthReply)> done)
    {
        ipc::AuthBegin begin;
        begin.mechanism = "PLAIN";
        begin.initial = "\0"s + user + "\0"s + password;
        begin.service = "submission";
        begin.client = client;
        channel->call(static_cast<uint16_t>(ipc::AuthType::begin), begin.encode(), {}, milliseconds(25'000), [done = std::move(done)](Result<ipc::Message> answer) {
            REQUIRE(answer);
            done(*ipc::AuthReply::decode(answer->body));
        });
    }
    void passdb(const std::string& passwd) { exchanges->set_passdbs({auth::PasswdFile::parse(passwd, "key", nullptr)}); }
    template <class Condition> bool wait(Condition condition)
    {
        const int64_t until = system_clock().mono_us() + 30 * us_per_second;
        while (!condition()) {
            if (system_clock().mono_us() > until) return false;
            loop->run_once(milliseconds(10));
        }
        return true;
    }
    ipc::AuthReply call(ipc::AuthType type, std::string body)
    {
        std::optional<ipc::AuthReply> reply;
        channel->call(static_cast<uint16_t>(type), std::move(body), {}, milliseconds(25'000), [&](Result<ipc::Message> answer) {
            REQUIRE(answer);
            reply = *ipc::AuthReply::decode(answer->body);
        });
        REQUIRE(wait([&] { return reply.has_value(); }));
        return *reply;
    }
    ipc::AuthReply begin(const std::string& mechanism, std::optional<std::string> initial, const std::string& client = "192.0.2.7")
    {
        ipc::AuthBegin begin;
        begin.mechanism = mechanism;
        begin.initial = std::move(initial);
        begin.service = "submission";
        begin.client = client;
        begin.tls = true;
        begin.plus_offered = true;
        begin.tls_exporter = std::string(32, 'e');
        return call(ipc::AuthType::begin, begin.encode());
    }
    ipc::AuthReply plain(const std::string& user, const std::string& password, const std::string& client = "192.0.2.7")
    {
        return begin("PLAIN", "\0"s + user + "\0"s + password, client);
    }
    ipc::AuthReply step(uint64_t exchange, const std::string& response) { return call(ipc::AuthType::step, ipc::AuthStep{exchange, response}.encode()); }
    ipc::AuthReply scram(const std::string& mechanism, ScramClient client)
    {
        auto reply = begin(mechanism, client.first());
        if (reply.kind != ReplyKind::challenge) return reply;
        const std::string final = client.final(reply.data);
        reply = step(reply.exchange, final);
        if (reply.kind != ReplyKind::challenge) return reply;
        CHECK(reply.data == client.server_signature);
        return step(reply.exchange, "");
    }

    std::string log;
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    Rules rules;
    std::vector<std::vector<std::string>> offers;
    bool closed = false;
    std::unique_ptr<Exchanges> exchanges;
    std::unique_ptr<ipc::Channel> channel;
};

}  // namespace

TEST_CASE("PLAIN and LOGIN through authd, with the reason of each failure in the log alone", "[authd][exchange]")
{
    Scene scene("alice:{PLAIN}wonder\nbob:" + *auth::make_password("SHA512-CRYPT", "builder") + "\ncarol:!{PLAIN}x\ndave:{PLAIN}x::::::allow_nets=198.51.100.0/24\n"
                "erin:{PLAIN}x::::::nologin\n");
    auto reply = scene.plain("alice", "wonder");
    CHECK(reply.kind == ReplyKind::ok);
    CHECK(reply.user == "alice");
    CHECK(scene.plain("Alice@example.org", "wonder").user == "alice");
    CHECK(scene.plain("bob", "builder").kind == ReplyKind::ok);
    CHECK(scene.plain("bob", "builder").kind == ReplyKind::ok);          // from the cache
    CHECK(scene.plain("bob", "Builder").why == AuthFailure::password_mismatch);
    CHECK(scene.plain("alice@example.net", "wonder").why == AuthFailure::unknown_user);
    CHECK(scene.plain("no body", "x").why == AuthFailure::unknown_user);
    CHECK(scene.plain("carol", "wrong").why == AuthFailure::password_mismatch);
    CHECK(scene.plain("carol", "x").why == AuthFailure::locked);         // told to him alone who knows the password
    CHECK(scene.plain("dave", "x").why == AuthFailure::locked);
    CHECK(scene.plain("dave", "x", "198.51.100.7").kind == ReplyKind::ok);
    CHECK(scene.plain("dave", "x").why == AuthFailure::locked);          // the cache allows no other address either
    CHECK(scene.plain("erin", "x").why == AuthFailure::locked);
    CHECK(scene.begin("PLAIN", "x").why == AuthFailure::malformed);
    CHECK(scene.begin("CRAM-MD5", std::nullopt).why == AuthFailure::no_mechanism);
    CHECK(scene.begin("SCRAM-SHA-256", "n,,n=alice,r=x").why == AuthFailure::no_mechanism);      // bob could not

    reply = scene.begin("LOGIN", std::nullopt);
    CHECK(reply.data == "Username:");
    reply = scene.step(reply.exchange, "alice");
    CHECK(reply.data == "Password:");
    reply = scene.step(reply.exchange, "wonder");
    CHECK(reply.user == "alice");
    CHECK(scene.exchanges->under_way() == 0);
    CHECK(scene.step(reply.exchange, "wonder").why == AuthFailure::malformed);

    for (const char* line : {"passwd-file(bob,192.0.2.7,submission/PLAIN): Password mismatch", "passdb(alice@example.net,192.0.2.7,submission/PLAIN): unknown user",
                             "passdb(no_body,192.0.2.7,submission/PLAIN): unknown user", "passwd-file(carol,192.0.2.7,submission/PLAIN): account is locked",
                             "passwd-file(dave,192.0.2.7,submission/PLAIN): allow_nets does not allow this address"}) {
        INFO(line << "\n" << scene.log);
        CHECK(scene.log.find(line) != std::string::npos);
    }
    for (const char* secret : {"wonder", "builder", "Builder", "$6$"}) CHECK(scene.log.find(secret) == std::string::npos);
}

TEST_CASE("a judge that takes his time holds up nobody but those who ask him", "[authd][exchange]")
{
    struct Judge final : auth::Passdb {
        Result<std::optional<auth::Found>> find(const std::string& user) const override
        {
            if (!user.starts_with("hung") && user != "quick") return std::optional<auth::Found>();
            auth::Found found;
            found.user = user;
            found.source = "pam";
            found.judged = true;
            return std::optional(std::move(found));
        }
        std::string likely_password(std::string_view) const override { return ""; }
        bool all_scram(bool) const override { return false; }
        bool judges() const override { return true; }
        auth::Judgement judge(const std::string& user, std::string_view password) const override
        {
            while (user.starts_with("hung") && !go) ::usleep(1000);
            if (user.starts_with("hung")) return {AuthFailure::internal, "PAM: no answer"};
            return {password == "right" ? AuthFailure::none : AuthFailure::password_mismatch, "said the judge"};
        }
        std::string stamp() const override { return "1"; }
        std::atomic<bool> go = false;
    };
    Scene scene("");
    const auto judge = std::make_shared<Judge>();    // shared: as passdbs are
    scene.exchanges->set_passdbs({auth::PasswdFile::parse("alice:{PLAIN}wonder\n", "key", nullptr), judge});
    std::size_t over = 0;
    for (int i = 0; i < 30; ++i)
        scene.send_plain(cat("hung", i), "x", cat("192.0.2.", i % 3), [&over](const ipc::AuthReply& reply) {
            CHECK(reply.why == AuthFailure::internal);
            ++over;
        });
    CHECK(scene.plain("alice", "wonder", "198.51.100.1").kind == ReplyKind::ok);
    CHECK(scene.plain("alice", "wrong", "192.0.2.1").why == AuthFailure::password_mismatch);
    CHECK(scene.plain("quick", "right", "198.51.100.1").user == "quick");
    CHECK(scene.plain("quick", "right", "198.51.100.1").user == "quick");
    CHECK(scene.plain("quick", "wrong", "198.51.100.1").why == AuthFailure::password_mismatch);
    CHECK(over == 0);
    CHECK(scene.log.find("pam(quick,198.51.100.1,submission/PLAIN): said the judge") != std::string::npos);
    judge->go = true;
    CHECK(scene.wait([&] { return over == 30; }));
    CHECK(scene.exchanges->under_way() == 0);
}

TEST_CASE("a response longer than any mechanism has costs its client the exchange, and nobody else his channel", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}wonder\n");
    CHECK(scene.plain("alice", std::string(50'000, 'x')).why == AuthFailure::malformed);
    auto reply = scene.begin("LOGIN", std::nullopt);
    reply = scene.step(reply.exchange, std::string(ipc::max_sasl + 1, 'x'));
    CHECK(reply.why == AuthFailure::malformed);
    CHECK(scene.exchanges->under_way() == 0);
    CHECK(scene.plain("alice", "wonder").kind == ReplyKind::ok);
    CHECK_FALSE(scene.closed);
}

TEST_CASE("SCRAM through authd, for stored and for plain secrets, bound to the connection", "[authd][exchange][rfc5802-3]")
{
    const std::string stored = *auth::make_password("SCRAM-SHA-256", "pencil");
    Scene scene("alice:" + stored + "\nbob:{PLAIN}pencil\n");
    ScramClient client;
    client.password = "pencil";
    for (const char* user : {"alice", "bob", "alice@example.org"}) {
        INFO(user);
        client.user = user;
        const auto reply = scene.scram("SCRAM-SHA-256", client);
        CHECK(reply.kind == ReplyKind::ok);
        CHECK(reply.user == std::string(user).substr(0, std::string(user).find('@')));
    }
    ScramClient bound = client;
    bound.gs2 = "p=tls-exporter,,";
    bound.binding = std::string(32, 'e');
    CHECK(scene.scram("SCRAM-SHA-256-PLUS", bound).kind == ReplyKind::ok);
    bound.binding = std::string(32, 'x');
    CHECK(scene.scram("SCRAM-SHA-256-PLUS", bound).why == AuthFailure::password_mismatch);
    client.password = "Pencil";
    CHECK(scene.scram("SCRAM-SHA-256", client).why == AuthFailure::password_mismatch);
    client.user = "nobody";
    CHECK(scene.scram("SCRAM-SHA-256", client).why == AuthFailure::unknown_user);
    CHECK(scene.plain("alice", "pencil").kind == ReplyKind::ok);         // PLAIN with a SCRAM secret
    CHECK(scene.plain("alice", "Pencil").why == AuthFailure::password_mismatch);
    CHECK(scene.log.find("passdb(nobody,192.0.2.7,submission/SCRAM-SHA-256): unknown user") != std::string::npos);
}

TEST_CASE("APOP is wanted by name, answered once, and needs passwords in clear", "[authd][exchange][rfc1939-7]")
{
    Scene scene("alice:{PLAIN}wonder\ncarol:!{PLAIN}x\n");
    CHECK(scene.begin("APOP", std::nullopt).why == AuthFailure::no_mechanism);
    scene.rules.mechanisms = {"PLAIN", "APOP"};
    scene.rules.greetings_per_peer = 3;
    scene.rules.per_peer = 1;
    scene.exchanges->set_rules(scene.rules);
    CHECK(scene.exchanges->offered() == std::vector<std::string>{"PLAIN", "APOP"});
    const auto answer = [](const ipc::AuthReply& greeting, const std::string& user, const std::string& password) {
        return user + " " + tls::md5_hex(greeting.data + password);
    };
    const auto one = scene.begin("APOP", std::nullopt), two = scene.begin("APOP", std::nullopt);
    REQUIRE(one.kind == ReplyKind::challenge);
    CHECK(one.data != two.data);
    CHECK(one.data.starts_with('<'));
    // Greetings of strangers take nobody else's place.
    CHECK(scene.plain("alice", "wonder").kind == ReplyKind::ok);
    CHECK(scene.begin("APOP", std::nullopt).kind == ReplyKind::challenge);
    CHECK(scene.begin("APOP", std::nullopt).why == AuthFailure::internal);
    const auto ok = scene.step(one.exchange, answer(one, "Alice@example.org", "wonder"));
    CHECK(ok.user == "alice");
    // Nothing that was heard is of use a second time, or for another greeting.
    CHECK(scene.step(one.exchange, answer(one, "alice", "wonder")).why == AuthFailure::malformed);
    CHECK(scene.step(two.exchange, answer(one, "alice", "wonder")).why == AuthFailure::password_mismatch);
    CHECK(scene.step(two.exchange, answer(two, "alice", "wonder")).why == AuthFailure::malformed);
    const auto refused = [&](const std::string& user, const std::string& password) {
        const auto greeting = scene.begin("APOP", std::nullopt);
        return scene.step(greeting.exchange, answer(greeting, user, password)).why;
    };
    CHECK(refused("alice", "Wonder") == AuthFailure::password_mismatch);
    CHECK(refused("mallory", "wonder") == AuthFailure::unknown_user);
    CHECK(refused("mallory", "") == AuthFailure::unknown_user);
    CHECK(refused("carol", "x") == AuthFailure::locked);
    CHECK(refused("carol", "") == AuthFailure::password_mismatch);
    CHECK(scene.log.find("wonder") == std::string::npos);
    scene.passdb("alice:{PLAIN}wonder\nbob:" + *auth::make_password("SHA512-CRYPT", "x") + "\n");
    CHECK(scene.exchanges->offered() == std::vector<std::string>{"PLAIN"});
    CHECK(scene.begin("APOP", std::nullopt).why == AuthFailure::no_mechanism);
}

TEST_CASE("of named mechanisms of which none can be offered, no other one is made", "[authd][offer]")
{
    Scene scene("alice:{PLAIN}wonder\n");
    scene.rules.mechanisms = {"APOP"};
    scene.exchanges->set_rules(scene.rules);
    CHECK(scene.exchanges->offered() == std::vector<std::string>{"APOP"});
    CHECK(scene.log.find("nothing is left") == std::string::npos);
    const std::string hashed = "alice:" + *auth::make_password("SHA512-CRYPT", "wonder") + "\n";
    scene.passdb(hashed);
    CHECK(scene.exchanges->offered().empty());
    CHECK(scene.plain("alice", "wonder").why == AuthFailure::no_mechanism);
    const auto said = scene.log.find("auth_mechanisms: nothing is left to offer");
    CHECK(said != std::string::npos);
    scene.passdb(hashed + "bob:{PLAIN}x\n");
    CHECK(scene.log.find("nothing is left", said + 40) == std::string::npos);    // said once
    scene.exchanges->configure(scene.rules, {auth::PasswdFile::parse("alice:{PLAIN}x\n", "key", nullptr)});
    CHECK(scene.exchanges->offered() == std::vector<std::string>{"APOP"});
}

TEST_CASE("what authd remembers of exchanges ends with them, and a greeting's lasts as long as its client may take", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}x\n");
    scene.rules.mechanisms = {"LOGIN", "APOP"};
    scene.rules.greeting_patience = milliseconds(600'000);
    scene.exchanges->set_rules(scene.rules);
    for (int i = 0; i < 20; ++i) {
        const auto first = scene.begin("LOGIN", std::nullopt);
        CHECK(scene.exchanges->awaited() == 1);
        REQUIRE(scene.channel->send(static_cast<uint16_t>(ipc::AuthType::cancel), ipc::Writer().u64(first.exchange).take()));
        REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));
        CHECK(scene.exchanges->awaited() == 0);
    }
    const auto login = scene.begin("LOGIN", std::nullopt);
    CHECK(scene.step(login.exchange, "alice").kind == ReplyKind::challenge);
    CHECK(scene.exchanges->awaited() == 1);
    CHECK(scene.step(login.exchange, "x").kind == ReplyKind::ok);
    CHECK(scene.exchanges->awaited() == 0);
    scene.rules.patience = milliseconds(20);
    scene.exchanges->set_rules(scene.rules);
    const auto greeting = scene.begin("APOP", std::nullopt);
    (void)scene.begin("LOGIN", "alice");
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 1; }));
    CHECK(scene.step(greeting.exchange, "alice " + tls::md5_hex(greeting.data + "x")).kind == ReplyKind::ok);
}

TEST_CASE("an unknown user's SCRAM looks like everybody's, and the same each time", "[authd][exchange][rfc5802-9]")
{
    Scene scene("alice:" + *auth::make_password("SCRAM-SHA-256", "pencil") + "\n");
    const auto challenge = [&](const std::string& user) {
        const auto reply = scene.begin("SCRAM-SHA-256", "n,,n=" + user + ",r=x");
        REQUIRE(reply.kind == ReplyKind::challenge);
        return split_on(reply.data, ',').at(1).size() > 0 ? reply.data.substr(reply.data.find(",s=")) : "";
    };
    const std::string known = challenge("alice"), unknown = challenge("mallory");
    CHECK(known.size() == unknown.size());
    CHECK(challenge("alice") == known);
    CHECK(challenge("mallory") == unknown);
    CHECK(challenge("mallory2") != unknown);
}

TEST_CASE("what authd offers follows the passdb, and roles hear of it", "[authd][offer]")
{
    Scene scene("");
    const std::vector<std::string> plain = {"PLAIN", "LOGIN"}, both = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"};
    REQUIRE(scene.wait([&] { return scene.offers.size() == 1; }));
    CHECK(scene.offers.back() == plain);
    scene.passdb("alice:" + *auth::make_password("SCRAM-SHA-256", "x") + "\n");
    REQUIRE(scene.wait([&] { return scene.offers.size() == 2; }));
    CHECK(scene.offers.back() == both);
    scene.passdb("alice:" + *auth::make_password("SCRAM-SHA-256", "x") + "\nbob:" + *auth::make_password("CRYPT", "x") + "\n");
    REQUIRE(scene.wait([&] { return scene.offers.size() == 3; }));
    CHECK(scene.offers.back() == plain);
    scene.rules.mechanisms = {"SCRAM-SHA-1"};
    scene.exchanges->set_rules(scene.rules);
    REQUIRE(scene.wait([&] { return scene.offers.size() == 4; }));
    CHECK(scene.plain("bob", "x").why == AuthFailure::no_mechanism);
}

TEST_CASE("a changed passdb is in force at once, the cache notwithstanding", "[authd][exchange]")
{
    Scene scene("alice:{PLAIN}old\n");
    CHECK(scene.plain("alice", "old").kind == ReplyKind::ok);
    scene.passdb("alice:{PLAIN}new\n");
    CHECK(scene.plain("alice", "old").why == AuthFailure::password_mismatch);
    CHECK(scene.plain("alice", "new").kind == ReplyKind::ok);
    scene.passdb("");
    CHECK(scene.plain("alice", "new").why == AuthFailure::unknown_user);
}

TEST_CASE("a wrong password is answered late, and a right one is not", "[authd][exchange]")
{
    Scene scene("alice:{PLAIN}x\n", milliseconds(300));
    const int64_t start = system_clock().mono_us();
    CHECK(scene.plain("alice", "wrong").why == AuthFailure::password_mismatch);
    const int64_t failed = system_clock().mono_us();
    CHECK(failed - start >= 300'000);
    CHECK(scene.plain("alice", "x").kind == ReplyKind::ok);
}

TEST_CASE("cancelled, abandoned and overdue exchanges are forgotten, and none is taken from another role", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}x\n");
    auto first = scene.begin("LOGIN", std::nullopt);
    REQUIRE(scene.channel->send(static_cast<uint16_t>(ipc::AuthType::cancel), ipc::Writer().u64(first.exchange).take()));
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));

    first = scene.begin("LOGIN", "alice");
    auto other = scene.connect();
    REQUIRE(other->send(static_cast<uint16_t>(ipc::AuthType::cancel), ipc::Writer().u64(first.exchange).take()));
    bool thief_failed = false;
    other->call(static_cast<uint16_t>(ipc::AuthType::step), ipc::AuthStep{first.exchange, "x"}.encode(), {}, milliseconds(20'000),
                [&](Result<ipc::Message> answer) { thief_failed = !answer; });
    REQUIRE(scene.wait([&] { return thief_failed; }));       // its channel is closed
    CHECK(scene.step(first.exchange, "x").user == "alice");

    scene.rules.patience = milliseconds(20);
    scene.exchanges->set_rules(scene.rules);
    first = scene.begin("LOGIN", "alice");
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));
    CHECK(scene.step(first.exchange, "x").why == AuthFailure::malformed);

    scene.rules.patience = milliseconds(60'000);
    scene.rules.per_peer = 3;
    scene.exchanges->set_rules(scene.rules);
    for (int i = 0; i < 3; ++i) CHECK(scene.begin("LOGIN", std::nullopt).kind == ReplyKind::challenge);
    CHECK(scene.begin("LOGIN", std::nullopt).why == AuthFailure::internal);
    // One more on a thread, and the role dies.
    scene.channel.reset();
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));
}

TEST_CASE("hanging up before the answer does not spare a guesser the count", "[authd][exchange][hostile]")
{
    Scene scene("alice:" + *auth::make_password("SHA512-CRYPT", "x") + "\n");
    for (int i = 0; i < 8; ++i) {
        ipc::AuthBegin begin;
        begin.mechanism = "PLAIN";
        begin.initial = "\0alice\0guess"s + cat(i);
        begin.service = "submission";
        begin.client = "192.0.2.66";
        auto guesser = scene.connect();
        guesser->call(static_cast<uint16_t>(ipc::AuthType::begin), begin.encode(), {}, milliseconds(20'000), [](Result<ipc::Message>) {});
        if (!scene.wait([&] { return scene.exchanges->under_way() == 1; })) FAIL("not begun");
        guesser.reset();
        if (i < 3) REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));
        if (scene.exchanges->waiting() > 0) break;
    }
    CHECK(scene.exchanges->waiting() > 0);                   // the fourth stands at the gate
    CHECK(scene.plain("alice", "x", "192.0.2.8").kind == ReplyKind::ok);
}

TEST_CASE("a call that is withdrawn is answered at once and takes no more room, and its address owes what it owed", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}x\n");
    scene.rules.per_peer = scene.rules.per_address = 3;
    scene.rules.failure_delay = milliseconds(60'000);
    scene.exchanges->set_rules(scene.rules);
    std::vector<AuthFailure> told;
    const auto guess = [&](uint64_t call, const std::string& client) {
        ipc::AuthBegin begin;
        begin.mechanism = "PLAIN";
        begin.initial = "\0alice\0wrong"s + cat(call);
        begin.service = "submission";
        begin.client = client;
        begin.call = call;
        scene.channel->call(static_cast<uint16_t>(ipc::AuthType::begin), begin.encode(), {}, milliseconds(25'000),
                            [&](Result<ipc::Message> answer) { told.push_back(ipc::AuthReply::decode(answer->body)->why); });
    };
    const auto withdraw = [&](uint64_t call) {
        REQUIRE(scene.channel->send(static_cast<uint16_t>(ipc::AuthType::withdraw), ipc::Writer().u64(call).take()));
    };
    const auto settled = [&](std::size_t answers) {
        REQUIRE(scene.wait([&] { return told.size() == answers && scene.exchanges->under_way() == 0; }));
        CHECK(told == std::vector<AuthFailure>(answers, AuthFailure::internal));
    };
    // On the threads, or told late: nobody can see from here which.
    for (uint64_t call = 1; call <= 3; ++call) guess(call, "192.0.2.66");
    for (uint64_t call = 1; call <= 3; ++call) withdraw(call);
    settled(3);
    // A failure that waits to be told.
    guess(4, "192.0.2.67");
    REQUIRE(scene.wait([&] { return scene.log.find("192.0.2.67,submission/PLAIN): Password mismatch") != std::string::npos; }));
    CHECK(told.size() == 3);
    withdraw(4);
    withdraw(4);                                             // once is enough
    withdraw(1);
    settled(4);
    // A step, by its own number; that of the begin is over.
    ipc::AuthBegin login;
    login.mechanism = "LOGIN";
    login.initial = "alice";
    login.client = "192.0.2.68";
    login.call = 5;
    const auto first = scene.call(ipc::AuthType::begin, login.encode());
    REQUIRE(first.kind == ReplyKind::challenge);
    withdraw(5);
    scene.channel->call(static_cast<uint16_t>(ipc::AuthType::step), ipc::AuthStep{first.exchange, "wrong", 6}.encode(), {}, milliseconds(25'000),
                        [&](Result<ipc::Message> answer) { told.push_back(ipc::AuthReply::decode(answer->body)->why); });
    withdraw(6);
    settled(5);
    // Another role's numbers are its own.
    guess(7, "192.0.2.69");
    auto other = scene.connect();
    REQUIRE(other->send(static_cast<uint16_t>(ipc::AuthType::withdraw), ipc::Writer().u64(7).take()));
    CHECK(scene.plain("alice", "x", "192.0.2.8").kind == ReplyKind::ok);
    CHECK(told.size() == 5);
    withdraw(7);
    settled(6);
    // Three that are told late: he is no freer for having hung up.
    for (uint64_t call = 8; call <= 10; ++call) guess(call, "192.0.2.70");
    const auto failures = [&] {
        unsigned n = 0;
        for (std::size_t at = 0; (at = scene.log.find("192.0.2.70,submission/PLAIN): Password mismatch", at)) != std::string::npos; ++at) ++n;
        return n;
    };
    REQUIRE(scene.wait([&] { return failures() == 3; }));
    for (uint64_t call = 8; call <= 10; ++call) withdraw(call);
    settled(9);
    CHECK(scene.plain("alice", "x", "192.0.2.70").why == AuthFailure::throttled);
}

TEST_CASE("a client that hangs up while its call is still held in its role's process is never heard of in authd", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}x\n");
    scene.rules.failure_delay = milliseconds(60'000);
    scene.exchanges->set_rules(scene.rules);
    scene.channel = scene.connect(2);
    const auto type = [](ipc::AuthType t) { return static_cast<uint16_t>(t); };
    reception::Logins logins("submission", {[&](ipc::AuthType t, std::string body, std::function<void(Result<ipc::Message>)> done, std::function<bool()> wanted) {
                                                scene.channel->call(type(t), std::move(body), {}, milliseconds(60'000), std::move(done), std::move(wanted));
                                            },
                                            [&](ipc::AuthType t, std::string body) { REQUIRE(scene.channel->send(type(t), std::move(body))); }});
    const auto client = [](unsigned number) { return *net::Address::parse_ip(cat("192.0.2.", number), 1); };
    std::optional<ipc::AuthReply> login;
    unsigned failed = 0;
    const auto fails = [&](const Result<ipc::AuthReply>& reply) { failed += reply ? 0 : 1; };
    logins.begin("LOGIN", "alice", client(1), nullptr, [&](const Result<ipc::AuthReply>& reply) { login = *reply; });
    REQUIRE(scene.wait([&] { return login.has_value(); }));
    REQUIRE(login->kind == ReplyKind::challenge);
    // Two that guess, and are told late: more calls than these do not go out.
    for (unsigned i = 2; i <= 3; ++i) logins.begin("PLAIN", "\0alice\0wrong"s, client(i), nullptr, fails);
    REQUIRE(scene.wait([&] {
        const auto told = [&](int number) { return scene.log.find(cat("192.0.2.", number, ",submission/PLAIN): Password mismatch")) != std::string::npos; };
        return told(2) && told(3) && scene.exchanges->under_way() == 1;
    }));
    const uint64_t begin = logins.begin("PLAIN", "\0alice\0wrong"s, client(4), nullptr, fails);
    const uint64_t step = logins.step(login->exchange, "wrong", fails);
    const uint64_t second = logins.begin("PLAIN", "\0alice\0wrong"s, client(5), nullptr, fails);
    logins.withdraw(begin);
    logins.withdraw(step);
    logins.withdraw(second);
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));      // the LOGIN waits for its second step no longer
    const uint64_t honest = logins.begin("PLAIN", "\0alice\0x"s, client(6), nullptr, [&](const Result<ipc::AuthReply>& reply) { login = *reply; });
    logins.withdraw(1 + honest);                             // that of nobody
    for (const uint64_t number : {begin - 1, begin - 2}) logins.withdraw(number);       // the guessers leave, and so there is room
    REQUIRE(scene.wait([&] { return login->kind == ReplyKind::ok && failed == 3; }));
    for (const unsigned number : {1u, 4u, 5u}) CHECK(scene.log.find(cat("192.0.2.", number, ",")) == std::string::npos);
}

TEST_CASE("one address has no more than its share of authd, late answers among it, and is told at once", "[authd][exchange][hostile]")
{
    Scene scene("alice:{PLAIN}x\n");
    scene.rules.per_address = 5;
    scene.rules.mechanisms = {"PLAIN", "LOGIN", "APOP"};
    scene.rules.failure_delay = milliseconds(60'000);
    scene.exchanges->set_rules(scene.rules);
    const auto greeting = scene.begin("APOP", std::nullopt, "2001:db8::1");
    for (int i = 0; i < 3; ++i) CHECK(scene.begin("LOGIN", std::nullopt, cat("2001:db8::", i)).kind == ReplyKind::challenge);
    unsigned told = 0;
    for (int i = 0; i < 2; ++i) scene.send_plain("alice", cat("wrong", i), "2001:db8::9", [&](const ipc::AuthReply&) { ++told; });
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 4; }));          // three and the greeting; two failures wait to be told
    CHECK(scene.plain("alice", "x", "2001:db8::7").why == AuthFailure::throttled);
    CHECK(scene.begin("LOGIN", std::nullopt, "2001:db8::7").why == AuthFailure::throttled);
    CHECK(scene.step(greeting.exchange, "alice " + tls::md5_hex(greeting.data + "x")).why == AuthFailure::throttled);
    CHECK(scene.plain("alice", "x", "2001:db8:0:1::7").kind == ReplyKind::ok);
    CHECK(told == 0);
    const std::string line = "5 logins under way at once";
    const auto at = scene.log.find(line);
    CHECK(at != std::string::npos);
    CHECK(scene.log.find(line, at + 1) == std::string::npos);
    // Who is gone leaves room.
    scene.channel.reset();
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 0; }));
    scene.channel = scene.connect();
    CHECK(scene.plain("alice", "x", "2001:db8::7").kind == ReplyKind::ok);
}

namespace {

// Counts how often it is asked.
struct CountingPassdb final : auth::Passdb {
    mutable std::atomic<unsigned> asked = 0;
    std::string password = "{PLAIN}x", version = "1", likely = "{PLAIN}y";
    Result<std::optional<auth::Found>> find(const std::string& user) const override
    {
        ++asked;
        if (user != "alice") return std::optional<auth::Found>();
        auth::Found found;
        found.user = user;
        found.password = password;
        found.source = "passwd-file";
        return std::optional(found);
    }
    std::string likely_password(std::string_view) const override { return likely; }
    bool all_scram(bool) const override { return false; }
    std::string stamp() const override { return version; }
};

}  // namespace

TEST_CASE("an honest login does not wait for those of many addresses that guess", "[authd][exchange][hostile]")
{
    struct Slow final : auth::Passdb {
        Result<std::optional<auth::Found>> find(const std::string& user) const override
        {
            while (user.starts_with("guess") && !go) ::usleep(1000);
            if (user != "alice") return std::optional<auth::Found>();
            auth::Found found;
            found.user = user;
            found.password = "{PLAIN}x";
            return std::optional(std::move(found));
        }
        std::string likely_password(std::string_view) const override { return ""; }
        bool all_scram(bool) const override { return false; }
        std::string stamp() const override { return "1"; }
        std::atomic<bool> go = true;
    };
    Scene scene("");
    scene.rules.cache_us = 0;
    scene.exchanges->set_rules(scene.rules);
    const auto slow = std::make_shared<Slow>();      // shared: as passdbs are
    scene.exchanges->set_passdbs({slow});
    REQUIRE(scene.plain("alice", "x", "198.51.100.1").kind == ReplyKind::ok);
    for (int i = 0; i < 100; ++i) REQUIRE(scene.plain("nobody", "x", cat("192.0.2.", i)).why == AuthFailure::unknown_user);
    slow->go = false;
    std::size_t over = 0, before_alice = 1000, before_bob = 1000;
    for (int i = 0; i < 100; ++i) scene.send_plain(cat("guess", i), "x", cat("192.0.2.", i), [&over](const ipc::AuthReply&) { ++over; });
    scene.send_plain("alice", "x", "198.51.100.1", [&](const ipc::AuthReply&) { before_alice = over; });
    scene.send_plain("alice", "x", "198.51.100.2", [&](const ipc::AuthReply&) { before_bob = over; });
    REQUIRE(scene.wait([&] { return scene.exchanges->under_way() == 102; }));
    slow->go = true;
    REQUIRE(scene.wait([&] { return over == 100; }));
    CHECK(before_alice <= 10);       // those that had begun, and one or two
    CHECK(before_bob <= 10);
}

TEST_CASE("an unknown user costs what a user of one of the sources does, always of the same one", "[authd][exchange]")
{
    struct Judge final : auth::Passdb {
        Result<std::optional<auth::Found>> find(const std::string&) const override { return std::optional<auth::Found>(); }
        std::string likely_password(std::string_view) const override { return ""; }
        bool all_scram(bool) const override { return false; }
        bool judges() const override { return true; }
        auth::Judgement judge(const std::string& user, std::string_view) const override
        {
            ++asked;
            CHECK(user.empty());
            return {AuthFailure::internal, "PAM: not there"};
        }
        std::string stamp() const override { return "1"; }
        mutable unsigned asked = 0;
    };
    const auto judge = std::make_shared<Judge>();    // shared: as passdbs are
    const auto file = auth::PasswdFile::parse("alice:{PLAIN}x\nlocked:!\n", "key", nullptr);
    const Chain chain({file, judge}, "key");
    using Ask = Chain::Looked::Ask;
    unsigned judged = 0, computed = 0;
    for (int i = 0; i < 200; ++i) {
        const std::string user = cat("user", i);
        const auto looked = chain.look({user}, "wrong");
        CHECK(looked.verdict.why == AuthFailure::unknown_user);
        CHECK(chain.look({cat("USER", i, "@example.org"), user}, "other").ask == looked.ask);
        CHECK(Chain({file, judge}, "key").look({user}, "wrong").ask == looked.ask);
        ++(looked.ask == Ask::judge_for_show ? judged : computed);
    }
    CHECK((judged > 50 && computed > 50));
    CHECK(judge->asked == 0);
    for (int i = 0; i < 20; ++i) CHECK(chain.check({cat("user", i)}, "wrong").why == AuthFailure::unknown_user);
    CHECK((judge->asked > 0 && judge->asked < 20));
    const auto locked = chain.check({"locked"}, "x");       // what the judge says of nobody is not said of him
    CHECK(locked.why == AuthFailure::password_mismatch);
    CHECK(locked.text == "account is locked");
    CHECK(chain.look({"alice"}, "x").ask == Ask::nobody);
    CHECK(Chain({judge}, "key").look({"user1"}, "x").ask == Ask::judge_for_show);
}

TEST_CASE("the secret that SCRAM makes up for a name looks like those that are there, however the name is spelled", "[authd][exchange][rfc5802]")
{
    const auto stored = auth::ScramSecret::derive(tls::Digest::sha256, "x", std::string(40, 'q'), 10'000);
    const auto file = auth::PasswdFile::parse(cat("alice:{SCRAM-SHA-256}", stored.str(), '\n'), "key", nullptr);
    const auto shadow = std::make_shared<CountingPassdb>();  // comes first, and has nothing for SCRAM
    shadow->likely = "$6$salt$";
    const Chain chain({shadow, file}, "key");
    const auto one = chain.scram({"Mallory", "mallory"}, tls::Digest::sha256), two = chain.scram({"mallory"}, tls::Digest::sha256);
    CHECK_FALSE(one.real);
    CHECK(one.secret.iterations == 10'000);
    CHECK(one.secret.salt.size() == 40);
    CHECK(one.secret.salt == two.secret.salt);
    CHECK(one.secret.salt.substr(32) != std::string(8, 's'));
    CHECK(one.secret.salt.substr(0, 32) != chain.scram({"carol"}, tls::Digest::sha256).secret.salt.substr(0, 32));
}

TEST_CASE("a passwd-file that changes is taken apart beside the loop, and the last change counts", "[authd]")
{
    char name[] = "/tmp/veredus-passwd-XXXXXX";
    REQUIRE(::mkdtemp(name));
    const std::string path = cat(name, "/passwd");
    const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
    const auto opened = [&] { return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); };
    std::string log;
    log::capture(&log);
    auto loop = std::move(*Loop::create());
    {
        PasswdFiles files("key");
        CHECK_FALSE(files.read_now(path));
        CHECK_FALSE(files.find(path));
        write("alice:{PLAIN}a\nbad:{NONSENSE}x\n");
        REQUIRE(files.read_now(path));
        const auto first = files.find(path);
        REQUIRE(first);
        CHECK(first->size() == 1);
        CHECK(log.find("line 2: ") != std::string::npos);
        unsigned changes = 0;
        files.begin(*loop, [&] { ++changes; });
        const auto settle = [&](auto ready) {
            for (int i = 0; i < 3000 && !ready(); ++i) loop->run_once(milliseconds(10));
            return ready();
        };
        files.update(path, opened());                        // only touched: nothing is new
        std::string many;
        for (int i = 0; i < 20'000; ++i) append(many, "user", i, ":{PLAIN}x\n");
        write(many);
        files.update(path, opened());
        CHECK(files.find(path) == first);                    // whoever logs in now is answered from what was there
        write("bob:{PLAIN}b\nalice:{PLAIN}a\n");
        files.update(path, opened());
        write("zoe:{PLAIN}z\n");
        files.update(path, opened());
        CHECK(settle([&] { return files.find(path)->find("zoe")->has_value(); }));
        CHECK(files.find(path)->size() == 1);
        CHECK(changes <= 2);
        const auto last = files.find(path);
        log.clear();
        files.update(path, Fd(::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)));    // cannot be read
        CHECK(settle([&] { return log.find("the passwords read before stay in force") != std::string::npos; }));
        CHECK(files.find(path) == last);
        files.update(cat(name, "/other"), opened());         // a file that is new in passdb
        CHECK(settle([&] { return files.find(cat(name, "/other")) != nullptr; }));
        files.update(path, opened());                        // what is under way at the end is dropped
    }
    for (int i = 0; i < 5; ++i) loop->run_once(milliseconds(10));
    log::capture(nullptr);
    ::unlink(path.c_str());
    ::rmdir(name);
}

TEST_CASE("the key of made-up salts outlives the process, and nobody else has it", "[authd][hostile]")
{
    char name[] = "/tmp/veredus-key-XXXXXX";
    REQUIRE(::mkdtemp(name));
    const std::string path = cat(name, "/auth-key");
    const auto mode = [&] {
        struct stat info{};
        REQUIRE(::lstat(path.c_str(), &info) == 0);
        return info.st_mode;
    };
    const auto first = authd::lasting_key(path);
    REQUIRE(first);
    CHECK(first->size() == 32);
    CHECK(mode() == (S_IFREG | 0600));
    CHECK(authd::lasting_key(path).value_or("") == *first);
    const auto salt = [](const std::string& key) {
        return Chain({auth::PasswdFile::parse("a:{PLAIN}x\n", key, nullptr)}, key).scram({"nobody"}, tls::Digest::sha256).secret.salt;
    };
    CHECK(salt(*first) == salt(*authd::lasting_key(path)));
    // One that others could have read, or that is no key, is replaced; a link leads nowhere.
    std::string last = *first;
    const auto replaced = [&] {
        const auto now = authd::lasting_key(path);
        REQUIRE(now);
        CHECK(now->size() == 32);
        CHECK(mode() == (S_IFREG | 0600));
        return std::exchange(last, *now) != *now;
    };
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    CHECK(replaced());
    REQUIRE(::truncate(path.c_str(), 31) == 0);
    CHECK(replaced());
    REQUIRE(::rename(path.c_str(), cat(name, "/other").c_str()) == 0);
    REQUIRE(::symlink("other", path.c_str()) == 0);
    CHECK(replaced());
    CHECK_FALSE(replaced());
    for (const char* file : {"/auth-key", "/other"}) ::unlink(cat(name, file).c_str());
    REQUIRE(::rmdir(name) == 0);                             // no draft is left behind
    CHECK_FALSE(authd::lasting_key(path));
}

TEST_CASE("the same wrong password from the same address is looked at once, until the passdb changes", "[authd][exchange][hostile]")
{
    Scene scene("", milliseconds(50));
    const auto passdb = std::make_shared<CountingPassdb>();
    scene.exchanges->set_passdbs({passdb});
    for (const std::string user : {"alice", "mallory"}) {
        INFO(user);
        const AuthFailure why = user == "alice" ? AuthFailure::password_mismatch : AuthFailure::unknown_user;
        CHECK(scene.plain(user, "wrong").why == why);
        const unsigned before = passdb->asked;
        for (int i = 0; i < 5; ++i) {
            const int64_t start = system_clock().mono_us();
            CHECK(scene.plain(user, "wrong").why == why);
            CHECK(system_clock().mono_us() - start >= 50'000);       // as late as the first time
        }
        CHECK(passdb->asked == before);
        CHECK(scene.plain(user, "wrong", "192.0.2.8").why == why);   // nobody learns what was tried from elsewhere
        CHECK(passdb->asked > before);
    }
    CHECK(scene.plain("alice", "x").kind == ReplyKind::ok);
    passdb->password = "{PLAIN}wrong";
    passdb->version = "2";
    CHECK(scene.plain("alice", "wrong").kind == ReplyKind::ok);
}

TEST_CASE("messages that are none of authd's close the channel", "[authd][exchange][hostile]")
{
    for (const uint16_t type : {600, 601, 603, 7}) {
        Scene scene("alice:{PLAIN}x\n");
        REQUIRE(scene.channel->send(type, "garbage"));
        INFO(type);
        CHECK(scene.wait([&] { return scene.closed; }));
        CHECK(scene.exchanges->under_way() == 0);
    }
}

TEST_CASE("behind authd's wall there are Unix sockets and no others", "[authd][confine]")
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        const auto done = forbid_network();
        if (!done) ::_exit(2);
        if (!*done) ::_exit(0);
        const bool walled = ::socket(AF_INET, SOCK_STREAM, 0) < 0 && ::socket(AF_INET6, SOCK_DGRAM, 0) < 0 && ::socket(AF_NETLINK, SOCK_RAW, 0) < 0 &&
                            ::syscall(SYS_io_uring_setup, 1, nullptr) < 0;
        ::_exit(walled && ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
