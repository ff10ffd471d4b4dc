// alias_maps as local has them: asked from the loop and from the threads that expand lists, looked at before each attempt.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/held.h"
#include "local/expand.h"

namespace veredus::local {

class AliasMaps {
public:
    using Step = std::function<void()>;
    using Run = std::function<void(Step work, Step done)>;    // `work` on a thread, then `done` where refresh() was called

    // A table that cannot be read makes every answer temporary until it can.
    void configure(std::vector<std::string> specs)
    {
        if (specs == specs_) return;    // refresh() sees what became of the files
        specs_ = specs;
        Maps maps([specs = std::move(specs)] { return table::AliasMaps::open(specs); });
        const std::lock_guard guard(mutex_);
        maps_ = std::move(maps);
        std::vector<std::string> trouble;
        maps_.tell(trouble);
        tell(std::move(trouble), true);
    }
    // A change of the files is in force at once. One of a long file is read by `run`, while what it held before answers. This object must
    // outlive what `run` is given.
    void refresh(const Run& run = {})
    {
        const std::lock_guard guard(mutex_);
        std::vector<std::string> trouble;
        const bool changed = maps_.refresh(trouble, run ? read_at_once : UINT64_MAX);
        if (readings_ == 0) tell(std::move(trouble), changed);
        if (!run || readings_ != 0 || !maps_.value()) return;
        for (auto& reading : maps_.value()->due()) {
            ++readings_;
            run([reading] { table::AliasMaps::read(*reading); }, [this, run, reading] { read(run, reading); });
        }
    }
    // Somebody is writing a file of them, or one is being read: what is not in it may still come.
    bool restless() const
    {
        const std::lock_guard guard(mutex_);
        return readings_ != 0 || maps_.restless();
    }
    Result<bool> has(std::string_view name) const
    {
        const std::lock_guard guard(mutex_);
        if (!maps_.get()) return fail(cat("alias_maps: ", maps_.get().error().text));
        return maps_.get()->has(name);
    }
    Result<std::optional<Targets>> find(std::string_view name) const
    {
        const std::lock_guard guard(mutex_);
        if (!maps_.get()) return fail(cat("alias_maps: ", maps_.get().error().text));
        auto entry = TRY(maps_.get()->find(name));
        if (!entry) return std::optional<Targets>();
        return std::optional<Targets>(std::move(entry->targets));
    }

private:
    using Maps = table::Held<table::AliasMaps>;
    static constexpr uint64_t read_at_once = 64 * 1024;      // bytes: a millisecond
    void read(const Run& run, std::shared_ptr<table::AliasMaps::Reading> reading)
    {
        const std::lock_guard guard(mutex_);
        --readings_;
        std::vector<std::string> trouble;
        bool changed = false;
        if (maps_.value()) {
            const auto taken = maps_.value()->take(*reading);
            changed = taken && *taken;
            if (!taken) trouble.push_back(taken.error().text);
        }
        tell(std::move(trouble), changed);
        run([old = std::move(reading)]() mutable { old.reset(); }, [] {});    // a hundred thousand entries end elsewhere, too
    }
    // The lines that do not parse are said when they are read, a trouble that stays is said once.
    void tell(std::vector<std::string> trouble, bool read)
    {
        if (trouble != trouble_)
            for (const std::string& text : trouble) log::warning("alias_maps: ", printable(text));
        trouble_ = std::move(trouble);
        if (read && maps_.get())
            for (const std::string& text : maps_.get()->problems()) log::warning(printable(text));
    }
    std::vector<std::string> specs_;
    mutable std::mutex mutex_;
    Maps maps_;
    unsigned readings_ = 0;                                  // long files that a thread reads
    std::vector<std::string> trouble_;
};

}  // namespace veredus::local
