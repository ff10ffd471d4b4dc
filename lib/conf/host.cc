// What this host calls itself, without asking the network.
#include "lib/conf/host.h"

#include <unistd.h>

#include <algorithm>

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::conf {

bool is_host_name(std::string_view name)
{
    if (name.empty() || name.size() > 253) return false;
    for (const std::string_view label : split_on(name, '.')) {
        if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
        if (!std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_'; })) return false;
    }
    return true;
}

std::string full_hostname(std::string_view short_name, std::string_view hosts_text)
{
    if (short_name.find('.') != std::string_view::npos && is_host_name(short_name)) return std::string(short_name);
    if (!is_host_name(short_name)) return "localhost.localdomain";
    for (std::string_view line : split_on(hosts_text, '\n')) {
        line = line.substr(0, line.find('#'));
        const auto words = split(line, " \t\r");
        const bool ours = std::any_of(words.begin(), words.end(), [&](std::string_view word) { return iequals(word, short_name); });
        if (!ours) continue;
        for (std::size_t i = 1; i < words.size(); ++i) {
            const bool ours_in_full = istarts_with(words[i], cat(short_name, '.'));
            if (ours_in_full && is_host_name(words[i]) && !istarts_with(words[i], "localhost.")) return lower(words[i]);
        }
    }
    return cat(short_name, ".localdomain");
}

std::string system_hostname()
{
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) != 0) name[0] = '\0';
    const auto hosts = read_file("/etc/hosts", 1 << 20);
    return full_hostname(name, hosts ? std::string_view(*hosts) : std::string_view());
}

}  // namespace veredus::conf
