// $name, ${name?text}, ${name:text} and their relatives, as Postfix's main.cf has them; and how its values are cut to lists.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::conf {

constexpr std::size_t max_expanded = 256 * 1024;   // bytes of one expanded value
constexpr int max_nesting = 50;                    // of ${…} within ${…}, and of $a that leads to $b

// The expanded value of a name, "" when it has none.
using Lookup = std::function<Result<std::string>(std::string_view name)>;
Result<std::string> expand(std::string_view text, const Lookup& lookup, int depth = 0);

// Adds the names that `text` refers to.
void references(std::string_view text, std::set<std::string, std::less<>>& out);

// Cuts at blanks and commas outside of braces: "inline:{a=b, c=d} hash:/x" has two pieces.
std::vector<std::string_view> split_list(std::string_view text);

}  // namespace veredus::conf
