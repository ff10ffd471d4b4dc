#include "qmgr/mail.h"

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "lib/base/text.h"
#include "lib/queue/spool.h"

namespace veredus::qmgr {

namespace {
// RFC 3461 §5.2.7.3 (c): the alias itself reports "expanded", its members no success. What is left of SUCCESS alone
// wanted no failure told either.
uint8_t without_success(uint8_t notify)
{
    if (!(notify & mail::notify_success)) return notify;
    const auto rest = static_cast<uint8_t>(notify & ~mail::notify_success);
    return rest ? rest : uint8_t{mail::notify_never};
}

uint64_t hash_of_local(std::string_view address)
{
    if (address.starts_with('\\')) address.remove_prefix(1);
    return std::hash<std::string>()(lower(address.substr(0, address.rfind('@'))));
}
}  // namespace

Mail::Mail(uint64_t n, Fd f, queue::Layout l, mail::Envelope e)
    : number(n), id(id_text(n)), descriptor(std::make_shared<const Fd>(std::move(f))), file(*descriptor), layout(l), envelope(std::move(e)), sender(envelope.sender.text())
{
    recipients.reserve(envelope.recipients.size());
    for (const auto& r : envelope.recipients) {
        MailRecipient recipient;
        recipient.address = recipient.original = r.address.text();
        recipient.sender = "-";
        recipient.named = hash_of_local(recipient.address);
        recipient.orcpt = r.orcpt;
        recipient.notify = r.notify;
        recipients.push_back(std::move(recipient));
    }
}

// Two spellings of one recipient must meet: a mail is delivered once however often an alias names somebody. Local parts
// are folded as Postfix's duplicate filter does. A command may do another thing for each name: of two aliases, or of two recipients
// with extensions, it is run for both.
std::string Mail::key_of(queue::Child::Kind kind, std::string_view text, std::string_view run_as, std::string_view origin, const MailRecipient* parent)
{
    using Kind = queue::Child::Kind;
    switch (kind) {
    case Kind::address: {
        std::string key = run_as.empty() ? cat("a:", lower(text)) : cat("t:", run_as, '\n', lower(text));
        if (!origin.empty() && text.find('@') == std::string_view::npos) append(key, '@', lower(origin));
        return key;
    }
    case Kind::mailbox: return cat("m:", lower(text));
    case Kind::command: return parent ? cat("c:", run_as, '\n', lower(parent->original), '\n', parent->named, '\n', text) : cat("c:", run_as, '\n', text);
    case Kind::file: return cat("f:", run_as, '\n', text);
    }
    return {};
}

// Was `index` made, directly or not, from `ancestor`? A double that was dropped is a way too: what it would have
// done, the kept one does, so a loop through it is a loop.
bool Mail::comes_from(uint32_t index, uint32_t ancestor) const
{
    std::vector<uint32_t> todo{index};
    std::unordered_set<uint32_t> been;
    while (!todo.empty()) {
        const uint32_t at = todo.back();
        todo.pop_back();
        if (at == ancestor) return true;
        if (!been.insert(at).second) continue;
        if (recipients[at].parent != no_recipient) todo.push_back(recipients[at].parent);
        const auto [first, last] = also_from_.equal_range(at);
        for (auto it = first; it != last; ++it) todo.push_back(it->second);
    }
    return false;
}

Result<std::vector<uint32_t>> Mail::expand(uint32_t parent, const std::vector<queue::Child>& children, const ExpansionLimits& limits, uint8_t numbering)
{
    using Kind = queue::Child::Kind;
    if (recipients[parent].depth >= limits.depth) return fail(cat("alias expansion loop or nesting deeper than ", limits.depth));
    if (recipients.size() + children.size() > envelope.recipients.size() + limits.recipients)
        return fail(cat("aliases expand this mail to more than ", limits.recipients, " recipients (qmgr_expansion_limit)"));
    if (seen_.empty())
        for (uint32_t i = 0; i < recipients.size(); ++i)
            seen_.emplace(key_of(recipients[i].kind, recipients[i].address, recipients[i].run_as, limits.origin, nullptr), i);    // those of the envelope

    const bool list = std::any_of(children.begin(), children.end(), [](const queue::Child& c) { return !c.sender.empty() && c.sender != "-"; });
    recipients[parent].list = list;
    recipients[parent].report_owed = (recipients[parent].notify & mail::notify_success) && (list || children.size() > 1);
    std::vector<uint32_t> fresh;
    for (const queue::Child& child : children) {
        MailRecipient r;
        r.kind = child.kind;
        r.address = child.text;
        r.run_as = child.run_as;
        r.named = hash_of_local(r.address);
        std::string key = key_of(r.kind, r.address, r.run_as, limits.origin, numbering == numbering_first ? nullptr : &recipients[parent]);
        auto known = seen_.find(key);
        if (known != seen_.end() && r.kind == Kind::address && comes_from(parent, known->second)) {
            r.final_route = true;          // "alice: alice, bob": alice's own copy is delivered, not expanded again
            key = cat("final ", key);
            known = seen_.find(key);
        }
        if (known != seen_.end()) {
            if (known->second != parent) also_from_.emplace(known->second, parent);
            continue;
        }
        const MailRecipient& from = recipients[parent];
        r.parent = parent;
        r.depth = static_cast<uint16_t>(from.depth + 1);
        r.original = from.original;
        r.sender = child.sender.empty() || child.sender == "-" ? from.sender : child.sender;
        r.orcpt = list ? std::string() : from.orcpt;
        r.notify = list ? uint8_t{mail::notify_unset} : children.size() > 1 ? without_success(from.notify) : from.notify;
        const auto index = static_cast<uint32_t>(recipients.size());
        seen_.emplace(std::move(key), index);
        recipients.push_back(std::move(r));
        fresh.push_back(index);
    }
    return fresh;
}

void Mail::restore(const History& history, const Reasons& reasons, const ExpansionLimits& limits)
{
    // What was once expanded within its limits stays so, however the settings changed since.
    ExpansionLimits wide = limits;
    wide.recipients = SIZE_MAX / 2;
    wide.depth = UINT16_MAX - 1;
    for (const auto& e : history.expansions) {
        if (e.parent >= recipients.size()) continue;
        recipients[e.parent].progress = Progress::finished;
        recipients[e.parent].outcome = static_cast<uint8_t>(ipc::Outcome::expanded);
        recipients[e.parent].recorded = true;
        recipients[e.parent].expanded_as = e.by;
        recipients[e.parent].notice = e.notice;
        (void)expand(e.parent, e.children, wide, e.numbering);
    }
    for (const auto& f : history.finished) {
        if (f.index >= recipients.size()) continue;
        MailRecipient& r = recipients[f.index];
        r.progress = Progress::finished;
        r.outcome = f.outcome;
        r.recorded = true;
        r.notice = f.notice;
        const auto [code, rest] = cut(reasons.text(f.reason), ' ');
        r.dsn = code;
        r.text = rest.value_or("");
        r.report_owed = f.reason != 0 && (f.outcome == static_cast<uint8_t>(ipc::Outcome::delivered) || f.outcome == outcome_relayed);
    }
}

const std::string& Mail::forwarded_by(const MailRecipient& recipient) const
{
    static const std::string nobody;
    uint32_t nearest = recipient.parent;
    // Passed on to another transport he is still that recipient, and no loop there.
    if (recipient.kind == queue::Child::Kind::address && !recipient.run_as.empty() && nearest != no_recipient) nearest = recipients[nearest].parent;
    for (uint32_t at = nearest; at != no_recipient; at = recipients[at].parent)
        if (!recipients[at].expanded_as.empty()) return recipients[at].expanded_as;
    return nobody;
}

bool Mail::any_open() const
{
    for (std::size_t n = 0; n < recipients.size(); ++n, ++open_at_) {
        if (open_at_ >= recipients.size()) open_at_ = 0;
        if (recipients[open_at_].open()) return true;
    }
    return false;
}

bool Mail::all_finished() const
{
    return std::all_of(recipients.begin(), recipients.end(), [](const MailRecipient& r) { return r.progress == Progress::finished; });
}

std::size_t Mail::open_count() const
{
    return static_cast<std::size_t>(std::count_if(recipients.begin(), recipients.end(), [](const MailRecipient& r) { return r.progress != Progress::finished; }));
}

}  // namespace veredus::qmgr
