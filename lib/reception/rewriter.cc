#include "lib/reception/rewriter.h"

#include <algorithm>
#include <map>

#include "lib/base/text.h"
#include "lib/mail/rewrite.h"
#include "lib/net/address.h"

namespace veredus::reception {

namespace {
using Kind = ipc::RewriteRequest::Kind;
using Item = ipc::RewriteRequest::Item;
constexpr std::size_t page_bytes = 16'384;
constexpr std::size_t most_header_addresses = 1000;      // of one mail; those after them stay as they are
constexpr std::size_t most_copies = 100;

Kind kind_of(mail::AddressField field) { return field == mail::AddressField::sender ? Kind::header_sender : Kind::header_recipient; }
}  // namespace

struct Rewriter::Work {
    Mail mail;
    Done done;
    std::vector<Item> items;
    std::size_t asked = 0, page = 0;                      // of items
    std::map<Item, ipc::RewriteReply::Item> answers;
};

void Rewriter::configure(const conf::Values& values)
{
    static constexpr const char* tables[] = {"canonical_maps", "sender_canonical_maps", "recipient_canonical_maps", "masquerade_domains", "sender_bcc_maps", "recipient_bcc_maps"};
    ask_ = std::any_of(std::begin(tables), std::end(tables), [&](const char* name) { return values.has(name); });
    always_ = values.text("always_bcc");
    myorigin_ = values.text("myorigin");
    header_clients_.clear();
    for (const std::string& word : values.list("local_header_rewrite_clients")) header_clients_.insert(lower(word));
}

bool Rewriter::header_is_ours(const mail::Envelope& envelope) const
{
    if (envelope.origin == mail::Origin::local || header_clients_.count("static:all")) return true;
    if (envelope.origin == mail::Origin::authenticated && header_clients_.count("permit_sasl_authenticated")) return true;
    if (envelope.origin == mail::Origin::network && header_clients_.count("permit_mynetworks")) return true;
    const auto client = net::Address::parse_ip(envelope.client_address, 0);
    return client && client->loopback() && header_clients_.count("permit_inet_interfaces");
}

void Rewriter::run(Mail mail, Done done)
{
    auto work = std::make_shared<Work>();                 // shared: between the answers of router
    work->mail = std::move(mail);
    work->done = std::move(done);
    if (ask_) {
        std::set<Item> items;
        if (!work->mail.envelope.sender.empty()) items.insert({Kind::envelope_sender, work->mail.envelope.sender.text()});
        for (const mail::Recipient& r : work->mail.envelope.recipients) items.insert({Kind::envelope_recipient, r.address.text()});
        const std::size_t most = items.size() + most_header_addresses;
        if (header_is_ours(work->mail.envelope))
            (void)mail::rewrite_header(work->mail.header, [&](mail::AddressField field, const std::string& address) {
                if (items.size() < most) items.insert({kind_of(field), address});
                return std::optional<std::string>();
            });
        work->items.assign(items.begin(), items.end());
    }
    next_page(work);
}

void Rewriter::next_page(const std::shared_ptr<Work>& work)
{
    if (work->asked == work->items.size()) return finish(*work);
    ipc::RewriteRequest request;
    std::size_t bytes = 0;
    for (std::size_t i = work->asked; i < work->items.size() && bytes < page_bytes; ++i) {
        bytes += work->items[i].address.size() + 64;
        request.items.push_back(work->items[i]);
    }
    work->page = request.items.size();
    call_(request.encode(), [this, work, alive = std::weak_ptr(alive_)](const Result<ipc::Message>& answer) {
        if (alive.expired()) return;
        auto reply = answer ? ipc::RewriteReply::decode(answer->body) : Result<ipc::RewriteReply>(unexpected(answer.error()));
        if (!reply) return work->done(unexpected(reply.error()));
        if (!reply->trouble.empty()) return work->done(fail(reply->trouble));
        if (reply->items.size() != work->page) return work->done(fail("router answered another question"));
        for (std::size_t i = 0; i < work->page; ++i) work->answers[work->items[work->asked + i]] = std::move(reply->items[i]);
        work->asked += work->page;
        next_page(work);
    });
}

void Rewriter::finish(Work& work) const
{
    mail::Envelope& envelope = work.mail.envelope;
    std::vector<std::string> copies;
    const auto look = [&](Kind kind, const std::string& address) -> const ipc::RewriteReply::Item* {
        const auto at = work.answers.find({kind, address});
        return at == work.answers.end() ? nullptr : &at->second;
    };
    if (!always_.empty()) copies.push_back(always_);
    for (const mail::Recipient& r : envelope.recipients)
        if (const auto* item = look(Kind::envelope_recipient, r.address.text())) copies.insert(copies.end(), item->copies.begin(), item->copies.end());
    if (!envelope.sender.empty())
        if (const auto* item = look(Kind::envelope_sender, envelope.sender.text())) {
            copies.insert(copies.end(), item->copies.begin(), item->copies.end());
            if (auto sender = mail::parse_address(item->address)) envelope.sender = std::move(*sender);
        }
    if (header_is_ours(envelope))
        work.mail.header = mail::rewrite_header(work.mail.header, [&](mail::AddressField field, const std::string& address) -> std::optional<std::string> {
            const auto* item = look(kind_of(field), address);
            return item && item->address != address ? std::optional(item->address) : std::nullopt;
        });
    // Nobody is told of a copy, and no report about one goes to the sender (RFC 3461 §4.1: NOTIFY=NEVER).
    std::size_t added = 0;
    for (const std::string& copy : copies) {
        auto address = mail::parse_address(copy);
        if (!address || added == most_copies) continue;
        if (address->domain.empty()) address->domain = myorigin_;
        const auto same = [&](const mail::Recipient& r) { return iequals(r.address.text(), address->text()); };
        if (std::any_of(envelope.recipients.begin(), envelope.recipients.end(), same)) continue;
        envelope.recipients.push_back({std::move(*address), mail::notify_never, ""});
        ++added;
    }
    work.done(std::move(work.mail));
}

}  // namespace veredus::reception
