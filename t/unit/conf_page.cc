// main.cf(5) has an entry for each row of the settings tables, and no other.
#include "t/unit/catch.h"

#include <set>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/setting.h"

using namespace veredus;

namespace {
std::set<std::string> entries_of_page()
{
    const std::string here = __FILE__;
    const std::string root = here.substr(0, here.size() - std::string("t/unit/conf_page.cc").size());
    const auto page = read_file(root + "man/main.cf.5", 1 << 22);
    REQUIRE(page);
    std::set<std::string> names;
    for (const std::string_view line : split_on(*page, '\n')) {
        const auto words = split(line, " ");
        if (words.size() < 3 || words[0] != ".It" || words[1] != "Va") continue;
        INFO(line);
        CHECK(names.emplace(words[2]).second);   // no entry twice
    }
    return names;
}
}  // namespace

TEST_CASE("each setting has an entry in main.cf(5), and each entry is a setting", "[conf]")
{
    const auto entries = entries_of_page();
    for (const conf::Setting& row : conf::all_settings()) {
        INFO(row.name << ": write \".It Va " << row.name << " Pq default: " << row.fallback << "\" into man/main.cf.5");
        CHECK(entries.count(row.name) == 1);
    }
    for (const std::string& name : entries) {
        INFO(name);
        CHECK(conf::find_setting(name) != nullptr);
    }
}
