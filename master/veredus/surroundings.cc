#include "master/veredus/surroundings.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "lib/auth/passwd_file.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/pipes.h"
#include "lib/daemon/rights.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/service.h"
#include "lib/daemon/tls_files.h"
#include "lib/daemon/worker_policy.h"
#include "lib/mail/address.h"
#include "lib/net/address.h"
#include "lib/table/kinds.h"
#include "lib/table/virtual_mailboxes.h"
#include "lib/tls/parameters.h"
#include "master/resolver/passwd_file.h"

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

namespace {

// Why this uid cannot keep mailboxes of virtual users; empty: it can, as far as can be told without an address.
std::string keeper_flaw(const conf::Values& values, uint32_t uid)
{
    const auto groups = values.list("virtual_gid_maps");
    const passwd* account = ::getpwuid(uid);
    if (groups.empty()) return account ? "" : cat("no account has this uid, and virtual_gid_maps is empty; write the group, as virtual_gid_maps = static:", uid);
    if (groups.size() > 1 || !groups[0].starts_with("static:")) return "";
    const auto gid = parse_number<uint32_t>(std::string_view(groups[0]).substr(7));
    if (!gid) return cat("virtual_gid_maps: ", printable(groups[0], 60), " is not a number");
    if (account && account->pw_gid == *gid) return "";
    ipc::UserReply keeper;
    keeper.name = table::ids_text(uid, *gid);
    keeper.uid = uid;
    keeper.gid = *gid;
    const auto allowed = daemon::WorkerPolicy::from(values, false, 0).check_keeper(keeper);
    return allowed ? "" : allowed.error().text;
}

}  // namespace

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
    // The shell finds what has no path.
    const auto command = split(values.text("mailbox_command"), " \t");
    if (!command.empty() && command[0].starts_with('/') && command[0].find_first_of("$`\"'\\") == std::string_view::npos)
        if (const std::string program(command[0]); ::access(program.c_str(), X_OK) < 0) advice.push_back(cat("mailbox_command: ", fail_errno(program).error.text, ": all mail for users waits"));
    const auto shell = split(values.text("local_command_shell"), " \t");
    if (const std::string program(shell.empty() ? std::string_view() : shell[0]); !program.empty()) {
        const std::string flaw = !program.starts_with('/') ? cat('"', printable(program, 100), "\" is not an absolute path") : ::access(program.c_str(), X_OK) < 0 ? fail_errno(program).error.text : "";
        if (!flaw.empty()) advice.push_back(cat("local_command_shell: ", flaw, ": all mail for commands waits"));
    }
    if (const passwd* of_commands = ::getpwnam(std::string(values.text("default_privs")).c_str()); of_commands && of_commands->pw_uid == 0)
        advice.push_back(cat("default_privs: ", of_commands->pw_name, " has uid 0, and nothing is run as root: mail for commands and files of aliases waits"));
    if (const int64_t box = values.number("mailbox_size_limit"), mail = values.number("message_size_limit"); box > 0 && (mail == 0 || mail > box))
        advice.push_back(cat("mailbox_size_limit: ", box, " is less than message_size_limit (", mail, "): larger mails are taken, and come back to their senders"));
    const int64_t minimum = values.number("virtual_minimum_uid");
    for (const std::string& spec : values.list("virtual_uid_maps")) {
        if (!spec.starts_with("static:")) continue;
        const std::string text = spec.substr(7);
        const auto uid = parse_number<uint32_t>(text);
        if (!uid) advice.push_back(cat("virtual_uid_maps: ", spec, ": \"", printable(text, 60), "\" is not a number, and mail for virtual users waits: write the uid"));
        else if (int64_t{*uid} < minimum)
            advice.push_back(cat("virtual_uid_maps: ", spec, ": below virtual_minimum_uid (", minimum, "), and mail for virtual users waits: write the uid of an account made for their mail, as vmail is"));
        else if (const std::string flaw = keeper_flaw(values, *uid); !flaw.empty())
            advice.push_back(cat("virtual_uid_maps: ", spec, ": ", flaw, ": mail for virtual users waits"));
    }
    return advice;
}

namespace {

bool is_port(std::string_view text)
{
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '-'; });
}

// What is wrong with "host", "host:port", "[host]" or "[host]:port".
std::string next_hop_flaw(std::string_view text)
{
    if (text.find(',') != std::string_view::npos) return "it takes one; further ones belong into smtp_fallback_relay";
    if (text.find_first_of(" \t") != std::string_view::npos) return "a blank; a port stands behind a colon, as in [smtp.example.org]:587";
    if (!text.starts_with('[')) {
        const auto [host, port] = cut(text, ':');
        if (text.find_first_of("[]") != std::string_view::npos || (port && !is_port(*port))) return "write host, host:port, [host] or [host]:port";
        return {};
    }
    const std::size_t end = text.find(']');
    const std::string_view host = text.substr(1, end == std::string_view::npos ? end : end - 1);
    const std::string_view rest = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    const bool port_inside = host.find(':') != std::string_view::npos && !net::Address::parse_ip(host.starts_with("IPv6:") ? host.substr(5) : host, 0);
    if (port_inside) return "the port stands behind the bracket, as in [smtp.example.org]:587";
    if (end == std::string_view::npos || host.empty() || (!rest.empty() && (rest[0] != ':' || !is_port(rest.substr(1))))) return "write host, host:port, [host] or [host]:port";
    return {};
}

constexpr std::string_view transports[] = {"local", "virtual", "smtp", "relay", "lmtp", "error", "retry", "discard"};

}  // namespace

std::vector<std::string> passwd_files_advice(const conf::Values& values)
{
    constexpr std::size_t max_passwd_file = 64u << 20;
    std::vector<std::string> advice;
    std::vector<std::pair<std::string, std::shared_ptr<const auth::PasswdFile>>> sources;     // null: no passwd-file
    for (const std::string& source : values.list("passdb")) {
        if (!source.starts_with("file:")) {
            sources.emplace_back(source, nullptr);
            continue;
        }
        std::string path = source.substr(5);
        const auto text = read_file(path, max_passwd_file);
        if (!text) return advice;      // told where it is opened, or not for this caller
        std::vector<std::string> problems;
        auto file = auth::PasswdFile::parse(*text, "check", &problems);
        for (const std::string& problem : problems) advice.push_back(cat("passdb: ", path, ", ", problem, ": this user cannot log in"));
        const uint32_t none = UINT32_MAX;    // as resolver reads it
        const auto users = resolver::PasswdFile::parse(*text, ::geteuid() != 0 ? ::getuid() : none, ::geteuid() != 0 ? ::getgid() : none);
        for (const std::string& problem : users.problems()) advice.push_back(cat("passdb: ", path, ", ", problem));
        sources.emplace_back(std::move(path), std::move(file));
    }
    if (!values.list("auth_mechanisms").empty()) return advice;
    const auto anybody = [&](bool sha1) { return std::any_of(sources.begin(), sources.end(), [&](const auto& source) { return source.second && source.second->has_scram(sha1); }); };
    const bool sha1 = !anybody(false);
    if (sha1 && !anybody(true)) return advice;
    for (const auto& [name, file] : sources) {
        if (file && file->all_scram(sha1)) continue;
        const std::string line = file ? file->without_scram(sha1) : "";
        advice.push_back(cat("passdb: SCRAM is offered to nobody: ", line.empty() ? cat("not every user of ", name, " has") : cat(name, ", ", line, " has not"),
                             " the secret for it that others have: `veredus passwd` makes one, and auth_mechanisms offers it all the same (authd(8))"));
        break;
    }
    return advice;
}

std::vector<std::string> routes_advice(const conf::Values& values)
{
    std::vector<std::string> advice;
    const auto hop = [&](const char* setting, std::string_view text) {
        if (const std::string flaw = next_hop_flaw(text); !flaw.empty()) advice.push_back(cat(setting, ": \"", printable(text, 100), "\" is no next hop, and mail waits: ", flaw));
    };
    if (const std::string_view relay = values.text("relayhost"); !relay.empty()) hop("relayhost", relay);
    for (const std::string& fallback : values.list("smtp_fallback_relay")) hop("smtp_fallback_relay", fallback);
    const auto pipes = conf::read_pipe_transports(values);
    const auto known = [&](std::string_view name) {
        if (std::find(std::begin(transports), std::end(transports), name) != std::end(transports)) return true;
        return pipes && std::any_of(pipes->begin(), pipes->end(), [&](const conf::PipeTransport& pipe) { return pipe.name == name; });
    };
    for (const char* setting : {"local_transport", "virtual_transport", "relay_transport", "default_transport", "mailbox_transport", "fallback_transport"}) {
        const std::string_view name = cut(values.text(setting), ':').first;
        if (!name.empty() && !known(name))
            advice.push_back(cat(setting, ": there is no transport \"", printable(name, 60), "\", and mail waits; known are local, virtual, smtp, relay, lmtp, error, retry, discard and those of pipe_transports"));
    }
    return advice;
}

std::string luser_relay_advice(const conf::Values& values)
{
    const std::string_view written = values.text("luser_relay");
    if (written.empty()) return {};
    // What each name stands for is not known yet, and is taken for a letter.
    std::string sample;
    for (std::size_t at = 0; at < written.size();) {
        if (written[at] != '$') {
            sample += written[at++];
            continue;
        }
        sample += 'x';
        const char open = ++at < written.size() ? written[at] : '\0';
        if (open == '{' || open == '(') at = std::min(written.find(open == '{' ? '}' : ')', at), written.size() - 1) + 1;
        else while (at < written.size() && (is_alnum(written[at]) || written[at] == '_')) ++at;
    }
    const auto address = mail::parse_address(sample);
    if (address && !address->local.empty()) return {};
    return cat("luser_relay: \"", printable(written, 100), "\" makes no address, and mail for users who do not exist waits: write one, as admin+$local or $user@other.example");
}

std::vector<std::string> sockets_advice(const conf::Values& values)
{
    std::vector<std::string> advice;
    for (const conf::Setting& row : conf::all_settings()) {
        if (row.type != conf::Type::list || !std::string_view(row.name).ends_with("_restrictions")) continue;
        const auto words = values.list(row.name);
        for (std::size_t i = 0; i + 1 < words.size(); ++i) {
            std::string_view server = words[i + 1];
            if (words[i] != "check_policy_service") continue;
            if (server.starts_with('{')) server = trim(server.substr(1, server.find_first_of(",}") - 1));
            if (!server.starts_with("unix:")) continue;
            const std::string_view path = server.substr(5);
            const std::string whole = path.starts_with('/') ? std::string(path) : cat(values.text("queue_directory"), "/", path);
            if (::access(whole.c_str(), F_OK) < 0) advice.push_back(cat(row.name, ": ", server, ": ", fail_errno(whole).error.text, ": what it is asked about is put off until somebody listens there"));
        }
    }
    for (const char* setting : {"local_transport", "virtual_transport", "relay_transport", "default_transport", "mailbox_transport", "fallback_transport"})
        if (const std::string_view text = values.text(setting); text.starts_with("lmtp:unix:") && !text.starts_with("lmtp:unix:/"))
            advice.push_back(cat(setting, ": ", text, ": the path of a socket is absolute here, and mail waits; Postfix has it below its own spool, as in lmtp:unix:/var/spool/postfix/private/..."));
    return advice;
}

std::vector<std::string> domains_advice(const conf::Values& values)
{
    std::vector<std::string> advice;
    if (values.list("local_recipient_maps").empty() && !values.list("mydestination").empty())
        advice.push_back("local_recipient_maps: empty, so mail for any name at our domains is taken, and what nobody has goes back to senders, who may be forged: remove the line, or name the tables of users");
    std::map<std::string, const char*> first;
    // In the order in which they are asked: the first that has a domain decides.
    for (const char* setting : {"mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"}) {
        for (const std::string& word : values.list(setting)) {
            if (word.find_first_of("/:!") != std::string::npos) continue;    // a file, a table, an exception
            if (word.find('@') != std::string::npos) {
                advice.push_back(cat(setting, ": \"", printable(word, 100), "\" is an address where a domain belongs, and fits nothing"));
                continue;
            }
            const auto [known, fresh] = first.emplace(lower(word), setting);
            if (!fresh && std::string_view(known->second) != setting)
                advice.push_back(cat(setting, ": ", word, " is in ", known->second, ", too, which is asked before: remove it from one of them"));
        }
    }
    return advice;
}

std::vector<std::string> mail_spool_advice(const conf::Values& values)
{
    const std::string path(values.text("mail_spool_directory"));
    const group* mail = ::getgrnam("mail");
    struct stat info{};
    if (!mail || ::stat(path.c_str(), &info) < 0) return {};
    const bool writable = (info.st_gid == mail->gr_gid && (info.st_mode & S_IWGRP)) || (info.st_mode & S_IWOTH);
    if (writable) return {};
    return {cat("mail_spool_directory: group mail may not write to ", path, ", and no mailbox and no lock can be made there: chgrp mail ", path, " && chmod 2775 ", path)};
}

namespace {

// As the user of a role: what root may, it may not.
bool can_read(const daemon::Identity& identity, const std::string& path)
{
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(daemon::drop_rights(identity.uid, identity.gid, identity.groups) && ::access(path.c_str(), R_OK) < 0 && errno == EACCES ? 1 : 0);
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 0;
}

}  // namespace

std::vector<std::string> unreadable_tables(const conf::Values& values)
{
    std::vector<std::string> advice;
    if (::geteuid() != 0) return advice;
    std::set<std::string> seen;
    for (const char* name : {"router", "local", "resolver"}) {
        const daemon::Role* role = daemon::find_role(name);
        const auto identity = daemon::find_identity(role->user, role->group, role->extra_groups);
        if (!identity) continue;    // said elsewhere
        for (const conf::Setting& row : conf::all_settings()) {
            if (row.type != conf::Type::tables || !(row.who & role->who)) continue;
            for (const std::string& spec : values.list(row.name))
                for (const std::string& path : table::files_of(spec))
                    if (!can_read(*identity, path) && seen.insert(path).second)
                        advice.push_back(cat(row.name, ": ", path, " cannot be read by user ", role->user, ", which looks things up in it: mail waits; chmod it 644, and folders above it 755"));
        }
    }
    return advice;
}

std::vector<std::string> client_tls_problems(const conf::Values& values)
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
    for (const char* setting : {"smtp_tls_protocols", "smtp_tls_mandatory_protocols"})
        if (const auto versions = tls::parse_protocols(values.text(setting)); !versions) missing.push_back(cat(setting, ": ", versions.error().text));
    return missing;
}

std::string log_file_advice(const conf::Values& values)
{
    const std::string path(values.text("maillog_file"));
    if (path.empty() || ::access(path.c_str(), W_OK) == 0) return {};
    if (errno == ENOENT && ::access(path.substr(0, path.rfind('/') + 1).c_str(), W_OK | X_OK) == 0) return {};
    return cat("maillog_file: ", fail_errno(path).error.text);
}

namespace {

// Messages of twins differ in the name of the setting only: submission_tls_cert_file is smtpd's unless it is set.
std::string as_of_smtpd(std::string text, std::string_view role)
{
    const std::string prefix = cat(role, "_tls_");
    if (text.starts_with(prefix)) text.replace(0, prefix.size(), "smtpd_tls_");
    return text;
}

}  // namespace

Certificates look_at_certificates(const conf::Values& values, const std::string& config_directory, bool own)
{
    Certificates out;
    std::set<std::string> said;
    tls::ServerKeys before;      // what several roles have is parsed once
    std::vector<std::string_view> names{"smtpd"};
    for (const daemon::Role& role : daemon::roles())
        if (role.tls() && names[0] != role.name) names.emplace_back(role.name);
    for (const std::string_view name : names) {
        const auto say = [&](std::vector<std::string>& to, const std::string& text) {
            if (said.insert(as_of_smtpd(text, name)).second) to.push_back(text);
        };
        const auto files = daemon::tls_files(values, name, config_directory, daemon::read_tls_file);
        std::vector<std::string> problems = files.problems;
        const auto keys = daemon::read_keys(files, daemon::read_tls_file, problems, before);
        if (keys) before = *keys;
        if (files.own && !keys) {
            if (own) say(out.warnings, "no certificate is configured and there is no self-signed one; `veredus setup` makes it");
            continue;
        }
        for (const std::string& problem : problems) say(out.errors, problem);
        for (const std::string& path : files.all()) {
            struct stat info{};
            const auto text = daemon::read_tls_file(path);
            if (text && text->find(" PRIVATE KEY-----") != std::string::npos && ::stat(path.c_str(), &info) == 0 && (info.st_mode & S_IROTH))
                say(out.warnings, cat("everybody on this host can read the private key in ", path, ": chmod 600 it"));
        }
        const auto facts = keys ? tls::check_keys(*keys) : Result<std::vector<tls::CertificateFacts>>(unexpected(keys.error()));
        if (!facts) continue;
        for (const auto& fact : *facts) {
            bool urgent = false;
            const std::string line = daemon::validity_line(fact, system_clock().wall_us() / us_per_second, urgent);
            if (urgent) say(out.warnings, line);
        }
    }
    return out;
}

}  // namespace veredus::admin
