// Postfix's restriction lists (smtpd_recipient_restrictions and its kin) as a checked program: parsed once, at start-up. What it
// means for a client is judge.h's business. Pure, apart from the tables, which are opened through a function.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/table/table.h"

namespace veredus::reception {

enum class Op : uint8_t {
    permit, reject, defer, defer_if_permit, defer_if_reject, warn_if_reject,
    permit_mynetworks, permit_sasl_authenticated, permit_inet_interfaces, permit_tls_clientcerts, permit_tls_all_clientcerts, permit_auth_destination,
    reject_unauth_destination, defer_unauth_destination, reject_unauth_pipelining, reject_plaintext_session,
    reject_multi_recipient_bounce,
    reject_non_fqdn_sender, reject_non_fqdn_recipient, reject_non_fqdn_helo_hostname, reject_invalid_helo_hostname,
    reject_unknown_client_hostname, reject_unknown_reverse_client_hostname, reject_unknown_helo_hostname,
    reject_unknown_sender_domain, reject_unknown_recipient_domain, reject_unlisted_sender, reject_unlisted_recipient,
    reject_sender_login_mismatch, reject_known_sender_login_mismatch, reject_authenticated_sender_login_mismatch,
    reject_unauthenticated_sender_login_mismatch,
    check_client_access, check_reverse_client_hostname_access, check_helo_access, check_sender_access, check_recipient_access,
    check_client_servers, check_reverse_client_servers, check_helo_servers, check_sender_servers, check_recipient_servers,   // ..._{a,mx,ns}_access: by name
    check_ccert_access, check_etrn_access, check_sasl_access,
    reject_rbl_client, permit_dnswl_client, reject_rhsbl_client, permit_rhswl_client, reject_rhsbl_reverse_client, reject_rhsbl_helo,
    reject_rhsbl_sender, reject_rhsbl_recipient,
    check_policy_service, restriction_class, without_effect,
};

// "=127.0.0.2", "=127.0.0.[1..3;5]": which answers of a DNS list count.
class ReplyFilter {
public:
    static Result<ReplyFilter> parse(std::string_view text);     // "" lets every 127.0.0.0/8 answer through
    bool matches(const net::Address& address) const;
    bool empty() const { return octets_.empty(); }

private:
    struct Range {
        uint8_t from, to;
    };
    std::vector<std::vector<Range>> octets_;                     // four, or none
};

// Where a policy service listens, and how long it is waited for.
struct PolicyServer {
    std::string endpoint;                                        // "inet:host:port", "unix:/path"
    int64_t timeout_s = 100, max_idle_s = 300, max_ttl_s = 1000, retry_delay_s = 1, try_limit = 2;
    int64_t request_limit = 0;                                   // of one connection; 0: none
    std::string default_action, context;
};

struct Restriction {
    Op op{};
    std::string name;                                            // as Postfix calls it today, for messages
    std::string argument;                                        // table, DNS list, class
    ReplyFilter filter;
    std::shared_ptr<const PolicyServer> server;
};
using RestrictionList = std::vector<Restriction>;

enum class Stage : uint8_t { client, helo, sender, relay, recipient, data, end_of_data, etrn };
constexpr std::size_t stages = 8;
std::string_view stage_word(Stage stage);                        // "recipient", of smtpd_recipient_restrictions

// Reply codes and words of main.cf.
struct RuleSettings {
    int reject = 554, defer = 450, access_reject = 554, access_defer = 450, rbl = 554, invalid_helo = 501, non_fqdn = 504, unknown_address = 450,
        unknown_client = 450, unknown_helo = 450, relay = 554, plaintext = 450, null_mx = 556, multi_bounce = 550;
    enum class OnTrouble : uint8_t { reject, defer, defer_if_permit };   // ..._tempfail_action
    OnTrouble address_trouble = OnTrouble::defer_if_permit, helo_trouble = OnTrouble::defer_if_permit;
    bool delay_reject = true, relay_first = true, unlisted_recipient = true, unlisted_sender = false;
    bool subdomains = true;                // example.org of an access table stands for its subdomains, not .example.org (parent_domain_matches_subdomains)
    std::string null_key = "<>", rbl_reply;
    std::string delimiters;                // recipient_delimiter
};

// A table that a restriction names; one that cannot be opened defers who asks it.
using Tables = std::map<std::string, Result<std::shared_ptr<const table::Table>>, std::less<>>;

struct Rules {
    std::string prefix;                                          // "smtpd"
    RuleSettings settings;
    RestrictionList lists[stages];
    std::map<std::string, RestrictionList, std::less<>> classes;
    std::vector<std::string> rbl_reply_maps, relay_clientcerts;
    const RestrictionList& list(Stage stage) const { return lists[static_cast<std::size_t>(stage)]; }
    // Every table spec that is named, and every policy server.
    std::vector<std::string> table_specs() const;
    std::vector<std::string> policy_endpoints() const;
};

struct Complaint {
    bool error = false;
    std::string setting, text;                                   // text begins with the setting's name
};

// The program of prefix_{client,...}_restrictions. Complaints: unknown names (with the nearest), missing or wrong arguments, lists
// that a stranger could relay through (errors), and names that are known but do nothing (warnings that say so). What is wrong is
// left out of the program, and the caller is expected not to start on errors.
Rules parse_rules(const conf::Values& values, std::string_view prefix, std::vector<Complaint>& complaints);

// A result of an access table that is no action: restriction names, checked as above. `why`: the first thing wrong; empty when good.
RestrictionList parse_restrictions(std::string_view text, const Rules& rules, std::string& why);

Tables open_tables(const Rules& rules, const table::ReadText& read);

}  // namespace veredus::reception
