#include "master/veredus/client_settings.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/host.h"
#include "lib/daemon/listen.h"

namespace veredus::admin {

namespace {

struct Kind {
    MailProtocol protocol;
    const char *listeners, *type, *label;
    const char *service, *tls_service; // RFC 6186 §3.1 and §3.2, RFC 8314 §5.1
};
constexpr Kind kinds[] = {
    {MailProtocol::imap, "imapd_listen", "imap", "incoming mail, IMAP", "_imap", "_imaps"},
    {MailProtocol::pop3, "pop3d_listen", "pop3", "incoming mail, POP3", "_pop3", "_pop3s"},
    {MailProtocol::smtp, "submission_listen", "smtp", "outgoing mail, SMTP", "_submission", "_submissions"},
};

const Kind& kind_of(MailProtocol protocol)
{
    return kinds[static_cast<std::size_t>(protocol)];
}

bool is_address(const std::string& host)
{
    return host.find(':') != std::string::npos || host.find_first_not_of("0123456789.") == std::string::npos;
}

bool is_loopback(const std::string& host)
{
    return iequals(host, "localhost") || host == "::1" || (is_address(host) && host.starts_with("127."));
}

// The name by which others reach a listener.
std::string reached_as(const daemon::ListenSpec& spec, bool only_loopback, std::string_view myhostname)
{
    if (spec.host.empty()) return only_loopback ? "localhost" : std::string(myhostname);
    if (is_loopback(spec.host)) return "localhost";
    return is_address(spec.host) ? std::string(myhostname) : spec.host;
}

bool listens_on_loopback_only(const conf::Values& values)
{
    const auto interfaces = values.list("inet_interfaces");
    return !interfaces.empty() && std::all_of(interfaces.begin(), interfaces.end(), [](const std::string& name) {
        return iequals(name, "loopback-only") || is_loopback(name);
    });
}

bool same(const ClientServer& a, const ClientServer& b)
{
    return a.host == b.host && a.port == b.port && a.tls == b.tls;
}

Result<std::vector<ClientServer>> servers_of(const Kind& kind, const conf::Values& values)
{
    std::vector<ClientServer> out;
    const bool only_loopback = listens_on_loopback_only(values);
    for (const std::string& text : values.list(kind.listeners)) {
        const auto spec = daemon::parse_listen(text);
        if (!spec) return fail(cat(kind.listeners, ": ", spec.error().text));
        if (!spec->path.empty()) continue;
        ClientServer server{kind.protocol, reached_as(*spec, only_loopback, values.text("myhostname")), spec->port,
                            spec->tls};
        if (!conf::is_host_name(server.host))
            return fail(cat(kind.listeners, ": \"", printable(server.host, 255), "\" is no host name"));
        if (std::none_of(out.begin(), out.end(), [&](const ClientServer& o) { return same(o, server); }))
            out.push_back(std::move(server));
    }
    const auto is_local = [](const ClientServer& s) { return s.host == "localhost"; };
    if (!std::all_of(out.begin(), out.end(), is_local)) std::erase_if(out, is_local);
    std::stable_sort(out.begin(), out.end(),
                     [](const ClientServer& a, const ClientServer& b) { return a.tls > b.tls; });
    return out;
}

void add_autodiscover(std::string& out, const ClientServer& server)
{
    append(out, "      <Protocol>\n        <Type>", upper(kind_of(server.protocol).type), "</Type>\n        <Server>",
           server.host, "</Server>\n        <Port>", server.port,
           "</Port>\n        <DomainRequired>off</DomainRequired>\n        <SPA>off</SPA>\n"
           "        <SSL>on</SSL>\n        <Encryption>",
           server.tls ? "SSL" : "TLS", "</Encryption>\n        <AuthRequired>on</AuthRequired>\n");
    if (server.protocol == MailProtocol::smtp)
        append(out, "        <UsePOPAuth>on</UsePOPAuth>\n        <SMTPLast>off</SMTPLast>\n");
    append(out, "      </Protocol>\n");
}

} // namespace

Result<std::vector<ClientServer>> client_servers(const conf::Values& values)
{
    std::vector<ClientServer> out;
    for (const Kind& kind : kinds) {
        if (!conf::find_setting(kind.listeners)) continue; // a server that this build has not
        const auto some = TRY(servers_of(kind, values));
        out.insert(out.end(), some.begin(), some.end());
    }
    return out;
}

std::string settings_text(const std::string& domain, const std::vector<ClientServer>& servers)
{
    std::string out;
    for (const ClientServer& server : servers)
        append(out, kind_of(server.protocol).label, ": ", server.host, ", port ", server.port, ", ",
               server.tls ? "SSL/TLS" : "STARTTLS", "\n");
    append(out, "user name: the mail address, as in user@", domain,
           "; password: the one that `veredus passwd` or the system has\n");
    return out;
}

std::string autoconfig_xml(const std::string& domain, const std::vector<ClientServer>& servers)
{
    std::string out =
        cat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"",
            domain, "\">\n    <domain>", domain, "</domain>\n    <displayName>", domain,
            "</displayName>\n    <displayShortName>", domain, "</displayShortName>\n");
    for (const ClientServer& server : servers) {
        const char* element = server.protocol == MailProtocol::smtp ? "outgoingServer" : "incomingServer";
        append(out, "    <", element, " type=\"", kind_of(server.protocol).type, "\">\n      <hostname>", server.host,
               "</hostname>\n      <port>", server.port, "</port>\n      <socketType>", server.tls ? "SSL" : "STARTTLS",
               "</socketType>\n      <username>%EMAILADDRESS%</username>\n      "
               "<authentication>password-cleartext</authentication>\n    </",
               element, ">\n");
    }
    return out + "  </emailProvider>\n</clientConfig>\n";
}

std::string autodiscover_xml(const std::string& domain, const std::vector<ClientServer>& servers)
{
    std::string out = cat(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
        "<!-- ",
        domain,
        ": without a LoginName Outlook logs in with what stands before the @; who has virtual mailboxes lets the web\n"
        "     server put <LoginName>the address it was asked for</LoginName> behind each Port. -->\n"
        "<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n"
        "  <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">\n"
        "    <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n");
    for (const Kind& kind : kinds) {
        const auto best = std::find_if(servers.begin(), servers.end(),
                                       [&](const ClientServer& s) { return s.protocol == kind.protocol; });
        if (best != servers.end()) add_autodiscover(out, *best);
    }
    return out + "    </Account>\n  </Response>\n</Autodiscover>\n";
}

std::string srv_records(const std::string& domain, const std::vector<ClientServer>& servers)
{
    std::string out;
    unsigned priority = 0;
    for (const Kind& kind : kinds) {
        if (kind.protocol == MailProtocol::smtp) priority = 0;
        for (const bool tls : {true, false}) {
            const char* service = tls ? kind.tls_service : kind.service;
            bool any = false;
            for (const ClientServer& server : servers) {
                if (server.protocol != kind.protocol || server.tls != tls) continue;
                append(out, service, "._tcp.", domain, ". IN SRV ", priority, " 1 ", server.port, ' ', server.host,
                       ".\n");
                any = true;
            }
            if (!any) append(out, service, "._tcp.", domain, ". IN SRV 0 0 0 .\n");
            priority += 10;
        }
    }
    return out;
}

} // namespace veredus::admin
