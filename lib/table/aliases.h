// aliases(5) and .forward: the grammar of targets, the compiled aliases file, and alias_maps as a whole.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::table {

struct AliasTarget {
    enum class Kind { address, command, file, include, bad } kind = Kind::address;
    std::string text;        // address in external form, command, path or "~/path", include path; empty for one of an aliases file that cannot be read
    bool final = false;      // "\user": no further alias expansion
    unsigned line = 0;       // where parse_targets found it; 0: it came otherwise
    bool operator==(const AliasTarget& other) const { return kind == other.kind && text == other.text && final == other.final; }
};

// The right-hand side of an alias, or a .forward file: separated by commas and line ends, quoted strings, # comments at
// line starts; "alice bob" is two addresses, as Postfix takes it. Errors say the line, and nothing of what stands there: it may be anybody's, and strangers hear of errors. At most `limit`
// targets.
constexpr std::size_t max_targets = 50'000;
Result<std::vector<AliasTarget>> parse_targets(std::string_view text, std::size_t limit = max_targets);

struct AliasProblem {
    unsigned line;
    std::string text;
};

class Aliases {
public:
    // One file's text. Problems do not hide the good entries (newaliases prints them; local logs them), nor the good targets beside a bad
    // one. A name that stands there is an alias, even when nothing behind it can be read: nobody is unknown for a slip of the pen.
    static Aliases parse(std::string_view text, std::vector<AliasProblem>& problems);
    static Result<Aliases> load(const std::string& path, std::vector<AliasProblem>& problems);
    struct Entry {
        std::vector<AliasTarget> targets;
        unsigned line = 0;
        uid_t owner = 0;                                // AliasMaps says whose the table is
    };
    const Entry* find(std::string_view name) const;     // case does not matter
    std::size_t size() const { return entries_.size(); }
    const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }

private:
    std::map<std::string, Entry, std::less<>> entries_;
};

// alias_maps: text files in the grammar above ("hash:/etc/aliases" and its kin), and any other table, whose value is a list of
// targets. Asked in order: one that cannot be read is in the way of those names only that are in none before it. A file that cannot be
// read is tried again when it changes and, if a disk or a server may be to blame, now and then.
class AliasMaps {
public:
    AliasMaps();
    ~AliasMaps();
    AliasMaps(AliasMaps&&) noexcept;
    AliasMaps& operator=(AliasMaps&&) noexcept;
    static Result<AliasMaps> open(const std::vector<std::string>& specs);    // all of it read; an Error when something cannot be
    // Nothing is read before refresh() does; `before` gives what it has of the same tables.
    static AliasMaps prepare(const std::vector<std::string>& specs, AliasMaps before = AliasMaps());
    static constexpr int being_read = EALREADY;         // code of the Error while a table is being read for the first time
    // The entry; nothing; or an error that defers. `name` is a local part, or anything that alias_maps may hold.
    Result<std::optional<Aliases::Entry>> find(std::string_view name) const;
    Result<bool> has(std::string_view name) const;      // find() without a copy of what may be a long list
    // As Table::refresh. A new or changed file of more than `at_once` bytes still answers as before, or not yet: due() has it, to be read
    // on a thread.
    Result<bool> refresh(uint64_t at_once = UINT64_MAX);
    struct Reading;                                     // of one file, apart from these maps
    std::vector<std::shared_ptr<Reading>> due();        // shared_ptr: a thread and its completion have it in turns
    static void read(Reading& reading);                 // on any thread
    // Puts what was read in force; the reading then has the old content, whose end takes its time as well. True as of refresh().
    Result<bool> take(Reading& reading);
    bool restless() const;                              // as Table::restless
    bool reading() const;                               // a thread has or shall have something of due()
    bool loading() const;                               // something has yet to be read for the first time, and answers with an Error
    std::vector<std::string> troubles() const;          // what cannot be read now; of that what was read before answers, if anything was
    std::vector<std::string> sources() const;           // files to watch
    std::string origin(std::string_view name) const;    // "file:line"
    std::vector<std::string> problems() const;          // "file, line N: text"

private:
    struct Source;
    std::vector<std::unique_ptr<Source>> sources_;
};

// "hash:/path", "proxy:lmdb:/path" and so on: the path of the text; nothing for other types.
std::optional<std::string> text_file_of(std::string_view spec);

}  // namespace veredus::table
