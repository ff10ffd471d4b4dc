// newaliases: are the alias files in order? And -bv: where would a mail to this address go?
#include <pwd.h>

#include <algorithm>
#include <cstdio>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/table/aliases.h"
#include "submission/sendmail/modes.h"

namespace veredus::sendmail {

namespace {

std::vector<std::string> alias_files(const conf::Values& values, const char* setting)
{
    std::vector<std::string> out;
    for (const std::string& spec : values.list(setting))
        if (auto path = table::text_file_of(spec)) out.push_back(std::move(*path));
    return out;
}

// What is wrong goes to standard error as "file:line: text"; the count, as sendmail said it, to standard output.
int check_file(const std::string& path)
{
    std::vector<table::AliasProblem> problems;
    const auto aliases = table::Aliases::load(path, problems);
    if (!aliases) {
        complain(aliases.error().text);
        return EX_NOINPUT;
    }
    for (const auto& p : problems) complain(cat(path, ":", p.line, ": ", printable(p.text)));
    std::printf("%s: %zu aliases\n", path.c_str(), aliases->size());
    return problems.empty() ? EX_OK : EX_DATAERR;
}

// In the user database, or in a file of passdb (user:password:uid…) as far as this caller may read it.
bool is_user(const std::string& name, const conf::Values& values)
{
    for (const std::string& source : values.list("passdb")) {
        if (source == "system" && getpwnam(name.c_str())) return true;
        if (!source.starts_with("file:")) continue;
        const auto text = read_file(source.substr(5), 64 << 20);
        if (text && cat('\n', *text).find(cat('\n', name, ':')) != std::string::npos) return true;
    }
    return false;
}

// One line, as sendmail -bv says it. False when nobody would get the mail.
bool verify_address(const mail::Address& address, const conf::Values& values, const std::vector<table::Aliases>& aliases)
{
    const std::string shown = printable(address.text());
    const auto ours = values.list("mydestination");
    const std::string domain = address.domain.empty() ? lower(values.text("myorigin")) : address.domain;
    if (std::none_of(ours.begin(), ours.end(), [&](const std::string& d) { return iequals(d, domain); })) {
        std::printf("%s... deliverable: mailer smtp, host %s., user %s\n", shown.c_str(), printable(domain).c_str(), shown.c_str());
        return true;
    }
    const auto part = mail::split_extension(address.local, values.text("recipient_delimiter"));
    for (const std::string& name : {address.local, part.user})
        for (const table::Aliases& table : aliases)
            if (const auto* entry = table.find(name)) {
                std::printf("%s... deliverable: alias %s, %zu targets\n", shown.c_str(), printable(name).c_str(), entry->targets.size());
                return true;
            }
    if (is_user(part.user, values) || is_user(address.local, values)) {
        std::printf("%s... deliverable: mailer local, user %s\n", shown.c_str(), printable(part.user).c_str());
        return true;
    }
    std::printf("%s... User unknown\n", shown.c_str());
    return false;
}

}  // namespace

int aliases(const Invocation& invocation)
{
    std::vector<std::string> files;
    if (!invocation.alias_file.empty()) {
        files.push_back(table::text_file_of(invocation.alias_file).value_or(invocation.alias_file));
    } else {
        const auto values = load_config(invocation);
        if (!values) return EX_CONFIG;
        files = alias_files(*values, "alias_database");
    }
    int status = EX_OK;
    for (const std::string& path : files)
        if (const int bad = check_file(path)) status = bad;
    return status;
}

int verify(const Invocation& invocation)
{
    const auto values = load_config(invocation);
    if (!values) return EX_CONFIG;
    std::vector<table::Aliases> tables;
    for (const std::string& path : alias_files(*values, "alias_maps")) {
        std::vector<table::AliasProblem> problems;
        if (auto table = table::Aliases::load(path, problems)) tables.push_back(std::move(*table));
    }
    if (invocation.operands.empty()) {
        complain("-bv: name the addresses to verify");
        return EX_USAGE;
    }
    int status = EX_OK;
    for (const std::string& operand : invocation.operands) {
        const auto addresses = parse_operand(operand);
        if (!addresses) {
            complain(addresses.error().text);
            return addresses.error().code;
        }
        for (const mail::Address& address : *addresses)
            if (!verify_address(address, *values, tables)) status = EX_NOUSER;
    }
    return status;
}

}  // namespace veredus::sendmail
