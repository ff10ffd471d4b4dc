// Restriction lists of main.cf, checked before a start.
#include "lib/reception/check.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <optional>
#include <set>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/conf/place.h"
#include "lib/reception/check_rules.h"
#include "lib/reception/judge.h"
#include "lib/table/kinds.h"

namespace veredus::reception {

namespace {

// Far apart in the Internet, and nobody's own network: a mynetworks that has most of them has everybody.
constexpr const char* far_apart[] = {"1.1.1.1", "8.8.8.8", "77.88.55.60", "185.12.64.1", "203.0.113.7"};
constexpr const char* far_apart_v6[] = {"2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1"};

template <std::size_t N> bool trusts_most(const table::MatchList& networks, const char* const (&addresses)[N])
{
    const auto in = [&](const char* ip) {
        const auto matches = networks.matches_client(*net::Address::parse_ip(ip, 0));
        return matches && *matches;
    };
    return static_cast<std::size_t>(std::count_if(std::begin(addresses), std::end(addresses), in)) * 2 > N;
}

// A table, or one inside of unionmap: or pipemap:, of which `test` is true; the text is without "!" and "proxy:".
template <class F> bool any_table(std::string_view spec, const F& test, int depth = 0)
{
    while (spec.starts_with('!')) spec.remove_prefix(1);
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    const auto inside = table::inside_of(spec);
    if (!inside) return test(spec);
    const auto words = conf::split_list(*inside);
    return depth < 10 && std::any_of(words.begin(), words.end(), [&](std::string_view word) { return any_table(word, test, depth + 1); });
}

bool asks_a_server(std::string_view spec)
{
    return any_table(spec, [](std::string_view one) { return one.starts_with("socketmap:"); });
}

// It can have an answer for everybody, and no server is asked for it.
bool is_pattern(std::string_view spec)
{
    const auto pattern = [](std::string_view one) { return one.starts_with("static:") || one.starts_with("regexp:") || one.starts_with("pcre:") || one.starts_with("cidr:"); };
    return any_table(spec, pattern) && !asks_a_server(spec);
}

// What of a list can hold everything: not tables of single keys.
std::vector<std::string> wide_part(std::vector<std::string> patterns)
{
    std::erase_if(patterns, [](const std::string& one) {
        const std::string_view bare = std::string_view(one).substr(std::min(one.find_first_not_of('!'), one.size()));
        return bare.find(':') != std::string_view::npos && !bare.starts_with('/') && !is_pattern(bare) && !net::Network::parse(bare);
    });
    return patterns;
}

// Of a table of single keys those that millions have: the top of the domains ("com", ".com"), a /8 of the addresses ("8"),
// clients without a name, and the null sender.
class WideKeys final : public table::Table {
public:
    WideKeys(std::unique_ptr<table::Table> all, std::string null_key) : all_(std::move(all)), null_key_(std::move(null_key)) {}
    Result<std::optional<std::string>> find(std::string_view key) const override
    {
        const std::string_view bare = key.starts_with('.') ? key.substr(1) : key;
        if (key != null_key_ && (bare.empty() || bare.find_first_of(".:@/") != std::string_view::npos)) return std::optional<std::string>();
        return all_->find(key);
    }

private:
    std::unique_ptr<table::Table> all_;
    std::string null_key_;
};

Result<std::unique_ptr<table::Table>> wide_keys_of(const std::string& spec, std::unique_ptr<table::Table> opened, const std::string& null_key)
{
    if (is_pattern(spec)) return opened;
    return std::unique_ptr<table::Table>(std::make_unique<WideKeys>(std::move(opened), null_key));
}

// The table, as far as it has answers for everybody.
Result<std::unique_ptr<table::Table>> open_wide(const std::string& spec, const table::ReadText& read, const std::string& null_key)
{
    if (table::inside_of(spec)) return table::open_combined(spec, [&](const std::string& one) { return open_wide(one, read, null_key); });
    auto opened = TRY(table::open_from(spec, read));
    return wide_keys_of(spec, std::move(opened), null_key);
}

bool has(const table::MatchList& networks, const std::string& ip)
{
    const auto address = net::Address::parse_ip(ip, 0);
    const auto matches = address ? networks.matches_client(*address) : Result<bool>(false);
    return matches && *matches;
}

// An address of a range that is too wide to be anybody's own: two public /8 side by side (IPv6: two /16) of which each sample is listed.
std::optional<net::Address> of_wide_range(const table::MatchList& networks)
{
    const auto whole = [&](const std::string& prefix, const auto& rests) {
        return std::all_of(std::begin(rests), std::end(rests), [&](const char* rest) { return has(networks, cat(prefix, rest)); });
    };
    static constexpr const char* rests[] = {".1.2.3", ".37.91.5", ".77.200.9", ".129.4.77", ".168.250.1", ".200.66.130", ".222.17.240", ".254.253.252"};
    for (unsigned first = 0; first < 224; first += 2)
        if (whole(cat(first), rests) && whole(cat(first + 1), rests)) return net::Address::parse_ip(cat(first == 126 ? 126 : first + 1, rests[0]), 0);    // 10 and 127 are private
    static constexpr const char* rests_v6[] = {":1::1", ":db7:5::7", ":2468::a", ":4700::1", ":7fff:1::2", ":9abc::3", ":cafe::1", ":fe01:2::9"};
    for (unsigned first = 0x2000; first < 0x4000; first += 2) {    // 2000::/3, all that is public
        const auto group = [](unsigned value) { return lower(hex_upper(value, 4)); };
        if (whole(group(first), rests_v6) && whole(group(first + 1), rests_v6)) return net::Address::parse_ip(cat(group(first), rests_v6[0]), 0);
    }
    return std::nullopt;
}

struct Stranger {
    net::Address address;
    bool ours = false;                   // in mynetworks
    ipc::AddressClass destination = ipc::AddressClass::remote;    // whose the address is that he sends to
    std::string top = "invalid";         // of his domain, and of theirs
    bool nameless = false;               // he has no name in DNS
    bool null_sender = false;
    std::string permissive = {};         // a policy service that says OK
};

constexpr const char* elsewhere[] = {"elsewhere.invalid", "other.test"};

// May he send mail to others through us? All is well with him and his names, so that no other check stands in for the one that guards the
// relay; the policy services but one have nothing to say. Mail that is put aside or thrown away is not sent.
bool relays(const Rules& rules, const Tables& tables, const Stranger& stranger)
{
    Situation s;
    s.client = stranger.address;
    s.ours = stranger.ours;
    s.helo = s.client_name = s.reverse_name = cat("stranger.veredus-check.", stranger.top);
    if (stranger.nameless) s.client_name = s.reverse_name = "unknown";
    s.tls_protocol = "TLSv1.3";
    s.protocol = "ESMTP";
    s.has_sender = s.has_recipient = true;
    if (!stranger.null_sender) s.sender = {"stranger", s.helo};
    s.recipient = {"victim", stranger.top == "invalid" ? std::string(elsewhere[0]) : cat("elsewhere.veredus-check.", stranger.top)};
    Facts facts;
    ipc::Route route;
    route.kind = ipc::Route::Kind::deliver;
    const auto address_of = [&](const mail::Address& address) {
        route.address_class = address == s.recipient ? stranger.destination : ipc::AddressClass::remote;
        return route;
    };
    ipc::OwnerReply nobodys;
    nobodys.word = ipc::OwnerReply::Word::no;
    dns::Answer nothing, there;
    nothing.status = dns::Status::nxdomain;
    there.status = dns::Status::ok;
    there.records.push_back({dns::Kind::a, 0, 0, "mx.invalid", stranger.address, ""});
    const auto exists = [&](const std::string& name) { return name == s.helo || name == s.recipient.domain; };
    for (int turn = 0; turn < 1000; ++turn) {
        const Verdict verdict = judge(rules, tables, s, At::rcpt, facts);
        const Deeds& deeds = verdict.deeds;
        if (verdict.kind == Verdict::Kind::refuse) return false;
        if (verdict.kind == Verdict::Kind::permit) return !deeds.hold && !deeds.discard && deeds.redirect.empty();
        for (const Question& q : facts.take_questions()) {
            if (q.kind == Question::Kind::dns) facts.put_dns(q.name, q.record, exists(q.name) ? there : nothing);
            if (q.kind == Question::Kind::route) facts.put_route(q.name, address_of(mail::parse_address(q.name).value_or(mail::Address{})));
            if (q.kind == Question::Kind::owner) facts.put_owner(q.user, q.name, nobodys);
            if (q.kind == Question::Kind::policy) facts.put_policy(q.server->endpoint, q.name, q.server->endpoint == stranger.permissive ? "OK" : "DUNNO");
        }
    }
    return false;
}

constexpr const char* may_send = " may send mail to anyone anywhere through this host; ";

// The domains that are somebody's by a pattern that fits all of them; no word of lists that cannot be read: table::check_sources() has one.
bool has_every_domain(const conf::Values& values, const std::string& setting)
{
    const auto list = table::MatchList::domains(wide_part(values.list(setting)), false);
    return list && std::all_of(std::begin(elsewhere), std::end(elsewhere), [&](const char* domain) {
        const auto matches = list->matches_domain(domain);
        return matches && *matches;
    });
}

// relay_recipient_maps may name who of all those domains gets mail.
bool anybody_is_relayed_to(const conf::Values& values)
{
    const auto specs = values.list("relay_recipient_maps");
    return specs.empty() || std::any_of(specs.begin(), specs.end(), [](const std::string& spec) {
        if (!is_pattern(spec)) return false;
        const auto table = table::open(spec);
        const auto found = table ? (*table)->find(cat("victim@", elsewhere[0])) : Result<std::optional<std::string>>(std::nullopt);
        return found && found->has_value();
    });
}

// The setting whose text names the table; lists before classes.
std::string setting_of(const conf::File& file, const std::string& spec)
{
    for (const auto& [name, assignment] : file.assignments())
        if (assignment.value.find(spec) != std::string::npos) return name;
    return "";
}

void check_domains(const conf::File& file, const conf::Values& values, const Rules& rules, const Tables& silent, std::vector<conf::Diagnostic>& out)
{
    const Stranger stranger{*net::Address::parse_ip("203.0.113.7", 0), false, ipc::AddressClass::relay};
    if (has_every_domain(values, "relay_domains") && anybody_is_relayed_to(values) && relays(rules, silent, stranger))
        out.push_back(conf::complaint_about(file, "relay_domains", true, cat("relay_domains: open relay: every domain is in it, and ", stranger.address.ip(), may_send,
                                                                             "list only domains that this host relays mail for")));
    if (rules.prefix != "smtpd") return;           // said once
    for (const char* setting : {"mydestination", "virtual_alias_domains", "virtual_mailbox_domains"})
        if (has_every_domain(values, setting))
            out.push_back(conf::complaint_about(file, setting, false, cat(setting, ": every domain is in it: mail for anyone anywhere counts as mail for this host's own users; list only your own domains")));
}

// Those who have something in common with many others.
std::vector<Stranger> crowds()
{
    const net::Address anyone = *net::Address::parse_ip("203.0.113.7", 0);
    std::vector<Stranger> out;
    for (const char* ip : far_apart) out.push_back({*net::Address::parse_ip(ip, 0)});
    for (const char* ip : far_apart_v6) out.push_back({*net::Address::parse_ip(ip, 0)});
    for (const char* top : {"com", "net", "org", "de", "ru", "cn"}) {
        out.push_back({anyone});
        out.back().top = top;
    }
    out.push_back({anyone});
    out.back().nameless = true;
    out.push_back({anyone});
    out.back().null_sender = true;
    return out;
}

std::string who(const Stranger& stranger)
{
    if (stranger.nameless) return "a client without a name";
    if (stranger.null_sender) return "the null sender";
    return stranger.top == "invalid" ? stranger.address.ip() : cat("a client with a name or a sender in .", stranger.top);
}

// `silent`: tables that have nothing to say; `patterns`: with those that are asked about everybody, as they are.
void check_relay(const conf::File& file, const conf::Values& values, const Rules& rules, const Tables& silent, const Tables& patterns, std::vector<conf::Diagnostic>& out)
{
    const std::string setting = cat(rules.prefix, "_relay_restrictions");
    const auto open_to = [&]() -> std::optional<std::string> {
        if (const Stranger anyone{*net::Address::parse_ip("203.0.113.7", 0)}; relays(rules, silent, anyone)) return who(anyone);
        for (const Stranger& stranger : crowds())
            if (relays(rules, patterns, stranger)) return who(stranger);
        return std::nullopt;
    }();
    if (open_to)
        out.push_back(conf::complaint_about(file, setting, true, cat(setting, ": open relay: ", *open_to, may_send, "put reject_unauth_destination before what permits it in ", setting)));
    else
        check_domains(file, values, rules, silent, out);
    if (rules.prefix != "smtpd") return;           // mynetworks counts there only when the administrator says so
    const auto networks = table::MatchList::networks(wide_part(values.list("mynetworks")));
    if (!networks) return;                         // told by table::check_sources()
    auto known = of_wide_range(*networks);
    if (!known && trusts_most(*networks, far_apart)) known = net::Address::parse_ip(far_apart[0], 0);
    if (!known && trusts_most(*networks, far_apart_v6)) known = net::Address::parse_ip(far_apart_v6[0], 0);
    if (known && relays(rules, silent, {*known, true}))
        out.push_back(conf::complaint_about(file, "mynetworks", true, cat("mynetworks: open relay: ", known->ip(), " is in mynetworks and", may_send, "list only your own networks in mynetworks")));
}

void check_lists(const conf::File& file, const conf::Values& values, std::string_view prefix, std::vector<conf::Diagnostic>& out)
{
    std::vector<Complaint> complaints;
    const Rules rules = parse_rules(values, prefix, complaints);
    bool wrong = false;
    const auto add = [&](conf::Diagnostic one) {
        wrong = wrong || one.error;
        // Classes and tables are of both roles, and said once.
        if (std::none_of(out.begin(), out.end(), [&](const conf::Diagnostic& known) { return known.text == one.text; })) out.push_back(std::move(one));
    };
    for (Complaint& complaint : complaints) add(conf::complaint_about(file, complaint.setting, complaint.error, std::move(complaint.text)));
    Tables silent, patterns;
    for (const std::string& spec : rules.table_specs()) {
        const std::shared_ptr<const table::Table> nothing = std::move(*table::open("inline:{nobody=dunno}"));
        silent.emplace(spec, nothing);
        patterns.emplace(spec, nothing);
        const auto read = [](const std::string& path) { return read_file(path, std::size_t{256} << 20); };
        auto table = table::open_from(spec, read);
        const std::string setting = setting_of(file, spec);
        const std::string what = setting.empty() ? spec : cat(setting, ": ", spec);
        if (!table) {
            const bool not_for_us = table.error().code == EACCES && ::geteuid() != 0;
            add(conf::complaint_about(file, setting, !not_for_us, cat(what, ": ", table.error().text)));
            continue;
        }
        auto problems = (*table)->problems();
        problems.resize(std::min<std::size_t>(problems.size(), 20));
        for (const std::string& problem : problems) add(conf::complaint_about(file, setting, false, cat(what, ": ", problem)));
        auto wide = table::inside_of(spec) ? open_wide(spec, read, rules.settings.null_key) : wide_keys_of(spec, std::move(*table), rules.settings.null_key);
        if (wide) patterns.insert_or_assign(spec, std::shared_ptr<const table::Table>(std::move(*wide)));
    }
    if (!wrong) check_relay(file, values, rules, silent, patterns, out);
}

// What each rule of header_checks and its kin does; that its table can be read is a matter of table::check_sources().
void check_actions(const conf::File& file, const conf::Values& values, std::vector<conf::Diagnostic>& out)
{
    std::set<std::string> said;      // mime_header_checks is header_checks unless it is set
    for (const conf::Setting& row : conf::all_settings()) {
        const std::string_view name = row.name;
        if (row.type != conf::Type::tables || !is_checks_setting(name)) continue;
        for (const std::string& spec : values.list(name)) {
            const auto table = table::open_from(spec, [](const std::string& path) { return read_file(path, std::size_t{256} << 20); });
            if (!table) continue;
            for (const std::string& problem : action_problems(name, **table))
                if (said.insert(problem).second) out.push_back(conf::complaint_about(file, name, false, cat(name, ": ", problem)));
        }
    }
}

}  // namespace

std::vector<std::string> unjudged(const conf::Values& values)
{
    std::vector<std::string> out;
    for (const char* setting : {"relay_domains", "mynetworks"})
        for (const std::string& spec : values.list(setting))
            if (asks_a_server(spec)) out.push_back(cat(setting, ": ", printable(spec, 100), " is not asked here: whether this host is an open relay is up to its answers"));
    for (const std::string_view prefix : {"smtpd", "submission"}) {
        std::vector<Complaint> complaints;
        const Rules rules = parse_rules(values, prefix, complaints);
        Tables silent;
        for (const std::string& spec : rules.table_specs()) silent.emplace(spec, std::shared_ptr<const table::Table>(std::move(*table::open("inline:{nobody=dunno}"))));
        Stranger stranger{*net::Address::parse_ip("203.0.113.7", 0)};
        if (relays(rules, silent, stranger)) continue;    // an error already
        for (const std::string& endpoint : rules.policy_endpoints()) {
            stranger.permissive = endpoint;
            if (relays(rules, silent, stranger))
                out.push_back(cat(prefix, "_relay_restrictions: check_policy_service ", printable(endpoint, 100),
                                  " is not asked here, and an OK of it lets strangers send mail to anyone anywhere: put reject_unauth_destination before it"));
        }
    }
    return out;
}

std::vector<conf::Diagnostic> check_restrictions(const conf::File& file)
{
    std::vector<conf::Diagnostic> out;
    const conf::Values values = file.values();
    for (const std::string_view prefix : {"smtpd", "submission"}) check_lists(file, values, prefix, out);
    check_actions(file, values, out);
    return out;
}

}  // namespace veredus::reception
