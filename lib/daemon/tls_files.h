// Which files the TLS of a listening role is made of, as its settings name them; and the self-signed certificate for hosts that
// have no other yet. Master watches these files, the role reads them, `veredus check` looks at them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/tls/tls.h"

namespace veredus::daemon {

struct TlsChain {
    std::string setting;                  // that names the files, for messages, and to know the chain by when the files have changed
    std::vector<std::string> files;       // read one after the other
    bool in_order = false;                // tls::Chain::in_order
};

struct TlsFiles {
    std::vector<TlsChain> chains;
    std::map<std::string, TlsChain> names;    // of tls_server_sni_maps
    std::vector<std::string> tables;          // the text files behind tls_server_sni_maps
    std::string authorities;                  // of client certificates; empty: none
    bool own = false;                         // nothing is configured: the self-signed one is meant
    std::vector<std::string> problems;        // lines of tables that cannot be used, tables that cannot be read
    std::vector<std::string> all() const;     // each path once, sorted
};

// How a path is read: from disk outside the jail, from what master sent inside.
using ReadText = std::function<Result<std::string>(const std::string& path)>;
Result<std::string> read_tls_file(const std::string& path);    // from disk

// `prefix`: "smtpd" for smtpd_tls_cert_file and so on.
TlsFiles tls_files(const conf::Values& values, std::string_view prefix, const std::string& config_directory, const ReadText& read);
// Chains and names that cannot be used are said in `problems`: what was there `before` in their place stays, or they are left out; an error when
// no chain remains. What has the same text
// as before is not parsed again: where one certificate of a thousand is renewed, it alone takes time.
Result<tls::ServerKeys> read_keys(const TlsFiles& files, const ReadText& read, std::vector<std::string>& problems, const tls::ServerKeys& before = {});

std::string own_certificate_path(const std::string& config_directory);
// Makes it (a folder 0700, key and certificate in one file 0600) when a role has no other and it is not there; says what it did.
Result<std::string> make_own_certificate(const conf::Values& values, const std::string& config_directory, bool only_say = false);

// "… is valid until 2027-02-01 12:00:00 UTC"; `urgent` when that is less than 14 days away.
std::string validity_line(const tls::CertificateFacts& facts, int64_t now_seconds, bool& urgent);

}  // namespace veredus::daemon
