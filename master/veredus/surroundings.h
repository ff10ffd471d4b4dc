// What the settings lean on outside of the mail system: the host's name, its DNS, users, files that smtp-client opens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"

namespace veredus::admin {

// Each is one complaint with the setting's name and what to do; none of them keeps the mail system from starting.
std::vector<std::string> host_name_advice(const conf::Values& values);
std::vector<std::string> resolver_advice(const Result<std::string>& resolv_conf);    // the text of /etc/resolv.conf
std::vector<std::string> users_advice(const conf::Values& values);                   // asks the user database

// Certificates, keys and authorities for connections to other servers that cannot be read: smtp-client would not start.
std::vector<std::string> missing_client_files(const conf::Values& values);

}  // namespace veredus::admin
