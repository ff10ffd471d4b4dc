// header_checks and its kin of main.cf.
#include "lib/reception/check_rules.h"

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

queue::CheckRules::Lookup rules_of(const conf::Values& values, const char* setting, const table::ReadText& read)
{
    const auto specs = values.list(setting);
    if (specs.empty()) return nullptr;
    auto chain = table::Chain::open_from(specs, read);
    if (!chain) {
        const std::string why = cat(setting, ": ", chain.error().text);
        log::error(why, "; mail is deferred until it can be read");
        return [why](std::string_view) -> Result<std::optional<std::string>> { return fail(why); };
    }
    return [tables = std::make_shared<table::Chain>(std::move(*chain))](std::string_view text) {
        return tables->find(text);
    };
}

} // namespace

std::shared_ptr<const queue::CheckRules> open_checks(const conf::Values& values, const table::ReadText& read)
{
    auto rules = std::make_shared<queue::CheckRules>();
    rules->header = rules_of(values, "header_checks", read);
    rules->mime = rules_of(values, "mime_header_checks", read);
    rules->nested = rules_of(values, "nested_header_checks", read);
    rules->body = rules_of(values, "body_checks", read);
    rules->body_size = static_cast<std::size_t>(values.number("body_checks_size_limit"));
    rules->depth = static_cast<unsigned>(values.number("mime_nesting_limit"));
    return rules->header || rules->mime || rules->nested || rules->body ? rules : nullptr;
}

bool is_checks_setting(std::string_view setting) { return setting.ends_with("header_checks") || setting.ends_with("body_checks"); }

std::vector<std::string> action_problems(std::string_view setting, const table::Table& table)
{
    constexpr std::size_t most = 20;
    const bool way_out = setting.starts_with("smtp_") || setting.starts_with("lmtp_");
    std::vector<std::string> out;
    for (const table::RightSide& answer : table.right_sides()) {
        if (out.size() == most) break;
        const std::string problem = queue::action_problem(answer.text, setting.ends_with("header_checks"), way_out, answer.variable);
        if (!problem.empty()) out.push_back(cat(answer.where, ": ", problem));
    }
    return out;
}

} // namespace veredus::reception
