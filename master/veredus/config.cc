// config: settings shown and edited, with the options that postconf(1) has for it.
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/foreign.h"
#include "lib/conf/values.h"
#include "master/veredus/commands.h"
#include "master/veredus/edit.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

struct Show {
    bool only_set = false, defaults = false, edit = false, remove = false;
    bool expanded = false, hide_names = false, hide_values = false, origin = false;
};

bool parse_options(int argc, char** argv, Show& show)
{
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "ndeXxhHo")) != -1;) {
        switch (option) {
        case 'n': show.only_set = true; break;
        case 'd': show.defaults = true; break;
        case 'e': show.edit = true; break;
        case 'X': show.remove = true; break;
        case 'x': show.expanded = true; break;
        case 'h': show.hide_names = true; break;
        case 'H': show.hide_values = true; break;
        case 'o': show.origin = true; break;
        default: return false;
        }
    }
    const int modes = show.only_set + show.defaults + show.edit + show.remove;
    return modes <= 1 && !(show.hide_names && show.hide_values);
}

struct Line {
    std::string name, value, origin;
};

// What is known about one name; false when neither the tables nor the files have it.
bool find_line(const conf::File& file, const Show& show, const std::string& name, Line& line)
{
    const conf::Setting* row = conf::find_setting(name);
    const auto set = file.assignments().find(name);
    const bool is_set = set != file.assignments().end() && !show.defaults;
    const char* builtin = row || is_set ? nullptr : conf::builtin_value(name);
    if (!row && !is_set && !builtin) return false;
    if (builtin) line = {name, builtin, "default"};
    else line = {name, is_set ? set->second.value : std::string(row->fallback), is_set ? set->second.origin : "default"};
    if (show.expanded && !show.defaults && !builtin) line.value = file.effective(name);
    return true;
}

void print_line(const Show& show, const Line& line)
{
    if (show.origin) std::printf("# %s\n", line.origin.c_str());
    if (show.hide_names)
        std::printf("%s\n", line.value.c_str());
    else if (show.hide_values)
        std::printf("%s\n", line.name.c_str());
    else
        std::printf("%s =%s%s\n", line.name.c_str(), line.value.empty() ? "" : " ", line.value.c_str());
}

std::vector<std::string> all_names(const conf::File& file, const Show& show)
{
    std::vector<std::string> names;
    if (!show.only_set)
        for (const conf::Setting& row : conf::all_settings()) names.emplace_back(row.name);
    if (!show.defaults)
        for (const auto& [name, assignment] : file.assignments()) names.push_back(name);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

int show_settings(const conf::File& file, const Show& show, const std::vector<std::string>& asked)
{
    int status = 0;
    const auto names = asked.empty() ? all_names(file, show) : asked;
    for (const std::string& name : names) {
        Line line;
        if (find_line(file, show, name, line)) {
            if (!(show.only_set && line.origin == "default")) print_line(show, line);
            continue;
        }
        status = 1;
        if (const conf::Foreign* foreign = conf::find_foreign(name)) {
            complain("%s: no setting of veredus%s%s", name.c_str(), foreign->instead[0] ? ": " : "", foreign->instead);
            continue;
        }
        const auto near = conf::nearest_name(name);
        complain("%s: unknown setting%s%s%s", name.c_str(), near.empty() ? "" : "; did you mean ", std::string(near).c_str(), near.empty() ? "" : "?");
    }
    return status;
}

std::size_t errors_of(const conf::File& file)
{
    return static_cast<std::size_t>(std::count_if(file.diagnostics().begin(), file.diagnostics().end(), [](const auto& d) { return d.error; }));
}

bool is_name(std::string_view name)
{
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_' || c == '-' || c == '.'; });
}

Result<std::string> edited(std::string text, const std::vector<std::string>& arguments, bool remove)
{
    for (const std::string& argument : arguments) {
        const auto [left, right] = cut(argument, '=');
        const std::string name(trim(left));
        if (!is_name(name)) return fail(cat("\"", printable(argument), "\" does not begin with the name of a setting"));
        if (remove && right) return fail("-X wants names only");
        if (!remove && !right) return fail(cat("\"", printable(argument), "\" is not NAME=VALUE"));
        if (right && right->find('\n') != std::string_view::npos) return fail("a value is one line");
        text = edit_setting(text, name, remove ? std::nullopt : std::optional<std::string_view>(trim(*right)));
    }
    return text;
}

// A change that breaks the configuration is not made: the next start would trip over it.
int edit_settings(const Common& common, const Show& show, const std::vector<std::string>& arguments)
{
    const std::string path = cat(common.config_directory, "/main.cf");
    auto text = read_file(path, 8u << 20);
    if (!text) {
        complain("%s", text.error().text.c_str());
        return EX_NOINPUT;
    }
    auto fresh = edited(*text, arguments, show.remove);
    if (!fresh) {
        complain("%s", fresh.error().text.c_str());
        return EX_USAGE;
    }
    const auto before = conf::File::parse(*text, path), after = conf::File::parse(*fresh, path);
    if (errors_of(after) > errors_of(before)) {
        for (const auto& diagnostic : after.diagnostics())
            if (diagnostic.error) std::fprintf(stderr, "%s\n", diagnostic.str().c_str());
        complain("%s is left as it was", path.c_str());
        return EX_DATAERR;
    }
    if (auto written = replace_file(path, *fresh); !written) {
        complain("%s", written.error().text.c_str());
        return EX_CANTCREAT;
    }
    const auto effective = conf::File::load(common.config_directory);
    for (const std::string& argument : arguments) {
        const std::string name(trim(cut(argument, '=').first));
        const auto set = effective.assignments().find(name);
        if (set != effective.assignments().end() && !set->second.origin.starts_with(path + ":"))
            complain("warning: %s is also set in %s, which wins", name.c_str(), set->second.origin.c_str());
    }
    return 0;
}

}  // namespace

int config(const Common& common, int argc, char** argv)
{
    Show show;
    if (!parse_options(argc, argv, show)) return usage("config", false);
    const std::vector<std::string> names(argv + ::optind, argv + argc);
    if (show.edit || show.remove) {
        if (names.empty()) return usage("config", false);
        return edit_settings(common, show, names);
    }
    const auto file = conf::File::load(common.config_directory);
    for (const auto& diagnostic : file.diagnostics())
        if (diagnostic.error) std::fprintf(stderr, "%s\n", diagnostic.str().c_str());
    return show_settings(file, show, names);
}

}  // namespace veredus::admin
