// main.cf as read: assignments with their origin, expansion, checks; and the typed values that a role gets.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/setting.h"

namespace veredus::conf {

struct Diagnostic {
    bool error = false;          // else a warning
    std::string file;
    unsigned line = 0;
    std::string text;            // what is wrong and what to do, with the setting's name and the nearest known one
    std::string str() const;     // "/etc/veredus/main.cf:12: error: …"
};

struct Assignment {
    std::string value;           // as written, continuation lines joined
    std::string origin;          // "/etc/veredus/main.cf:12"; "default" for what is not set
};

// The effective settings, typed getters. A getter asked for a name or type that the tables do not have panics: that is a bug of
// ours. Values are fully expanded and validated when a Values exists.
class Values {
public:
    std::string_view text(std::string_view name) const;
    bool flag(std::string_view name) const;
    int64_t number(std::string_view name) const;       // number and size
    int64_t seconds(std::string_view name) const;      // duration
    std::vector<std::string> list(std::string_view name) const;   // list, tables, listeners: split at blanks and commas, braces respected
    bool has(std::string_view name) const;             // set to something not empty
    // Names that no table has but that roles look up by pattern: TRANSPORT_destination_concurrency_limit, restriction classes.
    std::string_view extra(std::string_view name) const;          // empty when absent
    // For a memfd: "name=value\n" of the rows of `who` (and public ones only when told), values with \n and \ escaped.
    std::string serialize(Who who, bool public_only) const;
    static Result<Values> deserialize(std::string_view bytes);    // validates again
    static Values defaults();                                     // an empty main.cf on this host
    void set_for_test(std::string name, std::string value) { values_[std::move(name)] = std::move(value); }

private:
    friend class File;
    std::map<std::string, std::string, std::less<>> values_;
    std::map<std::string, std::string, std::less<>> extra_;
};

class File {
public:
    // Reads DIR/main.cf, then DIR/main.cf.d/*.cf in order of name. A missing main.cf is an error with a hint; unreadable
    // files too. Diagnostics are gathered, never only the first.
    static File load(const std::string& directory);
    static File parse(std::string_view text, const std::string& name);   // one file's text (tests, tools)
    bool ok() const;                                     // no error among the diagnostics
    const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
    Values values() const;                               // effective; meaningful only when ok()
    const std::map<std::string, Assignment, std::less<>>& assignments() const { return assignments_; }   // what the files set (-n)
    std::string effective(std::string_view name) const;  // expanded

private:
    class Evaluator;
    void read_text(std::string_view text, const std::string& name);
    void read_path(const std::string& path);
    void read_folder(const std::string& folder);
    void assign(std::string_view line, const std::string& file, unsigned number);
    void finish();                                       // names and values of all that was read
    void check_name(std::string_view name, const Assignment& assignment);
    void check_references(std::string_view name, const Assignment& assignment);
    void report(bool error, const Assignment& where, std::string text);
    std::map<std::string, Assignment, std::less<>> assignments_;
    std::vector<Diagnostic> diagnostics_;
    std::map<std::string, std::string, std::less<>> expanded_;
    std::set<std::string, std::less<>> own_names_;       // variables, restriction classes, TRANSPORT_x: kept as extra
};

// Default directory: sysconfdir/veredus, or $VEREDUS_CONFIG when the caller is not set-id.
std::string default_directory();

}  // namespace veredus::conf
