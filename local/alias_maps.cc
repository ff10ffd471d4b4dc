// Reading and re-reading alias tables.
#include "local/alias_maps.h"

#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/source.h"

namespace veredus::local {

namespace {

// The path of a spec that names an aliases(5) file in any of Postfix's file types; the text itself is what we read.
std::string aliases_path(std::string_view spec)
{
    while (istarts_with(spec, "proxy:")) spec.remove_prefix(6);
    if (spec.starts_with('/')) return std::string(spec);
    const auto [type, name] = cut(spec, ':');
    if (!name || !name->starts_with('/')) return {};
    for (const char* known : {"hash", "btree", "dbm", "cdb", "lmdb", "texthash", "sdbm"})
        if (iequals(type, known)) return std::string(*name);
    return {};
}

}  // namespace

void AliasMaps::read(Map& map, bool first)
{
    struct stat st {};
    if (::stat(map.path.c_str(), &st) < 0) {
        // No file is no alias; one that vanished (an editor's rename) or that we may not see is a fault.
        if (errno == ENOENT && !map.aliases) {
            if (!map.missing_said) log::warning("alias_maps: ", map.path, " does not exist: no name has an alias until it does");
            map.missing_said = true;
            map.aliases = table::Aliases();
            map.broken.clear();
        } else if (errno != ENOENT && !map.aliases) {
            map.broken = fail_errno(cat("alias_maps: ", map.spec)).error.text;
        }
        return;
    }
    const Stamp stamp{st.st_dev, st.st_ino, st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec, st.st_size};
    const bool same = stamp == map.stamp, written = table::still_written(stamp.mtime_ns);
    if (same && (!map.fresh || written)) return;
    map.fresh = written;
    std::vector<table::AliasProblem> problems;
    auto aliases = table::Aliases::load(map.path, problems);
    for (const auto& problem : problems) log::warning(map.path, ", line ", problem.line, ": ", printable(problem.text));
    map.stamp = stamp;
    if (!aliases) {
        if (!map.aliases || map.missing_said) map.broken = cat("alias_maps: ", aliases.error().text);
        log::error("alias_maps: ", aliases.error().text, map.broken.empty() ? "; keeping the aliases read before" : "");
        return;
    }
    map.aliases = std::move(*aliases);
    map.missing_said = false;
    map.broken.clear();
    if (!first && !same) log::info(map.path, ": ", map.aliases->size(), " aliases in force");
}

Result<void> AliasMaps::configure(const std::vector<std::string>& specs)
{
    std::vector<Map> maps;
    for (const std::string& spec : specs) {
        Map map;
        map.spec = spec;
        map.path = aliases_path(spec);
        if (!map.path.empty())
            read(map, true);
        else
            map.table = TRY(table::open(spec));
        maps.push_back(std::move(map));
    }
    const std::lock_guard guard(mutex_);
    maps_ = std::move(maps);
    return {};
}

void AliasMaps::refresh()
{
    const std::lock_guard guard(mutex_);
    for (Map& map : maps_) {
        if (!map.table) {
            read(map, false);
        } else if (auto changed = map.table->refresh(); !changed) {
            log::warning("alias_maps: ", changed.error().text);
        }
    }
}

Result<std::optional<Targets>> AliasMaps::find(std::string_view name) const
{
    const std::lock_guard guard(mutex_);
    for (const Map& map : maps_) {
        if (!map.broken.empty()) return fail(map.broken);
        if (!map.table) {
            if (const auto* entry = map.aliases ? map.aliases->find(name) : nullptr) return std::optional<Targets>(entry->targets);
            continue;
        }
        const auto value = TRY(map.table->find(name));
        if (!value) continue;
        auto targets = table::parse_targets(*value);
        if (!targets) return fail(cat("alias_maps: ", map.spec, ": ", name, ": ", targets.error().text));
        return std::optional<Targets>(std::move(*targets));
    }
    return std::optional<Targets>();
}

}  // namespace veredus::local
