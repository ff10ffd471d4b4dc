// resolv.conf(5): which servers to ask, and how patiently.
#include "lib/base/text.h"
#include "lib/dns/resolver.h"

namespace veredus::dns {

namespace {

// glibc's own bounds (RES_MAXRETRANS, RES_MAXRETRY, MAXNS).
constexpr int max_timeout_s = 30, max_attempts = 5;
constexpr std::size_t max_servers = 3, max_search = 6;

void read_option(std::string_view word, Config& config)
{
    const auto [name, value] = cut(word, ':');
    if (name == "timeout" && value)
        config.timeout = std::chrono::seconds(std::max(1, parse_number<int>(*value, max_timeout_s).value_or(5)));
    else if (name == "attempts" && value)
        config.attempts = std::max(1, parse_number<int>(*value, max_attempts).value_or(2));
    else if (word == "rotate")
        config.rotate = true;
    else if (word == "trust-ad")
        config.trust_ad = true;
}

} // namespace

Result<Config> Config::from_resolv_conf(std::string_view text)
{
    if (text.find('\0') != std::string_view::npos) return fail("resolv.conf: not a text file");
    Config config;
    for (const std::string_view line : split_on(text, '\n')) {
        const auto words = split(line, " \t\r");
        if (words.empty() || words[0][0] == '#' || words[0][0] == ';') continue;
        if (words[0] == "nameserver" && words.size() > 1 && config.servers.size() < max_servers) {
            // An address that we do not understand (a link-local one with its interface) is passed over, as others are
            // there.
            if (const auto address = net::Address::parse_ip(words[1], 53)) config.servers.push_back(*address);
        } else if (words[0] == "search" || words[0] == "domain") {
            config.search.clear();
            for (std::size_t i = 1; i < words.size() && config.search.size() < max_search; ++i)
                config.search.emplace_back(words[i]);
        } else if (words[0] == "options") {
            for (std::size_t i = 1; i < words.size(); ++i) read_option(words[i], config);
        }
    }
    if (config.servers.empty()) config.servers.push_back(*net::Address::parse_ip("127.0.0.1", 53));
    bool local = true;
    for (const net::Address& server : config.servers) local = local && server.loopback();
    config.trust_ad = config.trust_ad || local;
    return config;
}

} // namespace veredus::dns
