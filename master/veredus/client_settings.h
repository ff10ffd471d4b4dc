// What mail programs must know to use this server, and the forms in which they look for it. Pure: settings in, text
// out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"

namespace veredus::admin {

enum class MailProtocol : uint8_t { imap, pop3, smtp };

struct ClientServer {
    MailProtocol protocol = MailProtocol::imap;
    std::string host; // a name; "localhost" when it listens on this host alone
    uint16_t port = 0;
    bool tls = false; // from the first byte (RFC 8314 §3); else STARTTLS or STLS
};

// Where imapd, pop3d and submission listen, best first: IMAP before POP3, TLS from the first byte before STARTTLS. What
// listens on a loopback address is left out when the same protocol is there for others too.
Result<std::vector<ClientServer>> client_servers(const conf::Values& values);

// `domain`: a valid host name in ASCII, as is each ClientServer::host.
std::string settings_text(const std::string& domain, const std::vector<ClientServer>& servers);
// Thunderbird's clientConfig 1.1: config-v1.1.xml.
std::string autoconfig_xml(const std::string& domain, const std::vector<ClientServer>& servers);
// Outlook's answer to autodiscover ("outlook/responseschema/2006a"): one server of each protocol.
std::string autodiscover_xml(const std::string& domain, const std::vector<ClientServer>& servers);
// Lines of a zone file (RFC 6186 §3, RFC 8314 §5.1); a service that is not there has the target "." (RFC 6186 §3.4).
std::string srv_records(const std::string& domain, const std::vector<ClientServer>& servers);

} // namespace veredus::admin
