// A zygote's children: who does not end when nobody listens to him any more is killed, nobody else.
#include "t/unit/catch.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/daemon/children.h"

using namespace veredus;
using veredus::daemon::Children;

namespace {

// A child that never ends by itself, stopped by its user.
pid_t stopped_child()
{
    const pid_t pid = ::fork();
    if (pid == 0)
        for (;;) ::pause();
    REQUIRE(pid > 0);
    REQUIRE(::kill(pid, SIGSTOP) == 0);
    int status = 0;
    REQUIRE(::waitpid(pid, &status, WUNTRACED) == pid);
    REQUIRE(WIFSTOPPED(status));
    return pid;
}

void look(Children& children, int64_t now_us)
{
    std::vector<pollfd> fds;
    children.watch(fds);
    REQUIRE(::poll(fds.data(), fds.size(), 0) >= 0);
    children.take(fds.data(), now_us);
}

}  // namespace

TEST_CASE("a stopped process is killed some time after its channel closed, by its parent", "[daemon][zygote]")
{
    const pid_t one = stopped_child(), other = stopped_child();    // before there are descriptors that they would keep open
    auto hung = socket_pair(SOCK_SEQPACKET), busy = socket_pair(SOCK_SEQPACKET);
    REQUIRE(hung);
    REQUIRE(busy);
    Children children(1000);
    children.add(one, std::move(hung->first), "alice");
    children.add(other, std::move(busy->first), "bob");
    look(children, 10'000);
    CHECK(children.patience_ms(10'000) == -1);
    CHECK(children.kill_overdue(1'000'000).empty());
    hung->second.reset();
    look(children, 20'000);
    CHECK(children.patience_ms(20'000) == 1);
    look(children, 20'500);                                  // hanging up once more gives no more time
    CHECK(children.kill_overdue(20'999).empty());
    const auto killed = children.kill_overdue(21'000);
    REQUIRE(killed.size() == 1);
    CHECK(killed[0] == "alice, pid " + std::to_string(one));
    CHECK(children.kill_overdue(99'000).empty());            // once
    CHECK(children.patience_ms(99'000) == -1);
    int status = 0;
    REQUIRE(::waitpid(one, &status, 0) == one);
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    children.waited_for(one);
    CHECK(children.size() == 1);
    CHECK(::kill(other, 0) == 0);
    // who ended by himself in the meantime is nobody's to kill
    busy->second.reset();
    look(children, 30'000);
    REQUIRE(::kill(other, SIGKILL) == 0);
    REQUIRE(::waitpid(other, &status, 0) == other);
    children.waited_for(other);
    CHECK(children.kill_overdue(99'000).empty());
    CHECK(children.size() == 0);
}

TEST_CASE("a stopped process whose peer says nothing any more but waits for its end is killed", "[daemon][zygote]")
{
    const pid_t one = stopped_child();
    auto hung = socket_pair(SOCK_SEQPACKET);
    REQUIRE(hung);
    Children children(1000);
    children.add(one, std::move(hung->first), "alice");
    look(children, 10'000);
    CHECK(children.patience_ms(10'000) == -1);
    REQUIRE(::shutdown(hung->second.get(), SHUT_WR) == 0);
    look(children, 20'000);
    CHECK(children.kill_overdue(21'000).size() == 1);
    int status = 0;
    REQUIRE(::waitpid(one, &status, 0) == one);
    children.waited_for(one);
    char byte = 0;
    CHECK(::recv(hung->second.get(), &byte, 1, MSG_DONTWAIT) == 0);
}
