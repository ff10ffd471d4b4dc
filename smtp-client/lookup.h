// Lookup tables of a process in an empty jail: their texts are read before it, and come anew from master when they change.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/table/table.h"

namespace veredus::smtp_client {

using ReadText = std::function<Result<std::string>(const std::string& path)>;

// Several tables asked in order. One that cannot be used makes each answer an error, which defers: mail is never sent without the password
// or the protection that a table might have asked for.
class Lookup {
public:
    Lookup() = default;
    Lookup(const std::vector<std::string>& specs, const ReadText& read);
    bool empty() const { return tables_.empty() && trouble_.empty(); }
    Result<std::optional<std::string>> find(std::string_view key) const;
    // For a part of a key (a domain's parent, a bare domain): pattern tables are not asked.
    Result<std::optional<std::string>> find_part(std::string_view key) const;
    const std::string& trouble() const { return trouble_; } // why a table cannot be used; empty: all is well

private:
    Result<std::optional<std::string>> ask(std::string_view key, bool part) const;
    std::vector<std::unique_ptr<table::Table>> tables_;
    std::string trouble_;
};

} // namespace veredus::smtp_client
