// One pattern of a regexp:, pcre: or cidr: table.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::table {

class Matcher {
public:
    virtual ~Matcher() = default;
    // On a match `groups` has the whole and then each parenthesis ("" for those that took no part).
    virtual Result<bool> match(const std::string& key, std::vector<std::string>& groups) const = 0;
    virtual std::size_t groups() const { return 0; }     // how many parentheses
};

// `flags` are the letters after the closing delimiter; each toggles its default (regexp_table(5), pcre_table(5)).
Result<std::unique_ptr<Matcher>> posix_matcher(const std::string& pattern, std::string_view flags);
Result<std::unique_ptr<Matcher>> pcre_matcher(const std::string& pattern, std::string_view flags);
Result<std::unique_ptr<Matcher>> cidr_matcher(std::string_view network);

}  // namespace veredus::table
