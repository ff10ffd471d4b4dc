// veredus clientconfig: the settings of mail programs, ready to publish.
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "lib/base/text.h"
#include "lib/conf/host.h"
#include "lib/mail/idna.h"
#include "master/veredus/client_settings.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

struct Form {
    std::string_view name;
    std::string (*make)(const std::string& domain, const std::vector<ClientServer>& servers);
    const char* where; // @ stands for the domain
};
constexpr Form forms[] = {
    {"text", settings_text, "for people"},
    {"autoconfig", autoconfig_xml,
     "Thunderbird and its kin: publish as https://autoconfig.@/mail/config-v1.1.xml or "
     "https://@/.well-known/autoconfig/mail/config-v1.1.xml"},
    {"autodiscover", autodiscover_xml,
     "Outlook: the answer to POST https://autodiscover.@/autodiscover/autodiscover.xml, as text/xml"},
    {"srv", srv_records, "DNS: for the zone @"},
};

std::string with_domain(std::string_view text, const std::string& domain)
{
    std::string out;
    for (const char c : text) c == '@' ? out += domain : out += c;
    return out;
}

void warn_of_what_is_missing(const std::vector<ClientServer>& servers)
{
    const auto is_there = [&](bool outgoing) {
        return std::any_of(servers.begin(), servers.end(),
                           [&](const ClientServer& s) { return (s.protocol == MailProtocol::smtp) == outgoing; });
    };
    if (!is_there(false)) complain("warning: nobody can read mail: imapd_listen and pop3d_listen are empty");
    if (!is_there(true)) complain("warning: nobody can send mail: submission_listen is empty");
    if (std::any_of(servers.begin(), servers.end(), [](const ClientServer& s) { return s.host == "localhost"; }))
        complain("warning: \"localhost\" is for programs on this host alone, not for publishing; see inet_interfaces "
                 "and the addresses in "
                 "imapd_listen, pop3d_listen, submission_listen");
}

} // namespace

int clientconfig(const Common& common, int argc, char** argv)
{
    std::string_view wanted;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "o:")) != -1;) {
        if (option == '?') return usage("clientconfig", false);
        wanted = ::optarg;
    }
    const auto is_wanted = [&](const Form& form) { return wanted.empty() || wanted == form.name; };
    if (::optind + 1 != argc || std::none_of(std::begin(forms), std::end(forms), is_wanted))
        return usage("clientconfig", false);
    const auto domain = mail::domain_to_ascii(argv[::optind]);
    if (!domain || !conf::is_host_name(*domain)) {
        complain("\"%s\" is no domain", printable(argv[::optind], 255).c_str());
        return EX_USAGE;
    }
    const auto values = load_settings(common, true);
    if (!values) return EX_CONFIG;
    const auto servers = client_servers(*values);
    if (!servers) {
        complain("%s", servers.error().text.c_str());
        return EX_CONFIG;
    }
    warn_of_what_is_missing(*servers);
    for (const Form& form : forms) {
        if (!is_wanted(form)) continue;
        if (wanted.empty())
            std::printf("%s---- %s\n", &form == forms ? "" : "\n", with_domain(form.where, *domain).c_str());
        std::fputs(form.make(*domain, *servers).c_str(), stdout);
    }
    return std::fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

} // namespace veredus::admin
