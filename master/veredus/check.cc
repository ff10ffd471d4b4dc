// check: everything that a start would trip over, found while nothing is at stake.
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "config.h"
#include "lib/auth/pam_child.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/place.h"
#include "lib/daemon/instance.h"
#include "lib/daemon/listen.h"
#include "lib/daemon/prepare.h"
#include "lib/daemon/roles.h"
#include "lib/pop3/transaction.h"
#include "lib/pop3/uidl.h"
#include "lib/reception/check.h"
#include "lib/store/uid_table.h"
#include "lib/tls/digest.h"
#include "master/veredus/aliases_advice.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"
#include "master/veredus/surroundings.h"

namespace veredus::admin {

namespace {

class Check {
public:
    Check(const conf::File& file, const conf::Values& values, std::string libexec) : file_(file), values_(values), libexec_(std::move(libexec)), root_(::geteuid() == 0) {}
    void programs();
    void accounts();
    void directories();
    void listeners();
    void aliases();
    void users();
    void tls(const std::string& config_directory);
    void pop3();
    void log();
    void surroundings();
    unsigned errors() const { return errors_; }
    unsigned warnings() const { return warnings_; }

private:
    void error(const std::string& text)
    {
        say(true, text);
        ++errors_;
    }
    void warning(const std::string& text)
    {
        say(false, text);
        ++warnings_;
    }
    // What begins with the name of a setting is said with its place, when a file sets it.
    void say(bool error, const std::string& text) const
    {
        const std::string_view name = std::string_view(text).substr(0, text.find_first_of(": "));
        if (file_.assignments().contains(name)) std::printf("%s\n", conf::complaint_about(file_, name, error, text).str().c_str());
        else std::printf("%s: %s\n", error ? "error" : "warning", text.c_str());
    }
    const conf::File& file_;
    const conf::Values& values_;
    std::string libexec_;
    bool root_;
    unsigned errors_ = 0, warnings_ = 0;
};

void Check::programs()
{
    const auto look = [this](const char* program) {
        const std::string path = cat(libexec_, "/", program);
        if (::access(path.c_str(), X_OK) < 0) error(fail_errno(path).error.text);
    };
    look("master");
    for (const daemon::Role& role : daemon::roles()) look(role.program);
    if (!root_) return;
    if (const std::string wrong = daemon::check_drop_program(libexec_); !wrong.empty()) error(wrong);
}

void Check::accounts()
{
    if (!root_) return;
    for (const daemon::Account& account : daemon::accounts()) {
        if (!account.user.empty() && !::getpwnam(account.user.c_str())) error(cat("user ", account.user, " does not exist; `veredus setup` makes it"));
        if (!::getgrnam(account.group.c_str())) error(cat("group ", account.group, " does not exist; `veredus setup` makes it"));
    }
}

void Check::directories()
{
    const std::string mailboxes(values_.text("mail_spool_directory"));
    if (::access(mailboxes.c_str(), X_OK) < 0) error(cat("mail_spool_directory: ", fail_errno(mailboxes).error.text));
    if (!root_) return;    // an unprivileged start makes its own tree
    const auto wanted = daemon::wanted_directories(values_, false);
    if (!wanted) return error(wanted.error().text);
    for (const std::string& text : daemon::check_directories(*wanted)) error(cat(text, "; `veredus setup` mends it"));
}

void Check::listeners()
{
    const auto running = daemon::find_running(std::string(values_.text("run_directory")));
    const bool bind = running && running->pid == 0;    // a running master has its ports, of course
    std::vector<std::string> problems;
    const auto wanted = daemon::wanted_listeners(values_, problems);
    for (const std::string& problem : problems) error(problem);
    for (const daemon::WantedListener& one : wanted) {
        if (const auto there = daemon::missing_folder(one.point, one.role->listeners); !there) error(there.error().text);
        if (!bind || !one.point.address.is_ip()) continue;
        if (const auto bound = daemon::bind_point(one.point, 1, one.role->listeners); !bound) error(bound.error().text);
    }
}

void Check::aliases()
{
    const auto advice = look_at_aliases(values_);
    for (const std::string& problem : advice.problems) error(problem);
    if (alias_files(values_).empty()) return;
    if (!advice.root) warning("root has no alias: its mail goes into a mailbox of root_mailbox_user, where nobody reads it; add \"root: YOU\" to the aliases");
    if (const std::string text = root_mailbox_advice(values_, advice.root); !text.empty()) warning(text);
    if (!advice.postmaster) warning("postmaster has no alias: RFC 5321 section 4.5.1 wants mail for it to reach a person");
}

void Check::users()
{
    for (const std::string& source : values_.list("passdb")) {
        if (source == "system") continue;
        if (source == "pam") {
            if (!auth::pam_built_in()) error("passdb: pam: this veredus was built without PAM (configure found no libpam0g-dev)");
            if (::access("/etc/pam.d/veredus", F_OK) < 0) warning("passdb: pam: there is no /etc/pam.d/veredus, so PAM's service \"other\" judges; authd(8) shows one");
            continue;
        }
        const std::string path = source.substr(5);
        if (::access(path.c_str(), R_OK) < 0) error(cat("passdb: ", fail_errno(path).error.text, errno == ENOENT ? " (`veredus passwd USER` makes it)" : ""));
        struct stat info{};
        if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 0004)) warning(cat("passdb: everybody can read ", path, " and guess at the passwords in it: chmod 600 it"));
    }
    for (const std::string& text : passwd_files_advice(values_)) warning(text);
}

void Check::tls(const std::string& config_directory)
{
    const auto found = look_at_certificates(values_, config_directory);
    for (const std::string& problem : found.errors) error(problem);
    for (const std::string& text : found.warnings) warning(text);
}

// What the user's process would find out at his login only.
void Check::pop3()
{
    if (auto format = pop3::UidlFormat::parse(values_.text("pop3_uidl_format"), tls::md5_hex); !format) error(format.error().text);
    if (const std::string flag(values_.text("pop3_deleted_flag")); !flag.empty() && !store::is_keyword(flag))
        error(cat("pop3_deleted_flag = ", printable(flag, 100), ": no keyword of IMAP, as $POP3Deleted is"));
    pop3::Options options;
    if (auto known = options.set_workarounds(values_.list("pop3_client_workarounds")); !known) error(known.error().text);
}

void Check::log()
{
    if (const std::string text = log_file_advice(values_); !text.empty()) error(text);
    if (values_.text("maillog_file").empty() && ::access("/dev/log", F_OK) < 0)
        warning("no syslog daemon listens on /dev/log: what is logged is lost (set maillog_file, or start in the foreground)");
}

void Check::surroundings()
{
    for (const std::string& text : client_tls_problems(values_)) error(text);
    for (const std::string& text : routes_advice(values_)) warning(text);
    if (const std::string text = luser_relay_advice(values_); !text.empty()) warning(text);
    for (const std::string& text : domains_advice(values_)) warning(text);
    for (const std::string& text : sockets_advice(values_)) warning(text);
    for (const std::string& text : reception::unjudged(values_)) warning(text);
    for (const std::string& text : host_name_advice(values_)) warning(text);
    for (const std::string& text : resolver_advice(read_file("/etc/resolv.conf", 1 << 16))) warning(text);
    if (!root_) return;    // a trial delivers as its caller
    for (const std::string& text : users_advice(values_)) warning(text);
    for (const std::string& text : mail_spool_advice(values_)) warning(text);
    for (const std::string& text : unreadable_tables(values_)) warning(text);
}

}  // namespace

int check(const Common& common, int argc, char** argv)
{
    std::string libexec;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "l:")) != -1;) {
        if (option == '?') return usage("check", false);
        libexec = ::optarg;
    }
    if (::optind != argc) return usage("check", false);
    bool said = false;
    const auto values = load_settings_and_tables(common, false, &said);
    if (!values) return EX_CONFIG;
    if (::geteuid() != 0) std::printf("note: without root only a trial can be checked: not users, owners and the set-gid bit\n");
    const auto file = conf::File::load(common.config_directory);    // for the place of each complaint
    Check work(file, *values, libexec_directory(libexec));
    work.programs();
    work.accounts();
    work.directories();
    work.listeners();
    work.users();
    work.tls(common.config_directory);
    work.aliases();
    work.pop3();
    work.surroundings();
    work.log();
    if (work.errors() == 0 && work.warnings() == 0 && !said) std::printf("%s: all is well\n", common.config_directory.c_str());
    return work.errors() ? EX_CONFIG : 0;
}

}  // namespace veredus::admin
