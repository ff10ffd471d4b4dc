// Restriction lists of main.cf, checked before a start.
#include "lib/reception/check.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/conf/place.h"
#include "lib/reception/judge.h"

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

// The setting whose text names the table; lists before classes.
std::string setting_of(const conf::File& file, const std::string& spec)
{
    for (const auto& [name, assignment] : file.assignments())
        if (assignment.value.find(spec) != std::string::npos) return name;
    return "";
}

void check_relay(const conf::File& file, const conf::Values& values, const Rules& rules, std::vector<conf::Diagnostic>& out)
{
    const std::string setting = cat(rules.prefix, "_relay_restrictions");
    if (std::string why = relays_for_strangers(rules, *net::Address::parse_ip("203.0.113.7", 0), false); !why.empty())
        out.push_back(conf::complaint_about(file, setting, true, cat(setting, ": ", why)));
    if (rules.prefix != "smtpd") return;           // mynetworks counts there only when the administrator says so
    const auto networks = table::MatchList::networks(values.list("mynetworks"));
    if (!networks) return;                         // told by table::check_sources()
    const bool v4 = trusts_most(*networks, far_apart), v6 = trusts_most(*networks, far_apart_v6);
    if (!v4 && !v6) return;
    if (std::string why = relays_for_strangers(rules, *net::Address::parse_ip(v4 ? far_apart[0] : far_apart_v6[0], 0), true); !why.empty())
        out.push_back(conf::complaint_about(file, "mynetworks", true, cat("mynetworks: ", why)));
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
    for (const std::string& spec : rules.table_specs()) {
        const auto read = [](const std::string& path) { return read_file(path, std::size_t{256} << 20); };
        const auto table = table::open_from(spec, read);
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
    }
    if (!wrong) check_relay(file, values, rules, out);
}

}  // namespace

std::vector<conf::Diagnostic> check_restrictions(const conf::File& file)
{
    std::vector<conf::Diagnostic> out;
    const conf::Values values = file.values();
    for (const std::string_view prefix : {"smtpd", "submission"}) check_lists(file, values, prefix, out);
    return out;
}

}  // namespace veredus::reception
