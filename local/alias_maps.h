// The tables of alias_maps: read, looked up, and read again when they change. Any thread may ask.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/table/aliases.h"
#include "lib/table/table.h"
#include "local/expand.h"

namespace veredus::local {

class AliasMaps {
public:
    // "hash:/etc/aliases" and the like are aliases(5) files; other types (regexp:, static:, inline: …) give the text of a
    // right-hand side. A table that cannot be read now makes every answer temporary until it can.
    Result<void> configure(const std::vector<std::string>& specs);
    void refresh();                                       // looks at the files: a change is in force at once
    Result<std::optional<Targets>> find(std::string_view name) const;

private:
    struct Stamp {                                        // of a file as it was read
        dev_t device = 0;
        ino_t inode = 0;
        int64_t mtime_ns = -1;
        off_t size = -1;
        bool operator==(const Stamp&) const = default;
    };
    struct Map {
        std::string spec, path;                           // path: of an aliases file; empty for other types
        std::unique_ptr<table::Table> table;
        std::optional<table::Aliases> aliases;
        Stamp stamp;
        bool fresh = false;                               // written less than a second before it was read: read once more later
        std::string broken;                               // why it cannot answer
        bool missing_said = false;
    };
    static void read(Map& map, bool first);
    mutable std::mutex mutex_;
    std::vector<Map> maps_;
};

}  // namespace veredus::local
