// Restriction lists, carried out: the walk through them, and what needs no table and no name.
#include "lib/reception/judge_walk.h"

#include <algorithm>

namespace veredus::reception {

namespace {

constexpr unsigned most_steps = 10'000;            // restrictions of one judgement: classes that name each other multiply

bool is_postmaster(const mail::Address& address) { return iequals(address.local, "postmaster"); }

// "user%elsewhere@relay.example": whoever is behind us may send it on to elsewhere, for a stranger (Postfix's allow_untrusted_routing).
bool routes_on(const mail::Address& address) { return address.local.find_first_of("@%!") != std::string::npos; }

}  // namespace

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
    case At::etrn:
        if (delayed) due = {Stage::client, Stage::helo};
        due.push_back(Stage::etrn);
        break;
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
    const Subject subject = stage == Stage::client ? client() : stage == Stage::helo ? helo() : stage == Stage::sender ? sender() : stage == Stage::data ? data : stage == Stage::end_of_data ? end : stage == Stage::etrn ? etrn() : recipient();
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
    case Op::permit_tls_clientcerts: return permit_certificate();
    case Op::permit_tls_all_clientcerts: return s_.ccert_trusted ? Status::ok : Status::dunno;
    case Op::check_ccert_access: return certificate_access(r, depth);
    case Op::check_etrn_access: return s_.etrn_domain.empty() ? Status::dunno : access(r, etrn(), {lower(s_.etrn_domain)}, domain_keys(s_.etrn_domain, false, codes_.subdomains), depth);
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
    case Op::permit_rhswl_client: case Op::reject_rhsbl_reverse_client: case Op::check_client_servers: case Op::check_reverse_client_servers:
        return about_client(list, index, depth);
    case Op::reject_non_fqdn_helo_hostname: case Op::reject_invalid_helo_hostname: case Op::reject_unknown_helo_hostname: case Op::check_helo_access:
    case Op::reject_rhsbl_helo: case Op::check_helo_servers: return s_.helo.empty() ? Status::dunno : about_helo(r, depth);
    case Op::reject_non_fqdn_sender: case Op::reject_unknown_sender_domain: case Op::reject_unlisted_sender: case Op::check_sender_access:
    case Op::reject_sender_login_mismatch: case Op::reject_known_sender_login_mismatch: case Op::reject_authenticated_sender_login_mismatch:
    case Op::reject_unauthenticated_sender_login_mismatch:
    case Op::reject_rhsbl_sender: case Op::check_sender_servers: return s_.has_sender ? about_sender(r, depth) : Status::dunno;
    case Op::permit_auth_destination: case Op::reject_unauth_destination: case Op::defer_unauth_destination: case Op::reject_non_fqdn_recipient:
    case Op::reject_unknown_recipient_domain: case Op::reject_unlisted_recipient: case Op::check_recipient_access: case Op::reject_rhsbl_recipient:
    case Op::check_recipient_servers:
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
        std::vector<std::string> parts = domain_keys(s_.client_name, false, codes_.subdomains);
        std::vector<std::string> whole = {lower(s_.client_name)};
        // Postfix's order: the name and its parents, then the address and its networks.
        if (const Status status = access(r, client(), whole, parts, depth); status != Status::dunno || !s_.client.is_ip()) return status;
        return access(r, client(), {s_.client.ip()}, network_keys(s_.client), depth);
    }
    case Op::check_reverse_client_hostname_access:
        return access(r, {s_.reverse_name, "Unverified Client host"}, {lower(s_.reverse_name)}, domain_keys(s_.reverse_name, false, codes_.subdomains), depth);
    case Op::check_client_servers: return s_.client_name == "unknown" ? Status::dunno : server_access(r, s_.client_name, client(), depth);
    case Op::check_reverse_client_servers:
        return s_.reverse_name == "unknown" ? Status::dunno : server_access(r, s_.reverse_name, {s_.reverse_name, "Unverified Client host"}, depth);
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
    case Op::check_helo_servers: return server_access(r, s_.helo, helo(), depth);
    case Op::check_helo_access: return access(r, helo(), {lower(s_.helo)}, domain_keys(s_.helo, false, codes_.subdomains), depth);
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
    case Op::reject_sender_login_mismatch: case Op::reject_known_sender_login_mismatch: case Op::reject_authenticated_sender_login_mismatch:
    case Op::reject_unauthenticated_sender_login_mismatch: return s_.sender.empty() ? Status::dunno : login_mismatch(r.op);
    case Op::check_sender_servers: return s_.sender.domain.empty() ? Status::dunno : server_access(r, s_.sender.domain, sender(), depth);
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
    case Op::check_recipient_servers: return s_.recipient.domain.empty() ? Status::dunno : server_access(r, s_.recipient.domain, recipient(), depth);
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

// Who has logged in uses addresses of his own, and nobody else those that smtpd_sender_login_maps gives to a user.
Judge::Status Judge::login_mismatch(Op op)
{
    const bool logged_in = !s_.sasl_user.empty();
    if (op == (logged_in ? Op::reject_unauthenticated_sender_login_mismatch : Op::reject_authenticated_sender_login_mismatch)) return Status::dunno;
    const ipc::OwnerReply* owner = facts_.owner(s_.user.empty() ? "-" : s_.user, s_.sender.text());
    if (!owner) return wait();
    using Word = ipc::OwnerReply::Word;
    if (owner->word == Word::temporary) return refuse(451, "4.3.0", cat('<', sender().name, ">: Temporary lookup failure"));
    if (!logged_in) return owner->listed ? refuse(553, "5.7.1", sender(), "not logged in") : Status::dunno;
    if (owner->word == Word::yes || (op == Op::reject_known_sender_login_mismatch && !owner->listed)) return Status::dunno;
    return refuse(553, "5.7.1", sender(), cat("not owned by user ", printable(s_.sasl_user, 255)));
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

Verdict judge(const Rules& rules, const Tables& tables, const Situation& situation, At at, Facts& facts) { return Judge(rules, tables, situation, at, facts).run(); }

}  // namespace veredus::reception
