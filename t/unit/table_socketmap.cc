// socketmap: tables: the protocol in pieces, servers that misbehave, and decisions that wait for no server.
#include "t/unit/catch.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/daemon/lookups.h"
#include "lib/loop/loop.h"
#include "lib/table/socketmap.h"
#include "qmgr/router/batch.h"

using namespace veredus;
using namespace veredus::table;

namespace {

// Serves connections one after the other: reads a request and sends what `reply` makes of it; an empty reply closes.
class Server {
public:
    explicit Server(std::function<std::string(const std::string&)> reply) : reply_(std::move(reply))
    {
        char folder[] = "/tmp/socketmap-XXXXXX";
        REQUIRE(::mkdtemp(folder));
        path_ = cat(std::string_view(folder), "/s");
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        REQUIRE(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(listener_.get(), 8) == 0);
        thread_ = std::thread([this] { serve(); });
    }
    ~Server()
    {
        stop();
        ::unlink(path_.c_str());
        ::rmdir(path_.substr(0, path_.rfind('/')).c_str());
    }
    void stop()
    {
        if (!thread_.joinable()) return;
        stopping_ = true;
        ::shutdown(listener_.get(), SHUT_RDWR);
        if (const int open = client_; open >= 0) ::shutdown(open, SHUT_RDWR);
        thread_.join();
        listener_.reset();
    }
    std::string spec(std::string_view name = "map") const { return cat("unix:", path_, ":", name); }
    std::atomic<int> connections{0}, requests{0};

private:
    void serve()
    {
        while (!stopping_) {
            const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!client) return;
            ++connections;
            client_ = client.get();
            char buffer[4096];
            for (ssize_t n; !stopping_ && (n = ::read(client.get(), buffer, sizeof buffer)) > 0;) {
                ++requests;
                const std::string reply = reply_(std::string(buffer, static_cast<std::size_t>(n)));
                if (reply.empty() || ::send(client.get(), reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
            }
            client_ = -1;
        }
    }
    std::function<std::string(const std::string&)> reply_;
    std::string path_;
    Fd listener_;
    std::atomic<int> client_{-1};
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

std::string shown(const Answer& answer) { return !answer ? cat("error ", answer.error().text) : *answer ? cat("= ", **answer) : std::string("none"); }

}  // namespace

TEST_CASE("netstrings, at once and byte by byte", "[socketmap]")
{
    struct Case {
        std::string bytes;
        const char* result;      // "?": more is wanted, "!": an error
    };
    for (const Case& c : {Case{"5:hello,", "hello"}, {"0:,", ""}, {"", "?"}, {"5", "?"}, {"5:", "?"}, {"5:hell", "?"}, {"5:hello", "?"}, {"5:hello;", "!"}, {"05:hello,", "!"},
                          {":x,", "!"}, {"-1:x,", "!"}, {"x", "!"}, {"5:hello,1", "!"}, {"101:", "!"}, {"99999999999999999999999:", "!"}, {"3:a,b,", "a,b"}, {"5 :hello,", "!"}}) {
        INFO(c.bytes);
        Netstring gulp(100), trickle(100);
        const auto show = [](const Netstring& n, const Result<bool>& r) { return !r ? std::string("!") : *r ? n.text() : std::string("?"); };
        CHECK(show(gulp, gulp.feed(c.bytes)) == c.result);
        Result<bool> last = false;
        for (const char byte : c.bytes)
            if (last) last = trickle.feed({&byte, 1});
        CHECK(show(trickle, last) == c.result);
    }
    CHECK(netstring("map key") == "7:map key,");
}

TEST_CASE("what a socketmap server may answer", "[socketmap]")
{
    CHECK(shown(socketmap_answer("OK a, b")) == "= a, b");
    CHECK(shown(socketmap_answer("OK ")) == "= ");
    CHECK(shown(socketmap_answer("NOTFOUND ")) == "none");
    CHECK(shown(socketmap_answer("NOTFOUND")) == "none");
    CHECK(shown(socketmap_answer("TEMP busy")) == "error it says TEMP: busy");
    CHECK(shown(socketmap_answer("PERM bad\nmap")).starts_with("error it says PERM: "));
    for (const char* odd : {"", "ok x", "OKAY", "500 no", " OK x"}) CHECK(shown(socketmap_answer(odd)).starts_with("error its answer begins with none of"));
}

TEST_CASE("socketmap: names that say nothing are errors", "[socketmap]")
{
    for (const char* bad : {"", "inet", "inet:", "inet:host", "inet:host:1", "inet::1:x", "inet:h::x", "inet:h:1:", "unix:relative:x", "unix:/path", "unix:/path:", "tcp:h:1:x", "inet:h:0:x", "inet:h:65536:x", "inet:h:no-such-service:x"})
        CHECK_FALSE(SocketmapServer::create(bad));
    for (const char* good : {"inet:host:1:x", "inet:[::1]:1:x", "inet:h:smtp:x", "unix:/a/b:x"}) CHECK(SocketmapServer::create(good));
    CHECK_FALSE(SocketmapServer::create(cat("unix:/", std::string(200, 'x'), ":m")));
}

TEST_CASE("a socketmap server is asked over one connection, and over a new one when it closed that", "[socketmap]")
{
    bool close_next = false;
    Server server([&](const std::string& request) -> std::string {
        if (std::exchange(close_next, false)) return "";
        return request == "11:map a@b.org," ? "4:OK x," : "9:NOTFOUND ,";
    });
    const auto table = table::open(cat("socketmap:", server.spec()));
    REQUIRE(table);
    CHECK(shown((*table)->find("A@B.org")) == "= x");
    CHECK(shown((*table)->find("other")) == "none");
    CHECK(server.connections == 1);
    close_next = true;
    CHECK(shown((*table)->find("a@b.org")) == "= x");
    CHECK(server.connections == 2);
    CHECK((*table)->origin("a@b.org") == cat("socketmap:", server.spec()));
    server.stop();
    CHECK(shown((*table)->find("a@b.org")).find("connect") != std::string::npos);
}

TEST_CASE("a socketmap server that talks garbage, says too much or nothing is temporary trouble", "[socketmap]")
{
    struct Case {
        std::string reply;
        const char* why;
    };
    for (const Case& c : {Case{"HTTP/1.1 400\r\n", "this is no netstring"}, {"1000000:", "more than 100000 bytes"}, {"4:OK x,4:OK y,", "more than one netstring"}, {"", "closed the connection"}}) {
        Server server([&](const std::string&) { return c.reply; });
        auto one = SocketmapServer::create(server.spec());
        REQUIRE(one);
        const auto answer = (*one)->ask("k");
        REQUIRE_FALSE(answer);
        CHECK(answer.error().text.find(c.why) != std::string::npos);
    }
    Server mute([](const std::string&) { return std::string("4:OK"); });
    auto one = SocketmapServer::create(mute.spec());
    REQUIRE(one);
    (*one)->patience = std::chrono::milliseconds(30);
    (*one)->pause = std::chrono::hours(1);
    CHECK(shown((*one)->ask("k")).find("no answer in time") != std::string::npos);
    CHECK(shown((*one)->ask("k")).find("did not answer a moment ago") != std::string::npos);
    CHECK(mute.requests == 1);
}

TEST_CASE("a socketmap server that was given a moment only is not taken for silent", "[socketmap]")
{
    Server mute([](const std::string&) { return std::string("4:OK"); });
    const auto one = SocketmapServer::create(mute.spec());
    REQUIRE(one);
    CHECK(shown((*one)->ask("k", std::chrono::milliseconds(20))).find("no answer in time") != std::string::npos);
    CHECK(shown((*one)->ask("k", std::chrono::milliseconds(20))).find("no answer in time") != std::string::npos);
    CHECK(shown((*one)->ask("k", std::chrono::milliseconds(0))).find("has not answered in time") != std::string::npos);
}

TEST_CASE("a server that hangs delays the decisions that need it, no others, and those not for ever", "[socketmap]")
{
    Server mute([](const std::string&) { return std::string("4:OK"); });
    const auto table = table::open(cat("socketmap:", mute.spec()));
    REQUIRE(table);
    const auto loop = std::move(*Loop::create());
    daemon::Lookups lookups(*loop, std::chrono::milliseconds(1500));
    const auto until = [&](const auto& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!condition() && std::chrono::steady_clock::now() < end) loop->run_once(std::chrono::milliseconds(10));
    };
    int hung = 0, others = 0;
    std::string said[6];
    for (std::string& text : said) lookups.run([&] { text = shown((*table)->find("k")); }, [&] { ++hung; });
    until([&] { return mute.requests > 0; });
    lookups.run([] {}, [&] { ++others; });
    until([&] { return others == 1; });
    CHECK(hung == 0);
    until([&] { return hung == 6; });
    CHECK(hung == 6);
    for (const std::string& text : said) CHECK(text.starts_with("error "));
}

TEST_CASE("a decision waits for no socketmap server: it is made again with the answers", "[socketmap][router]")
{
    const auto file = conf::File::parse("myhostname = mail.example.org\nmydestination = example.org\nmyorigin = example.org\nlocal_recipient_maps =\n"
                                        "virtual_alias_maps = socketmap:unix:/nonexistent/s:valias\nvirtual_alias_domains =\n",
                                        "main.cf");
    REQUIRE(file.ok());
    const router::Routing routing(file.values(), {});
    router::UserCache users(system_clock(), [](const std::string&, const std::function<void(router::Known)>&) { FAIL("nobody asks for users"); });
    std::vector<std::pair<std::string, std::function<void(Answer)>>> asked;
    std::vector<ipc::Route> routes;
    std::vector<std::string> why;
    ipc::RouteRequest request;
    request.recipients = {"a@example.org", "b@example.org", "a@example.org"};
    std::make_shared<router::Batch>(
        request, [&]() -> const router::Routing& { return routing; }, users,
        [&](const Questions::Question& q, std::function<void(Answer)> done) { asked.emplace_back(q.key, std::move(done)); },
        [&](std::vector<ipc::Route> r, const std::vector<std::string>& reasons) { routes = std::move(r), why = reasons; })
        ->run();
    const auto answer_all = [&](const std::function<Answer(const std::string&)>& word) {
        for (auto& [key, done] : std::exchange(asked, {})) done(word(key));
    };
    REQUIRE(asked.size() == 2);      // each key once
    CHECK(asked[0].first == "a@example.org");
    answer_all([](const std::string& key) -> Answer {
        if (key.starts_with("a@")) return std::optional<std::string>("x@other.example");
        return std::optional<std::string>();
    });
    REQUIRE(asked.size() == 1);      // b goes on with its next key
    CHECK(asked[0].first == "b");
    answer_all([](const std::string&) -> Answer { return fail("down"); });
    REQUIRE(routes.size() == 3);
    CHECK(routes[0].children.size() == 1);
    CHECK(routes[2].children.size() == 1);
    CHECK(routes[1].kind == ipc::Route::Kind::defer);
    REQUIRE(why.size() == 1);
    CHECK(why[0] == "down");
}

TEST_CASE("whose an address is waits for no server either, alias_maps included", "[socketmap][router]")
{
    const auto file = conf::File::parse("myhostname = mail.example.org\nmydestination = example.org\nmyorigin = example.org\n"
                                        "smtpd_sender_login_maps = socketmap:unix:/nonexistent/s:logins\nalias_maps = socketmap:unix:/nonexistent/s:aliases\n",
                                        "main.cf");
    REQUIRE(file.ok());
    const router::Routing routing(file.values(), {});
    struct Nobody final : router::Users {
        router::Known known(const std::string&) const override { return router::Known::no; }
    };
    Questions questions;
    std::vector<std::string> asked, users;
    for (int turns = 0; turns < 20; ++turns) {
        auto owner = [&] {
            const Questions::Scope scope(questions);
            return routing.owner("alice", "webmaster@example.org", Nobody(), users);
        }();
        const auto open = questions.take_open();
        if (open.empty()) {
            REQUIRE(owner);
            CHECK(owner->word == ipc::OwnerReply::Word::yes);
            break;
        }
        CHECK_FALSE(owner);
        CHECK(owner.error().code == EINPROGRESS);
        for (const auto& question : open) {
            asked.push_back(cat(question.server->spec().ends_with("aliases") ? "aliases " : "logins ", question.key));
            questions.answered(question, question.key == "webmaster" && asked.back().starts_with("aliases") ? Answer(std::optional<std::string>("alice"))
                                                                                                          : Answer(std::optional<std::string>()));
        }
    }
    CHECK(std::count(asked.begin(), asked.end(), "aliases webmaster") == 1);
    CHECK(asked[0] == "logins webmaster@example.org");
}
