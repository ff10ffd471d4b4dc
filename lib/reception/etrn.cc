// ETRN: syntax, which domains, and what the client hears.
#include "lib/reception/etrn.h"

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/ipc/flush.h"
#include "lib/log/log.h"

namespace veredus::reception {

using smtp::Outcome;
using smtp::Pending;
using smtp::Reply;

namespace {

constexpr int max_files_deep = 8; // /file patterns that name /file patterns

Reply reply_to(const std::string& node, bool ours, const Result<ipc::SiteFlushed>& flushed)
{
    using How = ipc::SiteFlushed::How;
    if (!flushed || flushed->how == How::busy) return {458, "4.3.0", cat("Unable to queue messages for node ", node)};
    // Strangers do not learn how much mail waits for whom.
    if (!ours || flushed->how == How::lately) return {250, "2.0.0", cat("OK, queuing for node ", node, " started")};
    if (flushed->waiting == 0) return {251, "2.0.0", cat("OK, no messages waiting for node ", node)};
    return {253, "2.0.0", cat("OK, ", flushed->waiting, " pending messages for node ", node, " started")};
}

} // namespace

Result<DomainList> DomainList::make(const std::vector<std::string>& patterns, bool parents_match, const table::ReadText& read)
{
    DomainList list;
    list.parents_ = parents_match;
    for (const std::string& pattern : patterns) TRY(list.add(pattern, false, 0, read));
    return list;
}

Result<void> DomainList::add(std::string_view pattern, bool negated, int depth, const table::ReadText& read)
{
    for (; pattern.starts_with('!'); pattern.remove_prefix(1)) negated = !negated;
    if (pattern.empty()) return fail("a ! without a pattern after it");
    if (pattern.starts_with('/')) {
        if (depth >= max_files_deep) return fail(cat(pattern, ": files that name one another, more than ", max_files_deep, " deep"));
        const std::string text = TRY(read(std::string(pattern)));
        table::Lines lines(text);
        std::string line;
        unsigned number = 0;
        while (lines.next(line, number))
            for (const std::string_view word : conf::split_list(line))
                if (auto added = add(word, negated, depth + 1, read); !added) return fail(cat(pattern, ", line ", number, ": ", added.error().text));
        return {};
    }
    Item item;
    item.negated = negated;
    if (pattern.find(':') != std::string_view::npos) {
        auto opened = TRY(table::open_from(std::string(pattern), read));
        item.table = std::move(opened);
    } else {
        item.name = TRY(table::MatchList::domains({std::string(pattern)}, parents_));
    }
    items_.push_back(std::move(item));
    return {};
}

Result<bool> DomainList::matches(std::string_view domain) const
{
    const auto in_table = [&](const table::Table& table) -> Result<bool> {
        if (TRY(table.find(domain))) return true;
        if (table.is_pattern()) return false;
        for (std::size_t dot = domain.find('.'); dot != std::string_view::npos; dot = domain.find('.', dot + 1))
            if (TRY(table.find(domain.substr(parents_ ? dot + 1 : dot)))) return true;
        return false;
    };
    for (const Item& item : items_) {
        const bool found = TRY(item.table ? in_table(*item.table) : item.name.matches_domain(domain));
        if (found) return !item.negated;
    }
    return false;
}

void Etrn::set_domains(Result<DomainList> domains)
{
    trouble_ = !domains;
    if (domains) domains_ = std::move(*domains);
    else log::warning("fast_flush_domains: ", domains.error().text, "; ETRN flushes nothing until it can be read");
}

// RFC 1985 §5. Of its options, @ asks for subdomains too, which a host may or may not do (§5.3): the domain itself is tried. There are no
// named queues, which # asks for.
Outcome Etrn::run(std::string_view text, bool ours, const std::function<std::function<void(const Reply&)>()>& later) const
{
    if (!offered()) return Reply{502, "5.5.1", "ETRN not available"};
    if (text.empty()) return Reply{500, "5.5.4", "Syntax: ETRN domain"};
    if (text.starts_with('#')) return Reply{459, "4.7.0", cat("Node ", printable(text, 255), " not allowed: there are no named queues")};
    if (text.starts_with('@')) text.remove_prefix(1);
    if (!mail::is_domain(text) || text.find('.') == std::string_view::npos) return Reply{501, "5.5.4", "Syntax: ETRN domain, with all its labels"};
    const std::string node = lower(text);
    if (trouble_) return reply_to(node, ours, fail("no list"));
    const auto may = domains_.matches(node);
    if (!may) {
        log::warning("fast_flush_domains: ", may.error().text);
        return reply_to(node, ours, unexpected(may.error()));
    }
    if (!*may) return Reply{459, "4.7.0", cat("Node ", node, " not allowed: not in fast_flush_domains")};
    call_(ipc::FlushSite{node}.encode(), [node, ours, done = later()](const Result<ipc::Message>& answer) {
        if (!answer) return done(reply_to(node, ours, unexpected(answer.error())));
        done(reply_to(node, ours, ipc::SiteFlushed::decode(answer->body)));
    });
    return Pending{};
}

} // namespace veredus::reception
