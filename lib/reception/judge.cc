// Restriction lists, carried out.
#include "lib/reception/judge.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/action.h"

namespace veredus::reception {

namespace {

using mail::Action;
using mail::Verb;
using smtp::Reply;

constexpr int most_nesting = 20;                   // of classes and access results
constexpr unsigned most_steps = 10'000;            // restrictions of one judgement: classes that name each other multiply
constexpr std::size_t longest_reply = 450;         // bytes: a reply line has 512 (RFC 5321 §4.5.3.1.5)
constexpr const char* config_trouble = "Server configuration error";

bool is_postmaster(const mail::Address& address) { return iequals(address.local, "postmaster"); }

// "user%elsewhere@relay.example": whoever is behind us may send it on to elsewhere, for a stranger (Postfix's allow_untrusted_routing).
bool routes_on(const mail::Address& address) { return address.local.find_first_of("@%!") != std::string::npos; }

std::string at_word(At at)
{
    static constexpr const char* names[] = {"HELO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE"};
    return names[static_cast<std::size_t>(at)];
}

// The keys of a domain: itself, then its parents, as name and as .name.
std::vector<std::string> domain_keys(std::string_view domain, bool itself)
{
    std::vector<std::string> keys;
    std::string name = lower(domain);
    if (itself) keys.push_back(name);
    for (std::size_t dot; (dot = name.find('.')) != std::string::npos && keys.size() < 300;) {
        name = name.substr(dot + 1);
        if (name.empty()) break;
        keys.push_back(name);
        keys.push_back("." + name);
    }
    return keys;
}

// "192.0.2.1", "192.0.2", "192.0", "192"; IPv6 in the same way at its colons (access(5)).
std::vector<std::string> network_keys(const net::Address& address)
{
    std::vector<std::string> keys;
    std::string name = address.ip();
    const char mark = address.family() == AF_INET ? '.' : ':';
    for (std::size_t at; (at = name.rfind(mark)) != std::string::npos;) {
        name.resize(at);
        while (!name.empty() && name.back() == mark) name.pop_back();
        if (!name.empty()) keys.push_back(name);
    }
    return keys;
}

std::string reversed(const net::Address& address)
{
    std::string name = dns::reverse_name(address);
    for (const std::string_view tail : {".in-addr.arpa", ".ip6.arpa"})
        if (name.ends_with(tail)) name.resize(name.size() - tail.size());
    return name;
}

class Judge {
public:
    Judge(const Rules& rules, const Tables& tables, const Situation& situation, At at, Facts& facts)
        : rules_(rules), codes_(rules.settings), tables_(tables), s_(situation), at_(at), facts_(facts)
    {
    }
    Verdict run();

private:
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
    Status unknown_helo();
    Status non_fqdn(const mail::Address& address, const Subject& subject);
    Status invalid_helo(bool fqdn);

    Status access(const Restriction& r, const Subject& subject, const std::vector<std::string>& whole, const std::vector<std::string>& parts, int depth);
    Status address_access(const Restriction& r, const mail::Address& address, const Subject& subject, int depth);
    Status act(const std::string& value, std::string_view source, const Subject& subject, int depth);
    Status carry_out(const Action& action, const Subject& subject);
    Status name_or_address_list(const RestrictionList& list, std::size_t index);
    Status dns_list(const Restriction& r, const std::string& query, const std::string& what, std::string_view kind);
    Status rhs_list(const Restriction& r, std::string_view domain, const std::string& what, std::string_view kind);
    Status policy(const Restriction& r, const Subject& subject, int depth);

    Subject client() const { return {cat(s_.client_name, '[', s_.client.is_ip() ? s_.client.ip() : std::string("unknown"), ']'), "Client host"}; }
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

// ---- refusals ----

Judge::Status Judge::refuse(int code, std::string_view enhanced, std::string text)
{
    // Tables and services may have answered anything; a reply is one printable line.
    Reply reply{code, mail::status_for(code, enhanced), printable(text, longest_reply)};
    if (!warn_ && if_reject_.active && reply.permanent()) reply = if_reject_.reply;
    if (warn_) {
        out_.events.push_back({"reject_warning", cat(reply.code, ' ', reply.enhanced, reply.enhanced.empty() ? "" : " ", reply.text)});
        return Status::dunno;
    }
    out_.reply = std::move(reply);
    return Status::refuse;
}

Judge::Status Judge::refuse(int code, std::string_view enhanced, const Subject& subject, std::string_view why)
{
    return refuse(code, enhanced, cat('<', subject.name, ">: ", subject.kind, " rejected: ", why));
}

// The first one counts; under warn_if_reject it is only said.
Judge::Status Judge::defer_if_permit(std::string_view enhanced, std::string text)
{
    if (warn_) return refuse(450, enhanced, std::move(text));
    if (!if_permit_.active) if_permit_ = {true, {450, mail::status_for(450, enhanced), printable(text, longest_reply)}};
    return Status::dunno;
}

Judge::Status Judge::noted(const char* what, const Subject& subject, std::string_view text, const char* otherwise)
{
    out_.events.push_back({what, cat('<', subject.name, ">: ", subject.kind, ' ', text.empty() ? std::string_view(otherwise) : text)});
    return Status::dunno;
}

// ---- the walk ----

Verdict Judge::run()
{
    std::vector<Stage> due;
    const bool delayed = codes_.delay_reject;
    switch (at_) {
    case At::helo:
        if (!delayed) due = {Stage::client, Stage::helo};
        break;
    case At::mail:
        // Again, because only now there is a mail that HOLD and its like could befall.
        if (!delayed) due = {Stage::client, Stage::helo, Stage::sender};
        break;
    case At::rcpt:
        if (delayed) due = {Stage::client, Stage::helo, Stage::sender};
        due.push_back(codes_.relay_first ? Stage::relay : Stage::recipient);
        due.push_back(codes_.relay_first ? Stage::recipient : Stage::relay);
        break;
    case At::data: due = {Stage::data}; break;
    case At::end_of_data: due = {Stage::end_of_data}; break;
    }
    Status status = Status::dunno;
    for (const Stage stage : due) {
        status = all(stage);
        if (status == Status::refuse || status == Status::wait) break;
    }
    const bool ends = status == Status::refuse || status == Status::wait;
    if (!ends && at_ == At::rcpt && codes_.unlisted_sender && !sender_listed_ && !s_.sender.empty()) status = unlisted(s_.sender, sender(), "5.1.0");
    if (status != Status::refuse && status != Status::wait && at_ == At::rcpt && codes_.unlisted_recipient && !recipient_listed_)
        status = unlisted(s_.recipient, recipient(), "5.1.1");
    if (status == Status::wait) {
        out_ = {};
        out_.kind = Verdict::Kind::wait;
        return std::move(out_);
    }
    // What DNS could not say might have been a reason to refuse.
    if (status != Status::refuse && if_permit_.active) {
        out_.reply = if_permit_.reply;
        status = Status::refuse;
    }
    if (status == Status::refuse) out_.kind = Verdict::Kind::refuse;
    return std::move(out_);
}

Judge::Status Judge::all(Stage stage)
{
    if (out_.deeds.discard) return Status::ok;
    static const Subject data{"DATA", "Data command"}, end{"END-OF-MESSAGE", "End-of-data"};
    const Subject subject = stage == Stage::client ? client() : stage == Stage::helo ? helo() : stage == Stage::sender ? sender() : stage == Stage::data ? data : stage == Stage::end_of_data ? end : recipient();
    if (stage == Stage::helo && s_.helo.empty()) return Status::dunno;
    return each(rules_.list(stage), subject, 0);
}

Judge::Status Judge::each(const RestrictionList& list, const Subject& subject, int depth)
{
    const bool outer = warn_;
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (list[i].op == Op::warn_if_reject) {
            warn_ = true;
            continue;
        }
        const Status status = one(list, i, subject, depth);
        warn_ = outer;
        if (status != Status::dunno) return status;
    }
    return Status::dunno;
}

Judge::Status Judge::one(const RestrictionList& list, std::size_t index, const Subject& subject, int depth)
{
    const Restriction& r = list[index];
    if (++steps_ > most_steps || depth > most_nesting) {
        // Whoever cannot be judged is not let in, whatever warn_if_reject says.
        warn_ = false;
        if (steps_ <= most_steps + 1) out_.warnings.push_back(cat(r.name, ": restrictions are nested too deep, or name each other"));
        steps_ = most_steps + 1;
        return refuse(451, "4.3.5", subject, config_trouble);
    }
    switch (r.op) {
    case Op::permit: return Status::ok;
    case Op::reject: return refuse(codes_.reject, "5.7.1", subject, "Access denied");
    case Op::defer: return refuse(codes_.defer, "4.3.2", subject, "Try again later");
    case Op::defer_if_permit: return defer_if_permit("4.7.0", cat('<', subject.name, ">: ", subject.kind, " rejected: defer_if_permit requested"));
    case Op::defer_if_reject:
        if (!if_reject_.active) if_reject_ = {true, {450, "4.7.0", cat('<', subject.name, ">: ", subject.kind, " rejected: defer_if_reject requested")}};
        return Status::dunno;
    case Op::permit_mynetworks: return s_.ours ? Status::ok : Status::dunno;
    case Op::permit_sasl_authenticated: return s_.sasl_user.empty() ? Status::dunno : Status::ok;
    case Op::permit_inet_interfaces: return s_.client.is_ip() && (s_.client.loopback() || s_.client.same_ip(s_.server)) ? Status::ok : Status::dunno;
    case Op::reject_unauth_pipelining:
        return s_.pipelined ? refuse(503, "5.5.0", subject, "Improper use of SMTP command pipelining") : Status::dunno;
    case Op::reject_plaintext_session: return s_.tls_protocol.empty() ? refuse(codes_.plaintext, "5.7.1", subject, "Session encryption is required") : Status::dunno;
    case Op::reject_multi_recipient_bounce:
        if (!s_.has_sender || !s_.sender.empty() || s_.recipients + (at_ == At::rcpt ? 1 : 0) < 2) return Status::dunno;
        return refuse(codes_.multi_bounce, "5.5.3", cat("<>: ", subject.kind, " rejected: Multi-recipient bounce"));
    case Op::check_policy_service: return policy(r, subject, depth);
    case Op::restriction_class: {
        const auto at = rules_.classes.find(r.argument);
        return at == rules_.classes.end() ? Status::dunno : each(at->second, subject, depth + 1);
    }
    case Op::check_sasl_access: return s_.sasl_user.empty() ? Status::dunno : access(r, {printable(s_.sasl_user, 255), "SASL login name"}, {s_.sasl_user}, {}, depth);
    case Op::reject_unknown_client_hostname: case Op::reject_unknown_reverse_client_hostname: case Op::check_client_access:
    case Op::check_reverse_client_hostname_access: case Op::reject_rbl_client: case Op::permit_dnswl_client: case Op::reject_rhsbl_client:
    case Op::permit_rhswl_client: case Op::reject_rhsbl_reverse_client: return about_client(list, index, depth);
    case Op::reject_non_fqdn_helo_hostname: case Op::reject_invalid_helo_hostname: case Op::reject_unknown_helo_hostname: case Op::check_helo_access:
    case Op::reject_rhsbl_helo: return s_.helo.empty() ? Status::dunno : about_helo(r, depth);
    case Op::reject_non_fqdn_sender: case Op::reject_unknown_sender_domain: case Op::reject_unlisted_sender: case Op::check_sender_access:
    case Op::reject_rhsbl_sender: return s_.has_sender ? about_sender(r, depth) : Status::dunno;
    case Op::permit_auth_destination: case Op::reject_unauth_destination: case Op::defer_unauth_destination: case Op::reject_non_fqdn_recipient:
    case Op::reject_unknown_recipient_domain: case Op::reject_unlisted_recipient: case Op::check_recipient_access: case Op::reject_rhsbl_recipient:
        return s_.has_recipient ? about_recipient(r, depth) : Status::dunno;
    case Op::warn_if_reject: case Op::without_effect: break;
    }
    return Status::dunno;
}

Judge::Status Judge::about_client(const RestrictionList& list, std::size_t index, int depth)
{
    const Restriction& r = list[index];
    switch (r.op) {
    case Op::reject_unknown_client_hostname:
        if (s_.client_name != "unknown") return Status::dunno;
        return refuse(s_.name_trouble ? 450 : codes_.unknown_client, "4.7.25", cat("Client host rejected: cannot find your hostname, [", s_.client.ip(), ']'));
    case Op::reject_unknown_reverse_client_hostname:
        if (s_.reverse_name != "unknown") return Status::dunno;
        return refuse(s_.name_trouble ? 450 : codes_.unknown_client, "4.7.25", cat("Client host rejected: cannot find your reverse hostname, [", s_.client.ip(), ']'));
    case Op::check_client_access: {
        std::vector<std::string> parts = domain_keys(s_.client_name, false);
        std::vector<std::string> whole = {lower(s_.client_name)};
        // Postfix's order: the name and its parents, then the address and its networks.
        if (const Status status = access(r, client(), whole, parts, depth); status != Status::dunno || !s_.client.is_ip()) return status;
        return access(r, client(), {s_.client.ip()}, network_keys(s_.client), depth);
    }
    case Op::check_reverse_client_hostname_access:
        return access(r, {s_.reverse_name, "Unverified Client host"}, {lower(s_.reverse_name)}, domain_keys(s_.reverse_name, false), depth);
    case Op::reject_rbl_client: case Op::permit_dnswl_client: return name_or_address_list(list, index);
    case Op::reject_rhsbl_client: case Op::permit_rhswl_client:
        return s_.client_name == "unknown" ? Status::dunno : rhs_list(r, s_.client_name, s_.client_name, "Client host");
    case Op::reject_rhsbl_reverse_client:
        return s_.reverse_name == "unknown" ? Status::dunno : rhs_list(r, s_.reverse_name, s_.reverse_name, "Unverified Client host");
    default: return Status::dunno;
    }
}

Judge::Status Judge::about_helo(const Restriction& r, int depth)
{
    switch (r.op) {
    case Op::reject_invalid_helo_hostname: return invalid_helo(false);
    case Op::reject_non_fqdn_helo_hostname: return invalid_helo(true);
    case Op::reject_unknown_helo_hostname: return unknown_helo();
    case Op::check_helo_access: return access(r, helo(), {lower(s_.helo)}, domain_keys(s_.helo, false), depth);
    case Op::reject_rhsbl_helo: return rhs_list(r, s_.helo, printable(s_.helo, 255), "Helo command");
    default: return Status::dunno;
    }
}

Judge::Status Judge::about_sender(const Restriction& r, int depth)
{
    switch (r.op) {
    case Op::reject_non_fqdn_sender: return s_.sender.empty() ? Status::dunno : non_fqdn(s_.sender, sender());
    case Op::reject_unknown_sender_domain: return s_.sender.empty() ? Status::dunno : unknown_domain(s_.sender, sender(), true);
    case Op::reject_unlisted_sender:
        sender_listed_ = true;
        return s_.sender.empty() ? Status::dunno : unlisted(s_.sender, sender(), "5.1.0");
    case Op::check_sender_access: return address_access(r, s_.sender, sender(), depth);
    case Op::reject_rhsbl_sender: return rhs_list(r, s_.sender.domain, sender().name, "Sender address");
    default: return Status::dunno;
    }
}

Judge::Status Judge::about_recipient(const Restriction& r, int depth)
{
    switch (r.op) {
    case Op::permit_auth_destination: return permit_auth();
    case Op::reject_unauth_destination: return unauth(codes_.relay);
    case Op::defer_unauth_destination: return unauth(454);
    case Op::reject_non_fqdn_recipient: return non_fqdn(s_.recipient, recipient());
    case Op::reject_unknown_recipient_domain: return unknown_domain(s_.recipient, recipient(), false);
    case Op::reject_unlisted_recipient:
        recipient_listed_ = true;
        return unlisted(s_.recipient, recipient(), "5.1.1");
    case Op::check_recipient_access: return address_access(r, s_.recipient, recipient(), depth);
    case Op::reject_rhsbl_recipient: return rhs_list(r, s_.recipient.domain, recipient().name, "Recipient address");
    default: return Status::dunno;
    }
}

// ---- what router knows ----

Judge::Status Judge::permit_auth()
{
    const ipc::Route* route = facts_.route(s_.recipient.text());
    if (!route) return wait();
    if (route->kind == ipc::Route::Kind::defer || route->address_class == ipc::AddressClass::remote) return Status::dunno;
    return route->address_class == ipc::AddressClass::relay && routes_on(s_.recipient) ? Status::dunno : Status::ok;
}

Judge::Status Judge::unauth(int code)
{
    const ipc::Route* route = facts_.route(s_.recipient.text());
    if (!route) return wait();
    if (route->kind == ipc::Route::Kind::defer) return unlisted(s_.recipient, recipient(), "5.1.1");
    const bool others = route->address_class == ipc::AddressClass::remote || (route->address_class == ipc::AddressClass::relay && routes_on(s_.recipient));
    return others ? refuse(code, "5.7.1", cat('<', recipient().name, ">: Relay access denied")) : Status::dunno;
}

Judge::Status Judge::unlisted(const mail::Address& address, const Subject& subject, const char* status)
{
    const ipc::Route* route = facts_.route(address.text());
    if (!route) return wait();
    const auto enhanced = [&](const char* otherwise, char digit) { return !route->dsn.empty() && route->dsn[0] == digit ? route->dsn : std::string(otherwise); };
    if (route->kind == ipc::Route::Kind::defer)
        return refuse(451, enhanced("4.3.0", '4'), cat('<', subject.name, ">: ", route->text.empty() ? "Temporary lookup failure" : printable(route->text)));
    if (route->kind != ipc::Route::Kind::reject) return Status::dunno;
    const bool is_recipient = &address == &s_.recipient;
    // RFC 5321 §4.5.1: whoever answers for a domain hears its postmaster's mail.
    if (is_recipient && is_postmaster(address) && route->address_class != ipc::AddressClass::remote) return Status::dunno;
    if (!is_recipient && route->address_class == ipc::AddressClass::remote) return Status::dunno;
    return refuse(550, is_recipient ? enhanced(status, '5') : std::string(status), subject, printable(route->text));
}

// ---- names in DNS ----

Judge::Status Judge::non_fqdn(const mail::Address& address, const Subject& subject)
{
    const bool good = mail::is_address_literal(address.domain) || (address.domain.find('.') != std::string::npos && mail::is_domain(address.domain, true));
    if (good || (address.domain.empty() && is_postmaster(address))) return Status::dunno;
    return refuse(codes_.non_fqdn, "5.5.2", subject, "need fully-qualified address");
}

Judge::Status Judge::invalid_helo(bool fqdn)
{
    const bool literal = s_.helo.starts_with('[') && s_.helo.ends_with(']');
    const bool valid = literal ? mail::is_address_literal(s_.helo) || net::Address::parse_ip(s_.helo.substr(1, s_.helo.size() - 2), 0) : mail::is_domain(s_.helo, true);
    // A bare address ("192.0.2.1") looks like a name and is none.
    const bool bare = !literal && net::Address::parse_ip(s_.helo, 0).has_value();
    if (!valid || bare) return refuse(fqdn ? codes_.non_fqdn : codes_.invalid_helo, "5.5.2", helo(), fqdn ? "need fully-qualified hostname" : "Invalid name");
    if (fqdn && !literal && s_.helo.find('.') == std::string::npos) return refuse(codes_.non_fqdn, "5.5.2", helo(), "need fully-qualified hostname");
    return Status::dunno;
}

// Any of A, AAAA, MX will do.
Judge::Status Judge::unknown_helo()
{
    if (s_.helo.starts_with('[')) return invalid_helo(false);
    if (!mail::is_domain(s_.helo)) return refuse(codes_.unknown_helo, "4.7.1", helo(), "Host not found");
    bool trouble = false, asked = true;
    for (const dns::Kind kind : {dns::Kind::a, dns::Kind::aaaa, dns::Kind::mx}) {
        const dns::Answer* answer = facts_.dns(lower(s_.helo), kind);
        if (!answer) {
            asked = false;
            continue;
        }
        if (answer->status == dns::Status::ok && !answer->records.empty()) return Status::dunno;
        if (answer->status == dns::Status::nxdomain) return refuse(codes_.unknown_helo, "4.7.1", helo(), "Host not found");
        trouble = trouble || dns::temporary(answer->status);
    }
    if (!asked) return wait();
    if (!trouble) return refuse(codes_.unknown_helo, "4.7.1", helo(), "Host not found");
    const std::string text = cat('<', helo().name, ">: Helo command rejected: Host not found");
    if (codes_.helo_trouble == RuleSettings::OnTrouble::defer_if_permit) return defer_if_permit("4.7.1", text);
    return refuse(450, "4.7.1", text);
}

Judge::Status Judge::unknown_domain(const mail::Address& address, const Subject& subject, bool is_sender)
{
    if (address.domain.empty() || mail::is_address_literal(address.domain)) return Status::dunno;
    // Domains that we answer for need not be in DNS.
    const ipc::Route* route = facts_.route(address.text());
    if (!route) return wait();
    if (route->kind != ipc::Route::Kind::defer && route->address_class != ipc::AddressClass::remote) return Status::dunno;
    const char* status = is_sender ? "4.1.8" : "4.1.2";
    const std::string domain = lower(address.domain);
    if (!mail::is_domain(domain)) return is_ascii(domain) ? refuse(codes_.unknown_address, status, subject, "Domain not found") : Status::dunno;
    bool trouble = false;
    for (const dns::Kind kind : {dns::Kind::mx, dns::Kind::a, dns::Kind::aaaa}) {
        const dns::Answer* answer = facts_.dns(domain, kind);
        if (!answer) return wait();
        if (answer->status == dns::Status::ok && !answer->records.empty()) {
            if (kind == dns::Kind::mx && answer->records.size() == 1 && answer->records[0].name.empty())      // RFC 7505 §3
                return refuse(codes_.null_mx, is_sender ? "5.7.27" : "5.1.10", subject, cat("Domain ", printable(address.domain, 255), " does not accept mail (nullMX)"));
            return Status::dunno;
        }
        if (answer->status == dns::Status::nxdomain) return refuse(codes_.unknown_address, status, subject, "Domain not found");
        trouble = trouble || dns::temporary(answer->status);
        if (trouble) break;
    }
    if (!trouble) return refuse(codes_.unknown_address, status, subject, "Domain not found");
    const std::string text = cat('<', subject.name, ">: ", subject.kind, " rejected: Domain not found");
    if (codes_.address_trouble == RuleSettings::OnTrouble::defer_if_permit) return defer_if_permit(status, text);
    return refuse(450, status, text);
}

// ---- access tables ----

Judge::Status Judge::access(const Restriction& r, const Subject& subject, const std::vector<std::string>& whole, const std::vector<std::string>& parts, int depth)
{
    const auto at = tables_.find(r.argument);
    const auto broken = [&](std::string_view why) {
        out_.warnings.push_back(cat(r.name, ' ', r.argument, ": ", why));
        return refuse(451, "4.3.5", subject, config_trouble);
    };
    if (at == tables_.end()) return broken("is not open");
    if (!at->second) return broken(at->second.error().text);
    const table::Table& table = **at->second;
    for (const auto* keys : {&whole, &parts}) {
        if (keys == &parts && table.is_pattern()) break;
        for (const std::string& key : *keys) {
            if (key.empty()) continue;
            const auto value = table.find(key);
            if (!value) return broken(value.error().text);
            if (*value) return act(**value, r.argument, subject, depth);
        }
    }
    return Status::dunno;
}

// access(5): user@domain, domain and its parents, user@; with an extension also without it.
Judge::Status Judge::address_access(const Restriction& r, const mail::Address& address, const Subject& subject, int depth)
{
    if (address.empty()) return access(r, subject, {codes_.null_key}, {}, depth);
    const std::string domain = lower(address.domain);
    const auto split = mail::split_extension(address.local, rules_.settings.delimiters);
    std::vector<std::string> parts;
    if (split.extension && !domain.empty()) parts.push_back(cat(split.user, '@', domain));
    for (std::string& key : domain_keys(domain, true)) parts.push_back(std::move(key));
    parts.push_back(cat(address.local, '@'));
    if (split.extension) parts.push_back(cat(split.user, '@'));
    return access(r, subject, {domain.empty() ? address.local : cat(address.local, '@', domain)}, parts, depth);
}

// What a table or a policy service answered.
Judge::Status Judge::act(const std::string& value, std::string_view source, const Subject& subject, int depth)
{
    if (const auto action = mail::parse_action(value)) return carry_out(*action, subject);
    std::string why;
    const RestrictionList list = depth < most_nesting ? parse_restrictions(value, rules_, why) : RestrictionList();
    if (why.empty() && depth < most_nesting) return each(list, subject, depth + 1);
    out_.warnings.push_back(cat(source, ": ", why.empty() ? "restrictions nested too deep" : why));
    return refuse(451, "4.3.5", subject, config_trouble);
}

Judge::Status Judge::carry_out(const Action& action, const Subject& subject)
{
    const std::string_view denied = action.text.empty() ? std::string_view("Access denied") : std::string_view(action.text);
    const auto status = [&](const char* otherwise) { return action.enhanced.empty() ? std::string(otherwise) : action.enhanced; };
    switch (action.verb) {
    case Verb::ok: return Status::ok;
    case Verb::dunno: return Status::dunno;
    case Verb::reject: return refuse(action.code ? action.code : codes_.access_reject, status("5.7.1"), subject, denied);
    case Verb::defer: return refuse(action.code ? action.code : codes_.access_defer, status("4.7.1"), subject, denied);
    case Verb::defer_if_permit: return defer_if_permit(status("4.7.1"), cat('<', subject.name, ">: ", subject.kind, " rejected: ", action.text.empty() ? "Service unavailable" : action.text));
    case Verb::defer_if_reject:
        if (!if_reject_.active)
            if_reject_ = {true, {450, mail::status_for(450, status("4.7.1")), printable(cat('<', subject.name, ">: ", subject.kind, " rejected: ", action.text.empty() ? "Service unavailable" : action.text), longest_reply)}};
        return Status::dunno;
    case Verb::warn: return noted("warn", subject, action.text, "triggers WARN action");
    case Verb::info: return noted("info", subject, action.text, "triggers INFO action");
    case Verb::hold:
        out_.deeds.hold = true;
        return noted("hold", subject, action.text, "triggers HOLD action");
    case Verb::discard:
        out_.deeds.discard = true;
        (void)noted("discard", subject, action.text, "triggers DISCARD action");
        return Status::ok;
    case Verb::prepend:
        if (const std::size_t colon = action.text.find(':'); colon == 0 || colon == std::string::npos || action.text.find_first_of(" \t") < colon) {
            out_.warnings.push_back(cat("PREPEND ", printable(action.text, 100), ": a header field (Name: text) is wanted; ignored"));
            return Status::dunno;
        }
        out_.deeds.prepend.push_back(printable(action.text, 900));     // a header line of at most 998 bytes (RFC 5322 §2.1.1)
        return noted("prepend", subject, cat("triggers PREPEND ", printable(action.text)), "");
    case Verb::redirect:
    case Verb::bcc: {
        const bool redirect = action.verb == Verb::redirect;
        const auto address = mail::parse_address(action.text);
        if (!address || address->empty()) {
            out_.warnings.push_back(cat(mail::verb_name(action.verb), ' ', printable(action.text, 100), ": an address is wanted; ignored"));
            return Status::dunno;
        }
        if (redirect) out_.deeds.redirect = address->text();
        else out_.deeds.bcc.push_back(address->text());
        return noted(redirect ? "redirect" : "bcc", subject, cat("triggers ", mail::verb_name(action.verb), ' ', printable(address->text())), "");
    }
    default:
        out_.warnings.push_back(cat(mail::verb_name(action.verb), " for <", subject.name, ">: veredus does not do this; the mail goes on without it"));
        return Status::dunno;
    }
}

// ---- DNS lists ----

// All lists of the same restriction list are asked at once, so that the client waits for the slowest and not for their sum.
Judge::Status Judge::name_or_address_list(const RestrictionList& list, std::size_t index)
{
    if (!s_.client.is_ip()) return Status::dunno;
    const std::string name = reversed(s_.client);
    const auto query = [&](const Restriction& r) { return cat(name, '.', r.argument); };
    if (!facts_.dns(query(list[index]), dns::Kind::a)) {
        for (std::size_t i = index + 1; i < list.size(); ++i)
            if (list[i].op == Op::reject_rbl_client || list[i].op == Op::permit_dnswl_client) (void)facts_.dns(query(list[i]), dns::Kind::a);
        return wait();
    }
    return dns_list(list[index], query(list[index]), s_.client.ip(), "Client host");
}

Judge::Status Judge::rhs_list(const Restriction& r, std::string_view domain, const std::string& what, std::string_view kind)
{
    if (!mail::is_domain(domain)) return Status::dunno;
    const std::string query = cat(lower(domain), '.', r.argument);
    return query.size() > 253 ? Status::dunno : dns_list(r, query, what, kind);
}

Judge::Status Judge::dns_list(const Restriction& r, const std::string& query, const std::string& what, std::string_view kind)
{
    const dns::Answer* answer = facts_.dns(query, dns::Kind::a);
    if (!answer) return wait();
    const bool permits = r.op == Op::permit_dnswl_client || r.op == Op::permit_rhswl_client;
    if (answer->status != dns::Status::ok) {
        if (dns::temporary(answer->status)) out_.warnings.push_back(cat(query, ": RBL lookup error: ", dns::status_text(answer->status)));
        // Who might have been permitted must not be refused for good.
        if (permits && dns::temporary(answer->status) && !if_reject_.active) if_reject_ = {true, {450, "4.7.1", cat('<', what, ">: ", kind, " rejected: cannot look up ", r.argument)}};
        return Status::dunno;
    }
    const bool listed = std::any_of(answer->records.begin(), answer->records.end(), [&](const dns::Record& record) { return r.filter.matches(record.address); });
    if (!listed) return Status::dunno;
    if (permits) return Status::ok;
    const dns::Answer* reason = facts_.dns(query, dns::Kind::txt);
    if (!reason) return wait();
    std::string text;
    for (const dns::Record& record : reason->records) {
        if (!text.empty()) break;
        text = printable(record.bytes, 200);
    }
    std::string format = codes_.rbl_reply;
    for (const std::string& spec : rules_.rbl_reply_maps) {
        const auto at = tables_.find(spec);
        if (at == tables_.end() || !at->second) continue;
        if (const auto own = (*at->second)->find(r.argument); own && *own) {
            format = **own;
            break;
        }
    }
    const std::string filled = fill_rbl_reply(format, {
        {"rbl_code", cat(codes_.rbl)}, {"rbl_class", std::string(kind)}, {"rbl_what", what}, {"rbl_domain", r.argument}, {"rbl_reason", text},
        {"rbl_txt", text}, {"client", client().name}, {"client_name", s_.client_name}, {"client_address", s_.client.ip()}, {"reverse_client_name", s_.reverse_name},
        {"helo_name", printable(s_.helo, 255)}, {"sender", s_.has_sender ? sender().name : std::string()}, {"sender_domain", printable(s_.sender.domain, 255)},
        {"sender_name", printable(s_.sender.local, 255)}, {"recipient", s_.has_recipient ? recipient().name : std::string()},
        {"recipient_domain", printable(s_.recipient.domain, 255)}, {"recipient_name", printable(s_.recipient.local, 255)},
    });
    const auto action = mail::parse_action(filled);
    if (!action || action->code < 400) return refuse(codes_.rbl, "5.7.1", cat("Service unavailable; ", kind, " [", what, "] blocked using ", r.argument));
    return refuse(action->code, action->enhanced.empty() ? "5.7.1" : action->enhanced, action->text);
}

// ---- policy services ----

Judge::Status Judge::policy(const Restriction& r, const Subject& subject, int depth)
{
    const std::string* action = facts_.policy(r.server, policy_request(s_, at_word(at_), r.server->context));
    return action ? act(*action, r.argument, subject, depth) : wait();
}

}  // namespace

void Deeds::add(const Deeds& other)
{
    hold = hold || other.hold;
    discard = discard || other.discard;
    if (!other.redirect.empty()) redirect = other.redirect;
    const auto join = [](std::vector<std::string>& into, const std::vector<std::string>& from) {
        for (const std::string& one : from)
            if (into.size() < 100 && std::find(into.begin(), into.end(), one) == into.end()) into.push_back(one);
    };
    join(prepend, other.prepend);
    join(bcc, other.bcc);
}

const dns::Answer* Facts::dns(const std::string& name, dns::Kind record)
{
    const auto at = dns_.find({name, record});
    if (at != dns_.end()) return &at->second;
    questions_.push_back({Question::Kind::dns, name, record, nullptr});
    return nullptr;
}

const ipc::Route* Facts::route(const std::string& address)
{
    const auto at = routes_.find(address);
    if (at != routes_.end()) return &at->second;
    questions_.push_back({Question::Kind::route, address, {}, nullptr});
    return nullptr;
}

const std::string* Facts::policy(const std::shared_ptr<const PolicyServer>& server, const std::string& request)
{
    const auto at = policies_.find({server->endpoint, request});
    if (at != policies_.end()) return &at->second;
    questions_.push_back({Question::Kind::policy, request, {}, server});
    return nullptr;
}

Verdict judge(const Rules& rules, const Tables& tables, const Situation& situation, At at, Facts& facts) { return Judge(rules, tables, situation, at, facts).run(); }

std::string policy_request(const Situation& s, std::string_view stage, std::string_view context)
{
    std::string out = "request=smtpd_access_policy\n";
    // A value is one line; what could end it, a peer's control bytes, does not get in.
    const auto attribute = [&](const char* name, std::string_view value) { append(out, name, '=', printable(value, 2000), '\n'); };
    attribute("protocol_state", stage);
    attribute("protocol_name", s.protocol);
    attribute("client_address", s.client.is_ip() ? s.client.ip() : std::string("unknown"));
    attribute("client_name", s.client_name);
    attribute("client_port", s.client.is_ip() ? cat(s.client.port()) : std::string("0"));
    attribute("reverse_client_name", s.reverse_name);
    attribute("server_address", s.server.is_ip() ? s.server.ip() : std::string("unknown"));
    attribute("server_port", s.server.is_ip() ? cat(s.server.port()) : std::string("0"));
    attribute("helo_name", s.helo);
    attribute("sender", s.has_sender ? s.sender.text() : std::string());
    attribute("recipient", s.has_recipient ? s.recipient.text() : std::string());
    attribute("recipient_count", stage == "DATA" || stage == "END-OF-MESSAGE" ? cat(s.recipients) : std::string("0"));
    attribute("queue_id", s.queue_id);
    attribute("instance", s.instance);
    attribute("size", cat(s.size));
    attribute("etrn_domain", "");
    attribute("stress", s.stress ? "yes" : "");
    attribute("sasl_method", s.sasl_method);
    attribute("sasl_username", s.sasl_user);
    attribute("sasl_sender", s.sasl_sender);
    for (const char* name : {"ccert_subject", "ccert_issuer", "ccert_fingerprint", "ccert_pubkey_fingerprint"}) attribute(name, "");
    attribute("encryption_protocol", s.tls_protocol);
    attribute("encryption_cipher", s.tls_cipher);
    attribute("encryption_keysize", cat(s.tls_bits));
    attribute("policy_context", context);
    return out += '\n';
}

std::string fill_rbl_reply(std::string_view format, const std::map<std::string, std::string, std::less<>>& values)
{
    std::string out;
    const auto value = [&](std::string_view name) -> std::string_view {
        const auto at = values.find(name);
        return at == values.end() ? std::string_view() : std::string_view(at->second);
    };
    for (std::size_t i = 0; i < format.size() && out.size() < 2000;) {
        if (format[i] != '$' || i + 1 == format.size()) {
            out += format[i++];
            continue;
        }
        const char open = format[i + 1], close = open == '{' ? '}' : ')';
        if (open == '$') {
            out += '$';
            i += 2;
            continue;
        }
        const bool braces = open == '{' || open == '(';
        std::size_t end = i + 1 + (braces ? 1 : 0);
        const std::size_t begin = end;
        while (end < format.size() && (is_alnum(format[end]) || format[end] == '_')) ++end;
        const std::string_view name = format.substr(begin, end - begin);
        if (!braces) {
            out += value(name);
            i = end;
            continue;
        }
        int depth = 1;
        std::size_t stop = end;
        for (; stop < format.size(); ++stop) {
            if (format[stop] == open) ++depth;
            if (format[stop] == close && --depth == 0) break;
        }
        const std::string_view rest = format.substr(end, stop - end);
        if (rest.starts_with('?') || rest.starts_with(':')) {
            if (value(name).empty() == rest.starts_with(':') && format.size() < 10'000) out += fill_rbl_reply(rest.substr(1), values);
        } else {
            out += value(name);
        }
        i = std::min(stop + 1, format.size());
    }
    return out;
}

std::string relays_for_strangers(const Rules& rules, const net::Address& stranger, bool ours)
{
    Situation s;
    s.client = stranger;
    s.ours = ours;
    // All is well with him, so that no other check stands in for the one that guards the relay.
    s.helo = s.client_name = s.reverse_name = "stranger.invalid";
    s.tls_protocol = "TLSv1.3";
    s.protocol = "ESMTP";
    s.has_sender = s.has_recipient = true;
    s.sender = {"stranger", "stranger.invalid"};
    s.recipient = {"victim", "elsewhere.invalid"};
    Tables tables;
    for (const std::string& spec : rules.table_specs()) tables.emplace(spec, std::shared_ptr<const table::Table>(std::move(*table::open("inline:{nobody=dunno}"))));
    Facts facts;
    ipc::Route remote;
    remote.kind = ipc::Route::Kind::deliver;
    dns::Answer nothing, there;
    nothing.status = dns::Status::nxdomain;
    there.status = dns::Status::ok;
    there.records.push_back({dns::Kind::a, 0, 0, "mx.invalid", stranger, ""});
    const auto exists = [&](const std::string& name) { return name == s.helo || name == s.recipient.domain; };
    for (int turn = 0; turn < 1000; ++turn) {
        const Verdict verdict = judge(rules, tables, s, At::rcpt, facts);
        if (verdict.kind == Verdict::Kind::refuse) return {};
        if (verdict.kind == Verdict::Kind::permit)
            return cat("open relay: ", stranger.ip(), ours ? " is in mynetworks and may" : " may", " send mail to anyone anywhere through this host; ",
                       ours ? "list only your own networks in mynetworks" : cat("put reject_unauth_destination before what permits it in ", rules.prefix, "_relay_restrictions"));
        for (const Question& q : facts.take_questions()) {
            if (q.kind == Question::Kind::dns) facts.put_dns(q.name, q.record, exists(q.name) ? there : nothing);
            if (q.kind == Question::Kind::route) facts.put_route(q.name, remote);
            if (q.kind == Question::Kind::policy) facts.put_policy(q.server->endpoint, q.name, "DUNNO");
        }
    }
    return {};
}

}  // namespace veredus::reception
