#include "smtp-client/lookup.h"

#include "lib/base/text.h"
#include "lib/table/aliases.h"
#include "lib/table/kinds.h"

namespace veredus::smtp_client {

namespace {

Result<std::unique_ptr<table::Table>> open_table(std::string_view spec, const ReadText& read)
{
    if (const auto path = table::text_file_of(spec)) {
        const std::string text = TRY(read(*path));
        return table::text_table_of(text);
    }
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    const auto [type, name] = cut(spec, ':');
    const struct {
        std::string_view type;
        table::Pattern kind;
    } patterns[] = {{"regexp", table::Pattern::posix}, {"pcre", table::Pattern::pcre}, {"cidr", table::Pattern::cidr}};
    for (const auto& row : patterns) {
        if (type != row.type || !name) continue;
        const std::string text = TRY(read(std::string(*name)));
        return table::pattern_table_of(row.kind, text);
    }
    if (name && type == "inline") return table::open_inline(*name);
    if (name && type == "static") return table::open_static(*name);
    return fail(cat("table ", printable(spec, 100), ": smtp-client, which has no access to the system, reads text files, inline: and static: only"));
}

} // namespace

Lookup::Lookup(const std::vector<std::string>& specs, const ReadText& read)
{
    for (const std::string& spec : specs) {
        auto opened = open_table(spec, read);
        if (opened) tables_.push_back(std::move(*opened));
        else if (trouble_.empty()) trouble_ = opened.error().text;
    }
}

Result<std::optional<std::string>> Lookup::ask(std::string_view key, bool part) const
{
    if (!trouble_.empty()) return fail(trouble_);
    for (const auto& one : tables_) {
        if (part && one->is_pattern()) continue;
        auto value = TRY(one->find(key));
        if (value) return value;
    }
    return std::optional<std::string>();
}

Result<std::optional<std::string>> Lookup::find(std::string_view key) const
{
    return ask(key, false);
}

Result<std::optional<std::string>> Lookup::find_part(std::string_view key) const
{
    return ask(key, true);
}

std::vector<std::string> Lookup::problems() const
{
    std::vector<std::string> out;
    for (const auto& one : tables_)
        for (std::string& problem : one->problems()) out.push_back(std::move(problem));
    return out;
}

} // namespace veredus::smtp_client
