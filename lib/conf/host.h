// What this host calls itself, without asking the network.
#pragma once

#include <string>
#include <string_view>

namespace veredus::conf {

// The full name of gethostname(2)'s answer: itself when it has a dot, else the first dotted name on a line of /etc/hosts
// that also names it, else with ".localdomain".
std::string system_hostname();
std::string full_hostname(std::string_view short_name, std::string_view hosts_text);
bool is_host_name(std::string_view name);   // labels of letters, digits, hyphens and underscores

}  // namespace veredus::conf
