// A whole supervisor with real processes: this test program started again under the names of the roles, each of which runs in
// the real skeleton. Start, neighbours, a worker from the zygote, a death, a reload, a hang, a stop.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/daemon/instance.h"
#include "lib/daemon/prepare.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/service.h"
#include "lib/ipc/login.h"
#include "lib/ipc/user.h"
#include "lib/log/log.h"
#include "master/supervisor.h"
#include "master/watched.h"

using namespace veredus;

namespace {

// One service plays every role; what it lives through stands in the log.
class Actor final : public daemon::Service {
public:
    explicit Actor(std::string role) : role_(std::move(role)) {}
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        log::info("before_jail ", place.role, "/", place.instance, " slot=", place.slot, place.unprivileged ? " unprivileged" : "", place.quiet ? " quiet" : "");
        // The way for a test to make a role fail: "smtp_helo_timeout = 7s" is seen by smtp-client only.
        run_directory_ = place.run_directory;
        if (role_ == "smtp-client" && values.seconds("smtp_helo_timeout") == 7) return fail("no luck with 7");
        return {};
    }
    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        if (role_ == "smtpd") {
            link_ = std::make_unique<daemon::Link>(loop, "router");
            link_->on_state([this](bool up) {
                log::info("router is ", up ? "there" : "away");
                if (up) link_->call(7, "question", {}, std::chrono::milliseconds(5000), [](Result<ipc::Message> answer) { log::info("router says ", answer ? answer->body : answer.error().text); });
            });
            link_->start();
            daemon::context().neighbour("local", 0, [](Result<Fd> fd) { log::info("local: ", fd ? "given" : fd.error().text); });
            daemon::context().neighbour("worker", 0, [](Result<Fd> fd) { log::info("zygote: ", fd ? "given" : fd.error().text); });
        }
        if (role_ == "local") ask_worker();
        if (role_ == "authd") give_tickets();
        return {};
    }
    void ask_worker()
    {
        daemon::context().worker({"tester"}, [this](ipc::Code code, const std::string& text, Fd fd) {
            if (code == ipc::Code::unavailable) {     // the resolver or the zygote is not up yet
                retry_ = std::make_unique<Timer>(*loop_, [this] { ask_worker(); });
                return retry_->start(std::chrono::milliseconds(20));
            }
            log::info("worker: code ", static_cast<int>(code), " ", text);
            worker_ = std::move(fd);
            const std::string ids = cat(::getuid(), ':', ::getgid());
            using By = ipc::Worker::By;
            for (const ipc::Worker& who : {ipc::Worker{ids, "keeps@v.example", By::table}, {"7:7", "keeps@v.example", By::table}, {ids, "keeps.not@v.example", By::table}, {"tester", "keeps@v.example", By::table},
                                           {ids, "", By::name}, {ids, "tester", By::line}, {"7:7", "tester", By::line}, {ids, "stranger", By::line}})
                daemon::context().worker(who, [who](ipc::Code answer, const std::string&, Fd) {
                    log::info("keeper ", who.user[0] == '7' ? "7:7" : who.user == "tester" ? "tester" : "ids", " of ", who.of, ": code ", static_cast<int>(answer));
                });
        });
        daemon::context().worker({"never"}, [](ipc::Code code, const std::string& text, Fd) { log::info("never: code ", static_cast<int>(code), " ", text); });
        daemon::context().worker({"stranger"}, [](ipc::Code code, const std::string&, Fd) {
            if (code != ipc::Code::unavailable) log::info("stranger: code ", static_cast<int>(code));
        });
    }
    bool on_listener(const ipc::Listener& listener, Fd&) override
    {
        log::info("listener ", listener.name);
        return false;
    }
    void on_client(const std::string& listener, Fd client, net::Address) override
    {
        log::info("client on ", listener);
        if (role_ == "pop3d") return take(std::move(client));
        if (!listener.starts_with('/')) [[maybe_unused]] const auto n = ::write(client.get(), "220 hello\r\n", 11);
    }
    // As a login stage with a process for each client.
    void take(Fd client)
    {
        daemon::context().accept_no_more();
        client_ = std::move(client);
        gone_ = std::make_unique<Watch>(*loop_, client_.get(), readable, [this](unsigned) {
            if (::recv(client_.get(), &word_, 1, 0) <= 0) return daemon::context().leave();
            log::info("client says ", word_);
            if (word_ == 'e') enter();
            if (word_ == 'x') ::close(3);      // as in the midst of its end
        });
    }
    // "e": the client gave its password at once; "m": in the very moment in which it was to make room.
    void make_room() override
    {
        log::info("makes room");
        if (word_ != 'm') return daemon::context().leave();
        word_ = 'e';
        enter();
    }
    void enter()
    {
        ipc::Enter enter;
        enter.ticket = ticket_of(daemon::context().place().instance);
        enter.arrival.connection = 1;
        daemon::context().tell_master(ipc::Control::enter, enter.encode(), client_.get(), [](ipc::Code code, const std::string& text) {
            log::info("enter: code ", static_cast<int>(code), " ", text);
        });
    }
    static std::string ticket_of(uint32_t instance) { return std::string(ipc::ticket_size, static_cast<char>('a' + instance)); }
    // Of the processes of pop3d; the user of all but the second one is looked up slowly.
    void give_tickets()
    {
        for (uint32_t i = 0; i < 3; ++i) {
            const ipc::Ticket ticket{ticket_of(i), "pop3d", i, 1, i == 1 ? "tester" : "slowly"};
            daemon::context().tell_master(ipc::Control::ticket, ticket.encode(), -1, [](ipc::Code code, const std::string& text) { if (code != ipc::Code::ok) log::info("ticket: ", text); });
        }
    }
    // Until the test makes a file.
    void answer_slowly()
    {
        if (::access((run_directory_ + "/answer").c_str(), F_OK) != 0) return retry_->start(std::chrono::milliseconds(10));
        for (const auto& [number, message] : std::exchange(slow_, {})) (void)peers_[number]->reply(message, message.type, ipc::UserReply().encode());
    }
    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        auto& slot = peers_[next_];
        slot = std::make_unique<ipc::Channel>(*loop_, std::move(channel),
                                              ipc::Channel::User{[this, number = next_](ipc::Message m) { answer(number, m); }, [this, number = next_](const std::string&) { peers_.erase(number); }});
        ++next_;
        log::info("peer ", peer.role);
    }
    void answer(int number, const ipc::Message& message)
    {
        if (role_ != "resolver") return (void)peers_[number]->reply(message, message.type, "an answer");
        const auto request = ipc::UserRequest::decode(message.body);
        if (request->name == "never") return log::info("looks for never");
        if (request->name == "slowly") {
            log::info("looks for slowly");
            slow_.emplace_back(number, ipc::Message{message.type, false, message.request, 0, {}, {}});
            retry_ = std::make_unique<Timer>(*loop_, [this] { answer_slowly(); });
            return answer_slowly();
        }
        ipc::UserReply reply;
        reply.found = ipc::UserReply::Found::yes;
        reply.name = request->name;
        if (message.type == static_cast<uint16_t>(ipc::UserType::keep)) {
            const uint32_t more = request->name == "keeps@v.example" ? 0 : 1;
            reply.name = cat(reply.uid = ::getuid() + more, ':', reply.gid = ::getgid());
            return (void)peers_[number]->reply(message, message.type, reply.encode());
        }
        reply.uid = request->name == "tester" ? ::getuid() : ::getuid() + 1;
        reply.gid = ::getgid();
        reply.home = "/nowhere";
        (void)peers_[number]->reply(message, message.type, reply.encode());
    }
    Result<void> reload(const conf::Values& values) override
    {
        if (role_ == "qmgr") log::info("qmgr reloads to ", values.seconds("maximal_queue_lifetime"));
        if (role_ == "router" && values.text("relayhost") == "[hang]") {
            log::info("router hangs now");
            log::flush();
            for (;;) ::pause();
        }
        return {};
    }
    void stop(std::function<void()> done) override
    {
        log::info("stops in order");
        done();
    }

private:
    std::string role_, run_directory_;
    char word_ = 0;
    std::vector<std::pair<int, ipc::Message>> slow_;
    Loop* loop_ = nullptr;
    std::unique_ptr<daemon::Link> link_;
    std::unique_ptr<Timer> retry_;
    Fd worker_, client_;
    std::unique_ptr<Watch> gone_;
    int next_ = 0;
    std::map<int, std::unique_ptr<ipc::Channel>> peers_;
};

int serve(const conf::Values&, const ipc::Serve& who, Fd channel)
{
    int open = 0;
    for (int fd = 3; fd < 64; ++fd) open += ::fcntl(fd, F_GETFD) >= 0;
    log::info("serves ", std::string_view(who.name), " on ", channel.get(), " with ", open, " descriptors, dumpable");
    log::flush();
    char byte;
    while (::recv(channel.get(), &byte, 1, 0) > 0) {
    }
    return 0;
}

int play(const daemon::Role& role, int argc, char** argv)
{
    const daemon::RoleName name{role.name, role.who, role.log_name};
    if (role.zygote) return daemon::run_zygote(name, serve, argc, argv);
    static Actor actor(role.name);
    return daemon::run(name, actor, argc, argv);
}

// Before main(): is this the test program, or a role that master started?
struct Entrance {
    Entrance()
    {
        int type = 0;
        socklen_t size = sizeof type;
        if (::getsockopt(3, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) return;
        auto line = read_file("/proc/self/cmdline", 1 << 16);
        if (!line) return;
        static std::vector<std::string> words;
        for (const auto word : split_on(std::string_view(*line).substr(0, line->size() - 1), '\0')) words.emplace_back(word);
        static std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        const std::string program = words[0].substr(words[0].rfind('/') + 1);
        const std::string option = words.size() > 1 ? words[1] : "";
        for (const daemon::Role& role : daemon::roles())
            if (program == role.program && option == (role.option ? role.option : "")) std::_Exit(play(role, static_cast<int>(argv.size()), argv.data()));
    }
};
const Entrance entrance;

class Stage {
public:
    Stage()
    {
        char folder[] = "/tmp/veredus-unit-XXXXXX";
        REQUIRE(::mkdtemp(folder));
        folder_ = folder;
        for (const char* name : {"/etc", "/bin", "/mail"}) std::filesystem::create_directory(folder_ + name);
        const auto self = std::filesystem::read_symlink("/proc/self/exe");
        std::set<std::string> programs;
        for (const daemon::Role& role : daemon::roles())
            if (programs.insert(role.program).second) std::filesystem::create_symlink(self, cat(folder_, "/bin/", role.program));
        configure("");
    }
    ~Stage()
    {
        supervisor_.reset();
        loop_.reset();
        log::Settings quiet;
        (void)log::open(quiet);
        std::error_code error;
        std::filesystem::remove_all(folder_, error);
    }
    void configure(const std::string& more)
    {
        const std::string text = cat("queue_directory = ", folder_, "/spool\nrun_directory = ", folder_, "/run\nmail_spool_directory = ", folder_, "/mail\nmaillog_file = ", folder_,
                                     "/log\nsmtpd_listen = 127.0.0.1:0\nsubmission_listen = 127.0.0.1:0\nimapd_listen = 127.0.0.1:0\npop3d_listen = 127.0.0.1:0\nlmtp_listen = 127.0.0.1:0\nlogin_processes = 1\nsmtpd_processes = 1\nsmtp_processes = 1\nalias_maps =\nmyhostname = host.test\n", more);
        std::filesystem::remove(folder_ + "/etc/main.cf");
        const Fd file(::open((folder_ + "/etc/main.cf").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        REQUIRE(write_all(file.get(), text));
    }
    void begin()
    {
        const auto file = conf::File::load(folder_ + "/etc");
        for (const auto& diagnostic : file.diagnostics()) INFO(diagnostic.str());
        REQUIRE(file.ok());
        const auto values = file.values();
        REQUIRE(daemon::make_directories(daemon::run_directories(values, true), false));
        REQUIRE(daemon::make_directories(*daemon::wanted_directories(values, true), false));
        auto target = master::LogTarget::open(values, false);
        REQUIRE(target);
        target_ = std::make_unique<master::LogTarget>(std::move(*target));
        REQUIRE(target_->start("master"));
        loop_ = std::move(*Loop::create());
        loop_->each_turn([] { log::flush(); });
        supervisor_ = std::make_unique<master::Supervisor>(*loop_, master::Options{folder_ + "/etc", folder_ + "/bin", false, true}, values, *target_, notifier_, [this](const std::string& why) {
            answered = true;
            reason = why;
        });
        if (const auto begun = supervisor_->begin(); !begun) FAIL(begun.error().text);
    }
    std::string log() { return read_file(folder_ + "/log", 1 << 24).value_or(std::string()); }
    template <class Condition> bool wait(Condition condition)
    {
        const int64_t until = system_clock().mono_us() + 60 * us_per_second;
        while (!condition()) {
            if (system_clock().mono_us() > until) return false;
            loop_->run_once(std::chrono::milliseconds(10));
        }
        return true;
    }
    bool wait_log(const std::string& text)
    {
        const bool there = wait([&] { return log().find(text) != std::string::npos; });
        if (!there) WARN(log());
        return there;
    }
    daemon::ProcessStatus process(const std::string& role)
    {
        const auto status = daemon::read_status(folder_ + "/run");
        if (status)
            for (const auto& p : status->processes)
                if (p.role == role) return p;
        return {};
    }
    uint32_t reloads() { return daemon::read_status(folder_ + "/run") ? daemon::read_status(folder_ + "/run")->reloads : 0; }
    bool all_gone()
    {
        const auto status = daemon::read_status(folder_ + "/run");
        if (!status) return false;
        for (const auto& p : status->processes)
            if (p.pid) return false;
        return true;
    }
    master::Supervisor& supervisor() { return *supervisor_; }
    Loop& loop() { return *loop_; }
    const std::string& folder() const { return folder_; }
    bool answered = false;
    std::string reason;

private:
    std::string folder_;
    master::Notifier notifier_;
    std::unique_ptr<master::LogTarget> target_;
    std::unique_ptr<Loop> loop_;
    std::unique_ptr<master::Supervisor> supervisor_;
};

}  // namespace

TEST_CASE("a suite starts, its roles meet as the table allows, and it stops in order", "[master][daemon][life]")
{
    Stage stage;
    stage.begin();
    REQUIRE(stage.wait([&] { return stage.answered; }));
    CHECK(stage.reason.empty());
    CHECK(stage.wait_log("daemon started -- version "));
    CHECK(stage.wait_log("before_jail smtpd/0 slot=0 unprivileged"));
    CHECK(stage.wait_log("before_jail submission/0 slot=64"));
    CHECK(stage.wait_log("before_jail qmgr/0 slot=120"));
    CHECK(stage.wait_log("router says an answer"));
    CHECK(stage.wait_log("listener smtpd"));
    CHECK(stage.wait_log("listener public"));
    CHECK(stage.wait_log("listener lockd"));
    // What the table does not say is refused, and the log says who tried.
    CHECK(stage.wait_log("local: not a neighbour of this role"));
    CHECK(stage.wait_log("zygote: not a neighbour of this role"));
    CHECK(stage.wait_log("asked for local and may not: refused"));
    // The worker: only for our own uid here; it holds its channel and the log, and nothing of anybody else.
    CHECK(stage.wait_log("worker: code 0"));
    CHECK(stage.wait_log("serves tester on 4 with 2 descriptors"));
    CHECK(stage.wait_log("stranger: code 2"));
    // Ids, by what the tables say of an address, and nothing else: others "unavailable", without an address "invalid".
    CHECK(stage.wait_log("keeper ids of keeps@v.example: code 0"));
    CHECK(stage.wait_log("keeper 7:7 of keeps@v.example: code 1"));
    CHECK(stage.wait_log("keeper ids of keeps.not@v.example: code 2"));
    CHECK(stage.wait_log("keeper tester of keeps@v.example: code 1"));
    CHECK(stage.wait_log("keeper ids of : code 4"));
    CHECK(stage.wait_log("keeper ids of tester: code 0"));
    CHECK(stage.wait_log("keeper 7:7 of tester: code 1"));
    CHECK(stage.wait_log("keeper ids of stranger: code 2"));

    stage.supervisor().stop(SIGTERM);
    REQUIRE(stage.wait([&] { return stage.all_gone(); }));
    const std::string log = stage.log();
    CHECK(log.find("terminating on signal 15") != std::string::npos);
    const auto stopped = [&](const std::string& name) { return log.find("]: stops in order", log.rfind("/" + name + "[")); };
    const auto smtpd = log.rfind("/smtpd["), qmgr = log.rfind("/qmgr["), router = log.rfind("/router[");
    CHECK(stopped("smtpd") != std::string::npos);
    CHECK(smtpd < qmgr);     // intake stops first, then qmgr, then those that it was waiting for
    CHECK(qmgr < router);
    CHECK(log.find("exit status") == std::string::npos);
    CHECK(log.find("killed by") == std::string::npos);
}

TEST_CASE("a role that dies is started again, and only that one", "[master][life]")
{
    Stage stage;
    stage.begin();
    REQUIRE(stage.wait([&] { return stage.answered; }));
    CHECK(stage.wait_log("router says an answer"));
    const auto router = stage.process("router"), smtpd = stage.process("smtpd");
    REQUIRE(router.pid > 0);
    REQUIRE(::kill(router.pid, SIGSEGV) == 0);
    CHECK(stage.wait_log(cat("/router pid ", router.pid, " killed by signal 11")));
    CHECK(stage.wait_log("router is away"));
    REQUIRE(stage.wait([&] { return stage.process("router").state == "ready" && stage.process("router").pid != router.pid; }));
    CHECK(stage.process("router").restarts == 1);
    CHECK(stage.process("smtpd").pid == smtpd.pid);
    // The link of the other side is made again through master.
    CHECK(stage.wait([&] { const auto log = stage.log(); return log.rfind("router says an answer") > log.find("killed by signal 11"); }));
    // Again and again: no pause before it is back.
    for (int i = 0; i < 2; ++i) {
        const auto pid = stage.process("router").pid;
        REQUIRE(::kill(pid, SIGKILL) == 0);
        REQUIRE(stage.wait([&] { return stage.process("router").state == "ready" && stage.process("router").pid != pid; }));
    }
    CHECK(stage.process("router").restarts == 3);
    CHECK(stage.log().find("throttling") == std::string::npos);
    stage.supervisor().stop(SIGTERM);
    CHECK(stage.wait([&] { return stage.all_gone(); }));
}

TEST_CASE("a start that one role cannot join fails with that role's own words", "[master][life]")
{
    Stage stage;
    stage.configure("smtp_helo_timeout = 7s\n");
    stage.begin();
    REQUIRE(stage.wait([&] { return stage.answered; }));
    CHECK(stage.reason.find("smtp-client: ") == 0);
    CHECK(stage.reason.find("no luck with 7") != std::string::npos);
    CHECK(stage.supervisor().failed());
    CHECK(stage.wait([&] { return stage.all_gone(); }));
}

TEST_CASE("a reload reaches whom it concerns; a broken file keeps the old settings; a hang is ended", "[master][life]")
{
    Stage stage;
    stage.configure("watchdog_timeout = 2s\n");
    stage.begin();
    REQUIRE(stage.wait([&] { return stage.answered; }));
    const auto smtpd = stage.process("smtpd"), router = stage.process("router");

    stage.configure("watchdog_timeout = 2s\nmaximal_queue_lifetime = 3d\n");
    stage.supervisor().reload();
    CHECK(stage.wait_log("reload -- version "));
    CHECK(stage.wait_log("qmgr reloads to 259200"));
    CHECK(stage.wait([&] { return stage.reloads() == 1; }));

    stage.configure("watchdog_timeout = 2s\nmaximal_queue_lifetime = never\nno_such_setting = 1\n");
    stage.supervisor().reload();
    CHECK(stage.wait([&] { return stage.reloads() == 2; }));
    CHECK(stage.wait_log("the settings in force are kept"));
    CHECK(stage.log().find("no_such_setting") != std::string::npos);
    CHECK(stage.process("smtpd").pid == smtpd.pid);

    stage.configure("watchdog_timeout = 2s\nmaximal_queue_lifetime = 3d\nsmtpd_processes = 2\nrelayhost = [hang]\n");
    stage.supervisor().reload();
    CHECK(stage.wait_log("before_jail smtpd/1 slot=1"));
    CHECK(stage.wait_log(cat("/router pid ", router.pid, " does not answer: killed")));
    CHECK(stage.wait_log(cat("/router pid ", router.pid, " killed by signal ")));
    REQUIRE(stage.wait([&] { return stage.process("router").state == "ready" && stage.process("router").pid != router.pid; }));
    stage.supervisor().stop(SIGTERM);
    CHECK(stage.wait([&] { return stage.all_gone(); }));
}

namespace {

// pop3d with a process for each client, three at most.
class Crowd : public Stage {
public:
    Crowd() : address_(net::Address::unix_path(folder() + "/pop3"))
    {
        configure(cat("pop3d_listen = unix:", folder(), "/pop3\nlogin_process_limit = 3\n"));
        begin();
        REQUIRE(wait([&] { return answered; }));
    }
    Fd connect()
    {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        REQUIRE(fd);
        REQUIRE(::connect(fd.get(), address_.raw(), address_.raw_size()) == 0);
        return fd;
    }
    static bool closed(const Fd& fd)
    {
        char byte;
        return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
    }
    std::size_t count(const std::string& text)
    {
        const std::string log = this->log();
        std::size_t n = 0;
        for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; at += text.size()) ++n;
        return n;
    }
    // Three clients that say these words (a blank: nothing), one after the other.
    void fill(const char* words)
    {
        for (std::size_t i = 0; i < 3; ++i) {
            clients[i] = connect();
            REQUIRE(wait([&] { return count("client on unix:") == i + 1; }));
            if (i < 2) REQUIRE(wait_log(cat("before_jail pop3d/", i + 1, " ")));
            if (words[i] == ' ') continue;
            const std::size_t before = count("client says ");
            REQUIRE(::send(clients[i].get(), words + i, 1, MSG_NOSIGNAL) == 1);
            REQUIRE(wait([&] { return count("client says ") == before + 1; }));
        }
    }
    // Within a turn in which master looks for children that ended, before it does: of what the process said last it has heard nothing.
    void ends_before_master_looks(pid_t pid, const std::function<void()>& cause)
    {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const Fd from(ends[0]), to(ends[1]);
        bool ended = false;
        const Watch now(loop(), from.get(), readable, [&](unsigned) {
            char byte;
            CHECK(::read(from.get(), &byte, 1) == 1);
            cause();
            wait_end(pid);
            ended = true;
        });
        REQUIRE(::write(to.get(), "x", 1) == 1);
        REQUIRE(::kill(::getpid(), SIGCHLD) == 0);
        REQUIRE(wait([&] { return ended; }));
    }
    // And master has not seen it.
    static void wait_end(pid_t pid)
    {
        for (int wait = 0; wait < 60'000; ++wait) {
            const auto stat = read_file(cat("/proc/", pid, "/stat"), 4096);
            if (stat && stat->find(") Z ") != std::string::npos) return;
            ::usleep(1000);
        }
        FAIL("process " << pid << " does not end");
    }
    void finish()
    {
        supervisor().stop(SIGTERM);
        CHECK(wait([&] { return all_gone(); }));
        CHECK(count("killed by") == 0);
        CHECK(count("exit status") == 0);
    }
    Fd clients[4];

private:
    net::Address address_;
};

} // namespace

TEST_CASE("where each client has a process of its own another takes its place, up to the limit, and then who came first makes room", "[master][life][login]")
{
    Crowd crowd;
    crowd.fill("   ");
    CHECK(crowd.count("makes room") == 0);
    CHECK(crowd.count("before_jail pop3d/") == 3);
    crowd.clients[3] = crowd.connect();
    CHECK(crowd.wait_log("login_process_limit (3) of pop3d reached: who came first"));
    CHECK(crowd.wait([&] { return crowd.closed(crowd.clients[0]); }));
    CHECK(crowd.wait([&] { return crowd.count("client on unix:") == 4; }));
    CHECK(crowd.count("makes room") == 1);
    CHECK_FALSE(crowd.closed(crowd.clients[1]));
    CHECK_FALSE(crowd.closed(crowd.clients[2]));
    crowd.clients[1].reset();
    CHECK(crowd.wait([&] { return crowd.count("before_jail pop3d/1 ") == 2; }));
    CHECK(crowd.count("before_jail pop3d/3 ") == 0);
    crowd.finish();
}

TEST_CASE("who is being let in makes room for nobody, and another is asked instead", "[master][life][login]")
{
    Crowd crowd;
    crowd.fill("em ");
    crowd.clients[3] = crowd.connect();
    // The second one is asked, and its client has given its password in that moment.
    CHECK(crowd.wait([&] { return crowd.closed(crowd.clients[2]); }));
    CHECK(crowd.wait([&] { return crowd.count("client on unix:") == 4; }));
    CHECK(crowd.count("makes room") == 2);
    CHECK(crowd.wait_log("enter: code 0"));
    CHECK_FALSE(crowd.closed(crowd.clients[0]));
    CHECK_FALSE(crowd.closed(crowd.clients[1]));
    crowd.finish();
}

TEST_CASE("while all are being let in nobody makes room, until one of them is not", "[master][life][login]")
{
    Crowd crowd;
    crowd.fill("e e");
    REQUIRE(::send(crowd.clients[1].get(), "e", 1, MSG_NOSIGNAL) == 1);
    CHECK(crowd.wait_log("enter: code 0"));
    crowd.clients[3] = crowd.connect();
    CHECK(crowd.wait_log("all have logged in, and others wait"));
    CHECK(crowd.count("makes room") == 0);
    const Fd answer(::open((crowd.folder() + "/run/answer").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    CHECK(crowd.wait([&] { return crowd.closed(crowd.clients[0]); }));
    CHECK(crowd.wait([&] { return crowd.count("client on unix:") == 4; }));
    CHECK_FALSE(crowd.closed(crowd.clients[1]));
    crowd.finish();
}

TEST_CASE("who is looked up while the resolver dies hears that, and can come again", "[master][life][login]")
{
    Crowd crowd;
    crowd.fill("e  ");
    const pid_t resolver = crowd.process("resolver").pid;
    REQUIRE(resolver > 0);
    REQUIRE(crowd.wait_log("looks for slowly"));
    REQUIRE(crowd.wait_log("looks for never"));
    crowd.ends_before_master_looks(resolver, [&] { ::kill(resolver, SIGKILL); });
    CHECK(crowd.wait_log("enter: code 1 "));
    CHECK(crowd.count("enter: code 1 resolver has ended") == 1);
    CHECK(crowd.wait_log("never: code 1 resolver has ended"));
    crowd.supervisor().stop(SIGTERM);
    CHECK(crowd.wait([&] { return crowd.all_gone(); }));
}

TEST_CASE("a reload in the moment in which a client's process ends is a good one", "[master][life][login]")
{
    Crowd crowd;
    crowd.fill("   ");
    const std::string channel = cat("/proc/", crowd.process("pop3d").pid, "/fd/3");
    char target[64];
    REQUIRE(::readlink(channel.c_str(), target, sizeof target) > 0);
    REQUIRE(::send(crowd.clients[0].get(), "x", 1, MSG_NOSIGNAL) == 1);
    for (int wait = 0; wait < 60'000 && ::readlink(channel.c_str(), target, sizeof target) > 0; ++wait) ::usleep(1000);
    crowd.configure(cat("pop3d_listen = unix:", crowd.folder(), "/pop3\nlogin_process_limit = 3\nlogin_timeout = 77s\n"));
    crowd.supervisor().reload();
    REQUIRE(crowd.wait([&] { return crowd.reloads() == 1; }));
    crowd.clients[0].reset();
    REQUIRE(crowd.wait([&] { return crowd.count("before_jail pop3d/0 ") == 2; }));
    CHECK(crowd.count("keeps its old settings") == 0);
    CHECK(daemon::read_status(crowd.folder() + "/run")->last_reload_good);
    crowd.finish();
}

TEST_CASE("a process whose client leaves at once has done its work, however often", "[master][life][login]")
{
    Crowd crowd;
    for (std::size_t i = 0; i < 6; ++i) {
        REQUIRE(crowd.wait([&] { return crowd.process("pop3d").state == "ready"; }));
        const pid_t pid = crowd.process("pop3d").pid;
        crowd.ends_before_master_looks(pid, [&] { crowd.connect().reset(); });
        REQUIRE(crowd.wait([&] { return crowd.process("pop3d").pid > 0 && crowd.process("pop3d").pid != pid; }));
    }
    CHECK(crowd.count("throttling") == 0);
    CHECK(crowd.process("pop3d").restarts == 0);
    // What all see is said by the first, and by the first after a reload.
    CHECK(crowd.wait([&] { return crowd.count("before_jail pop3d/0 ") == 7; }));
    CHECK(crowd.count(" quiet") == 6);
    crowd.supervisor().reload();
    REQUIRE(crowd.wait([&] { return crowd.process("pop3d").state == "ready"; }));
    crowd.ends_before_master_looks(crowd.process("pop3d").pid, [&] { crowd.connect().reset(); });
    CHECK(crowd.wait([&] { return crowd.count("before_jail pop3d/0 ") == 8; }));
    CHECK(crowd.count(" quiet") == 6);
    crowd.finish();
}

TEST_CASE("dropped rights do not come back", "[daemon][rights][root]")
{
    if (::geteuid() != 0) {
        WARN("needs root: skipped");
        return;
    }
    const pid_t child = ::fork();
    if (child == 0) {
        const auto refused_root = !daemon::drop_rights(0, 0, {});
        const auto dropped = daemon::drop_rights(65534, 65534, {65534, 1});
        gid_t groups[8];
        const int count = ::getgroups(8, groups);
        const bool good = refused_root && dropped && ::getuid() == 65534 && ::getgid() == 65534 && count == 2 && ::setuid(0) < 0 && ::setgid(0) < 0 && ::setgroups(0, nullptr) < 0 &&
                          ::open("/etc/shadow", O_RDONLY) < 0;
        ::_exit(good ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a watched file is seen to change when its directory is another one, too", "[master][watched]")
{
    namespace fs = std::filesystem;
    std::string folder = "/tmp/veredus-watched-XXXXXX";
    REQUIRE(::mkdtemp(folder.data()));
    const auto loop = Loop::create();
    REQUIRE(loop);
    int told = 0, number = 0;
    master::Watched watched(**loop, [&](const std::string& name) {
        CHECK(name == "tls");
        ++told;
    });
    const std::string live = folder + "/live", file = live + "/cert.pem";
    const auto write = [&](const std::string& directory) {
        fs::create_directories(directory);
        std::ofstream(directory + "/new") << "certificate " << std::string(static_cast<std::size_t>(++number), 'x');
        fs::rename(directory + "/new", directory + "/cert.pem");
    };
    const auto seen = [&] {
        for (int i = 0; i < 3000 && told == 0; ++i) (*loop)->run_once(std::chrono::milliseconds(10));
        REQUIRE(std::exchange(told, 0) == 1);
    };
    const auto turns = [&] {
        for (int i = 0; i < 30; ++i) (*loop)->run_once(std::chrono::milliseconds(10));
    };
    write(live);
    watched.set({{"tls", file}});
    turns();
    CHECK(told == 0);
    write(live);
    seen();
    // Removed and made again, the file later.
    fs::remove_all(live);
    turns();
    fs::create_directory(live);
    turns();
    CHECK(told == 0);
    write(live);
    seen();
    write(live);
    seen();
    // A new directory renamed into its place, and what is written there then.
    write(folder + "/next");
    fs::rename(live, folder + "/old");
    fs::rename(folder + "/next", live);
    seen();
    write(live);
    seen();
    // A link that is set anew.
    write(folder + "/v1");
    fs::remove_all(live);
    fs::create_symlink("v1", live);
    seen();
    write(folder + "/v2");
    fs::create_symlink("v2", live + ".new");
    fs::rename(live + ".new", live);
    seen();
    write(folder + "/v2");
    seen();
    // The list is made anew before the change was looked at.
    write(folder + "/v2");
    watched.set({{"tls", file}});
    seen();
    CHECK(watched.open("tls"));
    fs::remove_all(folder);
}
