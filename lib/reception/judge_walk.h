// One judgement on its way through the lists; of judge.cc and its neighbours alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text.h"
#include "lib/mail/action.h"
#include "lib/reception/judge.h"

namespace veredus::reception {

constexpr int most_nesting = 20;                   // of classes and access results
constexpr std::size_t longest_reply = 450;         // bytes: a reply line has 512 (RFC 5321 §4.5.3.1.5)
constexpr const char* config_trouble = "Server configuration error";

// The keys of a domain in access tables: itself, then its parents, as name when `subdomains` (smtpd_access_maps is in
// parent_domain_matches_subdomains), else as .name.
std::vector<std::string> domain_keys(std::string_view domain, bool itself, bool subdomains);
// Those of the networks of an address: "192.0.2", "192.0", "192"; IPv6 in the same way at its colons (access(5)).
std::vector<std::string> network_keys(const net::Address& address);

class Judge {
public:
    Judge(const Rules& rules, const Tables& tables, const Situation& situation, At at, Facts& facts)
        : rules_(rules), codes_(rules.settings), tables_(tables), s_(situation), at_(at), facts_(facts)
    {
    }
    Verdict run();

private:
    using Action = mail::Action;
    using Reply = smtp::Reply;
    enum class Status : uint8_t { dunno, ok, refuse, wait };
    struct Subject {
        std::string name;
        const char* kind;                       // "Client host"
    };
    Status all(Stage stage);
    Status each(const RestrictionList& list, const Subject& subject, int depth);
    Status one(const RestrictionList& list, std::size_t index, const Subject& subject, int depth);
    Status about_client(const RestrictionList& list, std::size_t index, int depth);
    Status about_helo(const Restriction& r, int depth);
    Status about_sender(const Restriction& r, int depth);
    Status about_recipient(const Restriction& r, int depth);

    Status refuse(int code, std::string_view enhanced, std::string text);
    Status refuse(int code, std::string_view enhanced, const Subject& subject, std::string_view why);
    Status defer_if_permit(std::string_view enhanced, std::string text);

    Status unauth(int code);
    Status permit_auth();
    Status unlisted(const mail::Address& address, const Subject& subject, const char* status);
    Status unknown_domain(const mail::Address& address, const Subject& subject, bool is_sender);
    Status login_mismatch(Op op);
    Status unknown_helo();
    Status non_fqdn(const mail::Address& address, const Subject& subject);
    Status invalid_helo(bool fqdn);

    Status access(const Restriction& r, const Subject& subject, const std::vector<std::string>& whole, const std::vector<std::string>& parts, int depth);
    Status certificate_access(const Restriction& r, int depth);
    Status permit_certificate();
    std::optional<std::vector<std::string>> servers_of(const Restriction& r, const std::string& domain);
    Status server_access(const Restriction& r, std::string_view domain, const Subject& subject, int depth);
    Status host_access(const Restriction& r, const std::string& host, const Subject& subject, int depth);
    Status address_access(const Restriction& r, const mail::Address& address, const Subject& subject, int depth);
    Status act(const std::string& value, std::string_view source, const Subject& subject, int depth);
    Status carry_out(const Action& action, const Subject& subject);
    Status name_or_address_list(const RestrictionList& list, std::size_t index);
    Status dns_list(const Restriction& r, const std::string& query, const std::string& what, std::string_view kind);
    Status rhs_list(const Restriction& r, std::string_view domain, const std::string& what, std::string_view kind);
    Status policy(const Restriction& r, const Subject& subject, int depth);

    Subject client() const { return {cat(s_.client_name, '[', s_.client.is_ip() ? s_.client.ip() : std::string("unknown"), ']'), "Client host"}; }
    Subject etrn() const { return {printable(s_.etrn_domain, 255), "Etrn command"}; }
    Subject helo() const { return {printable(s_.helo, 255), "Helo command"}; }
    Subject sender() const { return {printable(s_.sender.text()), "Sender address"}; }
    Subject recipient() const { return {printable(s_.recipient.text()), "Recipient address"}; }
    Status noted(const char* what, const Subject& subject, std::string_view text, const char* otherwise);
    Status wait() { return Status::wait; }

    const Rules& rules_;
    const RuleSettings& codes_;
    const Tables& tables_;
    const Situation& s_;
    At at_;
    Facts& facts_;
    Verdict out_;
    struct Later {
        bool active = false;
        Reply reply;
    } if_permit_, if_reject_;
    unsigned steps_ = 0;
    bool warn_ = false, recipient_listed_ = false, sender_listed_ = false;
};

}  // namespace veredus::reception
