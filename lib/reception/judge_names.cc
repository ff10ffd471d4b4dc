// What restriction lists ask of the DNS: names that must be there, servers of domains, and DNS lists.
#include "lib/reception/judge_walk.h"

#include <algorithm>

namespace veredus::reception {

namespace {

constexpr std::size_t most_servers = 50;           // of one domain, and addresses of one server
constexpr std::size_t servers_at_once = 8;         // that are looked up side by side

std::string reversed(const net::Address& address)
{
    std::string name = dns::reverse_name(address);
    for (const std::string_view tail : {".in-addr.arpa", ".ip6.arpa"})
        if (name.ends_with(tail)) name.resize(name.size() - tail.size());
    return name;
}

}  // namespace

Judge::Status Judge::non_fqdn(const mail::Address& address, const Subject& subject)
{
    const bool good = mail::is_address_literal(address.domain) || (address.domain.find('.') != std::string::npos && mail::is_domain(address.domain, true));
    if (good || (address.domain.empty() && iequals(address.local, "postmaster"))) return Status::dunno;
    return refuse(codes_.non_fqdn, "5.5.2", subject, "need fully-qualified address");
}

Judge::Status Judge::invalid_helo(bool fqdn)
{
    const bool literal = s_.helo.starts_with('[') && s_.helo.ends_with(']');
    std::string_view name = s_.helo;
    if (name.ends_with('.') && !name.ends_with("..")) name.remove_suffix(1);        // the root's
    const bool valid = literal ? mail::is_address_literal(s_.helo) || net::Address::parse_ip(s_.helo.substr(1, s_.helo.size() - 2), 0) : mail::is_domain(name, true);
    // A bare address ("192.0.2.1") looks like a name and is none; as in Postfix it is a fault only where a name with a domain is wanted.
    const bool bare = !literal && net::Address::parse_ip(s_.helo, 0).has_value();
    if (fqdn ? !valid || bare : !valid && !bare) return refuse(fqdn ? codes_.non_fqdn : codes_.invalid_helo, "5.5.2", helo(), fqdn ? "need fully-qualified hostname" : "Invalid name");
    if (fqdn && !literal && name.find('.') == std::string_view::npos) return refuse(codes_.non_fqdn, "5.5.2", helo(), "need fully-qualified hostname");
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
                return refuse(is_sender ? 550 : codes_.null_mx, is_sender ? "5.7.27" : "5.1.10", subject, cat("Domain ", printable(address.domain, 255), " does not accept mail (nullMX)"));
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

// ---- servers of a domain: check_..._{a,mx,ns}_access ----

// The hosts whose names and addresses are looked up; nothing: not known yet. As in Postfix, a domain without MX is its own mail
// server, and one without NS has those of its parents.
std::optional<std::vector<std::string>> Judge::servers_of(const Restriction& r, const std::string& domain)
{
    if (r.name.ends_with("_a_access")) return std::vector<std::string>{domain};
    const dns::Kind kind = r.name.ends_with("_mx_access") ? dns::Kind::mx : dns::Kind::ns;
    std::vector<std::string> hosts;
    for (std::string name = domain;;) {
        const dns::Answer* answer = facts_.dns(name, kind);
        if (!answer) return std::nullopt;
        if (dns::temporary(answer->status)) {
            out_.warnings.push_back(cat("Unable to look up ", kind == dns::Kind::mx ? "MX" : "NS", " host for ", name, ": ", dns::status_text(answer->status)));
            return hosts;
        }
        for (const dns::Record& record : answer->records)
            if (!record.name.empty() && hosts.size() < most_servers) hosts.push_back(lower(record.name));
        if (kind == dns::Kind::mx && answer->status == dns::Status::nodata) hosts.push_back(domain);
        const std::size_t dot = name.find('.');
        if (kind == dns::Kind::mx || !hosts.empty() || dot == std::string::npos || dot + 1 == name.size()) return hosts;
        name = name.substr(dot + 1);
    }
}

Judge::Status Judge::server_access(const Restriction& r, std::string_view domain, const Subject& subject, int depth)
{
    Status status = Status::dunno;
    if (domain.starts_with('[') && domain.ends_with(']')) {
        std::string_view inner = domain.substr(1, domain.size() - 2);
        if (istarts_with(inner, "IPv6:")) inner.remove_prefix(5);
        const auto address = net::Address::parse_ip(std::string(inner), 0);
        if (address && !r.name.ends_with("_ns_access")) status = access(r, subject, {address->ip()}, network_keys(*address), depth);
    } else if (mail::is_domain(domain)) {
        const auto hosts = servers_of(r, lower(domain));
        if (!hosts) return wait();
        // Some at once, and the next ones only when none of these decides: who writes the DNS of a domain says how many there are.
        for (auto first = hosts->begin(); first != hosts->end() && status == Status::dunno;) {
            const auto end = first + std::min<std::ptrdiff_t>(servers_at_once, hosts->end() - first);
            bool known = true;
            for (auto host = first; host != end; ++host)
                for (const dns::Kind kind : {dns::Kind::a, dns::Kind::aaaa})
                    if (!facts_.dns(*host, kind)) known = false;
            if (!known) return wait();
            for (; first != end && status == Status::dunno; ++first) status = host_access(r, *first, subject, depth);
        }
    }
    // Whoever writes the DNS of a domain must not permit himself (Postfix takes no OK here either).
    if (status != Status::ok || out_.deeds.discard) return status;
    out_.warnings.push_back(cat(r.name, ' ', r.argument, ": for ", subject.name, ": OK is not taken from this restriction; use DUNNO to exclude hosts"));
    return Status::dunno;
}

Judge::Status Judge::host_access(const Restriction& r, const std::string& host, const Subject& subject, int depth)
{
    if (!r.name.ends_with("_a_access"))
        if (const Status status = access(r, subject, {host}, domain_keys(host, false, codes_.subdomains), depth); status != Status::dunno) return status;
    for (const dns::Kind kind : {dns::Kind::a, dns::Kind::aaaa}) {
        const dns::Answer* answer = facts_.dns(host, kind);
        if (!answer) return wait();
        std::size_t looked_at = 0;
        for (const dns::Record& record : answer->records) {
            if (++looked_at > most_servers) break;
            if (const Status status = access(r, subject, {record.address.ip()}, network_keys(record.address), depth); status != Status::dunno) return status;
        }
    }
    return Status::dunno;
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

}  // namespace veredus::reception
