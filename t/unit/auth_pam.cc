// Passwords that PAM judges: real modules behind service files of the test's own, in the real helper process.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "config.h"
#include "lib/auth/chain.h"
#include "lib/auth/pam.h"
#include "lib/auth/pam_child.h"
#include "lib/base/text.h"

using namespace veredus;
using ipc::AuthFailure;

#ifdef VEREDUS_PAM

namespace {

class Scene {
public:
    Scene()
    {
        char name[] = "/tmp/veredus-pam-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~Scene()
    {
        helper.reset();
        std::filesystem::remove_all(path);
    }
    // A script that sees the password on its standard input and the name in $PAM_USER. (What pam_exec returns for "no" is a system error.)
    std::string script(const std::string& body)
    {
        const std::string file = cat(path, "/script");
        std::ofstream(file) << "#!/bin/sh\nread -r password\n" << body << '\n';
        ::chmod(file.c_str(), 0700);
        return cat("auth [success=done default=ignore] pam_exec.so quiet expose_authtok ", file, "\nauth required pam_deny.so\n");
    }
    void start(const std::string& service, int limit_ms = 20'000)
    {
        std::ofstream(cat(path, "/veredus")) << service;
        auto made = auth::PamHelper::start({path, limit_ms});
        REQUIRE(made);
        helper = std::move(*made);
    }
    std::string path;
    std::shared_ptr<const auth::PamHelper> helper;
};

const std::string permit = "account required pam_permit.so\n";
// Asked once: getpwuid(3) is not for several threads.
const std::string& own_name()
{
    static const std::string name = [] {
        const passwd* entry = ::getpwuid(::geteuid());
        return std::string(entry ? entry->pw_name : "root");
    }();
    return name;
}

} // namespace

TEST_CASE("what PAM says becomes what authd says", "[auth][pam]")
{
    const struct {
        const char* service;
        AuthFailure why;
        const char* text;
    } cases[] = {
        {"auth required pam_permit.so\naccount required pam_permit.so\n", AuthFailure::none, ""},
        {"auth required pam_deny.so\naccount required pam_permit.so\n", AuthFailure::password_mismatch,
         "Password mismatch"},
        {"auth required pam_permit.so\naccount required pam_deny.so\n", AuthFailure::locked,
         "account is locked (PAM: "},
        {"auth required pam_no_such_module.so\naccount required pam_permit.so\n", AuthFailure::internal, "PAM: "},
        {"auth required pam_debug.so auth=authinfo_unavail\naccount required pam_permit.so\n", AuthFailure::internal,
         "PAM: "},
        {"auth required pam_debug.so auth=user_unknown\naccount required pam_permit.so\n",
         AuthFailure::password_mismatch, "Password mismatch"},
        {"auth required pam_debug.so auth=acct_expired\naccount required pam_permit.so\n",
         AuthFailure::password_mismatch, "Password mismatch"},
        {"auth required pam_permit.so\naccount required pam_debug.so acct=acct_expired\n", AuthFailure::expired,
         "account or password has expired (PAM: "},
        {"auth required pam_permit.so\naccount required pam_debug.so acct=new_authtok_reqd\n", AuthFailure::expired,
         "account or password has expired (PAM: "},
        {"auth required pam_permit.so\naccount required pam_debug.so acct=service_err\n", AuthFailure::internal,
         "PAM: "},
    };
    for (const auto& [service, why, text] : cases) {
        INFO(service);
        Scene scene;
        scene.start(service);
        const auto judgement = scene.helper->ask(own_name(), "secret");
        CHECK(judgement.why == why);
        CHECK(judgement.text.starts_with(text));
        CHECK((*text != '\0' || judgement.text.empty()));
    }
}

TEST_CASE("modules see the password as it is, and no other is right", "[auth][pam][hostile]")
{
    Scene scene;
    scene.start(
        cat(scene.script("[ \"$password\" = 'wonder land\\\"$(x)' ] && [ \"$PAM_SERVICE\" = veredus ]"), permit));
    const std::string right = "wonder land\\\"$(x)";
    CHECK(scene.helper->ask(own_name(), right).why == AuthFailure::none);
    for (const std::string& wrong :
         {std::string(), std::string("wonder land"), cat(right, "x"), cat(right, std::string_view("\0", 1)),
          cat(right, std::string_view("\0x", 2)), std::string(200, 'x'), std::string(12'288, 'x'),
          std::string(1 << 20, 'x'), std::string("\x01\xff\n\r")}) {
        INFO(printable(wrong, 60));
        CHECK(scene.helper->ask(own_name(), wrong).why == AuthFailure::password_mismatch);
    }
    // Several threads at once, as authd's are.
    std::vector<std::thread> threads;
    std::atomic<int> fits{0};
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&, i] {
            fits += (scene.helper->ask(own_name(), i % 2 ? right : "wrong").why == AuthFailure::none) == (i % 2 == 1);
        });
    for (auto& thread : threads) thread.join();
    CHECK(fits == 8);
}

TEST_CASE("a module that hangs is killed, and one that crashes costs one question", "[auth][pam][hostile]")
{
    Scene scene;
    const std::string mark = cat(scene.path, "/alive");
    scene.start(cat(scene.script(cat("case $password in hang) sleep 5; touch ", mark,
                                     ";; crash) kill -SEGV $PPID;; good) exit 0;; esac; exit 1")),
                    permit),
                500);
    const auto hung = scene.helper->ask(own_name(), "hang");
    CHECK(hung.why == AuthFailure::internal);
    CHECK(hung.text.find("service veredus") != std::string::npos);
    CHECK(scene.helper->ask(own_name(), "crash").why == AuthFailure::internal);
    CHECK(scene.helper->ask(own_name(), "good").why == AuthFailure::none);
}

TEST_CASE("the helper takes nothing but questions, and whoever asks sees its end", "[auth][pam][hostile]")
{
    Scene scene;
    scene.start("auth required pam_permit.so\naccount required pam_permit.so\n");
    for (const std::string question : {"", "no NUL", "x"}) {
        auto pair = socket_pair(SOCK_SEQPACKET);
        REQUIRE(pair);
        (void)::send(pair->first.get(), question.data(), question.size(), MSG_NOSIGNAL);
        REQUIRE(auth::send_descriptor(scene.helper->fd(), pair->second.get()));
        pair->second.reset();
        char answer[8];
        INFO(question);
        CHECK(::recv(pair->first.get(), answer, sizeof answer, 0) <= 0);
    }
    CHECK(scene.helper->ask(own_name(), "secret").why == AuthFailure::none);
    REQUIRE(::send(scene.helper->fd(), "x", 1, MSG_NOSIGNAL) == 1); // no descriptor: not from us
    pollfd wait{scene.helper->fd(), POLLIN, 0};
    REQUIRE(::poll(&wait, 1, 30'000) == 1);
    CHECK(scene.helper->ask(own_name(), "secret").why == AuthFailure::internal);
}

TEST_CASE("a helper that does not read is not called gone", "[auth][pam]")
{
    auto pair = socket_pair(SOCK_SEQPACKET);
    REQUIRE(pair);
    REQUIRE(::fcntl(pair->first.get(), F_SETFL, O_NONBLOCK) == 0);
    Result<void> sent;
    for (int i = 0; i < 100'000 && sent; ++i) sent = auth::send_descriptor(pair->first.get(), 0);
    REQUIRE_FALSE(sent);
    CHECK(sent.error().text == "the process that asks PAM does not read, or too many descriptors are under way");
    pair->second.reset();
    sent = auth::send_descriptor(pair->first.get(), 0);
    REQUIRE_FALSE(sent);
    CHECK(sent.error().text.starts_with("the process that asks PAM is gone: "));
}

TEST_CASE("in the chain PAM judges accounts of the host, and never root", "[auth][pam]")
{
    Scene scene;
    const std::string asked = cat(scene.path, "/asked");
    scene.start(cat(scene.script(cat("echo \"$PAM_USER\" >>", asked, "; [ \"$password\" = secret ]")), permit));
    const auth::Chain chain({std::make_shared<auth::Pam>(scene.helper)}, "key");
    const auto absent = chain.check({"nobody-of-that-name", "nobody"}, "wrong");
    CHECK(absent.why == AuthFailure::password_mismatch); // Debian's account nobody
    CHECK(absent.source == "pam");
    const auto right = chain.check({"nobody"}, "secret");
    CHECK(right.why == AuthFailure::none);
    CHECK(right.found.user == "nobody");
    for (const char* user : {"root", "no-such-user", "a/b", "", "x:y"}) {
        INFO(user);
        CHECK(chain.check({user}, "secret").why == AuthFailure::unknown_user);
        const auto scram = chain.scram({user}, tls::Digest::sha256);
        CHECK_FALSE(scram.real);
    }
    CHECK_FALSE(chain.all_scram(false));
    const auto scram = chain.scram({"nobody"}, tls::Digest::sha256);
    CHECK_FALSE(scram.real);
    CHECK(scram.verdict.text.find("use PLAIN") != std::string::npos);
    std::string line, names;
    for (std::ifstream in(asked); std::getline(in, line);) append(names, line, ' ');
    // An unknown user costs a question too, under a name that is nobody's: root's failures are not counted by modules.
    CHECK(names == "nobody nobody veredus-unknown veredus-unknown veredus-unknown veredus-unknown veredus-unknown ");
}

#else
TEST_CASE("without PAM the passdb says so", "[auth][pam]")
{
    const auto helper = auth::PamHelper::start({});
    REQUIRE_FALSE(helper);
    CHECK(helper.error().text.find("built without PAM") != std::string::npos);
}
#endif
