#include "smtp-client/rework.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/mail/rewrite.h"

namespace veredus::smtp_client {

namespace {

using Names = std::function<std::string(std::string_view)>;

std::shared_ptr<const queue::CheckRules> read_checks(const conf::Values& values, const Names& names,
                                                     const table::ReadText& read, std::vector<std::string>& problems, bool& unusable)
{
    const auto rules_of = [&](std::string_view which) -> queue::CheckRules::Lookup {
        const std::string name = names(which);
        const auto specs = values.list(name);
        if (specs.empty()) return nullptr;
        auto chain = table::Chain::open_from(specs, read);
        if (!chain) {
            const std::string why = cat(name, ": ", chain.error().text);
            problems.push_back(cat(why, "; mail waits until it can be read"));
            unusable = true;
            return [why](std::string_view) -> Result<std::optional<std::string>> { return fail(why); };
        }
        return [tables = std::make_shared<table::Chain>(std::move(*chain))](std::string_view text) {
            return tables->find(text);
        };
    };
    auto rules = std::make_shared<queue::CheckRules>();
    rules->header = rules_of("header_checks");
    rules->mime = rules_of("mime_header_checks");
    rules->nested = rules_of("nested_header_checks");
    rules->body = rules_of("body_checks");
    rules->body_size = static_cast<std::size_t>(values.number("body_checks_size_limit"));
    rules->depth = static_cast<unsigned>(values.number("mime_nesting_limit"));
    rules->only_changes = true;
    return rules->header || rules->mime || rules->nested || rules->body ? rules : nullptr;
}

// Names only: what a table or a file would say of a domain is not to be had in a jail.
std::set<std::string> plain_names(const std::vector<std::string>& list)
{
    std::set<std::string> names;
    for (const std::string& item : list)
        if (item.find_first_of(":/!") == std::string::npos) names.insert(lower(item));
    return names;
}

} // namespace

ReworkRules ReworkRules::read(const conf::Values& values, const Names& names, const table::ReadText& read)
{
    ReworkRules rules;
    rules.checks_ = read_checks(values, names, read, rules.problems_, rules.checks_unusable_);
    rules.converts_ = !values.flag("disable_mime_output_conversion");
    rules.delimiters_ = values.text("recipient_delimiter");
    rules.myorigin_ = lower(values.text("myorigin"));
    const auto propagate = values.list("propagate_unmatched_extensions");
    rules.propagates_ =
        std::any_of(propagate.begin(), propagate.end(), [](const std::string& w) { return iequals(w, "generic"); });
    const std::string name = names("generic_maps");
    const auto specs = values.list(name);
    if (specs.empty()) return rules;
    rules.ours_ = plain_names(values.list("mydestination"));
    rules.ours_.insert(rules.myorigin_);
    auto chain = table::Chain::open_from(specs, read);
    if (!chain) {
        rules.trouble_ = cat(name, ": ", chain.error().text);
        rules.problems_.push_back(cat(rules.trouble_, "; mail waits until it can be read"));
        return rules;
    }
    rules.maps_ = std::make_shared<const table::Chain>(std::move(*chain));
    return rules;
}

std::vector<std::string> ReworkRules::problems() const
{
    return problems_;
}

Result<std::optional<mail::Address>> ReworkRules::mapped(const mail::Address& address) const
{
    if (!trouble_.empty()) return fail(trouble_);
    if (!maps_ || address.domain.empty()) return std::optional<mail::Address>();
    const auto hit = TRY(table::find_address_hit(*maps_, address, delimiters_, ours_.contains(lower(address.domain))));
    if (!hit) return std::optional<mail::Address>();
    const auto wrong = [&](std::string_view why) {
        return fail(cat("generic maps: ", printable(hit->key, 100), ": \"", printable(hit->value, 100), "\" ", why));
    };
    const std::string_view value = trim(hit->value);
    if (value.starts_with('@')) { // another domain, the same user
        mail::Address other{address.local, lower(value.substr(1))};
        if (!mail::is_domain(other.domain)) return wrong("is no domain");
        return std::optional(std::move(other));
    }
    auto other = mail::parse_address(value);
    if (!other) return wrong("is not one address");
    if (other->domain.empty()) other->domain = myorigin_;
    if (propagates_ && !hit->extension.empty()) other->local += hit->extension;
    return std::optional(std::move(*other));
}

Result<std::string> ReworkRules::mapped_header(std::string_view header) const
{
    Result<void> trouble{};
    const auto block =
        mail::rewrite_header(mail::HeaderBlock::parse(header),
                             [&](mail::AddressField, const std::string& text) -> std::optional<std::string> {
                                 const auto address = mail::parse_address(text);
                                 if (!address) return std::nullopt;
                                 const auto other = mapped(*address);
                                 if (!other) trouble = unexpected(other.error());
                                 if (!other || !*other) return std::nullopt;
                                 return (*other)->text();
                             });
    if (!trouble) return unexpected(trouble.error());
    return block.text();
}

Rework::Rework(const ReworkPlan& plan)
{
    if (plan.checks) check_ = std::make_unique<queue::ContentCheck>(plan.checks, plan.mail);
    if (plan.seven_bit) seven_bit_ = std::make_unique<mail::SevenBit>(plan.unmarked, plan.care);
    if (plan.line_limit) folder_ = std::make_unique<smtp::LineFolder>(plan.line_limit);
}

void Rework::begin(std::string_view header, std::string& out)
{
    if (check_) check_->begin_body(header);
    pass(header, out);
    pass("\r\n", out);
}

void Rework::pass(std::string_view bytes, std::string& out)
{
    if (!seven_bit_) return fold(bytes, out);
    encoded_.clear();
    seven_bit_->feed(bytes, encoded_);
    fold(encoded_, out);
}

void Rework::fold(std::string_view bytes, std::string& out)
{
    if (folder_)
        folder_->feed(bytes, out);
    else
        out.append(bytes);
}

void Rework::body(std::string_view bytes, std::string& out)
{
    if (!check_) return pass(bytes, out);
    checked_.clear();
    check_->body(bytes, checked_);
    pass(checked_, out);
}

bool Rework::finish(std::string& out)
{
    if (check_) {
        checked_.clear();
        check_->finish_body(checked_);
        pass(checked_, out);
        mail::HeaderBlock none;
        mail::Envelope nobody;
        if (check_->finish(none, nobody).kind == queue::Decision::Kind::reject) return false;
    }
    if (seven_bit_) {
        encoded_.clear();
        seven_bit_->finish(encoded_);
        fold(encoded_, out);
    }
    if (folder_) folder_->finish(out);
    return true;
}

} // namespace veredus::smtp_client
