// hosts(5): names and their addresses.
#include "lib/net/hosts.h"

#include "lib/base/text.h"

namespace veredus::net {

HostNames parse_host_names(std::string_view text)
{
    HostNames out;
    for (std::string_view line : split_on(text, '\n')) {
        line = line.substr(0, line.find('#'));
        const auto words = split(line, " \t\r");
        const auto address = words.size() < 2 ? std::nullopt : Address::parse_ip(words[0], 0);
        if (!address) continue;
        for (std::size_t i = 1; i < words.size(); ++i) out[lower(words[i])].push_back(*address);
    }
    auto& local = out["localhost"];                // RFC 6761 §6.3
    if (local.empty()) local = {*Address::parse_ip("127.0.0.1", 0), *Address::parse_ip("::1", 0)};
    return out;
}

}  // namespace veredus::net
