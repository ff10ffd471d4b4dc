// alias_maps as a whole: aliases files and tables of other types. Apart from the files' grammar, so that newaliases(1), which is
// sendmail(1) too, links no engine of regular expressions.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/kinds.h"
#include "lib/table/source.h"
#include "lib/table/substitution.h"
#include "lib/table/table.h"

namespace veredus::table {

namespace {

constexpr int64_t never = INT64_MAX, most_rest_us = 60 * us_per_second;
constexpr std::size_t max_problems = 1000;    // of one file that are kept
constexpr int64_t rest_for_each = 20;    // of the time that was spent in vain

// What stood at a path when it could not be read. Other rights make another one of it.
struct Seen {
    Stamp stamp;
    int64_t changed_ns = 0;
    bool operator==(const Seen&) const = default;
    static Seen at(const std::string& path)
    {
        struct stat st {};
        if (::stat(path.c_str(), &st) != 0) return {};
        const auto ns = [](const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; };
        return {{st.st_dev, st.st_ino, static_cast<uint64_t>(st.st_size), ns(st.st_mtim)}, ns(st.st_ctim)};
    }
};

struct AliasFile {
    table::Source file;
    Aliases aliases;
    std::vector<AliasProblem> problems;

    Result<void> read()
    {
        table::Source now = file;    // what is not taken has not been read
        const std::string text = TRY(now.read());
        if (text.find('\0') != std::string::npos) return fail(cat(file.path(), ": holds NUL bytes: this is no text file"));
        std::vector<AliasProblem> found;
        aliases = Aliases::parse(text, found);
        if (found.size() > max_problems) found.resize(max_problems);
        problems = std::move(found);
        file = std::move(now);
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
        table::Source now = file;
        if (!TRY(now.changed())) {
            file = std::move(now);    // the same bytes, looked at later
            return false;
        }
        TRY(read());
        return true;
    }
    void say() const { log::info("table ", file.path(), " changed: ", aliases.size(), " aliases are in force"); }
};

uint64_t size_of(const std::string& path)
{
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_size) : 0;
}

// As they stand now.
std::vector<Seen> files_behind(const std::string& spec)
{
    std::vector<Seen> out;
    for (const std::string& path : files_of(spec)) out.push_back(Seen::at(path));
    return out;
}

}  // namespace

// One try to read a table; on a thread it works on copies.
struct AliasMaps::Reading {
    const Source* of = nullptr;      // compared, and never looked into
    std::string spec;
    bool first = false;              // nothing was ever read
    std::optional<AliasFile> text;
    std::unique_ptr<Table> other;
    Seen seen;
    std::vector<Seen> files;         // behind a table of another type
    Result<bool> changed = false;
    int64_t took_us = 0;

    void run()
    {
        const int64_t began = system_clock().mono_us();
        if (text) seen = Seen::at(text->file.path());
        else files = files_behind(spec);
        changed = attempt();
        took_us = system_clock().mono_us() - began;
    }

private:
    Result<void> open_other()
    {
        const WithoutSubstitution scope;
        other = TRY(table::open(spec));
        return {};
    }
    Result<bool> attempt()
    {
        if (text && !first) return text->read_if_changed();
        if (text) TRY(text->read_first());
        else TRY(open_other());
        return true;
    }
};

// Either an aliases file or a table of another type.
struct AliasMaps::Source {
    std::string spec;
    std::optional<AliasFile> text;
    std::unique_ptr<Table> other;    // null: not opened yet
    std::vector<Seen> files;         // that stood behind it when it was opened,
    bool young = false;              // some so shortly before that their next change may look the same
    bool ready = false;              // it was read
    bool due = false, away = false;  // to be read on a thread; a thread has it
    std::optional<Error> trouble;    // of the last try,
    Seen seen;                       // made when this stood there;
    int64_t again_us = 0;            // the next one is not before, unless something else stands there

    explicit Source(const std::string& s) : spec(s)
    {
        if (auto path = text_file_of(spec)) text.emplace(AliasFile{table::Source(std::move(*path)), {}, {}});
    }

    Reading to_read() const { return {this, spec, !ready, text ? std::optional(AliasFile{text->file, {}, {}}) : std::nullopt, nullptr, {}, {}, false, 0}; }

    Result<bool> refresh(uint64_t at_once)
    {
        if (due || away) return false;
        if (ready && !text && bytes() > at_once) return look_at_long();
        if (ready && !text) {
            bool changed = false;
            const auto fresh = other->refresh(changed);
            trouble = fresh ? std::nullopt : std::optional(fresh.error());
            if (!fresh) return unexpected(fresh.error());
            return changed;
        }
        if (ready) {
            uint64_t size = 0;
            const auto look = text->file.look(size);
            if (!look) return failed(look.error(), {}, 0);
            if (*look == table::Source::Look::same) {
                trouble.reset();
                return false;
            }
        }
        if (trouble && system_clock().mono_us() < again_us && (!text || Seen::at(text->file.path()) == seen)) return unexpected(*trouble);
        if (bytes() > at_once) {
            due = true;
            return false;
        }
        Reading reading = to_read();
        reading.run();
        return take(reading);
    }

    Result<bool> take(Reading& reading)
    {
        due = away = false;    // what changed since is seen anew
        if (!reading.changed) return failed(reading.changed.error(), reading.seen, reading.took_us);
        trouble.reset();
        if (!*reading.changed) text->file = reading.text->file;
        else if (text) std::swap(*text, *reading.text);
        else std::swap(other, reading.other);
        if (*reading.changed && text && ready) text->say();
        if (!text) {
            if (ready && files != reading.files) log::info("table ", spec, " changed: what it says now is in force");
            files = std::move(reading.files);
            young = other->restless();
        }
        ready = true;
        return reading.changed;
    }

    Error why_not() const { return trouble ? *trouble : Error{AliasMaps::being_read, cat(spec, ": is being read")}; }

private:
    // A table of another type is opened anew, on a thread, when its files are not those that it was read from.
    Result<bool> look_at_long()
    {
        const bool rested = young && !other->restless();
        if (!rested && files_behind(spec) == files) {
            trouble.reset();
            return false;
        }
        if (trouble && system_clock().mono_us() < again_us) return unexpected(*trouble);
        due = true;
        return false;
    }
    uint64_t bytes() const
    {
        if (text) return size_of(text->file.path());
        uint64_t all = 0;
        for (const std::string& path : files_of(spec)) all += size_of(path);
        return all;
    }
    // What is wrong with the content only another content mends.
    Result<bool> failed(const Error& error, const Seen& at, int64_t took_us)
    {
        trouble = error;
        seen = at;
        again_us = error.code == 0 && text ? never : system_clock().mono_us() + std::min(rest_for_each * took_us, most_rest_us);
        return unexpected(error);
    }
};

AliasMaps::AliasMaps() = default;
AliasMaps::~AliasMaps() = default;
AliasMaps::AliasMaps(AliasMaps&&) noexcept = default;
AliasMaps& AliasMaps::operator=(AliasMaps&&) noexcept = default;

Result<AliasMaps> AliasMaps::open(const std::vector<std::string>& specs)
{
    AliasMaps maps = prepare(specs);
    for (const auto& source : maps.sources_) TRY(source->refresh(UINT64_MAX));
    return maps;
}

AliasMaps AliasMaps::prepare(const std::vector<std::string>& specs, AliasMaps before)
{
    AliasMaps maps;
    for (const std::string& spec : specs) {
        // One that went away is made anew: whoever asks for that knows.
        const auto same = std::find_if(before.sources_.begin(), before.sources_.end(), [&](const auto& source) { return source && source->spec == spec && !(source->trouble && source->trouble->code == ENOENT); });
        maps.sources_.push_back(same == before.sources_.end() ? std::make_unique<Source>(spec) : std::move(*same));
    }
    return maps;
}

Result<std::optional<Aliases::Entry>> AliasMaps::find(std::string_view name) const
{
    std::optional<Aliases::Entry> found;
    for (const auto& source : sources_) {
        if (!source->ready) return unexpected(source->why_not());
        if (source->text) {
            if (const Aliases::Entry* entry = source->text->aliases.find(name)) {
                found = *entry;
                found->owner = source->text->file.owner();
                return found;
            }
        } else if (const auto value = TRY(source->other->find(name))) {
            found = Aliases::Entry{TRY(parse_targets(*value)), 0, 0};
            struct stat st {};
            for (const std::string& path : source->other->sources())
                if (::stat(path.c_str(), &st) == 0 && st.st_uid != 0) found->owner = st.st_uid;
            return found;
        }
    }
    return found;
}

Result<bool> AliasMaps::has(std::string_view name) const
{
    for (const auto& source : sources_) {
        if (!source->ready) return unexpected(source->why_not());
        if (source->text ? source->text->aliases.find(name) != nullptr : TRY(source->other->find(name)).has_value()) return true;
    }
    return false;
}

Result<bool> AliasMaps::refresh(uint64_t at_once)
{
    bool any = false;
    std::optional<Error> error;
    for (const auto& source : sources_) {
        const auto changed = source->refresh(at_once);
        if (!changed) error = changed.error();
        else any = any || *changed;
    }
    if (error && !any) return unexpected(*error);
    return any;
}

std::vector<std::shared_ptr<AliasMaps::Reading>> AliasMaps::due()
{
    std::vector<std::shared_ptr<Reading>> out;
    for (const auto& source : sources_) {
        if (!std::exchange(source->due, false)) continue;
        source->away = true;
        out.push_back(std::make_shared<Reading>(source->to_read()));
    }
    return out;
}

void AliasMaps::read(Reading& reading) { reading.run(); }

Result<bool> AliasMaps::take(Reading& reading)
{
    const auto source = std::find_if(sources_.begin(), sources_.end(), [&](const auto& s) { return s.get() == reading.of && s->spec == reading.spec && s->away; });
    return source == sources_.end() ? Result<bool>(false) : (*source)->take(reading);
}

bool AliasMaps::restless() const
{
    return reading() || std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->text ? source->text->file.restless() : source->other && source->other->restless(); });
}

bool AliasMaps::reading() const
{
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source->due || source->away; });
}

bool AliasMaps::loading() const
{
    return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return !source->ready && !source->trouble; });
}

std::vector<std::string> AliasMaps::troubles() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_)
        if (source->trouble) out.push_back(source->trouble->text);
    return out;
}

std::vector<std::string> AliasMaps::sources() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_) {
        if (source->text) {
            out.push_back(source->text->file.path());
        } else if (source->other) {
            for (auto& path : source->other->sources()) out.push_back(std::move(path));
        }
    }
    return out;
}

std::string AliasMaps::origin(std::string_view name) const
{
    for (const auto& source : sources_) {
        if (source->text) {
            if (const Aliases::Entry* entry = source->text->aliases.find(name)) return cat(source->text->file.path(), ':', entry->line);
        } else if (source->other) {
            if (auto origin = source->other->origin(name); !origin.empty()) return origin;
        }
    }
    return {};
}

std::vector<std::string> AliasMaps::problems() const
{
    std::vector<std::string> out;
    for (const auto& source : sources_) {
        if (source->text) {
            for (const AliasProblem& problem : source->text->problems) out.push_back(cat(source->text->file.where(problem.line), ": ", problem.text));
        } else if (source->other) {
            for (auto& problem : source->other->problems()) out.push_back(std::move(problem));
        }
    }
    return out;
}

}  // namespace veredus::table
