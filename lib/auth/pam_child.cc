// The helper's loop, and what its children ask PAM.
#include "lib/auth/pam_child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "config.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/wire.h"

#ifdef VEREDUS_PAM
#include <security/pam_appl.h>
#endif

namespace veredus::auth {

bool pam_built_in()
{
#ifdef VEREDUS_PAM
    return true;
#else
    return false;
#endif
}

Result<void> send_descriptor(int channel, int fd)
{
    const auto sent = ipc::send_datagram(channel, "q", {&fd, 1}, 0);
    if (!sent) return fail(cat("the process that asks PAM is gone: ", sent.error().text));
    if (!*sent) return fail("the process that asks PAM does not read, or too many descriptors are under way");
    return {};
}

namespace {

constexpr std::size_t most_children = 64; // authd asks once per thread; the rest are those that are being killed
constexpr std::size_t max_question = 16'384;

// -1: the channel has ended, or something came that is no descriptor.
int receive_descriptor(int channel)
{
    std::string_view bytes;
    auto got = ipc::receive_datagram(channel, bytes, 0);
    if (!got || got->kind != ipc::Received::Kind::message || got->fds.size() != 1) return -1;
    return got->fds[0].release();
}

void answer(int fd, PamAnswer code, const char* text)
{
    const std::string bytes =
        cat(static_cast<char>(code), text ? std::string_view(text).substr(0, 200) : std::string_view());
    (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

#ifdef VEREDUS_PAM
constexpr int most_prompts = 8;

struct Asked {
    std::string user, password;
    int prompts = 0;
};

// pam_conv(3): a prompt without echo asks for the password, one with echo for the name; the rest are notices for a
// terminal.
extern "C" int veredus_pam_converse(int count, const pam_message** messages, pam_response** responses, void* data)
{
    if (count <= 0 || count > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
    auto* answers = static_cast<pam_response*>(std::calloc(static_cast<std::size_t>(count), sizeof(pam_response)));
    if (!answers) return PAM_BUF_ERR;
    auto& asked = *static_cast<Asked*>(data);
    for (int i = 0; i < count; ++i) {
        const int style = messages[i]->msg_style;
        const char* text = style == PAM_PROMPT_ECHO_OFF  ? asked.password.c_str()
                           : style == PAM_PROMPT_ECHO_ON ? asked.user.c_str()
                                                         : nullptr;
        if (!text) continue;
        answers[i].resp = ++asked.prompts <= most_prompts ? ::strdup(text) : nullptr;
        if (answers[i].resp) continue;
        for (int j = 0; j < i; ++j) std::free(answers[j].resp);
        std::free(answers);
        return PAM_CONV_ERR;
    }
    *responses = answers;
    return PAM_SUCCESS;
}

// authd delays the answer to a wrong password itself, without a process that sleeps.
extern "C" void veredus_pam_no_delay(int, unsigned, void*) {}

// What authd may call wrong; anything else is trouble, and trouble is temporary.
PamAnswer after_authentication(int code)
{
    switch (code) {
    case PAM_SUCCESS: return PamAnswer::right;
    case PAM_AUTH_ERR:
    case PAM_USER_UNKNOWN:
    case PAM_MAXTRIES:
    case PAM_PERM_DENIED:
    case PAM_CRED_INSUFFICIENT:
    case PAM_ACCT_EXPIRED: return PamAnswer::wrong; // before the password was right, nobody hears more
    default: return PamAnswer::unavailable;
    }
}

PamAnswer after_account(int code)
{
    switch (code) {
    case PAM_SUCCESS: return PamAnswer::right;
    case PAM_NEW_AUTHTOK_REQD:
    case PAM_AUTHTOK_EXPIRED:
    case PAM_ACCT_EXPIRED: return PamAnswer::expired;
    case PAM_AUTH_ERR:
    case PAM_USER_UNKNOWN:
    case PAM_PERM_DENIED: return PamAnswer::locked;
    default: return PamAnswer::unavailable;
    }
}

// A module may have changed the name (PAM_USER): who was let in then is somebody else than who will be logged in.
bool is_still(pam_handle_t* pam, const std::string& user)
{
    const void* name = nullptr;
    return ::pam_get_item(pam, PAM_USER, &name) == PAM_SUCCESS && name && user == static_cast<const char*>(name);
}

void ask_pam(int fd, Asked& asked, const std::string& directory)
{
    const pam_conv conversation{veredus_pam_converse, &asked};
    pam_handle_t* pam = nullptr;
    int code = ::pam_start_confdir("veredus", asked.user.c_str(), &conversation,
                                   directory.empty() ? nullptr : directory.c_str(), &pam);
    if (code != PAM_SUCCESS || !pam) return answer(fd, PamAnswer::unavailable, "pam_start failed (service veredus)");
    (void)::pam_set_item(pam, PAM_FAIL_DELAY, reinterpret_cast<const void*>(veredus_pam_no_delay));
    (void)::pam_set_item(pam, PAM_TTY, "veredus");
    code = ::pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    PamAnswer result = after_authentication(code);
    if (result == PamAnswer::right) {
        code = ::pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
        result = after_account(code);
    }
    const bool other = result == PamAnswer::right && !is_still(pam, asked.user);
    if (other)
        answer(fd, PamAnswer::unavailable, "a module of service veredus changed the name of the user");
    else
        answer(fd, result, ::pam_strerror(pam, code));
    (void)::pam_end(pam, code);
}

// The whole life of a child.
[[noreturn]] void serve(int fd, const std::string& directory)
{
    std::string question(max_question, '\0');
    ssize_t size = 0;
    while ((size = ::recv(fd, question.data(), question.size(), 0)) < 0 && errno == EINTR) {
    }
    const std::size_t end = size > 0 ? question.find('\0') : std::string::npos;
    if (end == std::string::npos || end >= static_cast<std::size_t>(size)) ::_exit(1);
    question.resize(static_cast<std::size_t>(size));
    Asked asked{question.substr(0, end), question.substr(end + 1), 0};
    ask_pam(fd, asked, directory);
    ::_exit(0); // the memory with the password goes with it
}
#else
[[noreturn]] void serve(int fd, const std::string&)
{
    answer(fd, PamAnswer::unavailable, "not built in");
    ::_exit(0);
}
#endif

struct Child {
    pid_t pid = 0;
    int64_t until_us = 0;
};

// Only what a module expects of a process: no descriptors of authd, no habits of its signals.
void become_plain(int& channel)
{
    (void)::setsid();
    (void)::prctl(PR_SET_NAME, "authd-pam");
    (void)::prctl(PR_SET_DUMPABLE, 0); // no password in a core file
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd < 3; ++fd) (void)::dup2(null, fd);
    if (channel != 3 && ::dup2(channel, 3) != 3) ::_exit(1);
    channel = 3;
    (void)::fcntl(channel, F_SETFD, FD_CLOEXEC);
    (void)::close_range(4, ~0U, 0);
    sigset_t none;
    ::sigemptyset(&none);
    (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int number :
         {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2, SIGSEGV, SIGABRT, SIGBUS})
        ::signal(number, SIG_DFL);
}

void reap(std::vector<Child>& children)
{
    const int64_t now = system_clock().mono_us();
    for (const Child& child : children)
        if (child.until_us <= now) (void)::kill(-child.pid, SIGKILL), (void)::kill(child.pid, SIGKILL);
    std::erase_if(children, [](const Child& child) { return ::waitpid(child.pid, nullptr, WNOHANG) != 0; });
}

} // namespace

void run_pam_helper(int channel, const std::string& directory, int limit_ms)
{
    become_plain(channel);
    std::vector<Child> children;
    for (;;) {
        pollfd wait{channel, POLLIN, 0};
        const int ready = ::poll(&wait, 1, children.empty() ? -1 : 100);
        if (ready < 0 && errno != EINTR) break;
        reap(children);
        if (ready <= 0) continue;
        const int question = receive_descriptor(channel);
        if (question < 0) break;
        const pid_t pid = children.size() < most_children ? ::fork() : -1;
        if (pid == 0) {
            (void)::setsid(); // a group of its own: what a module starts in it ends with it
            ::close(channel);
            serve(question, directory);
        }
        if (pid > 0)
            children.push_back({pid, system_clock().mono_us() + int64_t{limit_ms} * 1000});
        else
            answer(question, PamAnswer::unavailable, "no process for another question");
        ::close(question);
    }
    for (const Child& child : children) (void)::kill(-child.pid, SIGKILL), (void)::kill(child.pid, SIGKILL);
    ::_exit(0);
}

} // namespace veredus::auth
