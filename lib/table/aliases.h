// aliases(5) and .forward: the grammar of targets, and the compiled aliases file.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::table {

struct AliasTarget {
    enum class Kind { address, command, file, include } kind = Kind::address;
    std::string text;        // address as written (unquoted), command, path, include path
    bool final = false;      // "\user": no further alias expansion
    bool operator==(const AliasTarget&) const = default;
};

// The right-hand side of an alias, or a .forward file: separated by commas and line ends, quoted strings, # comments at
// line starts. Errors say the line. At most `limit` targets.
Result<std::vector<AliasTarget>> parse_targets(std::string_view text, std::size_t limit = 10'000);

struct AliasProblem {
    unsigned line;
    std::string text;
};

class Aliases {
public:
    // One file's text. Problems do not hide the good entries (newaliases prints them; local logs them).
    static Aliases parse(std::string_view text, std::vector<AliasProblem>& problems);
    static Result<Aliases> load(const std::string& path, std::vector<AliasProblem>& problems);
    struct Entry {
        std::vector<AliasTarget> targets;
        unsigned line = 0;
    };
    const Entry* find(std::string_view name) const;     // case does not matter
    std::size_t size() const { return entries_.size(); }

private:
    std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace veredus::table
