#include "master/veredus/surroundings.h"

#include <pwd.h>
#include <unistd.h>

#include <set>

#include "lib/base/text.h"
#include "lib/conf/pipes.h"
#include "lib/net/address.h"

namespace veredus::admin {

std::vector<std::string> host_name_advice(const conf::Values& values)
{
    const std::string_view host = values.text("myhostname");
    if (host.find('.') != std::string_view::npos && !iends_with(host, ".localdomain")) return {};
    return {cat("myhostname: \"", host, "\" is no name that others can look up, and many servers refuse mail from such a host (RFC 5321 section 2.3.5): "
                "set myhostname, as in mail.example.org")};
}

std::vector<std::string> resolver_advice(const Result<std::string>& resolv_conf)
{
    const char* const asked = "127.0.0.1 is asked for every name; mail for other hosts waits unless a name server listens there";
    if (!resolv_conf) return {cat(resolv_conf.error().text, ": ", asked)};
    bool known = false;
    std::vector<std::string> advice;
    for (const std::string_view line : split_on(*resolv_conf, '\n')) {
        const auto words = split(line, " \t\r");
        if (words.size() < 2 || words[0] != "nameserver") continue;
        if (net::Address::parse_ip(words[1], 53)) known = true;
        else advice.push_back(cat("/etc/resolv.conf: \"nameserver ", printable(words[1], 60), "\" is no address and is passed over"));
    }
    if (!known) advice.push_back(cat("/etc/resolv.conf names no name server: ", asked));
    return advice;
}

std::vector<std::string> users_advice(const conf::Values& values)
{
    std::vector<std::string> advice;
    const auto look = [&](std::string_view setting, const std::string& user, std::string_view consequence) {
        if (!user.empty() && !::getpwnam(user.c_str())) advice.push_back(cat(setting, ": there is no user ", printable(user, 60), ": ", consequence));
    };
    look("default_privs", std::string(values.text("default_privs")), "mail for commands and files of aliases waits");
    look("root_mailbox_user", std::string(values.text("root_mailbox_user")), "mail for root waits while root has no alias (`veredus setup` makes veredus-root)");
    if (const auto pipes = conf::read_pipe_transports(values))
        for (const conf::PipeTransport& pipe : *pipes) {
            look(cat("pipe_transports: ", pipe.name), pipe.user, "its mail waits");
            if (const std::string& program = pipe.argv.front(); ::access(program.c_str(), X_OK) < 0)
                advice.push_back(cat("pipe_transports: ", pipe.name, ": ", fail_errno(program).error.text, ": its mail waits"));
        }
    const auto groups = values.list("virtual_gid_maps");
    for (const std::string& spec : values.list("virtual_uid_maps")) {
        if (!spec.starts_with("static:")) continue;
        const std::string text = spec.substr(7);
        const auto uid = parse_number<uint32_t>(text);
        if (!uid) advice.push_back(cat("virtual_uid_maps: ", spec, ": \"", printable(text, 60), "\" is not a number, and mail for virtual users waits: write the uid"));
        else if (const passwd* keeper = ::getpwuid(*uid); !keeper)
            advice.push_back(cat("virtual_uid_maps: ", spec, ": no account has this uid, and mail for virtual users waits: make one, as with `groupadd --system --gid ", *uid,
                                 " vmail && useradd --system --uid ", *uid, " --gid ", *uid, " vmail`"));
        else if (const std::string gid = cat("static:", keeper->pw_gid); groups.size() == 1 && groups[0].starts_with("static:") && groups[0] != gid)
            advice.push_back(cat("virtual_gid_maps: ", groups[0], ": is not the group of ", keeper->pw_name, ", and mail for virtual users waits: write ", gid));
    }
    return advice;
}

std::vector<std::string> missing_client_files(const conf::Values& values)
{
    std::vector<std::string> missing;
    std::set<std::string> seen;    // what lmtp_ has of smtp_ is said once
    const auto look = [&](const char* setting, const std::string& path, int wanted) {
        if (path.empty() || !seen.insert(path).second || ::access(path.c_str(), wanted) == 0) return;
        missing.push_back(cat(setting, ": ", fail_errno(path).error.text));
    };
    for (const char* setting : {"smtp_tls_CAfile", "smtp_tls_cert_file", "smtp_tls_key_file", "lmtp_tls_CAfile", "lmtp_tls_cert_file", "lmtp_tls_key_file"})
        look(setting, std::string(values.text(setting)), R_OK);
    for (const char* setting : {"smtp_tls_chain_files", "lmtp_tls_chain_files"})
        for (const std::string& path : values.list(setting)) look(setting, path, R_OK);
    look("smtp_tls_CApath", std::string(values.text("smtp_tls_CApath")), R_OK | X_OK);
    return missing;
}

}  // namespace veredus::admin
