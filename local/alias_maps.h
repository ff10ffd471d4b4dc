// alias_maps as local has them: asked from the loop and from the threads that expand lists, looked at before each attempt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "local/expand.h"

namespace veredus::local {

class AliasMaps {
public:
    using Step = std::function<void()>;
    using Run = std::function<void(Step work, Step done)>;    // `work` on a thread, then `done` where refresh() was called

    // What is short is read here, long files by the next refresh(). What was read of tables that stay is kept.
    void configure(const std::vector<std::string>& specs)
    {
        const std::lock_guard guard(mutex_);
        maps_ = table::AliasMaps::prepare(specs, std::move(maps_));
        look();
    }
    // A change of the files is in force at once. One of a long file is read by `run`, while what it held before answers, or, before its
    // first time, nothing does. This object must outlive what `run` is given.
    void refresh(const Run& run = {})
    {
        const std::lock_guard guard(mutex_);
        look(run ? read_at_once : UINT64_MAX);
        if (!run) return;
        for (auto& reading : maps_.due()) run([reading] { table::AliasMaps::read(*reading); }, [this, run, reading] { take(run, reading); });
    }
    // A file is being read for the first time: what it says of a name will be known soon.
    bool loading() const
    {
        const std::lock_guard guard(mutex_);
        return maps_.loading();
    }
    // A change is on its way, too.
    bool reading() const
    {
        const std::lock_guard guard(mutex_);
        return maps_.reading();
    }
    // Whoever is in none of them may yet be: "" when that is not so, else why.
    std::string doubt() const
    {
        const std::lock_guard guard(mutex_);
        if (!trouble_.empty()) return "alias_maps cannot be read";
        return maps_.restless() ? "alias_maps is being changed" : "";
    }
    Result<bool> has(std::string_view name) const
    {
        const std::lock_guard guard(mutex_);
        auto found = maps_.has(name);
        return found ? found : in_words(found.error());
    }
    Result<std::optional<table::Aliases::Entry>> find(std::string_view name) const
    {
        const std::lock_guard guard(mutex_);
        auto found = maps_.find(name);
        return found ? found : in_words(found.error());
    }

private:
    static constexpr uint64_t read_at_once = 64 * 1024;      // bytes: a millisecond
    static constexpr std::size_t most_said = 10;             // problems of one reading
    static Unexpected in_words(const Error& error) { return unexpected(Error{error.code, cat("alias_maps: ", error.text)}); }
    void look(uint64_t at_once = read_at_once)
    {
        const auto changed = maps_.refresh(at_once);
        tell(changed && *changed);
    }
    void take(const Run& run, std::shared_ptr<table::AliasMaps::Reading> reading)
    {
        const std::lock_guard guard(mutex_);
        const auto taken = maps_.take(*reading);
        tell(taken && *taken);
        run([old = std::move(reading)]() mutable { old.reset(); }, [] {});    // a hundred thousand entries end elsewhere, too
    }
    // The lines that do not parse are said when they are read, a trouble that stays is said once.
    void tell(bool read)
    {
        std::vector<std::string> trouble = maps_.troubles();
        for (const std::string& text : trouble)
            if (std::find(trouble_.begin(), trouble_.end(), text) == trouble_.end()) log::warning("alias_maps: ", printable(text));
        trouble_ = std::move(trouble);
        if (!read) return;
        std::set<std::string> problems;
        std::size_t fresh = 0;
        for (std::string& text : maps_.problems()) {
            const bool said = problems_.contains(text);
            if (const auto [at, first] = problems.insert(std::move(text)); first && !said && ++fresh <= most_said) log::warning(printable(*at));
        }
        if (fresh > most_said) log::warning("alias_maps: … and ", fresh - most_said, " more such lines; newaliases -oAFILE lists those of a file");
        problems_ = std::move(problems);
    }
    mutable std::mutex mutex_;
    table::AliasMaps maps_;
    std::vector<std::string> trouble_;                       // that has been said
    std::set<std::string> problems_;
};

}  // namespace veredus::local
