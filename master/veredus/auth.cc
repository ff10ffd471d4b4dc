// auth test: would this user get in, and if not, why?
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "lib/auth/chain.h"
#include "lib/auth/mechanism.h"
#include "lib/auth/names.h"
#include "lib/auth/pam.h"
#include "lib/auth/passwd_file.h"
#include "lib/auth/shadow.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/table/table.h"
#include "master/veredus/commands.h"
#include "master/veredus/passwords.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

constexpr std::size_t max_passwd_file = 64u << 20;

Result<auth::Chain> open_chain(const conf::Values& values)
{
    const std::string key = random_bytes(32);
    auth::Chain::List list;
    for (const std::string& source : values.list("passdb")) {
        if (source == "system") list.push_back(std::make_shared<auth::Shadow>(key));
        if (source == "pam") list.push_back(std::make_shared<auth::Pam>(TRY(auth::PamHelper::start({}))));
        if (!source.starts_with("file:")) continue;
        const std::string path = source.substr(5);
        std::vector<std::string> problems;
        list.push_back(auth::PasswdFile::parse(TRY(read_file(path, max_passwd_file)), key, &problems));
        for (const std::string& problem : problems) complain("warning: %s, %s", path.c_str(), problem.c_str());
    }
    return auth::Chain(std::move(list), key);
}

Result<std::vector<std::string>> names(const conf::Values& values, const std::string& login)
{
    const auto domains = TRY(table::MatchList::domains(values.list("mydestination"), false));
    return auth::names_of(values.text("auth_username_format"), login, [&](std::string_view domain) { return domains.matches_domain(domain); });
}

// A user whose line does not fit is not known, to authd neither.
void name_bad_lines(const conf::Values& values, const std::vector<std::string>& names)
{
    for (const std::string& source : values.list("passdb")) {
        if (!source.starts_with("file:")) continue;
        const auto text = read_file(source.substr(5), max_passwd_file);
        for (const std::string& name : names)
            if (const auto problem = text ? auth::line_problem(*text, name) : std::nullopt) std::printf("%s, %s: this line is not used\n", source.c_str() + 5, problem->c_str());
    }
}

Result<auth::Verdict> test_login(const conf::Values& values, const std::string& login)
{
    const auto prepared = auth::saslprep(login);
    if (!prepared || prepared->empty()) return fail("no client can send this name");
    const auto list = TRY(names(values, *prepared));
    const auto chain = TRY(open_chain(values));
    std::string password = TRY(read_password(cat("Password of ", printable(login, 100), ": "), false));
    auto verdict = chain.check(list, password);
    tls::wipe(password);
    if (verdict.why == ipc::AuthFailure::unknown_user) name_bad_lines(values, list);
    std::string tried;
    for (const std::string& name : list) append(tried, tried.empty() ? "" : ", ", printable(name));
    std::printf("looked up as: %s\n", tried.c_str());
    for (const bool sha1 : {false, true})
        std::printf("SCRAM-SHA-%s: %s\n", sha1 ? "1" : "256", chain.scram(list, sha1 ? tls::Digest::sha1 : tls::Digest::sha256).real ? "can be used" : "no secret for it");
    return verdict;
}

}  // namespace

int authenticate(const Common& common, int argc, char** argv)
{
    ::optind = 1;
    if (::getopt(argc, argv, "") != -1 || argc != 3 || std::strcmp(argv[1], "test") != 0) return usage("auth", false);
    const auto values = load_settings(common, true);
    if (!values) return EX_CONFIG;
    const auto verdict = test_login(*values, argv[2]);
    if (!verdict) {
        complain("auth: %s", verdict.error().text.c_str());
        return verdict.error().code ? EX_NOPERM : EX_CONFIG;
    }
    if (verdict->why == ipc::AuthFailure::none) {
        std::printf("ok: %s, by %s\n", verdict->found.user.c_str(), verdict->source.c_str());
        if (!verdict->found.allowed.empty()) std::printf("note: allow_nets limits from where he may log in\n");
        return 0;
    }
    std::printf("refused by %s: %s\n", verdict->source.c_str(), verdict->text.c_str());
    return verdict->why == ipc::AuthFailure::internal ? EX_TEMPFAIL : EX_NOPERM;
}

}  // namespace veredus::admin
