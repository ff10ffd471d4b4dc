// How safe a connection to a next hop must be: smtp_tls_security_level and the lines of smtp_tls_policy_maps.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/mail/envelope.h"
#include "lib/tls/tls.h"
#include "smtp-client/lookup.h"
#include "smtp-client/nexthop.h"

namespace veredus::smtp_client {

enum class TlsLevel : uint8_t { none, may, encrypt, fingerprint, verify, secure }; // each more than the one before
inline bool mandatory(TlsLevel level) { return level >= TlsLevel::encrypt; }
bool parse_tls_level(std::string_view word, TlsLevel& level); // dane counts as may until DANE is here; dane-only is not known

// The settings behind it, of one protocol.
struct TlsRules {
    TlsLevel level = TlsLevel::may;
    bool wrapper = false; // TLS before everything else (port 465); at least encrypt
    tls::Versions may_versions, versions;                      // opportunistic, mandatory
    std::string may_grade = "medium", grade = "medium";
    std::vector<std::string> exclude, mandatory_exclude;       // ciphers
    std::vector<std::string> verify_match{"hostname"}, secure_match{"nexthop", "dot-nexthop"};
    std::vector<std::string> fingerprints;
    std::string digest = "sha256", server_name;
    std::shared_ptr<const Lookup> table = std::make_shared<const Lookup>(); // shared: the settings are copied
};

struct TlsPolicy {
    TlsLevel level = TlsLevel::may;
    bool wrapper = false;
    std::vector<std::string> match; // names, hostname, nexthop, dot-nexthop; or fingerprints
    std::string digest, server_name, ciphers;
    tls::Versions versions;
    std::string text; // equal for policies that are equal, for the reuse of connections
    // For one server of the next hop.
    tls::ClientPolicy towards(const std::string& next_hop_host, const std::string& host) const;
};

// Errors say what is wrong with which line; the mail then waits, for the line may have asked for more than is given without it.
// `need`: what the mail's sender wants (RFC 8689). Required: the server must prove a name of the next hop, as at level secure, for neither
// DNSSEC nor MTA-STS vouches for MX names here. Waived: delivery comes before TLS, whatever the level.
Result<TlsPolicy> tls_policy(const TlsRules& rules, const NextHop& hop, mail::TlsNeed need = mail::TlsNeed::unset);

} // namespace veredus::smtp_client
