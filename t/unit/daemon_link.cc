// A link to a neighbour through a master that the test plays.
#include "t/unit/catch.h"

#include <sys/socket.h>

#include <map>

#include "lib/base/clock.h"
#include "lib/daemon/service.h"

using namespace veredus;
using std::chrono::milliseconds;

namespace {

class FakeMaster final : public daemon::Context {
public:
    FakeMaster() { daemon::set_context(this); }
    ~FakeMaster() override { daemon::set_context(nullptr); }
    void neighbour(const std::string& role, uint32_t, std::function<void(Result<Fd>)> done) override
    {
        asked_us.push_back(system_clock().mono_us());
        asked = role;
        if (!there) return done(fail("router is not ready"));
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        theirs = std::move(pair->first);
        done(std::move(pair->second));
    }
    void worker(ipc::Worker, std::function<void(ipc::Code, std::string, Fd)> done) override { done(ipc::Code::refused, "no", Fd()); }
    const daemon::Place& place() const override { return place_; }
    bool there = false;
    std::string asked;
    std::vector<int64_t> asked_us;
    Fd theirs;      // the neighbour's end

private:
    daemon::Place place_;
};

struct Scene {
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    FakeMaster master;
    template <class Condition> bool wait(Condition condition)
    {
        const int64_t until = system_clock().mono_us() + 30 * us_per_second;
        while (!condition()) {
            if (system_clock().mono_us() > until) return false;
            loop->run_once(milliseconds(10));
        }
        return true;
    }
};

}  // namespace

TEST_CASE("a link asks again until its neighbour is there, and what was asked meanwhile is answered", "[daemon][link]")
{
    Scene scene;
    daemon::Link link(*scene.loop, "router");
    std::vector<bool> states;
    link.on_state([&](bool up) { states.push_back(up); });
    link.start();
    CHECK(scene.master.asked == "router");
    CHECK_FALSE(link.connected());
    CHECK_FALSE(link.send(5, "x"));
    std::string answer;
    link.call(7, "question", {}, milliseconds(20'000), [&](Result<ipc::Message> got) { answer = got ? got->body : got.error().text; });
    REQUIRE(scene.wait([&] { return scene.master.asked_us.size() >= 3; }));
    CHECK(answer.empty());
    scene.master.there = true;
    REQUIRE(scene.wait([&] { return link.connected(); }));
    CHECK(states == std::vector<bool>{true});
    auto question = ipc::recv_blocking(scene.master.theirs.get(), 5000);
    REQUIRE(question);
    REQUIRE(*question);
    CHECK((*question)->type == 7);
    CHECK((*question)->body == "question");
    REQUIRE(ipc::send_blocking(scene.master.theirs.get(), {7, true, (*question)->request, 0, "answer", {}}, 5000));
    REQUIRE(scene.wait([&] { return !answer.empty(); }));
    CHECK(answer == "answer");
}

TEST_CASE("when the neighbour dies, its successor is asked; when that dies too, the question fails", "[daemon][link]")
{
    Scene scene;
    scene.master.there = true;
    daemon::Link link(*scene.loop, "router");
    std::vector<bool> states;
    link.on_state([&](bool up) { states.push_back(up); });
    link.start();
    REQUIRE(link.connected());
    bool failed = false;
    std::string answer;
    link.call(7, "question", {}, milliseconds(20'000), [&](Result<ipc::Message> got) { failed = !got; });
    link.call(8, "other", {}, milliseconds(20'000), [&](Result<ipc::Message> got) { answer = got ? got->body : ""; });
    scene.loop->run_once(milliseconds(10));
    scene.master.theirs.reset();
    REQUIRE(scene.wait([&] { return states == std::vector<bool>{true, false, true}; }));
    std::map<uint16_t, uint32_t> numbers;
    for (int i = 0; i < 2; ++i) {
        auto question = ipc::recv_blocking(scene.master.theirs.get(), 5000);
        REQUIRE(question);
        REQUIRE(*question);
        numbers[(*question)->type] = (*question)->request;
    }
    REQUIRE(numbers.contains(7));
    REQUIRE(numbers.contains(8));
    CHECK_FALSE(failed);
    REQUIRE(ipc::send_blocking(scene.master.theirs.get(), {8, true, numbers[8], 0, "answer", {}}, 5000));
    REQUIRE(scene.wait([&] { return !answer.empty(); }));
    CHECK(answer == "answer");
    scene.master.theirs.reset();
    REQUIRE(scene.wait([&] { return failed; }));
    REQUIRE(scene.wait([&] { return states.size() == 5; }));
}

TEST_CASE("what is asked in the very turn in which a neighbour's death is noticed is answered too", "[daemon][link]")
{
    Scene scene;
    scene.master.there = true;
    daemon::Link link(*scene.loop, "router");
    std::vector<bool> states;
    link.on_state([&](bool up) { states.push_back(up); });
    link.start();
    REQUIRE(link.connected());
    std::string answer;
    bool asked = false;
    // Two pairs of descriptors that get ready in the same turn, so that one of them is served after the link's.
    auto other = socket_pair(SOCK_SEQPACKET);
    REQUIRE(other);
    Watch watch(*scene.loop, other->first.get(), readable, [&](unsigned) {
        if (asked) return;
        asked = true;
        link.call(7, "question", {}, milliseconds(20'000), [&](Result<ipc::Message> got) { answer = got ? got->body : got.error().text; });
    });
    scene.master.theirs.reset();
    other->second.reset();
    REQUIRE(scene.wait([&] { return asked && states == std::vector<bool>{true, false, true}; }));
    auto question = ipc::recv_blocking(scene.master.theirs.get(), 5000);
    REQUIRE(question);
    REQUIRE(*question);
    CHECK((*question)->body == "question");
    REQUIRE(ipc::send_blocking(scene.master.theirs.get(), {7, true, (*question)->request, 0, "answer", {}}, 5000));
    REQUIRE(scene.wait([&] { return !answer.empty(); }));
    CHECK(answer == "answer");
}

TEST_CASE("a neighbour that hangs up at once is asked for less and less often", "[daemon][link]")
{
    Scene scene;
    scene.master.there = true;
    daemon::Link link(*scene.loop, "router");
    link.on_state([&](bool up) {
        if (up) scene.loop->defer([&] { scene.master.theirs.reset(); });
    });
    link.start();
    REQUIRE(scene.wait([&] {
        if (link.connected()) scene.master.theirs.reset();
        return scene.master.asked_us.size() >= 6;
    }));
    const auto& times = scene.master.asked_us;
    CHECK(times[5] - times[4] > times[2] - times[1]);
    CHECK(times[5] - times[0] > 400'000);     // 20, 40, 80, 160, 320 ms
}

TEST_CASE("nobody's login waits in a link for the answers that authd holds back", "[daemon][link][hostile]")
{
    Scene scene;
    scene.master.there = true;
    daemon::Link link(*scene.loop, "authd");
    link.start();
    REQUIRE(scene.wait([&] { return link.connected(); }));
    constexpr int questions = 3000;
    for (int i = 0; i < questions; ++i) link.call(7, "question", {}, milliseconds(60'000), [](const Result<ipc::Message>&) {});
    int heard = 0;
    char bytes[4096];
    CHECK(scene.wait([&] {
        while (::recv(scene.master.theirs.get(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) ++heard;
        return heard == questions;
    }));
}

TEST_CASE("a neighbour that comes back hears nothing that nobody wants any more, and that takes no room", "[daemon][link][hostile]")
{
    Scene scene;
    daemon::Link link(*scene.loop, "authd");
    link.start();
    int cancelled = 0;
    bool wanted = true;
    const auto done = [&](const Result<ipc::Message>& answer) { cancelled += !answer; };
    const auto still = [&] { return wanted; };
    for (int i = 0; i < 1000; ++i) link.call(7, "hung up", {}, milliseconds(60'000), done, still);
    wanted = false;
    std::string answer;
    link.call(8, "honest", {}, milliseconds(60'000), [&](Result<ipc::Message> got) { answer = got ? got->body : got.error().text; });
    bool other = true;
    link.call(7, "hung up", {}, milliseconds(60'000), done, [&] { return other; });
    other = false;
    scene.master.there = true;
    REQUIRE(scene.wait([&] { return link.connected() && cancelled == 1001; }));
    auto question = ipc::recv_blocking(scene.master.theirs.get(), 5000);
    REQUIRE((question && *question));
    CHECK((*question)->body == "honest");
    REQUIRE(ipc::send_blocking(scene.master.theirs.get(), {8, true, (*question)->request, 0, "answer", {}}, 5000));
    REQUIRE(scene.wait([&] { return !answer.empty(); }));
    CHECK(answer == "answer");
    // Nor its successor, of what it died of.
    other = true;
    link.call(7, "deadly", {}, milliseconds(60'000), done, [&] { return other; });
    question = ipc::recv_blocking(scene.master.theirs.get(), 5000);
    REQUIRE((question && *question));
    other = false;
    scene.master.theirs.reset();
    REQUIRE(scene.wait([&] { return cancelled == 1002 && link.connected(); }));
    char byte;
    CHECK(::recv(scene.master.theirs.get(), &byte, 1, MSG_DONTWAIT) < 0);
}

TEST_CASE("a link that goes away calls nobody back", "[daemon][link]")
{
    Scene scene;
    bool called = false;
    {
        daemon::Link link(*scene.loop, "router");
        link.start();
        link.call(7, "question", {}, milliseconds(50), [&](Result<ipc::Message>) { called = true; });
    }
    for (int i = 0; i < 12; ++i) scene.loop->run_once(milliseconds(10));
    CHECK_FALSE(called);
}
