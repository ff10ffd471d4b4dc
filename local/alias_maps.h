// alias_maps as local has them: asked from the loop and from the threads that expand lists, looked at before each attempt.
#pragma once

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
    // A table that cannot be read makes every answer temporary until it can.
    void configure(std::vector<std::string> specs)
    {
        Maps maps([specs = std::move(specs)] { return table::AliasMaps::open(specs); });
        const std::lock_guard guard(mutex_);
        maps_ = std::move(maps);
        std::vector<std::string> trouble;
        maps_.tell(trouble);
        tell(std::move(trouble), true);
    }
    // A change of the files is in force at once.
    void refresh()
    {
        const std::lock_guard guard(mutex_);
        std::vector<std::string> trouble;
        const bool changed = maps_.refresh(trouble);
        tell(std::move(trouble), changed);
    }
    // Somebody is writing a file of them: what is not in it may still come.
    bool restless() const
    {
        const std::lock_guard guard(mutex_);
        return maps_.restless();
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
    // The lines that do not parse are said when they are read, a trouble that stays is said once.
    void tell(std::vector<std::string> trouble, bool read)
    {
        if (trouble != trouble_)
            for (const std::string& text : trouble) log::warning("alias_maps: ", printable(text));
        trouble_ = std::move(trouble);
        if (read && maps_.get())
            for (const std::string& text : maps_.get()->problems()) log::warning(printable(text));
    }
    mutable std::mutex mutex_;
    Maps maps_;
    std::vector<std::string> trouble_;
};

}  // namespace veredus::local
