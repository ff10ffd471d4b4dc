// veredus clientconfig: what mail programs are told.
#include "t/unit/catch.h"

#include "master/veredus/client_settings.h"

using namespace veredus;
using admin::MailProtocol;

namespace {

conf::Values settings(std::string pop3, std::string submission, std::string interfaces = "all")
{
    auto values = conf::Values::defaults();
    values.set_for_test("myhostname", "mail.example.org");
    values.set_for_test("inet_interfaces", std::move(interfaces));
    values.set_for_test("pop3d_listen", std::move(pop3));
    values.set_for_test("submission_listen", std::move(submission));
    if (conf::find_setting("imapd_listen")) values.set_for_test("imapd_listen", "");
    return values;
}

std::string servers(const conf::Values& values)
{
    std::string out;
    const auto list = admin::client_servers(values);
    if (!list) return "error: " + list.error().text;
    for (const auto& s : *list)
        out += (out.empty() ? "" : ", ") + std::string(s.protocol == MailProtocol::smtp ? "smtp " : "pop3 ") + s.host +
               ":" + std::to_string(s.port) + (s.tls ? "/tls" : "");
    return out;
}

const std::vector<admin::ClientServer> everything = {
    {MailProtocol::imap, "mail.example.org", 993, true},  {MailProtocol::imap, "mail.example.org", 143, false},
    {MailProtocol::pop3, "pop.example.org", 995, true},   {MailProtocol::smtp, "mail.example.org", 465, true},
    {MailProtocol::smtp, "mail.example.org", 587, false},
};

} // namespace

TEST_CASE("mail programs are told of listeners that they can reach, best first", "[veredus][clientconfig]")
{
    const struct {
        const char *pop3, *submission, *interfaces, *servers;
    } cases[] = {
        {"110, 995/tls", "587, 465/tls", "all",
         "pop3 mail.example.org:995/tls, pop3 mail.example.org:110, smtp mail.example.org:465/tls, smtp "
         "mail.example.org:587"},
        {"pop3, pop3s/tls", "submission", "all",
         "pop3 mail.example.org:995/tls, pop3 mail.example.org:110, smtp mail.example.org:587"},
        {"", "", "all", ""},
        {"192.0.2.1:110, [2001:db8::1]:110", "", "all", "pop3 mail.example.org:110"},
        {"pop.example.org:995/tls, 995/tls", "", "all", "pop3 pop.example.org:995/tls, pop3 mail.example.org:995/tls"},
        {"127.0.0.1:110, [::1]:110, 995/tls", "", "all", "pop3 mail.example.org:995/tls"},
        {"127.0.0.1:2110, [::1]:2110", "localhost:2587", "all", "pop3 localhost:2110, smtp localhost:2587"},
        {"110", "192.0.2.1:587", "loopback-only", "pop3 localhost:110, smtp mail.example.org:587"},
        {"110", "", "127.0.0.1, ::1", "pop3 localhost:110"},
        {"110", "", "127.0.0.1, 192.0.2.1", "pop3 mail.example.org:110"},
        {"unix:/run/pop3, 110", "", "all", "pop3 mail.example.org:110"},
        {"a<b:110", "", "all", "error: pop3d_listen: \"a<b\" is no host name"},
    };
    for (const auto& c : cases) {
        INFO(c.pop3 << " | " << c.submission << " | " << c.interfaces);
        CHECK(servers(settings(c.pop3, c.submission, c.interfaces)) == c.servers);
    }
}

TEST_CASE("SRV records name each service, and deny what is not there", "[veredus][clientconfig][rfc6186-3.4]")
{
    CHECK(admin::srv_records("example.org", everything) ==
          "_imaps._tcp.example.org. IN SRV 0 1 993 mail.example.org.\n"
          "_imap._tcp.example.org. IN SRV 10 1 143 mail.example.org.\n"
          "_pop3s._tcp.example.org. IN SRV 20 1 995 pop.example.org.\n"
          "_pop3._tcp.example.org. IN SRV 0 0 0 .\n"
          "_submissions._tcp.example.org. IN SRV 0 1 465 mail.example.org.\n"
          "_submission._tcp.example.org. IN SRV 10 1 587 mail.example.org.\n");
}

TEST_CASE("people, Thunderbird and Outlook hear the same", "[veredus][clientconfig]")
{
    const auto text = admin::settings_text("example.org", everything);
    CHECK(text.starts_with("incoming mail, IMAP: mail.example.org, port 993, SSL/TLS\nincoming mail, IMAP: "
                           "mail.example.org, port 143, STARTTLS\n"
                           "incoming mail, POP3: pop.example.org, port 995, SSL/TLS\noutgoing mail, SMTP: "
                           "mail.example.org, port 465, SSL/TLS\n"));
    CHECK(text.find("user@example.org") != std::string::npos);
    const auto thunderbird = admin::autoconfig_xml("example.org", everything);
    CHECK(thunderbird.find("<emailProvider id=\"example.org\">\n    <domain>example.org</domain>") !=
          std::string::npos);
    CHECK(thunderbird.find("<incomingServer type=\"pop3\">\n      <hostname>pop.example.org</hostname>\n      "
                           "<port>995</port>\n      <socketType>SSL</socketType>") != std::string::npos);
    CHECK(thunderbird.find("<port>587</port>\n      <socketType>STARTTLS</socketType>") != std::string::npos);
    const auto outlook = admin::autodiscover_xml("example.org", everything);
    CHECK(outlook.find("<Type>IMAP</Type>\n        <Server>mail.example.org</Server>\n        <Port>993</Port>") !=
          std::string::npos);
    CHECK(outlook.find("<Type>POP3</Type>\n        <Server>pop.example.org</Server>") != std::string::npos);
    CHECK(outlook.find("<Type>SMTP</Type>") != std::string::npos);
    CHECK(outlook.find("<Port>143</Port>") == std::string::npos); // one of each
}
