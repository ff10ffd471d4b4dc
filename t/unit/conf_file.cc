// lib/conf: main.cf's syntax, names, values, and what is said about the wrong ones.
#include "t/unit/catch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/expand.h"
#include "lib/conf/host.h"
#include "lib/conf/near.h"
#include "lib/conf/pipes.h"
#include "lib/conf/port.h"
#include "lib/conf/values.h"

using namespace veredus;
using conf::File;

namespace {

std::string all_of(const File& file)
{
    std::string out;
    for (const auto& d : file.diagnostics()) append(out, d.str(), '\n');
    return out;
}

Result<std::string> expanded(std::string_view text)
{
    const std::map<std::string, std::string, std::less<>> names{{"a", "A"}, {"empty", ""}, {"n5", "5"}, {"n10", "10"}, {"level", "3.6"}};
    return conf::expand(text, [&](std::string_view name) -> Result<std::string> {
        const auto at = names.find(name);
        return at == names.end() ? std::string() : at->second;
    });
}

struct Folder {   // a directory of its own, gone at the end
    std::string path = "/tmp/veredus-conf-XXXXXX";
    Folder() { REQUIRE(mkdtemp(path.data())); }
    ~Folder()
    {
        for (const char* name : {"/main.cf.d/10-a.cf", "/main.cf.d/20-b.cf", "/main.cf.d/x.txt", "/main.cf", "/mailname"}) unlink((path + name).c_str());
        rmdir((path + "/main.cf.d").c_str());
        rmdir(path.c_str());
    }
    void write(const std::string& name, const std::string& text) const { std::ofstream(path + "/" + name) << text; }
};

// The main.cf that Debian's installer writes for an "Internet Site".
constexpr const char* debian_main_cf = R"(# See /usr/share/postfix/main.cf.dist for a commented, more complete version


# Debian specific:  Specifying a file name will cause the first
# line of that file to be used as the name.  The Debian default
# is /etc/mailname.
#myorigin = /etc/mailname

smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no

# appending .domain is the MUA's job.
append_dot_mydomain = no

# Uncomment the next line to generate "delayed mail" warnings
#delay_warning_time = 4h

readme_directory = no

# See http://www.postfix.org/COMPATIBILITY_README.html -- default to 3.6 on
# fresh installs.
compatibility_level = 3.6



# TLS parameters
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache


smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mail.example.org
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
mydestination = $myhostname, example.org, localhost.example.org, localhost
relayhost = 
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
)";

}  // namespace

TEST_CASE("a Debian Postfix main.cf loads with warnings at most", "[conf]")
{
    const File file = File::parse(debian_main_cf, "main.cf");
    INFO(all_of(file));
    REQUIRE(file.ok());
    const auto values = file.values();
    CHECK(values.text("myhostname") == "mail.example.org");
    CHECK(values.text("mydomain") == "example.org");
    CHECK(values.text("myorigin") == "mail.example.org");
    CHECK(values.list("mydestination") == std::vector<std::string>{"mail.example.org", "example.org", "localhost.example.org", "localhost"});
    CHECK(values.list("mynetworks").size() == 3);
    CHECK(file.effective("biff") == "no");
    // What is silent by design says nothing.
    for (const char* silent : {"biff", "readme_directory", "compatibility_level", "session_cache"}) CHECK(all_of(file).find(silent) == std::string::npos);
}

TEST_CASE("a typing error is refused with file, line and the nearest name", "[conf]")
{
    struct Case {
        const char *line, *meant;
    };
    for (const Case& c : {Case{"relay_domain = example.org", "relay_domains"}, {"mynetwork = 0.0.0.0/0", "mynetworks"}, {"mydestinaton = x", "mydestination"},
                          {"aliasmaps = hash:/x", "alias_maps"}, {"smtpd_milter = inet:localhost:1", "smtpd_milters"}, {"realyhost = x", "relayhost"}}) {
        const File file = File::parse(cat("# comment\n\n", c.line, "\n"), "main.cf");
        INFO(all_of(file));
        CHECK_FALSE(file.ok());
        REQUIRE(file.diagnostics().size() == 1);
        CHECK(file.diagnostics()[0].line == 3);
        CHECK(file.diagnostics()[0].str().starts_with("main.cf:3: error: unknown setting"));
        CHECK(file.diagnostics()[0].text.find(cat("did you mean \"", c.meant, "\"?")) != std::string::npos);
    }
    CHECK(conf::nearest_name("relay_domain") == "relay_domains");
    CHECK(conf::nearest_name("zzzzzz").empty());
}

TEST_CASE("names that are no settings: foreign, variables, classes, TRANSPORT_x", "[conf]")
{
    const File file = File::parse("mua_list = a, b\nmydestination = $mua_list\n"
                                  "smtpd_restriction_classes = greylisted, other\ngreylisted = permit\nother = reject\n"
                                  "slow_destination_concurrency_limit = 2\nslow_destination_rate_delay = 5s\n"
                                  "soft_bounce_x_recipient_limit = 5\nvirtual_mailbox_base = /srv\n"
                                  "qmqpd_timeout = 300s\n",
                                  "main.cf");
    INFO(all_of(file));
    REQUIRE(file.ok());
    const auto values = file.values();
    CHECK(values.extra("mua_list") == "a, b");
    CHECK(values.extra("greylisted") == "permit");
    CHECK(values.extra("slow_destination_concurrency_limit") == "2");
    CHECK(values.extra("absent_destination_concurrency_limit").empty());
    CHECK(values.text("mydestination") == "a, b");
    CHECK(all_of(file).find("main.cf:10: warning: qmqpd_timeout: there is no QMQP service") != std::string::npos);
    CHECK(all_of(file).find("main.cf:6: warning: slow_destination_concurrency_limit: there is no transport slow") != std::string::npos);
    const auto said = [](const std::string& line) { return all_of(File::parse(cat("pipe_transports = {gate user=nobody argv=/bin/cat}\n", line, "\n"), "m")); };
    for (const char* good : {"gate_destination_concurrency_limit = 1", "gate_destination_rate_delay = 9s", "gate_initial_destination_concurrency = 2",
                             "gate_destination_concurrency_failed_cohort_limit = 3", "gate_time_limit = 5s", "gate_destination_recipient_limit = 1",
                             "virtual_destination_recipient_limit = 1", "virtual_destination_concurrency_limit = 3", "virtual_destination_rate_delay = 1s"}) {
        INFO(good);
        CHECK(said(good).find("gate_") == std::string::npos);
        CHECK(said(good).find("_destination_") == std::string::npos);
    }
    for (const char* vain : {"smtp_time_limit = 5s", "gate_destination_recipient_limit = 2", "gate_recipient_limit = 5", "smtp_transport_rate_delay = 1s", "local_transport_rate_delay = 1s",
                             "virtual_destination_recipient_limit = 5", "dovecot_destination_rate_delay = 1s", "smtp_delivery_slot_cost = 5",
                             "smtp_destination_concurrency_positive_feedback = 1/concurrency"}) {
        INFO(vain);
        CHECK(File::parse(vain, "m").ok());
        CHECK(said(vain).find("the line has no effect") != std::string::npos);
    }
    CHECK_FALSE(File::parse("slow_destination_concurrency_limit = many\n", "m").ok());
    CHECK_FALSE(File::parse("slow_destination_concurrency_limt = 2\n", "m").ok());
}

TEST_CASE("of a variable only the time that a command has goes to processes that see public settings", "[conf]")
{
    const std::string text = "pipe_transports = {gate user=nobody argv=/bin/cat} {slow user=nobody argv=/bin/cat}\n"
                             "gate_time_limit = 2m\nsecret = tomato\nmua_list = $secret\nother_time_limit = 5s\nsmtpd_client_restrictions = $mua_list\n";
    const auto values = File::parse(text, "m").values();
    const std::string all = values.serialize(conf::local, false), shown = values.serialize(conf::local, true);
    CHECK(all.find("tomato") != std::string::npos);
    CHECK(shown.find("$gate_time_limit=2m\n") != std::string::npos);
    CHECK(shown.find("tomato") == std::string::npos);
    CHECK(shown.find("other_time_limit") == std::string::npos);
    CHECK(values.serialize(conf::smtpd, true).find("gate_time_limit") == std::string::npos);
    const auto received = conf::Values::deserialize(shown);
    REQUIRE(received);
    const auto pipes = conf::read_pipe_transports(*received);
    REQUIRE(pipes);
    REQUIRE(pipes->size() == 2);
    CHECK((*pipes)[0].time_limit_s == 120);
    CHECK((*pipes)[1].time_limit_s == 0);
}

TEST_CASE("every Postfix parameter is known: none is an error", "[conf]")
{
    std::size_t count = 0;
    for (const auto& foreign : conf::foreign_parameters()) {
        INFO(foreign.name);
        CHECK(conf::find_setting(foreign.name) == nullptr);
        const File file = File::parse(cat(foreign.name, " = x\n"), "m");
        CHECK(file.ok());
        CHECK(file.diagnostics().size() == (foreign.instead[0] ? 1u : 0u));
        for (const std::string_view word : split(foreign.instead, " ,;:()"))    // what it sends the reader to is there
            if (word.find('_') != std::string_view::npos && !word.starts_with("check_") && !word.starts_with("reject_")) CHECK(conf::find_setting(word) != nullptr);
        ++count;
    }
    CHECK(count + conf::all_settings().size() > 850);
}

TEST_CASE("of a Postfix parameter that is no setting it is said what does its work here, or that nothing does", "[conf]")
{
    const struct {
        const char* line;
        const char* said;
    } cases[] = {
        {"content_filter = smtp-amavis:[127.0.0.1]:10024", "mail passes unfiltered"},
        {"smtpd_milters = inet:127.0.0.1:11332", "mail passes unfiltered"},
        {"smtpd_tls_wrappermode = yes", "submission_listen = 587, 465/tls"},
        {"smtpd_use_tls = yes", "smtpd_tls_security_level says it"},
        {"smtpd_per_record_deadline = no", "the line has no effect"},
        {"smtp_per_record_deadline = yes", "each stage has its time-out"},
        {"lmtp_per_record_deadline = yes", "the line has no effect"},
        {"smtpd_sasl_application_name = smtpd", "setting passdb"},
        {"smtpd_tls_cipherlist = HIGH", "there is no finer choice"},
        {"smtp_tls_cipherlist = HIGH", "smtp_tls_ciphers"},
        {"fallback_relay = relay.example.org", "smtp_fallback_relay does it"},
        {"smtpd_client_connection_limit_exceptions = $mynetworks", "smtpd_client_event_limit_exceptions does it"},
        {"postscreen_whitelist_interfaces = static:all", "there is no postscreen before it"},
        {"smtpd_tls_protocols = !SSLv3", "there is no finer choice"},
        {"postscreen_dnsbl_sites = zen.example.org*3", "reject_rbl_client in smtpd_client_restrictions"},
        {"postscreen_greet_action = enforce", "smtpd_pregreet_wait"},
        {"relocated_maps = hash:/etc/relocated", "transport_maps does it"},
        {"smtpd_sasl_auth_enable = yes", "submission_listen"},
        {"smtpd_authorized_xclient_hosts = 127.0.0.1", "XCLIENT"},
    };
    for (const auto& c : cases) {
        INFO(c.line);
        const std::string all = all_of(File::parse(cat(c.line, "\n"), "m"));
        CHECK(all.find(c.said) != std::string::npos);
    }
}

TEST_CASE("dane is taken with a warning, dane-only is refused", "[conf]")
{
    const auto dane = File::parse("smtp_tls_security_level = dane\n", "main.cf");
    CHECK(dane.ok());
    REQUIRE(dane.diagnostics().size() == 1);
    CHECK(dane.diagnostics()[0].text.find("taken as may") != std::string::npos);
    CHECK_FALSE(File::parse("smtp_tls_security_level = dane-only\n", "main.cf").ok());
    for (const char* level : {"verify", "secure", "fingerprint"}) {
        CAPTURE(level);
        CHECK(File::parse(cat("smtp_tls_security_level = ", level, "\n"), "main.cf").ok());
    }
}

TEST_CASE("a list of words takes no other word", "[conf]")
{
    const struct {
        const char *good, *bad;
    } cases[] = {
        {"auth_mechanisms = plain, SCRAM-SHA-256-PLUS", "auth_mechanisms = plian"},
        {"allow_mail_to_commands = alias forward,include", "allow_mail_to_commands = aliases"},
        {"allow_mail_to_files =", "allow_mail_to_files = :include:"},
        {"propagate_unmatched_extensions = canonical, generic", "propagate_unmatched_extensions = virtuall"},
        {"smtp_host_lookup = native, dns", "smtp_host_lookup = hosts"},
        {"inet_protocols = ipv4", "inet_protocols = ip4"},
        {"notify_classes = resource, software, data", "notify_classes = bounces"},
        {"canonical_classes = envelope_sender", "masquerade_classes = envelope"},
        {"sender_canonical_classes = header_sender", "sender_canonical_classes = header_recipient"},
        {"smtp_sasl_security_options = noanonymous", "smtp_sasl_security_options = anonymous"},
        {"pop3_client_workarounds = oe-ns-eoh", "pop3_client_workarounds = outlook"},
        {"passdb = file:/etc/passwd system pam", "passdb = fil:/etc/passwd"},
        {"passdb = system", "passdb = file:relative"},
    };
    for (const auto& c : cases) {
        INFO(c.good << "\n" << c.bad);
        CHECK(File::parse(cat(c.good, "\n"), "m").ok());
        const File wrong = File::parse(cat(c.bad, "\n"), "m");
        REQUIRE(wrong.diagnostics().size() == 1);
        CHECK(wrong.diagnostics()[0].str().find(cat("m:1: error: ", cut(c.bad, ' ').first, ": \"")) == 0);
    }
}

TEST_CASE("logical lines are Postfix's: continuations, comments between them, CRLF", "[conf]")
{
    const File file = File::parse("mydestination = one,\r\n"
                                  "   two\r\n"
                                  "# a comment does not end it\r\n"
                                  "  # nor does this\n"
                                  "\n"
                                  "\tthree # kept\n"
                                  "mail_name=a = b\n",
                                  "m");
    INFO(all_of(file));
    CHECK(file.ok());
    CHECK(file.values().list("mydestination") == std::vector<std::string>{"one", "two", "three", "#", "kept"});
    CHECK(file.values().text("mail_name") == "a = b");
    CHECK(file.assignments().at("mydestination").origin == "m:1");
}

TEST_CASE("lines that are no settings are errors with their number", "[conf]")
{
    for (const char* bad : {"  mail_name = x", "mail_name", "= x", "two words = x", "bad$name = x"}) {
        const File file = File::parse(cat("\n", bad, "\n"), "m");
        INFO(bad << "\n" << all_of(file));
        CHECK_FALSE(file.ok());
        REQUIRE(!file.diagnostics().empty());
        CHECK(file.diagnostics()[0].line == 2);
    }
    CHECK_FALSE(File::parse(std::string_view("mail_name = a\0b\n", 16), "m").ok());
}

TEST_CASE("a line that replaces another one of the same file is said", "[conf]")
{
    const File file = File::parse("mail_name = a\nmail_name = b\n", "m");
    CHECK(file.ok());
    CHECK(file.values().text("mail_name") == "b");
    CHECK(all_of(file) == "m:2: warning: mail_name: this line replaces line 1\n");
}

TEST_CASE("$name in all its forms", "[conf]")
{
    struct Case {
        const char *text, *result;
    };
    for (const Case& c : {
             Case{"x$a.y", "xA.y"}, {"${a}${a}$(a)", "AAA"}, {"$$a", "$a"}, {"$none|", "|"},
             {"${a?yes $a}", "yes A"}, {"${empty?yes}", ""}, {"${a:no}", ""}, {"${empty:no $a}", "no A"}, {"${none:x}", "x"},
             {"${stress?1}${stress:5}", "5"}, {"${a?{t}:{f}}", "t"}, {"${empty?{t}:{f}}", "f"}, {"${ a ? { t } : { f } }", "t"},
             {"${empty?{t}:f}", "f"}, {"${empty:{none}}", "none"}, {"${a?{${empty?{x}:{deep}}}:{f}}", "deep"},
             {"${{$a} == {A}?{same}:{other}}", "same"}, {"${{$a} != {A}?{other}:{same}}", "same"},
             {"${{$n5} < {$n10}?{less}:{more}}", "less"}, {"${{b10} < {b5}?{less}:{more}}", "less"},
             {"${{$level} <level {3.10}?{old}:{new}}", "old"}, {"${{$level} >=level {3.6}?{new}:{old}}", "new"},
             {"${{1} >= {2}?{x}}", ""}, {"${{2} <= {2}?{x}}", "x"}, {"${{3} > {2}?x}", "x"},
         }) {
        INFO(c.text);
        const auto result = expanded(c.text);
        REQUIRE(result);
        CHECK(*result == c.result);
    }
    for (const char* bad : {"${a", "$(a", "$", "a $ b", "${}", "${a!b}", "${a?{x}y}", "${a?{x}", "${{1} ~ {2}?x}", "${{1} ==}", "${{1}}"}) {
        INFO(bad);
        CHECK_FALSE(expanded(bad));
    }
}

TEST_CASE("expansion is bounded: loops, depth and size", "[conf]")
{
    CHECK_FALSE(File::parse("a = $b\nb = $a\nmail_name = $a\n", "m").ok());
    CHECK_FALSE(File::parse("mail_name = x $mail_name\n", "m").ok());
    std::string doubling = "mail_name = $v30\nv0 = 0123456789\n";
    for (int i = 1; i <= 30; ++i) append(doubling, "v", i, " = $v", i - 1, "$v", i - 1, "\n");
    const File file = File::parse(doubling, "m");
    CHECK_FALSE(file.ok());
    CHECK(all_of(file).find("longer than") != std::string::npos);
    std::string deep;
    for (int i = 0; i < 1000; ++i) deep += "${a?{";
    for (int i = 0; i < 1000; ++i) deep += "}}";
    CHECK_FALSE(expanded(deep));
    std::string chain = "mail_name = $w0\n";
    for (int i = 0; i < 500; ++i) append(chain, "w", i, " = $w", i + 1, "\n");
    CHECK_FALSE(File::parse(chain + "w500 = x\n", "m").ok());
}

TEST_CASE("a reference to nothing is a warning with the nearest name", "[conf]")
{
    const File file = File::parse("mail_name = $myhostnam\n", "m");
    CHECK(file.ok());
    CHECK(all_of(file) == "m:1: warning: mail_name: $myhostnam is not defined and counts as empty; did you mean \"myhostname\"?\n");
    CHECK(File::parse("mail_name = $mail_version$process_name${stress?x}$virtual_mailbox_maps\n", "m").diagnostics().empty());
}

TEST_CASE("values are checked by type and bounds", "[conf]")
{
    using conf::Type;
    struct Case {
        Type type;
        const char* good;
        const char* bad;
        const char* words = nullptr;
    };
    for (const Case& c : {
             Case{Type::boolean, "yes|NO|true|off|1", "maybe||2"}, {Type::number, "1|99", "0|101|x|1k||-5"}, {Type::size, "1|99|100", "1k|x||9999999999999999999"},
             {Type::duration, "1|60s|1m", "2m|1x|s||-1s|5 m"}, {Type::word, "none|May|encrypt", "dane||no", "none|may|encrypt"}, {Type::path, "/x|", "x|./x"},
             {Type::tables, "|hash:/x|proxy:hash:/x, static:a|inline:{a=b, c=d}|unix:passwd.byname", "mysql:/x|/x|hash|hash:|foo:/x"},
             {Type::listeners, "|25|127.0.0.1:25|[::1]:25, 465/tls|smtp|unix:/x|localhost:submission/TLS", "x|25/ssl|::1:25|70000|unix:|:99999"},
         }) {
        const conf::Setting row{"test", c.type, "", conf::everyone, "", 1, 100, c.words};
        for (const auto good : split_on(c.good, '|')) {
            INFO(good);
            CHECK(conf::check_value(row, good));
        }
        for (const auto bad : split_on(c.bad, '|')) {
            INFO(bad);
            CHECK_FALSE(conf::check_value(row, bad));
        }
    }
    const File name = File::parse("\nauth_username_format = %x\n", "m");
    CHECK_FALSE(name.ok());
    CHECK(all_of(name).find("m:2: error: auth_username_format: \"%x\": after % stands u, n, d or %") == 0);
    for (const char* good : {"%u", "%Lu", "%n@%Ud", "100%%"}) CHECK(File::parse(cat("auth_username_format = ", good, "\n"), "m").ok());
    CHECK(*conf::parse_size("10M") == 10485760);
    CHECK(*conf::parse_duration("5", 'd') == 432000);
    CHECK(*conf::parse_duration("2W", 's') == 1209600);
    CHECK_FALSE(conf::parse_size("9000000000G"));
    CHECK_FALSE(conf::parse_duration("99999999w", 's'));
    for (const char* good : {"forward_path = $home/.forward${recipient_delimiter}${extension}, $(home)/.forward", "forward_path = /f/${extension?$user+$extension}${extension:$user}", "forward_path =",
                             "luser_relay = $user@other.example", "default_privs = nobody"}) {
        INFO(good);
        CHECK(File::parse(cat(good, "\n"), "m").ok());
    }
    const std::pair<const char*, const char*> wrong[] = {
        {"forward_path = $hom/.forward", "forward_path: $hom: \"hom\" is none of: home, user"},
        {"forward_path = $home/${extension?$nonsense}", "$nonsense: \"nonsense\" is none of"},
        {"forward_path = $HOME/.forward", "$HOME: these names are in small letters"},
        {"forward_path = ${nonsense?x}", "\"nonsense\" is none of"},
        {"forward_path = $home/a$", "\"\" is none of"},
        {"forward_path = $$home", "\"\" is none of"},
        {"forward_path = $home/.forward${extension?{+}:{-}}", "braces inside of braces"},
        {"forward_path = ${home", "${home: its end is missing"},
        {"luser_relay = $home@example.org", "luser_relay: $home: \"home\" is none of: user, local"},
        {"default_privs = root", "default_privs: nothing is run as root"},
    };
    for (const auto& [text, said] : wrong) {
        INFO(text);
        const File bad = File::parse(cat("\n", text, "\n"), "m");
        CHECK_FALSE(bad.ok());
        CHECK(all_of(bad).find("m:2: error: ") == 0);
        CHECK(all_of(bad).find(said) != std::string::npos);
    }
    const File file = File::parse("message_size_limit = lots\n", "m");
    CHECK_FALSE(file.ok());
    CHECK(all_of(file).find("m:1: error: message_size_limit: \"lots\" is not a size") == 0);
}

TEST_CASE("main.cf.d follows main.cf in order of name, and the origin is kept", "[conf]")
{
    const Folder folder;
    CHECK_FALSE(File::load(folder.path).ok());
    CHECK(all_of(File::load(folder.path)).find("an empty file will do") != std::string::npos);
    folder.write("main.cf", "mail_name = main\nmyorigin = " + folder.path + "/mailname\n");
    folder.write("mailname", "example.net\nignored\n");
    REQUIRE(mkdir((folder.path + "/main.cf.d").c_str(), 0755) == 0);
    folder.write("main.cf.d/20-b.cf", "\nmail_name = twenty\n");
    folder.write("main.cf.d/10-a.cf", "mail_name = ten\n");
    folder.write("main.cf.d/x.txt", "nonsense\n");
    const File file = File::load(folder.path);
    INFO(all_of(file));
    CHECK(file.ok());
    CHECK(file.diagnostics().empty());
    CHECK(file.values().text("mail_name") == "twenty");
    CHECK(file.values().text("myorigin") == "example.net");
    CHECK(file.assignments().at("mail_name").origin == folder.path + "/main.cf.d/20-b.cf:2");
    folder.write("mailname", "not a domain!\n");
    CHECK_FALSE(File::load(folder.path).ok());
}

TEST_CASE("an empty main.cf has every default, and all of them are valid", "[conf]")
{
    const File file = File::parse("", "main.cf");
    INFO(all_of(file));
    REQUIRE(file.ok());
    const auto values = conf::Values::defaults();
    CHECK(values.text("myhostname").find('.') != std::string_view::npos);
    CHECK(values.list("mydestination").size() == 3);
    CHECK(values.number("message_size_limit") == 10240000);
    CHECK(values.seconds("maximal_queue_lifetime") == 5 * 86400);
    CHECK_FALSE(values.has("relayhost"));
    CHECK_FALSE(values.flag("append_dot_mydomain"));
    CHECK(values.list("virtual_alias_domains").empty());
}

TEST_CASE("the full name of this host comes from /etc/hosts, not from the network", "[conf]")
{
    constexpr const char* hosts = "127.0.0.1 localhost localhost.localdomain\n127.0.1.1\tmail.Example.org mail # mx.example.org mail\n";
    CHECK(conf::full_hostname("mail", hosts) == "mail.example.org");
    CHECK(conf::full_hostname("mail.other.org", hosts) == "mail.other.org");
    CHECK(conf::full_hostname("box", hosts) == "box.localdomain");
    CHECK(conf::full_hostname("bad name", hosts) == "localhost.localdomain");
}

TEST_CASE("a role gets its own rows, and comes to the same values", "[conf]")
{
    const File file = File::parse("mail_name = a\\b\nmua = x\nmydestination = $mua\nrelayhost = [mx.example.org]:587\n", "m");
    REQUIRE(file.ok());
    const auto values = file.values();
    const auto router = conf::Values::deserialize(values.serialize(conf::router, false));
    REQUIRE(router);
    CHECK(router->text("mail_name") == "a\\b");
    CHECK(router->text("relayhost") == "[mx.example.org]:587");
    CHECK(router->extra("mua") == "x");
    CHECK(values.serialize(conf::local, false).find("relayhost=") == std::string::npos);
    CHECK(values.serialize(conf::resolver, false).find("passdb=") != std::string::npos);
    CHECK(values.serialize(conf::resolver, true).find("passdb=") == std::string::npos);
    CHECK(values.serialize(conf::local, true).find("$mua") == std::string::npos);
    for (const char* bad : {"mail_name=x", "nonsense\n", "no_such_row=1\n", "message_size_limit=lots\n", "=x\n"}) {
        INFO(bad);
        CHECK_FALSE(conf::Values::deserialize(bad));
    }
}

TEST_CASE("edit distance counts a swap as one", "[conf]")
{
    CHECK(conf::edit_distance("relayhost", "realyhost") == 1);
    CHECK(conf::edit_distance("abc", "abc") == 0);
    CHECK(conf::edit_distance("", "abc") == 3);
    CHECK(conf::edit_distance("abcd", "acbx") == 2);
}

TEST_CASE("a port is a number or a TCP service of mail or of /etc/services", "[conf]")
{
    const std::string services = conf::read_services("# tcpmux 9/tcp\ntcpmux\t1/tcp # first\nntp 123/udp\n grey  10023/tcp greylist postgrey#x\r\nhalf 5\nzero 0/tcp\nbig 70000/tcp\n\n\nodd /tcp\n"
                                                     "grey 4/tcp\nlast 65535/tcp");
    CHECK(conf::find_service(services, "tcpmux") == 1);
    for (const char* name : {"grey", "greylist", "postgrey"}) CHECK(conf::find_service(services, name) == 10023);
    CHECK(conf::find_service(services, "last") == 65535);
    for (const char* name : {"", "ntp", "half", "zero", "big", "odd", "postgrey#x", "x", "Grey", "first", "#", "grey 10023", "1"}) {
        INFO(name);
        CHECK_FALSE(conf::find_service(services, name));
    }
    CHECK(conf::read_services(std::string(100'000, ' ') + "\0\n\xff").empty());
    CHECK(conf::port_of("25") == 25);
    CHECK(conf::port_of("0") == 0);
    CHECK(conf::port_of("Submissions") == 465);
    CHECK(conf::port_of("lmtp") == 24);
    for (const char* none : {"", "65536", "-1", "+25", " 25", "25/tcp", "no-such-service"}) CHECK_FALSE(conf::port_of(none));
}
