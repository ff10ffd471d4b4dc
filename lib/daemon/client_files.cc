#include "lib/daemon/client_files.h"

#include <algorithm>
#include <set>

#include "lib/base/text.h"
#include "lib/table/kinds.h"

namespace veredus::daemon {

std::vector<std::string> client_files(const conf::Values& values)
{
    std::set<std::string> paths;
    for (const char* setting : {"smtp_tls_policy_maps", "smtp_sasl_password_maps", "lmtp_tls_policy_maps", "lmtp_sasl_password_maps",
                                "smtp_reply_filter", "lmtp_reply_filter", "smtp_discard_ehlo_keyword_address_maps", "lmtp_discard_lhlo_keyword_address_maps",
                                "smtp_generic_maps", "smtp_header_checks", "smtp_mime_header_checks", "smtp_nested_header_checks", "smtp_body_checks",
                                "lmtp_generic_maps", "lmtp_header_checks", "lmtp_mime_header_checks", "lmtp_nested_header_checks", "lmtp_body_checks"})
        for (const std::string& spec : values.list(setting))
            for (std::string& path : table::files_of(spec)) paths.insert(std::move(path));
    for (const char* setting : {"smtp_tls_CAfile", "smtp_tls_cert_file", "smtp_tls_key_file", "lmtp_tls_CAfile", "lmtp_tls_cert_file", "lmtp_tls_key_file"}) paths.emplace(values.text(setting));
    for (const char* setting : {"smtp_tls_chain_files", "lmtp_tls_chain_files"})
        for (std::string& path : values.list(setting)) paths.insert(std::move(path));
    // hosts(5), where smtp_host_lookup and its kin look at it.
    const auto has_native = [&values](const char* setting) {
        const auto words = values.list(setting);
        return std::any_of(words.begin(), words.end(), [](const std::string& word) { return iequals(word, "native"); });
    };
    if (has_native("smtp_host_lookup") || has_native("lmtp_host_lookup") || values.flag("disable_dns_lookups") ||
        iequals(values.text("smtp_dns_support_level"), "disabled") || iequals(values.text("lmtp_dns_support_level"), "disabled"))
        paths.emplace("/etc/hosts");
    paths.erase(std::string());
    return {paths.begin(), paths.end()};
}

} // namespace veredus::daemon
