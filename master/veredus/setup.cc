// setup: users, groups, directories, the set-gid bit and first files. Run it as often as you like: it mends what differs.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "config.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/daemon/prepare.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/tls_files.h"
#include "master/veredus/aliases_advice.h"
#include "master/veredus/commands.h"
#include "master/veredus/edit.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

constexpr const char* first_main_cf =
    "# veredus: settings, one \"name = value\" a line; main.cf(5) lists them all. An empty file is a working local mail system.\n"
    "# `veredus check` finds mistakes, `veredus reload` takes changes up.\n"
    "\n"
    "# The name of this host as the Internet knows it; empty: what the system says.\n"
    "#myhostname = mail.example.org\n"
    "# Domains whose mail is delivered here.\n"
    "#mydestination = $myhostname, localhost.$mydomain, localhost\n"
    "# A relay for all other mail; in brackets: no MX lookup.\n"
    "#relayhost = [relay.example.org]:587\n";

class Setup {
public:
    explicit Setup(bool only_say) : only_say_(only_say) {}
    Result<void> accounts();
    Result<void> first_file(const std::string& path, std::string_view text);
    Result<void> directories(const conf::Values& values);
    Result<void> drop_program();
    Result<void> certificate(const conf::Values& values, const std::string& config_directory);
    void advise(const conf::Values& values);

private:
    Result<void> run(const std::vector<std::string>& command);
    void say(const std::string& what) { std::printf("%s%s\n", only_say_ ? "would: " : "", what.c_str()); }
    bool only_say_;
};

// The program of the distribution, found by its usual path only, so that no PATH of the caller's decides.
std::string find_tool(const char* name)
{
    for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"})
        if (::access(cat(folder, name).c_str(), X_OK) == 0) return cat(folder, name);
    return "";
}

Result<void> Setup::run(const std::vector<std::string>& command)
{
    std::string line;
    for (const std::string& word : command) append(line, line.empty() ? "" : " ", word);
    say(line);
    if (only_say_) return {};
    const std::string tool = find_tool(command[0].c_str());
    if (tool.empty()) return fail(cat(command[0], " is not installed: make this user or group by hand, then run `veredus setup` again"));
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("fork");
    if (pid == 0) {
        ::execv(tool.c_str(), argv.data());
        ::_exit(127);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(cat(line, ": failed"));
    return {};
}

// No shell, no home: nobody logs in as a role, and no cron job runs as one.
Result<void> Setup::accounts()
{
    for (const daemon::Account& account : daemon::accounts()) {
        if (!account.group.empty() && !::getgrnam(account.group.c_str())) TRY(run({"groupadd", "--system", account.group}));
        if (account.user.empty() || ::getpwnam(account.user.c_str())) continue;
        TRY(run({"useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "--comment", "veredus mail system",
                 "--gid", account.group, account.user}));
    }
    return {};
}

Result<void> Setup::first_file(const std::string& path, std::string_view text)
{
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0) return {};
    say(cat("write a first ", path));
    if (only_say_) return {};
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        if (::mkdir(path.substr(0, slash).c_str(), 0755) < 0 && errno != EEXIST) return fail_errno(cat("mkdir ", path.substr(0, slash)));
    return replace_file(path, text);
}

Result<void> Setup::directories(const conf::Values& values)
{
    auto wanted = daemon::run_directories(values, false);
    auto spool = daemon::wanted_directories(values, false);
    if (!spool && only_say_) {    // the users do not exist yet, so neither can their directories
        say(cat("make the spool ", values.text("queue_directory")));
        return {};
    }
    if (!spool) return unexpected(spool.error());
    wanted.insert(wanted.end(), spool->begin(), spool->end());
    const auto done = TRY(daemon::make_directories(wanted, only_say_));
    for (const std::string& text : done) say(text);
    return {};
}

// sendmail(1) execs it: the one program that may write into maildrop for anyone.
Result<void> Setup::drop_program()
{
    const std::string path = cat(libexec_directory(""), "/veredus-drop");
    const group* drop = ::getgrnam("veredus-drop");
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat info{};
    if (!fd || ::fstat(fd.get(), &info) < 0) return fail_errno(cat(path, ": (`make install` puts it there)"));
    if (!drop) return only_say_ ? Result<void>() : fail("group veredus-drop does not exist");
    if (info.st_uid == 0 && info.st_gid == drop->gr_gid && (info.st_mode & 07777) == 02755) return {};
    say(cat(path, ": root, group veredus-drop, mode 2755"));
    if (only_say_) return {};
    if (::fchown(fd.get(), 0, drop->gr_gid) < 0) return fail_errno(cat("chown ", path));
    if (::fchmod(fd.get(), 02755) < 0) return fail_errno(cat("chmod ", path));
    return {};
}

// So that STARTTLS works from the first minute; programs ask before they trust it, other servers do not.
Result<void> Setup::certificate(const conf::Values& values, const std::string& config_directory)
{
    const auto done = TRY(daemon::make_own_certificate(values, config_directory, only_say_));
    if (!done.empty()) say(done);
    return {};
}

void Setup::advise(const conf::Values& values)
{
    const auto advice = look_at_aliases(values);
    for (const std::string& problem : advice.problems) complain("warning: %s", problem.c_str());
    if (!advice.root && !alias_files(values).empty())
        complain("warning: root has no alias in %s; its mail goes into a mailbox of root_mailbox_user, where nobody reads it. Add a line \"root: YOU\"", alias_files(values)[0].c_str());
    if (const std::string text = root_mailbox_advice(values, advice.root); !text.empty()) complain("warning: %s", text.c_str());
}

int failed(const Error& error)
{
    complain("setup: %s", error.text.c_str());
    return error.code == EACCES || error.code == EPERM ? EX_NOPERM : EX_OSERR;
}

}  // namespace

int setup(const Common& common, int argc, char** argv)
{
    bool only_say = false;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "n")) != -1;) {
        if (option == '?') return usage("setup", false);
        only_say = true;
    }
    if (::optind != argc) return usage("setup", false);
    if (::geteuid() != 0 && !only_say) {
        complain("setup makes users and sets owners: run it as root (a trial without root needs no setup)");
        return EX_NOPERM;
    }
    ::umask(022);
    Setup work(only_say);
    const std::string main_cf = cat(common.config_directory, "/main.cf");
    if (auto done = work.first_file(main_cf, first_main_cf); !done) return failed(done.error());
    if (auto done = work.accounts(); !done) return failed(done.error());
    if (only_say && ::access(main_cf.c_str(), F_OK) != 0) return 0;    // nothing to read settings from yet
    // The aliases file before the settings: a table that is not there is an error in them.
    if (auto done = work.first_file(VEREDUS_ALIASES, first_aliases()); !done) return failed(done.error());
    const auto values = load_settings(common);
    if (!values) return EX_CONFIG;
    if (auto done = work.directories(*values); !done) return failed(done.error());
    if (auto done = work.drop_program(); !done) return failed(done.error());
    if (auto done = work.certificate(*values, common.config_directory); !done) complain("warning: no certificate for TLS: %s", done.error().text.c_str());
    work.advise(*values);
    return 0;
}

}  // namespace veredus::admin
