// alias_maps as a whole: aliases files and tables of other types. Apart from the files' grammar, so that newaliases(1), which is
// sendmail(1) too, links no engine of regular expressions.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/source.h"
#include "lib/table/table.h"

namespace veredus::table {

// Either an aliases file or a table of another type.
struct AliasMaps::Source {
    std::optional<table::Source> file;
    Aliases aliases;
    std::vector<AliasProblem> problems;
    std::unique_ptr<Table> other;

    // A file that is not there (a fresh system) has no aliases; one that vanishes later keeps those it had.
    Result<void> read_first()
    {
        auto done = read();
        if (done || done.error().code != ENOENT) return done;
        problems.push_back({0, "does not exist: there are no aliases, not even for root"});
        return {};
    }

    Result<void> read()
    {
        const std::string text = TRY(file->read());
        if (text.find('\0') != std::string::npos) return fail(cat(file->path(), ": holds NUL bytes: this is no text file"));
        std::vector<AliasProblem> found;
        aliases = Aliases::parse(text, found);
        problems = std::move(found);
        return {};
    }
};

AliasMaps::AliasMaps() = default;
AliasMaps::~AliasMaps() = default;
AliasMaps::AliasMaps(AliasMaps&&) noexcept = default;
AliasMaps& AliasMaps::operator=(AliasMaps&&) noexcept = default;

Result<AliasMaps> AliasMaps::open(const std::vector<std::string>& specs)
{
    AliasMaps maps;
    for (const std::string& spec : specs) {
        auto source = std::make_unique<Source>();
        if (auto path = text_file_of(spec)) {
            source->file.emplace(std::move(*path));
            TRY(source->read_first());
        } else {
            source->other = TRY(table::open(spec));
        }
        maps.sources_.push_back(std::move(source));
    }
    return maps;
}

Result<std::optional<Aliases::Entry>> AliasMaps::find(std::string_view name) const
{
    for (const auto& source : sources_) {
        if (source->file) {
            if (const Aliases::Entry* entry = source->aliases.find(name)) return std::optional(*entry);
            continue;
        }
        if (const auto value = TRY(source->other->find(name))) return std::optional(Aliases::Entry{TRY(parse_targets(*value)), 0});
    }
    return std::optional<Aliases::Entry>();
}

Result<bool> AliasMaps::has(std::string_view name) const
{
    for (const auto& source : sources_)
        if (source->file ? source->aliases.find(name) != nullptr : TRY(source->other->find(name)).has_value()) return true;
    return false;
}

Result<bool> AliasMaps::refresh()
{
    bool any = false;
    std::optional<Error> error;
    for (const auto& source : sources_) {
        auto changed = source->file ? source->file->changed() : source->other->refresh();
        if (changed && *changed && source->file) {
            auto read = source->read();
            if (!read)
                changed = Result<bool>(unexpected(read.error()));
            else
                log::info("table ", source->file->path(), " changed: ", source->aliases.size(), " aliases are in force");
        }
        if (!changed)
            error = changed.error();
        else
            any = any || *changed;
    }
    if (error && !any) return unexpected(*error);
    return any;
}

bool AliasMaps::restless() const
{
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->file ? source->file->restless() : source->other->restless(); });
}

std::vector<std::string> AliasMaps::sources() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_) {
        if (source->file) out.push_back(source->file->path());
        else
            for (auto& path : source->other->sources()) out.push_back(std::move(path));
    }
    return out;
}

std::string AliasMaps::origin(std::string_view name) const
{
    for (const auto& source : sources_) {
        if (source->file) {
            if (const Aliases::Entry* entry = source->aliases.find(name)) return cat(source->file->path(), ':', entry->line);
        } else if (auto origin = source->other->origin(name); !origin.empty()) {
            return origin;
        }
    }
    return {};
}

std::vector<std::string> AliasMaps::problems() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_) {
        if (source->file)
            for (const AliasProblem& problem : source->problems) out.push_back(cat(source->file->where(problem.line), ": ", problem.text));
        else
            for (auto& problem : source->other->problems()) out.push_back(std::move(problem));
    }
    return out;
}

}  // namespace veredus::table
