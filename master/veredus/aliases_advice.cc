// Looking at aliases(5) files.
#include "master/veredus/aliases_advice.h"

#include <pwd.h>
#include <sys/stat.h>

#include <cerrno>

#include "lib/base/text.h"
#include "lib/table/aliases.h"

namespace veredus::admin {

std::vector<std::string> alias_files(const conf::Values& values)
{
    std::vector<std::string> paths;
    for (const std::string& spec : values.list("alias_maps"))
        if (auto path = table::text_file_of(spec)) paths.push_back(std::move(*path));
    return paths;
}

AliasAdvice look_at_aliases(const conf::Values& values)
{
    AliasAdvice advice;
    for (const std::string& path : alias_files(values)) {
        std::vector<table::AliasProblem> problems;
        auto aliases = table::Aliases::load(path, problems);
        if (!aliases) {
            advice.problems.push_back(cat(aliases.error().text, aliases.error().code == ENOENT ? "; `veredus setup` writes a first one" : ""));
            continue;
        }
        for (const auto& problem : problems) advice.problems.push_back(cat(path, ":", problem.line, ": ", problem.text));
        advice.root = advice.root || aliases->find("root");
        advice.postmaster = advice.postmaster || aliases->find("postmaster");
    }
    return advice;
}

std::string root_mailbox_advice(const conf::Values& values, bool root_has_alias)
{
    const std::string keeper(values.text("root_mailbox_user"));
    const std::string path = cat(values.text("mail_spool_directory"), "/root");
    struct stat info{};
    if (root_has_alias || keeper.empty() || keeper == "root" || ::lstat(path.c_str(), &info) < 0) return {};
    const passwd* user = ::getpwnam(keeper.c_str());
    if (!user || info.st_uid == user->pw_uid) return {};
    return cat(path, " belongs to uid ", info.st_uid, ", not to ", keeper, ", which keeps root's mail: mail for root will wait. Add \"root: YOU\" to the aliases, or `chown ",
               keeper, " ", path, "`");
}

std::string first_aliases()
{
    return "# aliases(5): who gets mail for names that are no person. `newaliases` is not needed: changes are seen at once.\n"
           "# Give root a person, or nobody reads what this machine reports:\n"
           "#root: you\n"
           "\n"
           "mailer-daemon: postmaster\n"
           "postmaster: root\n"
           "nobody: root\n"
           "hostmaster: root\n"
           "usenet: root\n"
           "news: root\n"
           "webmaster: root\n"
           "www: root\n"
           "ftp: root\n"
           "abuse: root\n"
           "noc: root\n"
           "security: root\n";
}

}  // namespace veredus::admin
