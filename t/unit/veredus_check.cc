// veredus check: what a host lacks that the settings lean on.
#include "t/unit/catch.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "lib/base/text.h"
#include "lib/conf/place.h"
#include "master/veredus/postfix_commands.h"
#include "master/veredus/surroundings.h"

using namespace veredus;

namespace {
conf::Values settings(const std::string& text)
{
    const auto file = conf::File::parse(text, "main.cf");
    INFO((file.diagnostics().empty() ? std::string() : file.diagnostics()[0].str()));
    REQUIRE(file.ok());
    return file.values();
}

std::string joined(const std::vector<std::string>& lines)
{
    std::string out;
    for (const auto& line : lines) append(out, line, '\n');
    return out;
}
}  // namespace

TEST_CASE("a host name that nobody can look up draws advice", "[veredus][rfc5321-2.3.5]")
{
    for (const char* good : {"mail.example.org", "example.org"}) CHECK(admin::host_name_advice(settings(cat("myhostname = ", good, "\n"))).empty());
    for (const char* bad : {"mail", "localhost", "mail.localdomain"}) {
        INFO(bad);
        const auto advice = admin::host_name_advice(settings(cat("myhostname = ", bad, "\n")));
        REQUIRE(advice.size() == 1);
        CHECK(advice[0].find(cat("myhostname: \"", bad, "\"")) == 0);
    }
}

TEST_CASE("a resolv.conf without a usable name server draws advice", "[veredus]")
{
    const struct {
        const char* text;
        const char* said;    // empty: all is well
    } cases[] = {
        {"nameserver 192.0.2.53\n", ""},
        {"search example.org\nnameserver\t2001:db8::53\r\n", ""},
        {"", "names no name server"},
        {"# nameserver 192.0.2.53\nsearch example.org\n", "names no name server"},
        {"nameserver nonsense\n", "\"nameserver nonsense\" is no address"},
        {"nameserver nonsense\n", "names no name server"},
        {"nameserver nonsense\nnameserver 192.0.2.53\n", "is passed over"},
    };
    for (const auto& c : cases) {
        INFO(c.text);
        const std::string all = joined(admin::resolver_advice(std::string(c.text)));
        if (*c.said) CHECK(all.find(c.said) != std::string::npos);
        else CHECK(all.empty());
    }
    CHECK(joined(admin::resolver_advice(fail_errno("/etc/resolv.conf", ENOENT))).find("/etc/resolv.conf: No such file or directory: 127.0.0.1 is asked") == 0);
}

TEST_CASE("users and programs that are not there are named with their setting", "[veredus]")
{
    CHECK(admin::users_advice(settings("default_privs =\nroot_mailbox_user = root\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:1\n")).empty());
    const std::string all = joined(admin::users_advice(settings(
        "default_privs = no-such-user-a\nroot_mailbox_user = no-such-user-b\n"
        "pipe_transports = {one user=no-such-user-c argv=/bin/cat} {two user=root argv=/nonexistent/program word}\n"
        "virtual_uid_maps = static:vmail, static:4000000001\n")));
    INFO(all);
    for (const char* wanted : {"default_privs: there is no user no-such-user-a", "root_mailbox_user: there is no user no-such-user-b",
                               "pipe_transports: one: there is no user no-such-user-c", "pipe_transports: two: /nonexistent/program: No such file or directory",
                               "virtual_uid_maps: static:vmail: \"vmail\" is not a number", "virtual_uid_maps: static:4000000001: no account has this uid"})
        CHECK(all.find(wanted) != std::string::npos);
    CHECK(std::count(all.begin(), all.end(), '\n') == 6);
    CHECK(admin::users_advice(settings("default_privs =\nroot_mailbox_user = root\nmailbox_command = /bin/cat \"$EXTENSION\"\n")).empty());
    CHECK(admin::users_advice(settings("default_privs =\nroot_mailbox_user = root\nmailbox_command = procmail -a $EXTENSION\n")).empty());
    CHECK(joined(admin::users_advice(settings("default_privs =\nroot_mailbox_user = root\nmailbox_command = /nonexistent/lda -f \"$SENDER\"\n")))
          == "mailbox_command: /nonexistent/lda: No such file or directory: all mail for users waits\n");
    const std::string plain = "default_privs =\nroot_mailbox_user =\n";
    CHECK(joined(admin::users_advice(settings(cat(plain, "mailbox_size_limit = 1000000\nmessage_size_limit = 2000000\n"))))
          == "mailbox_size_limit: 1000000 is less than message_size_limit (2000000): larger mails are taken, and come back to their senders\n");
    for (const char* sound : {"mailbox_size_limit = 2000000\nmessage_size_limit = 2000000\n", "mailbox_size_limit = 0\n"})
        CHECK(admin::users_advice(settings(cat(plain, sound))).empty());
    // No account is needed, and none of its group; a group is.
    CHECK(admin::users_advice(settings(cat(plain, "virtual_minimum_uid = 1\nvirtual_uid_maps = static:1\nvirtual_gid_maps = static:7\n"))).empty());
    CHECK(admin::users_advice(settings(cat(plain, "virtual_uid_maps = static:4000000001\nvirtual_gid_maps = static:4000000001\n"))).empty());
    CHECK(joined(admin::users_advice(settings(cat(plain, "virtual_uid_maps = static:4000000001\nvirtual_gid_maps = static:vmail\n"))))
          == "virtual_uid_maps: static:4000000001: virtual_gid_maps: static:vmail is not a number: mail for virtual users waits\n");
    CHECK(joined(admin::users_advice(settings(cat(plain, "virtual_uid_maps = static:4000000001\nvirtual_gid_maps = static:0\n"))))
              .starts_with("virtual_uid_maps: static:4000000001: its group is root's"));
    CHECK(joined(admin::users_advice(settings("default_privs = daemon\nroot_mailbox_user =\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:1\nvirtual_gid_maps = static:7\n")))
              .find("uid 1 is that of default_privs") != std::string::npos);
    // root's mail is nobody's: the group would not help.
    CHECK(joined(admin::users_advice(settings(cat(plain, "virtual_uid_maps = static:0\nvirtual_gid_maps = static:5000\n"))))
              .starts_with("virtual_uid_maps: static:0: below virtual_minimum_uid (100), and mail for virtual users waits: "));
    CHECK(admin::users_advice(settings(cat(plain, "local_command_shell = /bin/sh -c\n"))).empty());
    CHECK(joined(admin::users_advice(settings(cat(plain, "local_command_shell = /bin/nosh -c\n")))) == "local_command_shell: /bin/nosh: No such file or directory: all mail for commands waits\n");
    CHECK(joined(admin::users_advice(settings(cat(plain, "local_command_shell = sh -c\n")))) == "local_command_shell: \"sh\" is not an absolute path: all mail for commands waits\n");
}

TEST_CASE("lines of a passwd-file that are not used are named, and who keeps SCRAM from the others", "[veredus]")
{
    std::string path = "/tmp/veredus-check-XXXXXX";
    const int fd = mkstemp(path.data());
    REQUIRE(fd >= 0);
    close(fd);
    const std::string scram = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const auto said = [&](const std::string& text, const std::string& sources = "", const std::string& more = "") {
        std::ofstream(path) << text;
        return joined(admin::passwd_files_advice(settings(cat("passdb = file:", path, sources, "\n", more, "\n"))));
    };
    CHECK(said("# alice and bob\nalice:{PLAIN}wonderland\nbob:!\n").empty());
    const std::string bad = said("alice:{PLAIN}wonderland\nbob:{NONSENSE}builder\ncarol:drowssap\n");
    CHECK(bad.find(cat("passdb: ", path, ", line 2: password scheme {NONSENSE} is not known: this user cannot log in\n")) == 0);
    CHECK(bad.find("line 3: ") != std::string::npos);
    for (const char* secret : {"wonderland", "builder", "drowssap"}) CHECK(bad.find(secret) == std::string::npos);

    const std::string mixed = cat("alice:", scram, "\nbob:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\ncarol:{PLAIN}c\n");
    CHECK(said(mixed).find(cat("passdb: SCRAM is offered to nobody: ", path, ", line 2 has not the secret for it that others have")) == 0);
    CHECK(said(mixed, "", "auth_mechanisms = PLAIN").empty());
    CHECK(said(cat("alice:", scram, "\ncarol:{PLAIN}c\n")).empty());
    CHECK(said("bob:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\ncarol:{PLAIN}c\n", ", system").empty());
    CHECK(said(cat("alice:", scram, "\n"), ", system").find("passdb: SCRAM is offered to nobody: not every user of system has the secret") == 0);
    CHECK(said("a@v.example:{PLAIN}x:5000:5000::/v::userdb_mail=maildir:/srv/%d/%n\n").empty());
    CHECK(said("a:{PLAIN}x:5000:5000::/v::userdb_mail=maildir:/srv/%d/%n\n")
          == cat("passdb: ", path, ", line 1: userdb_mail=maildir:/srv/%d/%n: %d: the user's name has nothing for it; mail for a waits, and he cannot log in\n"));
    unlink(path.c_str());
    CHECK(admin::passwd_files_advice(settings(cat("passdb = file:", path, "\n"))).empty());
}

TEST_CASE("files for connections to other servers must be readable", "[veredus]")
{
    CHECK(admin::client_tls_problems(settings("smtp_tls_CAfile = /dev/null\nsmtp_tls_CApath = /tmp\n")).empty());
    const std::string all = joined(admin::client_tls_problems(settings("smtp_tls_CAfile = /nonexistent/a\nlmtp_tls_key_file = /nonexistent/b\n"
                                                                        "smtp_tls_chain_files = /dev/null /nonexistent/c\nsmtp_tls_CApath = /nonexistent/d\n")));
    CHECK(all == "smtp_tls_CAfile: /nonexistent/a: No such file or directory\nlmtp_tls_key_file: /nonexistent/b: No such file or directory\n"
                 "smtp_tls_chain_files: /nonexistent/c: No such file or directory\nsmtp_tls_CApath: /nonexistent/d: No such file or directory\n");
    CHECK(joined(admin::client_tls_problems(settings("smtp_tls_protocols = TLSv9\n"))).find("smtp_tls_protocols: ") == 0);
}

TEST_CASE("next hops and transports that no mail would find draw advice", "[veredus]")
{
    for (const char* good : {"smtp.example.org", "smtp.example.org:587", "[smtp.example.org]", "[smtp.example.org]:587", "[192.0.2.1]:submission", "[2001:db8::1]", "[IPv6:2001:db8::1]:25"}) {
        INFO(good);
        CHECK(admin::routes_advice(settings(cat("relayhost = ", good, "\nsmtp_fallback_relay = ", good, "\n"))).empty());
    }
    for (const char* bad : {"smtp.example.org 587", "[smtp.example.org:587]", "[smtp.example.org", "[]", "smtp.example.org:", "smtp.example.org:5 8", "[smtp.example.org]587", "smtp]x", "2001:db8::1", "[a.example.org], [b.example.org]"}) {
        INFO(bad);
        const auto advice = admin::routes_advice(settings(cat("relayhost = ", bad, "\n")));
        REQUIRE(advice.size() == 1);
        CHECK(advice[0].find("relayhost: ") == 0);
    }
    CHECK(admin::routes_advice(settings("default_transport = error:5.1.2 nobody there\nlocal_transport = box:x\npipe_transports = {box user=root argv=/bin/cat}\n")).empty());
    CHECK(joined(admin::routes_advice(settings("default_transport = smpt:[192.0.2.1]\n"))).find("default_transport: there is no transport \"smpt\"") == 0);
}

TEST_CASE("luser_relay must come out as an address", "[veredus]")
{
    for (const char* good : {"", "admin", "admin+$local", "$user@other.example", "${user}${extension?+$extension}@$domain", "$local", "$(user)@example.org"}) {
        INFO(good);
        CHECK(admin::luser_relay_advice(settings(cat("luser_relay = ", good, "\n"))).empty());
    }
    for (const char* bad : {"foo bar", "$user @example.org", "@example.org", "a@b@c", "<"}) {
        INFO(bad);
        CHECK(admin::luser_relay_advice(settings(cat("luser_relay = ", bad, "\n"))).starts_with(cat("luser_relay: \"", bad, "\" makes no address")));
    }
}

TEST_CASE("a domain stands in one list, and an address in none", "[veredus]")
{
    CHECK(admin::domains_advice(settings("mydestination = example.org, !x.example.org, hash:/etc/d, /etc/d\nvirtual_alias_domains = example.net\nrelay_domains = example.com\n")).empty());
    CHECK(admin::domains_advice(settings("mydestination =\nlocal_recipient_maps =\n")).empty());
    CHECK(joined(admin::domains_advice(settings("mydestination = example.org\nlocal_recipient_maps =\n"))).find("local_recipient_maps: empty, so mail for any name") == 0);
    const std::string all = joined(admin::domains_advice(settings("mydestination = example.org, alice@example.org\nvirtual_alias_domains = Example.ORG\nrelay_domains = example.com\n")));
    CHECK(all == "mydestination: \"alice@example.org\" is an address where a domain belongs, and fits nothing\n"
                 "virtual_alias_domains: Example.ORG is in mydestination, too, which is asked before: remove it from one of them\n");
}

TEST_CASE("sockets of policy services and LMTP servers that are not there draw advice", "[veredus]")
{
    CHECK(admin::sockets_advice(settings("queue_directory = /dev\nsmtpd_recipient_restrictions = check_policy_service unix:null, check_policy_service inet:127.0.0.1:10023\n"
                                         "virtual_transport = lmtp:unix:/run/lmtp\n")).empty());
    const std::string all = joined(admin::sockets_advice(settings("queue_directory = /nonexistent\nsmtpd_client_restrictions = check_policy_service { unix:private/a, timeout=5s }\n"
                                                                  "submission_data_restrictions = check_policy_service unix:/nonexistent/b\nvirtual_transport = lmtp:unix:private/c\n")));
    INFO(all);
    for (const char* wanted : {"smtpd_client_restrictions: unix:private/a: /nonexistent/private/a: No such file", "submission_data_restrictions: unix:/nonexistent/b: /nonexistent/b: ",
                               "virtual_transport: lmtp:unix:private/c: the path of a socket is absolute here"})
        CHECK(all.find(wanted) != std::string::npos);
    CHECK(std::count(all.begin(), all.end(), '\n') == 3);
}

TEST_CASE("a log file that cannot be made is an error, one that is not there yet is none", "[veredus]")
{
    CHECK(admin::log_file_advice(settings("maillog_file =\n")).empty());
    CHECK(admin::log_file_advice(settings("maillog_file = /dev/null\n")).empty());
    CHECK(admin::log_file_advice(settings("maillog_file = /tmp/no-such-log-file\n")).empty());
    CHECK(admin::log_file_advice(settings("maillog_file = /nonexistent/log\n")) == "maillog_file: /nonexistent/log: No such file or directory");
}

TEST_CASE("a certificate that several roles have from one setting is complained of once", "[veredus]")
{
    const auto found = admin::look_at_certificates(settings("smtpd_tls_cert_file = /nonexistent/cert.pem\nimapd_tls_cert_file = /nonexistent/other.pem\n"), "/nonexistent");
    CHECK(found.errors == std::vector<std::string>{"smtpd_tls_cert_file: open /nonexistent/cert.pem: No such file or directory",
                                                   "imapd_tls_cert_file: open /nonexistent/other.pem: No such file or directory"});
    CHECK(found.warnings.empty());
    CHECK(admin::look_at_certificates(settings(""), "/nonexistent").warnings.size() == 1);
    CHECK(admin::look_at_certificates(settings(""), "/nonexistent", false).warnings.empty());
}

TEST_CASE("a complaint about a setting has the place where a file sets it", "[conf]")
{
    const auto file = conf::File::parse("\nmydomain = example.org\n", "main.cf");
    CHECK(conf::complaint_about(file, "mydomain", true, "mydomain: bad").str() == "main.cf:2: error: mydomain: bad");
    CHECK(conf::complaint_about(file, "myorigin", false, "myorigin: odd").str() == "default: warning: myorigin: odd");
    CHECK(conf::complaint_at("/etc/a:b/main.cf:77", true, "x").str() == "/etc/a:b/main.cf:77: error: x");
}

namespace {
// The commands of a call, each as one line; an error as "!" and its text.
std::string translated(const std::string& line)
{
    std::vector<std::string> words;
    for (const auto word : split(line, " ")) words.emplace_back(word);
    const auto call = admin::translate_postfix_command(words[0], {words.begin() + 1, words.end()}, [] { return std::vector<std::string>{"ID1", "ID2"}; });
    if (!call) return cat("!", call.error().text);
    std::string out = call->config_directory.empty() ? std::string() : cat(call->config_directory, ": ");
    for (const auto& command : call->commands) {
        if (out.ends_with(']')) out += ' ';
        out += '[';
        for (const auto& word : command) append(out, word == command.front() ? "" : " ", word);
        out += ']';
    }
    return out;
}
}  // namespace

TEST_CASE("what scripts type for Postfix is a command of ours", "[veredus]")
{
    const struct {
        const char *line, *ours;
    } cases[] = {
        {"postconf -h queue_directory", "[config -h queue_directory]"},
        {"/usr/sbin/postconf -hx mail_version", "[config -h -x mail_version]"},
        {"postconf -c /etc/other -n", "/etc/other: [config -n]"},
        {"postconf -c/etc/other", "/etc/other: [config]"},
        {"postconf -e a=b c=d", "[config -e a=b c=d]"},
        {"postconf a=b", "[config -e a=b]"},
        {"postconf -# relayhost", "[config -X relayhost]"},
        {"postqueue -p", "[queue list]"},
        {"postqueue -j", "[queue list -j]"},
        {"postqueue -vf", "[flush]"},
        {"postqueue -i 4F3C91A0B2000001", "[flush 4F3C91A0B2000001]"},
        {"postqueue -sexample.org", "[flush --site example.org]"},
        {"postsuper -d ALL", "[queue delete ALL]"},
        {"postsuper -d ALL deferred", "[queue delete --state deferred]"},
        {"postsuper -r ALL hold deferred", "[queue requeue --state hold] [queue requeue --state deferred]"},
        {"postsuper -h A -H B", "[queue hold A] [queue release B]"},
        {"postsuper -d -", "[queue delete ID1 ID2]"},
        {"postsuper -p", ""},
        {"postcat -q A", "[queue show A]"},
        {"postcat -qb A", "[queue show -m A]"},
        {"postmap hash:/etc/x", "[table hash:/etc/x]"},
        {"postmap -q -f hash:/etc/x", "[table -q -f hash:/etc/x]"},
        {"postmap -q - regexp:/etc/x", "[table -q - regexp:/etc/x]"},
        {"postalias -- /etc/aliases", "[table -a /etc/aliases]"},
        {"postfix -c /etc/other start-fg", "/etc/other: [start -f]"},
        {"postfix set-permissions", "[setup]"},
    };
    for (const auto& c : cases) {
        INFO(c.line);
        CHECK(translated(c.line) == c.ours);
    }
    for (const char* bad : {"postconf -M", "postconf -A", "postconf -?", "postconf -:", "postqueue", "postqueue -p -f", "postqueue -i", "postsuper -e ALL", "postcat A", "postcat -q", "postmap",
                            "postmap -d key hash:/x", "postmap -s hash:/x", "postfix", "postfix tls", "postdrop"}) {
        INFO(bad);
        CHECK(translated(bad).starts_with("!"));
    }
    CHECK(admin::is_postfix_command("/usr/sbin/postconf"));
    for (const char* other : {"", "/", "veredus", "postconf/", "xpostconf"}) CHECK_FALSE(admin::is_postfix_command(other));
}
