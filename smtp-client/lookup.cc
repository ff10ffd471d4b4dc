#include "smtp-client/lookup.h"

namespace veredus::smtp_client {

Lookup::Lookup(const std::vector<std::string>& specs, const ReadText& read)
{
    for (const std::string& spec : specs) {
        auto opened = table::open_from(spec, read);
        if (opened) tables_.push_back(std::move(*opened));
        else if (trouble_.empty()) trouble_ = opened.error().text;
    }
}

Result<std::optional<std::string>> Lookup::ask(std::string_view key, bool part) const
{
    if (!trouble_.empty()) return fail(trouble_);
    for (const auto& one : tables_) {
        if (part && one->is_pattern()) continue;
        auto value = TRY(one->find(key));
        if (value) return value;
    }
    return std::optional<std::string>();
}

Result<std::optional<std::string>> Lookup::find(std::string_view key) const
{
    return ask(key, false);
}

Result<std::optional<std::string>> Lookup::find_part(std::string_view key) const
{
    return ask(key, true);
}

} // namespace veredus::smtp_client
