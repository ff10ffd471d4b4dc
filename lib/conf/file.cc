// main.cf as read: lines, names, values, and what is wrong with them.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "config.h"
#include "lib/base/directory.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/expand.h"
#include "lib/conf/foreign.h"
#include "lib/conf/host.h"
#include "lib/conf/near.h"
#include "lib/conf/pipes.h"
#include "lib/conf/place.h"
#include "lib/conf/values.h"

namespace veredus::conf {

namespace {

constexpr std::size_t max_file = 8 << 20;

// A setting that begins with a slash names a file whose first line is the value (Debian's myorigin = /etc/mailname).
Result<std::string> first_line_of(const std::string& path)
{
    auto text = read_file(path, 1 << 16);
    if (!text) return unexpected(std::move(text).error());
    const std::string_view all = *text;
    const std::string_view line = trim(all.substr(0, all.find('\n')));
    if (!is_host_name(line)) return fail(cat(path, ": the first line is not a domain name"));
    return std::string(line);
}

std::string derived_domain(std::string_view host)
{
    const std::size_t dot = host.find('.');
    return dot == std::string_view::npos ? "localdomain" : std::string(host.substr(dot + 1));
}

std::string did_you_mean(std::string_view wrong)
{
    Nearest nearest(wrong);
    for (const Setting& row : all_settings()) nearest.offer(row.name);
    for (const Foreign& foreign : foreign_parameters()) nearest.offer(foreign.name);
    return nearest.best().empty() ? std::string() : cat("; did you mean \"", nearest.best(), "\"?");
}

std::vector<std::string> cf_files(const std::string& folder, int& error)
{
    std::vector<std::string> names;
    error = 0;
    const auto read = for_each_entry(folder, [&](const DirectoryEntry& entry) {
        const std::string_view name = entry.name;
        if (name.ends_with(".cf") && name.front() != '.') names.emplace_back(name);
        return true;
    });
    if (!read) {
        error = read.error().code;
        names.clear();
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

std::string Diagnostic::str() const
{
    std::string out = file;
    if (line) append(out, ':', line);
    return cat(out, error ? ": error: " : ": warning: ", text);
}

// Expands each name once; a name that leads to itself is an error where it is first met.
class File::Evaluator {
public:
    explicit Evaluator(File& file) : file_(file) {}

    Result<std::string> value(std::string_view name)
    {
        if (const auto known = file_.expanded_.find(name); known != file_.expanded_.end()) return known->second;
        if (!open_.emplace(name).second) return fail(cat("$", name, " leads back to itself"));
        if (open_.size() > max_nesting) return fail("too many names that lead to one another");
        auto result = fresh(name);
        open_.erase(open_.find(name));
        if (result) file_.expanded_.emplace(name, *result);
        return result;
    }

private:
    Result<std::string> fresh(std::string_view name)
    {
        const Setting* row = find_setting(name);
        const auto assigned = file_.assignments_.find(name);
        std::string text;
        if (assigned != file_.assignments_.end())
            text = assigned->second.value;
        else if (row)
            text = row->fallback;
        else
            return other(name);
        if (!row || row->type != Type::raw) text = std::string(trim(TRY(expand(text, [this](std::string_view n) { return value(n); }, 0))));
        return derive(name, std::move(text));
    }

    Result<std::string> other(std::string_view name)
    {
        const char* builtin = builtin_value(name);
        return std::string(builtin ? builtin : "");   // finish() warns where it is used
    }

    Result<std::string> derive(std::string_view name, std::string text)
    {
        if (name == "myhostname") {
            if (text.empty()) text = system_hostname();
            if (!is_host_name(text)) return fail(cat("\"", text, "\" is not a host name"));
        } else if (name == "mydomain") {
            if (text.empty()) text = derived_domain(TRY(value("myhostname")));
            if (!is_host_name(text)) return fail(cat("\"", text, "\" is not a domain name"));
        } else if (name == "myorigin") {
            if (text.starts_with('/')) text = TRY(first_line_of(text));
            if (!is_host_name(text)) return fail(cat("\"", text, "\" is not a domain name"));
        }
        return text;
    }

    File& file_;
    std::set<std::string, std::less<>> open_;
};

void File::report(bool error, const Assignment& where, std::string text)
{
    diagnostics_.push_back(complaint_at(where.origin, error, std::move(text)));
}

void File::assign(std::string_view line, const std::string& file, unsigned number)
{
    const Assignment here{"", cat(file, ':', number)};
    if (line.find('\0') != std::string_view::npos) return report(true, here, "the line holds a NUL byte: this is no text file");
    const auto [left, right] = cut(line, '=');
    const std::string_view name = trim(left);
    if (!right) return report(true, here, cat("\"", printable(trim(line), 60), "\": there is no \"=\" after the name"));
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_' || c == '-' || c == '.'; });
    if (name.empty() || !plain || name.size() > 200) return report(true, here, cat("\"", printable(name, 60), "\" is not the name of a setting"));
    Assignment& slot = assignments_[std::string(name)];
    if (slot.origin.size() > file.size() && slot.origin.starts_with(file) && slot.origin[file.size()] == ':')
        report(false, here, cat(name, ": this line replaces line ", std::string_view(slot.origin).substr(file.size() + 1)));
    slot = {std::string(trim(*right)), here.origin};
}

// Postfix's logical lines: blank lines and lines whose first visible character is # do not count, not even between the
// parts of a continued one; a line that begins with white space continues the one before.
void File::read_text(std::string_view text, const std::string& name)
{
    std::string logical;
    unsigned begun = 0, number = 0;
    const auto finish_line = [&] {
        if (begun) assign(logical, name, begun);
        logical.clear();
        begun = 0;
    };
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        ++number;
        if (line.ends_with('\r')) line.remove_suffix(1);
        const std::string_view visible = trim(line);
        if (visible.empty() || visible.front() == '#') continue;
        if (is_space(line.front())) {
            if (begun)
                logical.append(line);
            else
                report(true, {"", cat(name, ':', number)}, "the line begins with white space but continues nothing");
            continue;
        }
        finish_line();
        logical = line;
        begun = number;
    }
    finish_line();
}

void File::read_path(const std::string& path)
{
    auto text = read_file(path, max_file);
    if (text) return read_text(*text, path);
    std::string why = text.error().text;
    if (text.error().code == ENOENT) append(why, "; an empty file will do, everything has a default (`veredus setup` makes one)");
    if (text.error().code == EACCES) append(why, "; commands of all users read it: chmod 644 it, and keep passwords in files of their own");
    diagnostics_.push_back({true, path, 0, std::move(why)});
}

void File::read_folder(const std::string& folder)
{
    int error = 0;
    for (const std::string& name : cf_files(folder, error)) read_path(cat(folder, '/', name));
    if (error && error != ENOENT) diagnostics_.push_back({true, folder, 0, fail_errno("cannot be listed", error).error.text});
}

void File::check_name(std::string_view name, const Assignment& assignment)
{
    if (find_setting(name)) return;
    if (const Foreign* foreign = find_foreign(name)) {
        if (foreign->instead[0] != '\0') report(false, assignment, cat(name, ": ", foreign->instead));
        return;
    }
    if (own_names_.count(name)) return;
    if (is_transport_parameter(name)) {
        own_names_.emplace(name);
        Evaluator evaluator(*this);
        const auto value = evaluator.value(std::string(name)), transports = evaluator.value("pipe_transports");
        std::set<std::string, std::less<>> pipes;
        if (const auto all = parse_pipe_transports(transports ? *transports : ""))
            for (const PipeTransport& pipe : *all) pipes.insert(pipe.name);
        if (const std::string why = why_without_effect(name, value ? *value : "", pipes); !why.empty()) report(false, assignment, cat(name, ": ", why));
        return;
    }
    report(true, assignment, cat("unknown setting \"", name, "\"", did_you_mean(name), " (a variable of your own must be used somewhere as $", name, ")"));
}

void File::check_references(std::string_view name, const Assignment& assignment)
{
    std::set<std::string, std::less<>> used;
    references(assignment.value, used);
    for (const std::string& other : used) {
        if (builtin_value(other) || find_setting(other) || assignments_.count(other) || find_foreign(other)) continue;
        report(false, assignment, cat(name, ": $", other, " is not defined and counts as empty", did_you_mean(other)));
    }
}

void File::finish()
{
    Evaluator evaluator(*this);
    for (const auto& [name, assignment] : assignments_) references(assignment.value, own_names_);
    std::erase_if(own_names_, [this](const std::string& name) { return !assignments_.count(name) || find_setting(name) || find_foreign(name); });
    if (const auto classes = assignments_.find("smtpd_restriction_classes"); classes != assignments_.end())
        if (const auto value = evaluator.value(classes->first))
            for (const std::string_view name : split_list(*value))
                if (assignments_.count(name)) own_names_.emplace(name);
    for (const auto& [name, assignment] : assignments_) {
        check_name(name, assignment);
        const Setting* row = find_setting(name);
        if (!row || row->type != Type::raw) check_references(name, assignment);
        const auto value = evaluator.value(name);
        const auto fits = !value               ? Result<void>(unexpected(value.error()))
                          : row                ? check_value(*row, *value)
                          : own_names_.count(name) ? check_transport_parameter(name, *value)
                                               : Result<void>();
        if (!fits) report(true, assignment, cat(name, ": ", fits.error().text));
        // A main.cf of Postfix starts; what it asks for beyond what we do is said. Levels that promise more than `encrypt` are refused.
        if (name == "smtp_tls_security_level" && value && iequals(*value, "dane"))
            report(false, assignment, cat(name, ": dane is not there yet: taken as may, TLS when the server offers it"));
    }
    // What nobody set: a default that fails does so through what it refers to, or the host's own name.
    for (const Setting& row : all_settings()) {
        if (assignments_.count(row.name)) continue;
        const auto value = evaluator.value(row.name);
        const auto fits = value ? check_value(row, *value) : Result<void>(unexpected(value.error()));
        if (!fits && ok()) diagnostics_.push_back({true, "default", 0, cat(row.name, " = ", row.fallback, ": ", fits.error().text)});
    }
    std::stable_sort(diagnostics_.begin(), diagnostics_.end(), [](const Diagnostic& a, const Diagnostic& b) {
        return a.file == b.file ? a.line < b.line : a.file < b.file;
    });
}

File File::load(const std::string& directory)
{
    File file;
    file.read_path(directory + "/main.cf");
    file.read_folder(directory + "/main.cf.d");
    file.finish();
    return file;
}

File File::parse(std::string_view text, const std::string& name)
{
    File file;
    file.read_text(text, name);
    file.finish();
    return file;
}

bool File::ok() const
{
    return std::none_of(diagnostics_.begin(), diagnostics_.end(), [](const Diagnostic& d) { return d.error; });
}

Values File::values() const
{
    Values values;
    for (const Setting& row : all_settings()) values.values_[row.name] = effective(row.name);
    for (const std::string& name : own_names_) values.extra_[name] = effective(name);
    return values;
}

std::string File::effective(std::string_view name) const
{
    const auto at = expanded_.find(name);
    return at == expanded_.end() ? std::string() : at->second;
}

std::string default_directory()
{
    const char* from_environment = ::secure_getenv("VEREDUS_CONFIG");   // null for set-id programs
    return from_environment && from_environment[0] ? from_environment : VEREDUS_SYSCONFDIR;
}

}  // namespace veredus::conf
