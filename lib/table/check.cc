// Do the tables and lists that main.cf names exist and make sense?
#include "lib/table/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/conf/place.h"
#include "lib/table/aliases.h"
#include "lib/table/substitution.h"
#include "lib/table/table.h"

namespace veredus::table {

namespace {

constexpr std::string_view domain_lists[] = {"mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains", "fast_flush_domains"};
constexpr std::string_view network_lists[] = {"mynetworks", "smtpd_client_event_limit_exceptions"};
constexpr std::size_t most_problems = 20;     // told per setting

// By the mode bits, whoever looks. Nothing when it cannot be told.
std::string why_unreadable(const std::string& path)
{
    struct stat st {};
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
        const std::string folder = path.substr(0, slash);
        if (::stat(folder.c_str(), &st) == 0 && !(st.st_mode & S_IXOTH)) return cat("local reads it with no right but everyone's: chmod o+x ", printable(folder, 300));
    }
    if (::stat(path.c_str(), &st) != 0) return errno == EACCES ? std::string() : fail_errno("it is not there").error.text;
    if (!S_ISREG(st.st_mode)) return "is no regular file";
    if (!(st.st_mode & S_IROTH)) return cat("local reads it with no right but everyone's: chmod o+r ", printable(path, 300));
    return st.st_mode & S_IWOTH ? cat("everyone may write to it: chmod o-w ", printable(path, 300)) : std::string();
}

class SourceCheck {
public:
    explicit SourceCheck(const conf::File& file) : file_(file)
    {
        for (const std::string& spec : list("alias_maps"))
            if (auto path = text_file_of(spec)) alias_files_.push_back(std::move(*path));
    }

    std::vector<conf::Diagnostic> run()
    {
        for (const conf::Setting& row : conf::all_settings())
            if (row.type == conf::Type::tables) tables(row.name);
        for (const std::string_view name : domain_lists)
            if (file_.assignments().count(name)) add(name, MatchList::domains(list(name), false));
        for (const std::string_view name : network_lists)
            if (conf::find_setting(name) && file_.assignments().count(name)) add(name, MatchList::networks(list(name)));
        return std::move(found_);
    }

private:
    std::vector<std::string> list(std::string_view name) const
    {
        const std::string value = file_.effective(name);
        const auto pieces = conf::split_list(value);
        return {pieces.begin(), pieces.end()};
    }
    void say(bool error, std::string_view name, std::string_view text)
    {
        found_.push_back(conf::complaint_about(file_, name, error, cat(name, ": ", text)));
    }
    template <class T> bool add(std::string_view name, const Result<T>& opened)
    {
        if (opened) return true;
        const bool not_for_us = opened.error().code == EACCES && ::geteuid() != 0;
        say(!not_for_us, name, opened.error().text);
        return false;
    }
    void problems(std::string_view name, const std::vector<std::string>& texts)
    {
        for (std::size_t i = 0; i < std::min(most_problems, texts.size()); ++i) say(false, name, texts[i]);
    }
    // Aliases files are in a grammar of their own. A default file that is not there is a fresh system; one that somebody
    // wrote down is missing.
    void tables(std::string_view name)
    {
        const bool written = file_.assignments().count(name) != 0;
        const WithoutSubstitution scope(refuses_substitution(name));
        for (const std::string& spec : list(name)) {
            const auto path = text_file_of(spec);
            const bool alias = name == "alias_database" || (path && std::find(alias_files_.begin(), alias_files_.end(), *path) != alias_files_.end());
            if (!path || !alias) {
                if (const auto table = open(spec); add(name, table)) problems(name, (*table)->problems());
            } else if (written || ::access(path->c_str(), F_OK) == 0) {
                std::vector<AliasProblem> unused;      // newaliases and `veredus check` tell them in full
                const auto aliases = Aliases::load(*path, unused);
                if (add(name, aliases) && name == "alias_maps") includes(name, *path, *aliases);
            }
        }
    }

    // local reads them with no right but everyone's, where Postfix has those of their owner.
    void includes(std::string_view name, const std::string& path, const Aliases& aliases)
    {
        std::vector<std::string> texts;
        for (const auto& [key, entry] : aliases.entries())
            for (const AliasTarget& target : entry.targets)
                if (const std::string why = target.kind == AliasTarget::Kind::include ? why_unreadable(target.text) : std::string(); !why.empty() && texts.size() < most_problems)
                    texts.push_back(cat(path, ", line ", entry.line, ": ", printable(key, 100), ": :include:", printable(target.text, 300), ": ", why));
        problems(name, texts);
    }

    const conf::File& file_;
    std::vector<std::string> alias_files_;
    std::vector<conf::Diagnostic> found_;
};

}  // namespace

std::vector<conf::Diagnostic> check_sources(const conf::File& file) { return SourceCheck(file).run(); }

}  // namespace veredus::table
