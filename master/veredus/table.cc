// table: what a lookup table answers, and which of its lines cannot be used. Nothing is compiled: tables are text.
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/reception/check_rules.h"
#include "lib/table/aliases.h"
#include "lib/table/substitution.h"
#include "lib/table/table.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

// A file without a type is one of text.
std::string spec_of(const std::string& word) { return word.starts_with('/') ? cat("hash:", word) : word; }

int fail_with(const Error& error, int status)
{
    complain("%s", error.text.c_str());
    return status;
}

int check_aliases(const std::string& spec)
{
    const auto path = table::text_file_of(spec);
    if (!path) return fail_with({0, cat(spec, ": is no aliases file")}, EX_USAGE);
    std::vector<table::AliasProblem> problems;
    const auto aliases = table::Aliases::load(*path, problems);
    if (!aliases) return fail_with(aliases.error(), EX_NOINPUT);
    for (const auto& problem : problems) complain("%s:%u: %s", path->c_str(), problem.line, printable(problem.text).c_str());
    return problems.empty() ? 0 : EX_DATAERR;
}

// What is asked of a table depends on the setting that names it.
std::vector<std::string> problems_of(const conf::File& file, const std::string& spec, const table::Table& table)
{
    std::vector<std::string> problems = table.problems();
    if (!file.ok()) return problems;
    const conf::Values values = file.values();
    for (const conf::Setting& row : conf::all_settings()) {
        if (row.type != conf::Type::tables || !reception::is_checks_setting(row.name)) continue;
        const auto specs = values.list(row.name);
        if (std::find(specs.begin(), specs.end(), spec) == specs.end()) continue;
        for (std::string& problem : reception::action_problems(row.name, table))
            if (std::find(problems.begin(), problems.end(), problem) == problems.end()) problems.push_back(std::move(problem));
    }
    return problems;
}

// Does one of the settings that name this table refuse $1?
bool is_without_substitution(const conf::File& file, const std::string& spec)
{
    if (!file.ok()) return false;
    const conf::Values values = file.values();
    for (const conf::Setting& row : conf::all_settings()) {
        if (row.type != conf::Type::tables || !table::refuses_substitution(row.name)) continue;
        const auto specs = values.list(row.name);
        if (std::find(specs.begin(), specs.end(), spec) != specs.end()) return true;
    }
    return false;
}

int check_table(const conf::File& file, const std::string& spec)
{
    const table::WithoutSubstitution scope(is_without_substitution(file, spec));
    const auto table = table::open(spec);
    if (!table) return fail_with(table.error(), EX_NOINPUT);
    const auto problems = problems_of(file, spec, **table);
    for (const std::string& problem : problems) complain("%s", problem.c_str());
    return problems.empty() ? 0 : EX_DATAERR;
}

std::string value_of(const table::Aliases::Entry& entry)
{
    std::string out;
    for (const auto& target : entry.targets) append(out, out.empty() ? "" : ", ", printable(target.text, 2000));
    return out;
}

// The first table that has the key answers; 1: none has.
int look_up(const std::vector<std::string>& specs, bool aliases, const std::string& key, bool name_it)
{
    const auto print = [&](const std::string& value) { std::printf("%s%s%s\n", name_it ? key.c_str() : "", name_it ? "\t" : "", value.c_str()); };
    for (const std::string& spec : specs) {
        if (aliases) {
            const auto maps = table::AliasMaps::open({spec});
            const auto entry = maps ? maps->find(key) : Result<std::optional<table::Aliases::Entry>>(unexpected(maps.error()));
            if (!entry) return fail_with(entry.error(), EX_NOINPUT);
            if (!*entry) continue;
            print(value_of(**entry));
            return 0;
        }
        const auto table = table::open(spec);
        const auto value = table ? (*table)->find(key) : Result<std::optional<std::string>>(unexpected(table.error()));
        if (!value) return fail_with(value.error(), EX_NOINPUT);
        if (!*value) continue;
        print(printable(**value, 1 << 16));
        return 0;
    }
    return 1;
}

// Each line of standard input is a key; 1: none was found.
int look_up_all(const std::vector<std::string>& specs, bool aliases)
{
    const auto text = read_all(STDIN_FILENO, 64 << 20);
    if (!text) return fail_with(text.error(), EX_IOERR);
    int status = 1;
    for (const std::string_view key : split(*text, "\r\n")) {
        const int one = look_up(specs, aliases, std::string(key), true);
        if (one > 1) return one;
        if (one == 0) status = 0;
    }
    return status;
}

}  // namespace

int table(const Common& common, int argc, char** argv)
{
    bool aliases = false;
    std::vector<std::string> keys, specs;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "aq:")) != -1;) {
        if (option == 'a') aliases = true;
        else if (option == 'q') keys.emplace_back(::optarg);
        else return usage("table", false);
    }
    for (int i = ::optind; i < argc; ++i) specs.push_back(spec_of(argv[i]));
    if (specs.empty()) return usage("table", false);
    int status = 0;
    for (const std::string& key : keys) status = std::max(status, key == "-" ? look_up_all(specs, aliases) : look_up(specs, aliases, key, false));
    if (!keys.empty()) return status;
    const auto file = conf::File::load(common.config_directory);
    for (const std::string& spec : specs) status = std::max(status, aliases ? check_aliases(spec) : check_table(file, spec));
    return status;
}

}  // namespace veredus::admin
