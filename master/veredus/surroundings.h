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
std::vector<std::string> users_advice(const conf::Values& values);      // users and programs that settings name; asks the user database

// Lines of passwd-files that are not used, and what keeps SCRAM from being offered to those who have a secret for it. Never a secret.
std::vector<std::string> passwd_files_advice(const conf::Values& values);
std::vector<std::string> routes_advice(const conf::Values& values);       // relayhost and its kin, transports
std::string luser_relay_advice(const conf::Values& values);               // empty when all is well
std::vector<std::string> sockets_advice(const conf::Values& values);      // of policy services and LMTP servers on this host
std::vector<std::string> domains_advice(const conf::Values& values);      // what stands in lists of our domains
std::vector<std::string> mail_spool_advice(const conf::Values& values);   // the directory of mailboxes
// Tables that only root can read, where router or local read them; as root only.
std::vector<std::string> unreadable_tables(const conf::Values& values);

// What keeps smtp-client from starting: certificates, keys and authorities that cannot be read, protocols that nobody knows.
std::vector<std::string> client_tls_problems(const conf::Values& values);
std::string log_file_advice(const conf::Values& values);                  // of maillog_file; empty when all is well

struct Certificates {
    std::vector<std::string> errors;      // who listens has no TLS with them
    std::vector<std::string> warnings;
};
// Those of all roles that listen; what several have from one setting is said once. `own`: whether a self-signed certificate that is not
// there yet is missed.
Certificates look_at_certificates(const conf::Values& values, const std::string& config_directory, bool own = true);

}  // namespace veredus::admin
