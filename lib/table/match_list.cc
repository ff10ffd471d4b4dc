// mydestination, relay_domains, mynetworks: lists of patterns, the first that fits decides (match_list(3) of Postfix).
#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/log/log.h"
#include "lib/table/kinds.h"

namespace veredus::table {

namespace {

constexpr int max_files_deep = 8;    // /file patterns that name /file patterns

}  // namespace

Result<MatchList> MatchList::compile(const std::vector<std::string>& patterns, bool networks, bool parents_match)
{
    MatchList list;
    list.networks_ = networks;
    list.parents_ = parents_match;
    list.patterns_ = patterns;
    for (const std::string& pattern : patterns) TRY(list.add(pattern, false, 0));
    return list;
}

Result<MatchList> MatchList::domains(const std::vector<std::string>& patterns, bool parents_match) { return compile(patterns, false, parents_match); }
Result<MatchList> MatchList::networks(const std::vector<std::string>& patterns) { return compile(patterns, true, false); }

Result<void> MatchList::add(std::string_view pattern, bool negated, int depth)
{
    while (pattern.starts_with('!')) {
        negated = !negated;
        pattern.remove_prefix(1);
    }
    if (pattern.empty()) return fail("a ! without a pattern after it");
    if (pattern.starts_with('/')) return add_file(std::string(pattern), negated, depth);
    Item item;
    item.negated = negated;
    if (networks_) {
        if (auto network = net::Network::parse(pattern)) {
            item.network = std::move(*network);
            items_.push_back(std::move(item));
            return {};
        } else if (is_digit(pattern.front()) || pattern.front() == '[' || pattern.find(':') == std::string_view::npos) {
            return unexpected(network.error());
        }
    }
    const std::size_t colon = pattern.find(':');
    if (colon != std::string_view::npos && pattern.front() != '[') {
        item.table = TRY(open(std::string(pattern)));
    } else {
        item.name = lower(pattern);
    }
    items_.push_back(std::move(item));
    return {};
}

Result<void> MatchList::add_file(const std::string& path, bool negated, int depth)
{
    if (depth >= max_files_deep) return fail(cat(path, ": files that name one another, more than ", max_files_deep, " deep"));
    files_.emplace_back(path);
    const std::string text = TRY(files_.back().read());
    Lines lines(text);
    std::string line;
    unsigned number = 0;
    while (lines.next(line, number))
        for (const std::string_view word : conf::split_list(line))
            if (auto added = add(word, negated, depth + 1); !added) return fail(cat(path, ", line ", number, ": ", added.error().text));
    return {};
}

Result<bool> MatchList::item_matches_domain(const Item& item, std::string_view domain) const
{
    if (!item.table) {
        if (item.name == domain) return true;
        if (item.name.starts_with('.')) return !parents_ && domain.size() > item.name.size() && domain.ends_with(item.name);
        return parents_ && domain.size() > item.name.size() + 1 && domain.ends_with(item.name) && domain[domain.size() - item.name.size() - 1] == '.';
    }
    if (TRY(item.table->find(domain))) return true;
    if (item.table->is_pattern()) return false;
    for (std::size_t dot = domain.find('.'); dot != std::string_view::npos; dot = domain.find('.', dot + 1)) {
        const std::string_view parent = domain.substr(parents_ ? dot + 1 : dot);
        if (TRY(item.table->find(parent))) return true;
    }
    return false;
}

Result<bool> MatchList::matches_domain(std::string_view domain) const
{
    const std::string wanted = lower(domain);
    if (wanted.empty()) return false;
    for (const Item& item : items_)
        if (TRY(item_matches_domain(item, wanted))) return !item.negated;
    return false;
}

Result<bool> MatchList::matches_client(const net::Address& client) const
{
    if (!client.is_ip()) return false;
    for (const Item& item : items_) {
        bool matched = false;
        if (item.network)
            matched = item.network->contains(client);
        else if (item.table)
            matched = TRY(item.table->find(client.ip())).has_value();
        if (matched) return !item.negated;
    }
    return false;
}

// A table's entry for the whole address counts as listed by itself, unless the table is one of ranges.
bool MatchList::lists_singly(const net::Address& client) const
{
    if (!client.is_ip()) return false;
    for (const Item& item : items_) {
        if (item.network && item.network->contains(client) && item.network->single()) return !item.negated;
        if (item.table && !item.table->is_pattern())
            if (const auto found = item.table->find(client.ip()); found && *found) return !item.negated;
    }
    return false;
}

Result<void> MatchList::refresh(bool& changed)
{
    Looks looks;
    for (Item& item : items_)
        if (item.table) looks.add(item.table->refresh(changed));
    for (Source& file : files_) {
        const auto other = file.changed();
        if (other) due_ = due_ || *other;
        else looks.add(unexpected(other.error()));
    }
    if (!due_ || !looks.all_well()) return looks.said();
    auto fresh = TRY(compile(patterns_, networks_, parents_));
    for (const Source& file : files_) log::info("list ", file.path(), " is in force as it is now");
    *this = std::move(fresh);
    changed = true;
    return {};
}

bool MatchList::restless() const
{
    return std::any_of(files_.begin(), files_.end(), [](const Source& file) { return file.restless(); }) ||
           std::any_of(items_.begin(), items_.end(), [](const Item& item) { return item.table && item.table->restless(); });
}

std::vector<std::string> MatchList::sources() const
{
    std::vector<std::string> out;
    for (const Source& file : files_) out.push_back(file.path());
    for (const Item& item : items_)
        if (item.table)
            for (auto& path : item.table->sources()) out.push_back(std::move(path));
    return out;
}

}  // namespace veredus::table
