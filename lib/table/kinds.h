// The makers of the tables of each type; open() in table.cc chooses. And what they share.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/table/table.h"

namespace veredus::table {

// A table whose text stands in a file.
class FileTable : public Table {
public:
    explicit FileTable(std::string path) : source_(std::move(path)) {}
    Result<void> read();
    virtual Result<void> compile(std::string_view text) = 0;
    Result<void> refresh(bool& changed) override;
    bool restless() const override { return source_.restless(); }
    std::vector<std::string> sources() const override { return {source_.path()}; }

protected:
    virtual std::string size() const = 0;    // "3 entries", for the log
    Source source_;

private:
    std::optional<Error> broken_;            // what stands there now is of no use
};

// The look at several tables: one that cannot be read keeps no other from being looked at, and all that is wrong is told.
class Looks {
public:
    void add(const Result<void>& look);
    bool all_well() const { return !error_; }
    Result<void> said() const;

private:
    std::optional<Error> error_;
};

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
