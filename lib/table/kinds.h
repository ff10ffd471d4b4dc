// The makers of the tables of each type; open() in table.cc chooses.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/table/table.h"

namespace veredus::table {

Result<std::unique_ptr<Table>> open_text(const std::string& path);       // hash: and its kin: "key value" lines
enum class Pattern { posix, pcre, cidr };
Result<std::unique_ptr<Table>> open_patterns(Pattern kind, const std::string& path);
Result<std::unique_ptr<Table>> open_inline(std::string_view text);       // "{a=b, {c = d e}}"
Result<std::unique_ptr<Table>> open_static(std::string_view text);
Result<std::unique_ptr<Table>> open_system(std::string_view name);       // "passwd.byname", "group.byname"
// pipemap:{TABLE, TABLE} and unionmap:{TABLE, TABLE}; `open` opens each of them.
using Opener = std::function<Result<std::unique_ptr<Table>>(const std::string& spec)>;
Result<std::unique_ptr<Table>> open_combined(const std::string& spec, const Opener& open);
std::optional<std::string_view> inside_of(std::string_view spec);        // of such a spec what is in its braces; nothing for other types
std::vector<std::string> files_of(std::string_view spec);                // as file_of(), and of such a spec the files of its tables

// Text as each reader takes it, for tests and fuzzers: what lines are not used.
Result<std::unique_ptr<Table>> text_table_of(std::string_view text, const std::string& name = "text");
Result<std::unique_ptr<Table>> pattern_table_of(Pattern kind, std::string_view text, const std::string& name = "text");

constexpr std::size_t max_key = 4096;    // longer keys are in no table
constexpr std::size_t max_pattern_text = 16'384;    // what patterns are asked about may be a header field
void log_problems(const std::vector<std::string>& problems);

}  // namespace veredus::table
