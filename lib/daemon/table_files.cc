// The text files behind the lookup tables of a jailed role.
#include "lib/daemon/table_files.h"

#include <fcntl.h>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/table/kinds.h"

namespace veredus::daemon {

namespace {

constexpr std::size_t max_file = std::size_t{256} << 20;

void add_files(std::set<std::string>& out, std::string_view list)
{
    for (const std::string_view word : conf::split_list(list))
        for (std::string& path : table::files_of(word)) out.insert(std::move(path));
}

// A list of domains: files of patterns, tables, and ! before either.
void add_list_files(std::set<std::string>& out, const std::vector<std::string>& list)
{
    for (std::string_view word : list) {
        while (word.starts_with('!')) word.remove_prefix(1);
        if (word.starts_with('/')) out.emplace(word);
        else for (std::string& path : table::files_of(word)) out.insert(std::move(path));
    }
}

}  // namespace

std::set<std::string> table_files(const conf::Values& values, conf::Who who)
{
    std::set<std::string> out;
    for (const conf::Setting& row : conf::all_settings()) {
        if (!(row.who & who) || std::string_view(row.name) == "tls_server_sni_maps") continue;
        if (row.type == conf::Type::tables || std::string_view(row.name).ends_with("_restrictions")) add_files(out, values.text(row.name));
        if (std::string_view(row.name) == "fast_flush_domains") add_list_files(out, values.list(row.name));
        if (std::string_view(row.name).ends_with("_restriction_classes"))
            for (const std::string& name : values.list(row.name)) add_files(out, values.extra(name));
    }
    return out;
}

void TableFiles::before_jail(const conf::Values& values, conf::Who who)
{
    for (const std::string& path : table_files(values, who)) texts_.insert_or_assign(path, read_file(path, max_file));
}

bool TableFiles::on_file(const std::string& name, const Fd& fd)
{
    if (!name.starts_with(table_file_mark)) return false;
    auto text = read_all(fd.get(), max_file);
    if (!text) text = fail(cat("read ", name.substr(table_file_mark.size()), ": ", text.error().text));
    texts_.insert_or_assign(name.substr(table_file_mark.size()), std::move(text));
    return true;
}

table::ReadText TableFiles::reader() const
{
    return [this](const std::string& path) -> Result<std::string> {
        const auto at = texts_.find(path);
        if (at == texts_.end()) return fail(cat(path, ": is not there yet, or cannot be read"));
        return at->second;
    };
}

}  // namespace veredus::daemon
