// Tables by name, several of them in a row, and the keys under which an address is looked up.
#include "lib/table/table.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/kinds.h"
#include "lib/table/socketmap.h"
#include "lib/table/substitution.h"

namespace veredus::table {

namespace {

// Postfix refuses it for these as well.
constexpr std::string_view names_what_is_done[] = {"alias_maps", "alias_database", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps"};

}  // namespace

bool refuses_substitution(std::string_view setting)
{
    return std::find(std::begin(names_what_is_done), std::end(names_what_is_done), setting) != std::end(names_what_is_done);
}

Result<std::unique_ptr<Table>> open(const std::string& spec)
{
    std::string_view rest = spec;
    while (rest.starts_with("proxy:")) rest.remove_prefix(6);
    TRY(conf::check_table(rest));
    if (inside_of(rest)) return open_combined(std::string(rest), [](const std::string& one) { return open(one); });
    if (const auto path = text_file_of(rest)) return open_text(*path);
    const auto [type, rest_of_it] = cut(rest, ':');
    const std::string_view name = rest_of_it.value_or("");
    if (type == "regexp") return open_patterns(Pattern::posix, std::string(name));
    if (type == "pcre") return open_patterns(Pattern::pcre, std::string(name));
    if (type == "cidr") return open_patterns(Pattern::cidr, std::string(name));
    if (type == "inline") return open_inline(name);
    if (type == "static") return open_static(name);
    if (type == "unix") return open_system(name);
    if (type == "socketmap") return open_socketmap(name);
    return fail(cat("\"", spec, "\": ", type, ": tables are not read by this version of veredus; use a text table (hash:/file)"));
}

std::optional<std::string> file_of(std::string_view spec)
{
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    if (auto path = text_file_of(spec)) return path;
    const auto [type, name] = cut(spec, ':');
    if ((type == "regexp" || type == "pcre" || type == "cidr") && name && name->starts_with('/')) return std::string(*name);
    return std::nullopt;
}

Result<std::unique_ptr<Table>> open_from(const std::string& spec, const ReadText& read)
{
    std::string_view rest = spec;
    while (rest.starts_with("proxy:")) rest.remove_prefix(6);
    TRY(conf::check_table(rest));
    if (inside_of(rest)) return open_combined(std::string(rest), [&read](const std::string& one) { return open_from(one, read); });
    const std::string_view type = cut(rest, ':').first;
    const auto path = file_of(rest);
    if (!path && type == "unix") return fail(cat("\"", spec, "\": the users of the system cannot be looked up from inside a jail; use a text table (hash:/file)"));
    // A question to a server would hold up everybody else's session.
    if (!path && type == "socketmap") return fail(cat("\"", spec, "\": a role in a jail asks no socketmap server; use a text table (hash:/file)"));
    if (!path) return open(spec);
    const std::string text = TRY(read(*path));
    auto made = text_file_of(rest) ? text_table_of(text, *path)
                                   : pattern_table_of(type == "regexp" ? Pattern::posix : type == "pcre" ? Pattern::pcre : Pattern::cidr, text, *path);
    if (made) log_problems((*made)->problems());
    return made;
}

Result<Chain> Chain::open_from(const std::vector<std::string>& specs, const ReadText& read)
{
    Chain chain;
    for (const std::string& spec : specs) chain.tables_.push_back(TRY(table::open_from(spec, read)));
    return chain;
}

Result<Chain> Chain::open(const std::vector<std::string>& specs)
{
    Chain chain;
    for (const std::string& spec : specs) chain.tables_.push_back(TRY(table::open(spec)));
    return chain;
}

Result<std::optional<std::string>> Chain::find(std::string_view key) const
{
    for (const auto& table : tables_)
        if (auto value = TRY(table->find(key))) return value;
    return std::optional<std::string>();
}

Result<std::optional<std::string>> Chain::find_part(std::string_view key) const
{
    for (const auto& table : tables_) {
        if (table->is_pattern()) continue;
        if (auto value = TRY(table->find(key))) return value;
    }
    return std::optional<std::string>();
}

Result<void> Chain::refresh(bool& changed)
{
    Looks looks;
    for (const auto& table : tables_) looks.add(table->refresh(changed));
    return looks.said();
}

Result<void> FileTable::read()
{
    const std::string text = TRY(source_.read());
    TRY(compile(text));
    log_problems(problems());
    return {};
}

Result<void> FileTable::refresh(bool& changed)
{
    if (TRY(source_.changed())) {
        auto done = read();
        broken_ = done ? std::nullopt : std::optional(std::move(done).error());
        if (!broken_) {
            log::info("table ", source_.path(), " changed: ", size(), " are in force");
            changed = true;
        }
    }
    return broken_ ? Result<void>(unexpected(*broken_)) : Result<void>();
}

void Looks::add(const Result<void>& look)
{
    if (look) return;
    if (error_) append(error_->text, "; ", look.error().text);
    else error_ = look.error();
}

Result<void> Looks::said() const { return error_ ? Result<void>(unexpected(*error_)) : Result<void>(); }

bool Chain::restless() const
{
    return std::any_of(tables_.begin(), tables_.end(), [](const auto& table) { return table->restless(); });
}

std::vector<std::string> Chain::sources() const
{
    std::vector<std::string> out;
    for (const auto& table : tables_)
        for (auto& path : table->sources()) out.push_back(std::move(path));
    return out;
}

std::vector<std::string> Chain::problems() const
{
    std::vector<std::string> out;
    for (const auto& table : tables_)
        for (auto& problem : table->problems()) out.push_back(std::move(problem));
    return out;
}

std::string Chain::origin(std::string_view key) const
{
    for (const auto& table : tables_)
        if (auto origin = table->origin(key); !origin.empty()) return origin;
    return {};
}

Result<std::optional<AddressHit>> find_address_hit(const Chain& chain, const mail::Address& address, std::string_view delimiters, bool domain_is_ours)
{
    using Hit = std::optional<AddressHit>;
    if (chain.empty()) return Hit();
    const std::string domain = lower(address.domain);
    const mail::Split parts = mail::split_extension(address.local, delimiters);
    const std::string extension = parts.extension ? cat(parts.delimiter, *parts.extension) : std::string();
    const auto at_domain = [&](const std::string& local) { return domain.empty() ? local : cat(local, '@', domain); };

    const std::string whole = at_domain(address.local);
    if (auto value = TRY(chain.find(whole))) return Hit({std::move(*value), whole, ""});
    const auto part = [&](const std::string& key, const std::string& unmatched) -> Result<Hit> {
        auto value = TRY(chain.find_part(key));
        return value ? Hit({std::move(*value), key, unmatched}) : Hit();
    };
    if (!extension.empty())
        if (auto hit = TRY(part(at_domain(parts.user), extension))) return hit;
    if (domain_is_ours && !domain.empty()) {
        if (auto hit = TRY(part(address.local, ""))) return hit;
        if (!extension.empty())
            if (auto hit = TRY(part(parts.user, extension))) return hit;
    }
    if (domain.empty()) return Hit();
    return part(cat('@', domain), "");
}

Result<std::optional<std::string>> find_address(const Chain& chain, const mail::Address& address, std::string_view delimiters, bool domain_is_ours)
{
    auto hit = TRY(find_address_hit(chain, address, delimiters, domain_is_ours));
    return hit ? std::optional(std::move(hit->value)) : std::nullopt;
}

}  // namespace veredus::table
