// alias_maps as a whole: aliases files and tables of other types. Apart from the files' grammar, so that newaliases(1), which is
// sendmail(1) too, links no engine of regular expressions.
#include <algorithm>
#include <utility>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/source.h"
#include "lib/table/table.h"

namespace veredus::table {

namespace {

struct AliasFile {
    table::Source file;
    Aliases aliases;
    std::vector<AliasProblem> problems;

    Result<void> read()
    {
        const std::string text = TRY(file.read());
        if (text.find('\0') != std::string::npos) return fail(cat(file.path(), ": holds NUL bytes: this is no text file"));
        std::vector<AliasProblem> found;
        aliases = Aliases::parse(text, found);
        problems = std::move(found);
        return {};
    }
    // A file that is not there (a fresh system) has no aliases; one that vanishes later keeps those it had.
    Result<void> read_first()
    {
        auto done = read();
        if (done || done.error().code != ENOENT) return done;
        problems.push_back({0, "does not exist: there are no aliases, not even for root"});
        return {};
    }
    Result<bool> read_if_changed()
    {
        if (!TRY(file.changed())) return false;
        TRY(read());
        return true;
    }
    bool has_news(uint64_t& size) const
    {
        const auto look = file.look(size);
        return look && *look != table::Source::Look::same;
    }
    void say() const { log::info("table ", file.path(), " changed: ", aliases.size(), " aliases are in force"); }
};

}  // namespace

// Either an aliases file or a table of another type.
struct AliasMaps::Source {
    std::optional<AliasFile> text;
    bool due = false;
    std::unique_ptr<Table> other;
};

struct AliasMaps::Reading {
    const Source* of = nullptr;      // compared, and never looked into
    AliasFile text;
    Result<bool> changed = false;
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
            source->text.emplace(AliasFile{table::Source(std::move(*path)), {}, {}});
            TRY(source->text->read_first());
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
        if (source->text) {
            if (const Aliases::Entry* entry = source->text->aliases.find(name)) return std::optional(*entry);
            continue;
        }
        if (const auto value = TRY(source->other->find(name))) return std::optional(Aliases::Entry{TRY(parse_targets(*value)), 0});
    }
    return std::optional<Aliases::Entry>();
}

Result<bool> AliasMaps::has(std::string_view name) const
{
    for (const auto& source : sources_)
        if (source->text ? source->text->aliases.find(name) != nullptr : TRY(source->other->find(name)).has_value()) return true;
    return false;
}

Result<bool> AliasMaps::refresh(uint64_t at_once)
{
    bool any = false;
    std::optional<Error> error;
    for (const auto& source : sources_) {
        uint64_t size = 0;
        if (source->text && source->text->has_news(size) && size > at_once) {
            source->due = true;
            continue;
        }
        auto changed = source->text ? source->text->read_if_changed() : source->other->refresh();
        if (!changed) {
            error = changed.error();
            continue;
        }
        if (*changed && source->text) source->text->say();
        any = any || *changed;
    }
    if (error && !any) return unexpected(*error);
    return any;
}

std::vector<std::shared_ptr<AliasMaps::Reading>> AliasMaps::due()
{
    std::vector<std::shared_ptr<Reading>> out;
    for (const auto& source : sources_)
        if (std::exchange(source->due, false)) out.push_back(std::make_shared<Reading>(Reading{source.get(), AliasFile{source->text->file, {}, {}}, false}));
    return out;
}

void AliasMaps::read(Reading& reading) { reading.changed = reading.text.read_if_changed(); }

Result<bool> AliasMaps::take(Reading& reading)
{
    const auto source = std::find_if(sources_.begin(), sources_.end(), [&](const auto& s) { return s.get() == reading.of && s->text && s->text->file.path() == reading.text.file.path(); });
    if (source == sources_.end()) return false;
    (*source)->due = false;    // what changed since is seen anew
    if (!reading.changed) return reading.changed;
    AliasFile& text = *(*source)->text;
    if (*reading.changed) {
        std::swap(text, reading.text);
        text.say();
    } else {
        text.file = reading.text.file;    // the same bytes, looked at later
    }
    return reading.changed;
}

bool AliasMaps::restless() const
{
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->text ? source->text->file.restless() : source->other->restless(); });
}

std::vector<std::string> AliasMaps::sources() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_) {
        if (source->text) out.push_back(source->text->file.path());
        else
            for (auto& path : source->other->sources()) out.push_back(std::move(path));
    }
    return out;
}

std::string AliasMaps::origin(std::string_view name) const
{
    for (const auto& source : sources_) {
        if (source->text) {
            if (const Aliases::Entry* entry = source->text->aliases.find(name)) return cat(source->text->file.path(), ':', entry->line);
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
        if (source->text)
            for (const AliasProblem& problem : source->text->problems) out.push_back(cat(source->text->file.where(problem.line), ": ", problem.text));
        else
            for (auto& problem : source->other->problems()) out.push_back(std::move(problem));
    }
    return out;
}

}  // namespace veredus::table
