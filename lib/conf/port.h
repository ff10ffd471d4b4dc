// TCP ports, as numbers or by the names of services(5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace veredus::conf {

// "25", "submission": a number below 65536, a service of mail (known without a file, in any case), or a name or alias
// of a TCP service in /etc/services. The file is read at the first use of remember_services or port_of, once in a
// process; any thread.
std::optional<uint16_t> port_of(std::string_view text);
void remember_services(); // before a jail hides the file

// The lines of a services file that are about TCP: "name port\n", one for each name. And a look into them.
std::string read_services(std::string_view text);
std::optional<uint16_t> find_service(std::string_view services, std::string_view name);

} // namespace veredus::conf
