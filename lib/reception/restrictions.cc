// Restriction lists: names, arguments, and what is wrong with them.
#include "lib/reception/restrictions.h"

#include <algorithm>
#include <set>

#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/expand.h"
#include "lib/conf/near.h"
#include "lib/conf/port.h"
#include "lib/mail/action.h"
#include "lib/mail/address.h"

namespace veredus::reception {

namespace {

enum class Takes : uint8_t { nothing, table, dns_list, policy, number };

struct Row {
    std::string_view name;
    Op op;
    Takes takes = Takes::nothing;
    std::string_view instead = {};      // for those without effect: what is not done
};

constexpr std::string_view accepted = "mail is ACCEPTED without this check";

constexpr Row rows[] = {
    {"permit", Op::permit}, {"reject", Op::reject}, {"defer", Op::defer}, {"defer_if_permit", Op::defer_if_permit},
    {"defer_if_reject", Op::defer_if_reject}, {"warn_if_reject", Op::warn_if_reject},
    {"permit_mynetworks", Op::permit_mynetworks}, {"permit_sasl_authenticated", Op::permit_sasl_authenticated},
    {"permit_inet_interfaces", Op::permit_inet_interfaces}, {"permit_auth_destination", Op::permit_auth_destination},
    {"reject_unauth_destination", Op::reject_unauth_destination}, {"defer_unauth_destination", Op::defer_unauth_destination},
    {"reject_unauth_pipelining", Op::reject_unauth_pipelining}, {"reject_plaintext_session", Op::reject_plaintext_session},
    {"reject_multi_recipient_bounce", Op::reject_multi_recipient_bounce},
    {"reject_non_fqdn_sender", Op::reject_non_fqdn_sender}, {"reject_non_fqdn_recipient", Op::reject_non_fqdn_recipient},
    {"reject_non_fqdn_helo_hostname", Op::reject_non_fqdn_helo_hostname}, {"reject_invalid_helo_hostname", Op::reject_invalid_helo_hostname},
    {"reject_unknown_client_hostname", Op::reject_unknown_client_hostname},
    {"reject_unknown_reverse_client_hostname", Op::reject_unknown_reverse_client_hostname},
    {"reject_unknown_helo_hostname", Op::reject_unknown_helo_hostname}, {"reject_unknown_sender_domain", Op::reject_unknown_sender_domain},
    {"reject_unknown_recipient_domain", Op::reject_unknown_recipient_domain}, {"reject_unlisted_sender", Op::reject_unlisted_sender},
    {"reject_unlisted_recipient", Op::reject_unlisted_recipient},
    {"reject_sender_login_mismatch", Op::reject_sender_login_mismatch}, {"reject_known_sender_login_mismatch", Op::reject_known_sender_login_mismatch},
    {"reject_authenticated_sender_login_mismatch", Op::reject_authenticated_sender_login_mismatch},
    {"reject_unauthenticated_sender_login_mismatch", Op::reject_unauthenticated_sender_login_mismatch},
    {"check_client_access", Op::check_client_access, Takes::table},
    {"check_reverse_client_hostname_access", Op::check_reverse_client_hostname_access, Takes::table},
    {"check_helo_access", Op::check_helo_access, Takes::table}, {"check_sender_access", Op::check_sender_access, Takes::table},
    {"check_recipient_access", Op::check_recipient_access, Takes::table}, {"check_sasl_access", Op::check_sasl_access, Takes::table},
    {"reject_rbl_client", Op::reject_rbl_client, Takes::dns_list}, {"permit_dnswl_client", Op::permit_dnswl_client, Takes::dns_list},
    {"reject_rhsbl_client", Op::reject_rhsbl_client, Takes::dns_list}, {"permit_rhswl_client", Op::permit_rhswl_client, Takes::dns_list},
    {"reject_rhsbl_reverse_client", Op::reject_rhsbl_reverse_client, Takes::dns_list},
    {"reject_rhsbl_helo", Op::reject_rhsbl_helo, Takes::dns_list}, {"reject_rhsbl_sender", Op::reject_rhsbl_sender, Takes::dns_list},
    {"reject_rhsbl_recipient", Op::reject_rhsbl_recipient, Takes::dns_list},
    {"check_etrn_access", Op::check_etrn_access, Takes::table}, {"check_policy_service", Op::check_policy_service, Takes::policy},
    {"check_client_a_access", Op::check_client_servers, Takes::table}, {"check_client_mx_access", Op::check_client_servers, Takes::table},
    {"check_client_ns_access", Op::check_client_servers, Takes::table},
    {"check_reverse_client_hostname_a_access", Op::check_reverse_client_servers, Takes::table}, {"check_reverse_client_hostname_mx_access", Op::check_reverse_client_servers, Takes::table},
    {"check_reverse_client_hostname_ns_access", Op::check_reverse_client_servers, Takes::table},
    {"check_helo_a_access", Op::check_helo_servers, Takes::table}, {"check_helo_mx_access", Op::check_helo_servers, Takes::table},
    {"check_helo_ns_access", Op::check_helo_servers, Takes::table},
    {"check_sender_a_access", Op::check_sender_servers, Takes::table}, {"check_sender_mx_access", Op::check_sender_servers, Takes::table},
    {"check_sender_ns_access", Op::check_sender_servers, Takes::table},
    {"check_recipient_a_access", Op::check_recipient_servers, Takes::table}, {"check_recipient_mx_access", Op::check_recipient_servers, Takes::table},
    {"check_recipient_ns_access", Op::check_recipient_servers, Takes::table},
    {"check_ccert_access", Op::check_ccert_access, Takes::table}, {"permit_tls_clientcerts", Op::permit_tls_clientcerts},
    {"permit_tls_all_clientcerts", Op::permit_tls_all_clientcerts},
    // The names of older versions of Postfix.
    {"reject_unknown_client", Op::reject_unknown_client_hostname}, {"reject_unknown_hostname", Op::reject_unknown_helo_hostname},
    {"reject_invalid_hostname", Op::reject_invalid_helo_hostname}, {"reject_non_fqdn_hostname", Op::reject_non_fqdn_helo_hostname},
    {"reject_unknown_address", Op::reject_unknown_sender_domain}, {"check_relay_domains", Op::reject_unauth_destination},
    // Known, and not done.
    {"permit_mx_backup", Op::without_effect, Takes::nothing, "it permits nothing here: list the domains that you are a backup for in relay_domains"},
    {"permit_naked_ip_address", Op::without_effect, Takes::nothing, "it permits nothing here: use permit_mynetworks"},
    {"sleep", Op::without_effect, Takes::number, "nobody is made to wait"},
    {"reject_unverified_sender", Op::without_effect, Takes::nothing, accepted}, {"reject_unverified_recipient", Op::without_effect, Takes::nothing, accepted},
    {"reject_unverified_address", Op::without_effect, Takes::nothing, accepted},
    {"reject_maps_rbl", Op::without_effect, Takes::nothing, accepted},
};

constexpr std::string_view words[stages] = {"client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn"};

const Row* find_row(std::string_view name)
{
    const auto row = std::find_if(std::begin(rows), std::end(rows), [name](const Row& r) { return iequals(r.name, name); });
    return row == std::end(rows) ? nullptr : row;
}

// One list, word by word.
class Reader {
public:
    Reader(const Rules& rules, const std::set<std::string, std::less<>>& classes, const PolicyServer& defaults, std::string where, std::vector<Complaint>& out)
        : rules_(rules), classes_(classes), defaults_(defaults), where_(std::move(where)), out_(out)
    {
    }

    RestrictionList read(std::string_view text)
    {
        RestrictionList list;
        const auto pieces = conf::split_list(text);
        for (at_ = 0; at_ < pieces.size();) {
            Restriction one;
            if (read_one(pieces, one)) list.push_back(std::move(one));
        }
        if (!list.empty() && list.back().op == Op::warn_if_reject) complain(true, "warn_if_reject: a restriction must follow");
        return list;
    }

private:
    using Pieces = std::vector<std::string_view>;
    void complain(bool error, std::string text) { out_.push_back({error, where_, where_.empty() ? std::move(text) : cat(where_, ": ", text)}); }

    bool read_one(const Pieces& pieces, Restriction& one)
    {
        const std::string_view name = pieces[at_++];
        const Row* row = find_row(name);
        if (!row) return read_other(name, one);
        one.op = row->op;
        one.name = row->name;
        if (row->takes != Takes::nothing) {
            if (at_ == pieces.size() || (row->takes != Takes::number && find_row(pieces[at_]))) {
                complain(true, cat(name, ": ", row->takes == Takes::table ? "a table" : row->takes == Takes::dns_list ? "a domain" : row->takes == Takes::policy ? "a server" : "a number", " must follow"));
                return false;
            }
            if (!read_argument(*row, pieces[at_++], one)) return false;
        }
        if (row->op != Op::without_effect) return true;
        complain(false, cat(name, " is not done by veredus: ", row->instead));
        return false;
    }

    bool read_other(std::string_view name, Restriction& one)
    {
        if (classes_.contains(name)) {
            one.op = Op::restriction_class;
            one.name = one.argument = name;
            return true;
        }
        // "check_client_access hash:/x" where the table stands alone: Postfix's default is the list's own subject.
        if (conf::check_table(name) && table_default_ != Op::without_effect) {
            one.op = table_default_;
            one.name = name;
            one.argument = name;
            return true;
        }
        conf::Nearest nearest(name);
        for (const Row& row : rows) nearest.offer(row.name);
        for (const std::string& other : classes_) nearest.offer(other);
        const std::string hint = nearest.best().empty() ? std::string() : cat("; did you mean ", nearest.best(), "?");
        complain(true, cat("\"", printable(name, 100), "\" is no restriction and no restriction class", hint));
        return false;
    }

    bool read_argument(const Row& row, std::string_view word, Restriction& one)
    {
        Result<void> good;
        one.argument = word;
        if (row.takes == Takes::table) good = conf::check_table(word);
        if (row.takes == Takes::number && !parse_number<uint32_t>(word)) good = fail(cat("\"", word, "\" is not a number"));
        if (row.takes == Takes::dns_list) good = read_dns_list(word, one);
        if (row.takes == Takes::policy) good = read_server(word, one);
        if (good) return true;
        complain(true, cat(row.name, ": ", good.error().text));
        return false;
    }

    static Result<void> read_dns_list(std::string_view word, Restriction& one)
    {
        const auto [domain, filter] = cut(word, '=');
        if (!mail::is_domain(domain)) return fail(cat("\"", printable(domain, 100), "\" is not a domain"));
        one.argument = lower(domain);
        if (filter) one.filter = TRY(ReplyFilter::parse(*filter));
        return {};
    }

    // "inet:host:port", "unix:path", or "{ inet:host:port, timeout=10s, default_action=DUNNO }" (Postfix 3.0).
    Result<void> read_server(std::string_view word, Restriction& one)
    {
        auto server = std::make_shared<PolicyServer>(defaults_);
        std::vector<std::string_view> pieces{word};
        if (word.starts_with('{') && word.ends_with('}')) pieces = conf::split_list(word.substr(1, word.size() - 2));
        if (pieces.empty()) return fail("a server is missing between the braces");
        server->endpoint = TRY(read_endpoint(pieces[0]));
        for (std::size_t i = 1; i < pieces.size(); ++i) TRY(read_option(pieces[i], *server));
        one.argument = server->endpoint;
        one.server = std::move(server);
        return {};
    }

    // With the port as a number.
    static Result<std::string> read_endpoint(std::string_view text)
    {
        if (text.starts_with("unix:") && text.size() > 5) return std::string(text);
        const std::size_t colon = text.rfind(':');
        const std::string_view host = text.starts_with("inet:") && colon > 5 ? text.substr(5, colon - 5) : std::string_view();
        if (host.empty()) return fail(cat("\"", printable(text, 200), "\" is not inet:host:port and not unix:path"));
        const std::string_view name = text.substr(colon + 1);
        const uint16_t port = conf::port_of(name).value_or(0);
        if (port == 0) return fail(cat("\"", printable(text, 200), "\": \"", printable(name, 100), "\" is not a port: no number from 1 to 65535, and no TCP service of /etc/services"));
        return cat("inet:", host, ':', port);
    }

    static Result<void> read_option(std::string_view text, PolicyServer& server)
    {
        if (text.starts_with('{') && text.ends_with('}')) text = trim(text.substr(1, text.size() - 2));   // { name = value with blanks }
        const auto [left, right] = cut(text, '=');
        const std::string_view name = trim(left), value = trim(right.value_or(""));
        struct Number {
            std::string_view name;
            int64_t PolicyServer::*field;
            bool duration;
        };
        static constexpr Number numbers[] = {
            {"timeout", &PolicyServer::timeout_s, true}, {"max_idle", &PolicyServer::max_idle_s, true}, {"max_ttl", &PolicyServer::max_ttl_s, true},
            {"retry_delay", &PolicyServer::retry_delay_s, true}, {"try_limit", &PolicyServer::try_limit, false}, {"request_limit", &PolicyServer::request_limit, false},
        };
        for (const Number& number : numbers) {
            if (number.name != name) continue;
            const auto plain = parse_number<int64_t>(value, 1'000'000);
            if (!number.duration && (!plain || *plain < 0)) return fail(cat("\"", printable(text, 100), "\": a number is wanted"));
            server.*number.field = number.duration ? TRY(conf::parse_duration(value, 's')) : *plain;
            return {};
        }
        if (name == "default_action") server.default_action = value;
        else if (name == "policy_context") server.context = value;
        else return fail(cat("\"", printable(text, 100), "\" is no attribute of a policy service"));
        return {};
    }

    const Rules& rules_;
    const std::set<std::string, std::less<>>& classes_;
    const PolicyServer& defaults_;
    std::string where_;
    std::vector<Complaint>& out_;
    std::size_t at_ = 0;

public:
    Op table_default_ = Op::without_effect;
};

Op bare_table(Stage stage)
{
    switch (stage) {
    case Stage::client: return Op::check_client_access;
    case Stage::helo: return Op::check_helo_access;
    case Stage::sender: return Op::check_sender_access;
    case Stage::relay:
    case Stage::recipient: return Op::check_recipient_access;
    case Stage::etrn: return Op::check_etrn_access;
    default: return Op::without_effect;
    }
}

RuleSettings::OnTrouble on_trouble(std::string_view word)
{
    if (iequals(word, "reject")) return RuleSettings::OnTrouble::reject;
    return iequals(word, "defer") ? RuleSettings::OnTrouble::defer : RuleSettings::OnTrouble::defer_if_permit;
}

RuleSettings read_codes(const conf::Values& values, std::string_view prefix)
{
    RuleSettings out;
    const auto code = [&](const char* name) { return static_cast<int>(values.number(name)); };
    const auto own = [&](const char* rest) { return cat(prefix, rest); };
    out.reject = code("reject_code");
    out.defer = code("defer_code");
    out.access_reject = code("access_map_reject_code");
    out.access_defer = code("access_map_defer_code");
    out.rbl = code("maps_rbl_reject_code");
    out.invalid_helo = code("invalid_hostname_reject_code");
    out.non_fqdn = code("non_fqdn_reject_code");
    out.unknown_address = code("unknown_address_reject_code");
    out.unknown_client = code("unknown_client_reject_code");
    out.unknown_helo = code("unknown_hostname_reject_code");
    out.relay = code("relay_domains_reject_code");
    out.plaintext = code("plaintext_reject_code");
    out.null_mx = code("nullmx_reject_code");
    out.multi_bounce = code("multi_recipient_bounce_reject_code");
    out.address_trouble = on_trouble(values.text("unknown_address_tempfail_action"));
    out.helo_trouble = on_trouble(values.text("unknown_helo_hostname_tempfail_action"));
    out.delay_reject = values.flag(own("_delay_reject"));
    out.relay_first = values.flag(own("_relay_before_recipient_restrictions"));
    out.unlisted_recipient = values.flag(own("_reject_unlisted_recipient"));
    out.unlisted_sender = values.flag(own("_reject_unlisted_sender"));
    const auto parents = values.list("parent_domain_matches_subdomains");
    out.subdomains = std::any_of(parents.begin(), parents.end(), [](const std::string& word) { return iequals(word, "smtpd_access_maps"); });
    out.null_key = values.text("smtpd_null_access_lookup_key");
    out.rbl_reply = values.text("default_rbl_reply");
    out.delimiters = values.text("recipient_delimiter");
    return out;
}

PolicyServer policy_defaults(const conf::Values& values)
{
    PolicyServer out;
    out.timeout_s = values.seconds("smtpd_policy_service_timeout");
    out.max_idle_s = values.seconds("smtpd_policy_service_max_idle");
    out.max_ttl_s = values.seconds("smtpd_policy_service_max_ttl");
    out.retry_delay_s = values.seconds("smtpd_policy_service_retry_delay");
    out.try_limit = values.number("smtpd_policy_service_try_limit");
    out.request_limit = values.number("smtpd_policy_service_request_limit");
    out.default_action = values.text("smtpd_policy_service_default_action");
    out.context = values.text("smtpd_policy_service_policy_context");
    return out;
}

template <class F> void each_restriction(const Rules& rules, F use)
{
    for (const RestrictionList& list : rules.lists)
        for (const Restriction& one : list) use(one);
    for (const auto& [name, list] : rules.classes)
        for (const Restriction& one : list) use(one);
}

bool takes_table(Op op) { return op >= Op::check_client_access && op <= Op::check_sasl_access; }

// A class that leads to itself would never end.
bool loops(const Rules& rules, const RestrictionList& list, std::vector<std::string>& path)
{
    for (const Restriction& one : list) {
        if (one.op != Op::restriction_class) continue;
        if (std::find(path.begin(), path.end(), one.argument) != path.end()) return true;
        const auto it = rules.classes.find(one.argument);
        if (it == rules.classes.end()) continue;
        path.push_back(one.argument);
        if (loops(rules, it->second, path)) return true;
        path.pop_back();
    }
    return false;
}

// Lists that want certificates of clients, and a server that asks none for one.
void check_certificates(const conf::Values& values, const Rules& rules, std::vector<Complaint>& complaints)
{
    std::string name;
    bool chain = false;
    each_restriction(rules, [&](const Restriction& one) {
        if (one.op == Op::permit_tls_all_clientcerts) chain = true;
        if (one.op == Op::check_ccert_access || one.op == Op::permit_tls_clientcerts || one.op == Op::permit_tls_all_clientcerts) name = one.name;
    });
    if (name.empty()) return;
    const std::string ask = cat(rules.prefix, "_tls_ask_ccert"), file = cat(rules.prefix, "_tls_CAfile");
    if (!values.flag(ask)) complaints.push_back({false, ask, cat(ask, " = no: clients are not asked for certificates, so ", name, " finds none; set it to yes")});
    else if (chain && values.text(file).empty())
        complaints.push_back({false, file, cat(file, " is empty: no client certificate is trusted, so permit_tls_all_clientcerts permits nobody")});
}

// Does the list itself end in a refusal for whoever reaches it, or refuse mail for others? (Postfix wants one of these at least.)
bool guards(const RestrictionList& list)
{
    bool warned_only = false;
    for (const Restriction& one : list) {
        const bool guard = one.op == Op::reject || one.op == Op::defer || one.op == Op::defer_if_permit || one.op == Op::reject_unauth_destination ||
                           one.op == Op::defer_unauth_destination;
        if (guard && !warned_only) return true;
        if (one.op == Op::permit) return false;
        warned_only = one.op == Op::warn_if_reject;
    }
    return false;
}

}  // namespace

std::string_view stage_word(Stage stage) { return words[static_cast<std::size_t>(stage)]; }

Result<ReplyFilter> ReplyFilter::parse(std::string_view text)
{
    ReplyFilter out;
    if (text.empty()) return fail("a reply must follow the =, as in =127.0.0.2");
    // A dot inside brackets belongs to a range ("[1..3]").
    std::vector<std::string> parts(1);
    int depth = 0;
    for (const char c : text) {
        depth += c == '[' ? 1 : c == ']' ? -1 : 0;
        if (c == '.' && depth == 0) parts.emplace_back();
        else parts.back() += c;
    }
    const auto wrong = [&] { return fail(cat("\"", printable(text, 60), "\" is not a reply like 127.0.0.2 or 127.0.[0;1].[2..11]")); };
    if (parts.size() != 4 || depth != 0) return wrong();
    for (const std::string& part : parts) {
        std::vector<Range> ranges;
        std::string_view inner = part;
        const bool list = inner.size() > 2 && inner.front() == '[' && inner.back() == ']';
        if (list) inner = inner.substr(1, inner.size() - 2);
        for (const std::string_view piece : split_on(inner, list ? ';' : '\0')) {
            const std::size_t dots = list ? piece.find("..") : std::string_view::npos;
            const auto from = parse_number<uint8_t>(piece.substr(0, dots));
            const auto to = dots == std::string_view::npos ? from : parse_number<uint8_t>(piece.substr(dots + 2));
            if (!from || !to || *from > *to) return wrong();
            ranges.push_back({*from, *to});
        }
        out.octets_.push_back(std::move(ranges));
    }
    return out;
}

bool ReplyFilter::matches(const net::Address& address) const
{
    const std::string bytes = address.ip_bytes();
    if (bytes.size() != 4) return false;
    // RFC 5782 §2.1: entries are in 127.0.0.0/8; anything else is a domain that was sold, or a resolver that invents answers.
    if (octets_.empty()) return static_cast<uint8_t>(bytes[0]) == 127;
    for (std::size_t i = 0; i < 4; ++i) {
        const auto byte = static_cast<uint8_t>(bytes[i]);
        if (std::none_of(octets_[i].begin(), octets_[i].end(), [byte](const Range& r) { return byte >= r.from && byte <= r.to; })) return false;
    }
    return true;
}

std::vector<std::string> Rules::table_specs() const
{
    std::set<std::string> out(rbl_reply_maps.begin(), rbl_reply_maps.end());
    out.insert(relay_clientcerts.begin(), relay_clientcerts.end());
    each_restriction(*this, [&](const Restriction& one) {
        if (takes_table(one.op)) out.insert(one.argument);
    });
    return {out.begin(), out.end()};
}

std::vector<std::string> Rules::policy_endpoints() const
{
    std::set<std::string> out;
    each_restriction(*this, [&](const Restriction& one) {
        if (one.server) out.insert(one.server->endpoint);
    });
    return {out.begin(), out.end()};
}

Rules parse_rules(const conf::Values& values, std::string_view prefix, std::vector<Complaint>& complaints)
{
    Rules rules;
    rules.prefix = prefix;
    rules.settings = read_codes(values, prefix);
    rules.rbl_reply_maps = values.list("rbl_reply_maps");
    rules.relay_clientcerts = values.list("relay_clientcerts");
    const PolicyServer defaults = policy_defaults(values);
    std::set<std::string, std::less<>> classes;
    for (std::string& name : values.list("smtpd_restriction_classes")) {
        if (find_row(name)) complaints.push_back({true, "smtpd_restriction_classes", cat("smtpd_restriction_classes: ", name, " is the name of a restriction")});
        else classes.insert(std::move(name));
    }
    for (const std::string& name : classes) {
        Reader reader(rules, classes, defaults, name, complaints);
        if (values.extra(name).empty()) complaints.push_back({true, "smtpd_restriction_classes", cat("smtpd_restriction_classes: ", name, " is not defined: write ", name, " = restrictions")});
        rules.classes.emplace(name, reader.read(values.extra(name)));
    }
    for (std::size_t i = 0; i < stages; ++i) {
        const std::string setting = cat(prefix, '_', words[i], "_restrictions");
        if (!conf::find_setting(setting)) continue;    // ETRN is smtpd's alone
        Reader reader(rules, classes, defaults, setting, complaints);
        reader.table_default_ = bare_table(static_cast<Stage>(i));
        rules.lists[i] = reader.read(values.text(setting));
        std::vector<std::string> path;
        if (loops(rules, rules.lists[i], path)) {
            complaints.push_back({true, setting, cat(setting, ": restriction class ", path.back(), " leads to itself")});
            rules.lists[i].clear();
        }
    }
    check_certificates(values, rules, complaints);
    if (!guards(rules.list(Stage::relay)) && !guards(rules.list(Stage::recipient)))
        complaints.push_back({true, cat(prefix, "_relay_restrictions"),
                              cat("open relay: neither ", prefix, "_relay_restrictions nor ", prefix, "_recipient_restrictions has reject_unauth_destination, defer_unauth_destination, reject or defer; add reject_unauth_destination to one of them")});
    return rules;
}

RestrictionList parse_restrictions(std::string_view text, const Rules& rules, std::string& why)
{
    std::set<std::string, std::less<>> classes;
    for (const auto& [name, list] : rules.classes) classes.insert(name);
    std::vector<Complaint> complaints;
    PolicyServer defaults;
    defaults.default_action = "451 4.3.5 Server configuration problem";
    Reader reader(rules, classes, defaults, "", complaints);
    RestrictionList list = reader.read(text);
    why.clear();
    for (const Complaint& complaint : complaints)
        if (why.empty() && complaint.error) why = complaint.text;
    // Tables and servers are opened at start-up, so what names some must stand in a class.
    for (const Restriction& one : list)
        if (why.empty() && (takes_table(one.op) || one.server)) why = cat(one.name, ": put it in a restriction class (smtpd_restriction_classes) and name that class in the table");
    if (!why.empty()) list.clear();
    return list;
}

Tables open_tables(const Rules& rules, const table::ReadText& read)
{
    Tables out;
    for (const std::string& spec : rules.table_specs()) {
        auto opened = table::open_from(spec, read);
        if (opened) out.emplace(spec, std::shared_ptr<const table::Table>(std::move(*opened)));
        else out.emplace(spec, unexpected(opened.error()));
    }
    return out;
}

}  // namespace veredus::reception
