// What restriction lists mean for a client at some point of his session. Pure: what must be asked of others (DNS, router, a policy
// service) is noted as a question; once its answer is among the facts, the lists are simply gone through again from the start.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/dns/resolver.h"
#include "lib/ipc/route.h"
#include "lib/mail/address.h"
#include "lib/net/address.h"
#include "lib/reception/restrictions.h"
#include "lib/smtp/reply.h"

namespace veredus::reception {

struct Question {
    enum class Kind : uint8_t { dns, route, policy, owner } kind = Kind::dns;
    std::string name;                      // domain; address (route, owner); the request to a policy service
    dns::Kind record{};
    std::shared_ptr<const PolicyServer> server;
    std::string user;                      // who may own the address
};

// Answers by question, for one judgement.
class Facts {
public:
    // Null: not known yet; the question is noted.
    const dns::Answer* dns(const std::string& name, dns::Kind record);
    const ipc::Route* route(const std::string& address);
    const std::string* policy(const std::shared_ptr<const PolicyServer>& server, const std::string& request);   // an action
    const ipc::OwnerReply* owner(const std::string& user, const std::string& address);
    std::vector<Question> take_questions() { return std::exchange(questions_, {}); }
    void put_dns(const std::string& name, dns::Kind record, std::shared_ptr<const dns::Answer> answer) { dns_.insert_or_assign({name, record}, std::move(answer)); }
    void put_dns(const std::string& name, dns::Kind record, dns::Answer answer) { put_dns(name, record, std::make_shared<const dns::Answer>(std::move(answer))); }
    void put_route(const std::string& address, ipc::Route route) { routes_.insert_or_assign(address, std::move(route)); }
    void put_policy(const std::string& endpoint, const std::string& request, std::string action) { policies_.insert_or_assign({endpoint, request}, std::move(action)); }
    void put_owner(const std::string& user, const std::string& address, ipc::OwnerReply reply) { owners_.insert_or_assign({user, address}, std::move(reply)); }

private:
    std::map<std::pair<std::string, dns::Kind>, std::shared_ptr<const dns::Answer>> dns_;    // shared_ptr: the resolver's, many judgements ask the same
    std::map<std::string, ipc::Route> routes_;
    std::map<std::pair<std::string, std::string>, std::string> policies_;
    std::map<std::pair<std::string, std::string>, ipc::OwnerReply> owners_;
    std::vector<Question> questions_;
};

// Who is judged, and what he has said so far.
struct Situation {
    net::Address client, server;
    std::string client_name = "unknown", reverse_name = "unknown";
    bool name_trouble = false;             // the name may only be unknown because DNS failed
    bool ours = false;                     // of mynetworks
    std::string sasl_method, sasl_user, sasl_sender;   // sasl_user: as he logged in; empty: he has not
    std::string user;                      // who that is, by authd's word
    std::string helo, protocol;
    bool has_sender = false, has_recipient = false;
    mail::Address sender, recipient;
    std::size_t recipients = 0;            // accepted so far
    std::string etrn_domain;               // whose mail he wants tried
    uint64_t size = 0;                     // as declared, or as received at the end of data
    std::string queue_id, instance;        // instance: the same for all questions about one mail
    bool pipelined = false;                // more came before he was answered, and he had not said EHLO
    std::string tls_protocol, tls_cipher;  // empty: in clear
    unsigned tls_bits = 0;
    std::string ccert_subject, ccert_issuer, ccert_fingerprint, ccert_key_fingerprint;   // of a client certificate; empty: none
    bool ccert_trusted = false;            // issued by one of smtpd_tls_CAfile
    bool stress = false;
};

// What befalls the mail if it is accepted.
struct Deeds {
    bool hold = false, discard = false;
    std::string redirect;
    std::vector<std::string> prepend, bcc;
    void add(const Deeds& other);
};

struct Event {
    std::string what, text;                // "reject_warning", "hold", "warn" ...; what Postfix logs behind "RCPT from ...: "
};

struct Verdict {
    enum class Kind : uint8_t { permit, refuse, wait } kind = Kind::permit;    // wait: take the questions, put answers, judge again
    smtp::Reply reply;                     // refuse
    Deeds deeds;
    std::vector<Event> events;
    std::vector<std::string> warnings;     // what is wrong with a table or a server, for the log
};

// The restrictions that are due at `at`: with delay_reject those of client, helo and sender wait for the recipient, or for ETRN.
enum class At : uint8_t { helo, mail, rcpt, data, end_of_data, etrn };
Verdict judge(const Rules& rules, const Tables& tables, const Situation& situation, At at, Facts& facts);

// The request of Postfix's policy protocol for this situation, its final empty line included.
std::string policy_request(const Situation& situation, std::string_view stage, std::string_view context);

// default_rbl_reply and rbl_reply_maps: $rbl_code and its kin, ${name?text} and ${name:text}.
std::string fill_rbl_reply(std::string_view format, const std::map<std::string, std::string, std::less<>>& values);

}  // namespace veredus::reception
