// Scheduler: the router's answers, and expansions, which are durable before a child is tried.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"
#include "lib/queue/child.h"
#include "qmgr/records.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr std::size_t batch_recipients = 50;
constexpr unsigned questions_of_one_mail = 8;
constexpr std::size_t batch_bytes = 16'384;     // of a question: its answer must fit into one message too

// "5.1.2 text" of an error: transport's next hop, or of a reply; the class must be one of `classes`.
std::pair<std::string, std::string> coded(std::string_view text, std::string_view classes, std::string_view fallback)
{
    const mail::Coded c = mail::cut_enhanced_code(text);
    if (c.code.empty() || classes.find(c.code.front()) == std::string_view::npos) return {std::string(fallback), printable(text)};
    return {c.code, printable(trim(c.text))};
}

bool goes_to_local(std::string_view transport) { return transport == "local" || transport == "virtual"; }
bool goes_to_smtp(std::string_view transport) { return transport == "smtp" || transport == "relay" || transport == "lmtp"; }
}  // namespace

// A few questions at a time, the next when one is answered: a mail with 50,000 recipients leaves the router to others too.
void Scheduler::route(Mail& mail)
{
    std::vector<uint32_t> plain, final_ones;
    std::size_t bytes[2] = {0, 0};
    uint32_t i = mail.unrouted_from;
    for (; i < mail.recipients.size() && mail.questions < questions_of_one_mail; ++i) {
        MailRecipient& r = mail.recipients[i];
        if (r.progress != Progress::unrouted) continue;
        if (r.kind != queue::Child::Kind::address) {
            deliver_to(mail, i, "local", "");
            continue;
        }
        if (r.run_as == queue::by_place) {    // past his .forward; local says what takes the place of his mailbox
            deliver_to(mail, i, "local", "");
            continue;
        }
        if (!r.run_as.empty()) {    // local said for good which transport takes it
            const auto [transport, nexthop] = cut(r.run_as, ':');
            deliver_to(mail, i, std::string(transport), std::string(nexthop.value_or("")));
            continue;
        }
        auto& batch = r.final_route ? final_ones : plain;
        std::size_t& size = bytes[r.final_route];
        r.progress = Progress::routing;
        batch.push_back(i);
        size += r.address.size() + 16;
        if (batch.size() < batch_recipients && size < batch_bytes) continue;
        ask(mail, std::exchange(batch, {}), r.final_route);
        size = 0;
    }
    mail.unrouted_from = i;
    if (!plain.empty()) ask(mail, std::move(plain), false);
    if (!final_ones.empty()) ask(mail, std::move(final_ones), true);
}

void Scheduler::ask(Mail& mail, std::vector<uint32_t> indexes, bool final_only)
{
    ipc::RouteRequest request;
    request.sender = mail.sender;
    request.final_only = final_only;
    for (const uint32_t i : indexes) request.recipients.push_back(mail.recipients[i].address);
    ++routing_;
    ++mail.waits;
    ++mail.questions;
    world_.route(std::move(request), [this, id = mail.number, indexes = std::move(indexes)](Result<std::vector<ipc::Route>> answer) {
        --routing_;
        routed(id, indexes, std::move(answer));
        world_.wake();
    });
}

void Scheduler::routed(uint64_t id, const std::vector<uint32_t>& asked, Result<std::vector<ipc::Route>> answer)
{
    Mail* const mail = find(id);
    if (!mail) return;
    --mail->waits;
    --mail->questions;
    touch(*mail);
    if (!answer || answer->size() != asked.size()) {
        const std::string why = answer ? "the router answered another question" : answer.error().text;
        if (!mail->router_away) log::warning(mail->id, ": routing: ", why, "; will try again");
        for (const uint32_t i : asked) mail->recipients[i].progress = Progress::unrouted;
        mail->router_away = true;
        return;
    }
    for (std::size_t i = 0; i < asked.size(); ++i)
        if (mail->recipients[asked[i]].progress == Progress::routing) apply_route(*mail, asked[i], (*answer)[i]);
    if (!mail->router_away && !mail->hold_wanted && !mail->remove_wanted) route(*mail);
}

void Scheduler::router_up()
{
    const int64_t now = world_.now().mono_us;
    for (const uint64_t id : std::exchange(unrouted_, {}))
        if (Entry* e = catalog_.find(id); e && e->stage == Stage::timed) catalog_.schedule(*e, now);
    world_.wake();
}

void Scheduler::apply_route(Mail& mail, uint32_t index, const ipc::Route& route)
{
    using Kind = ipc::Route::Kind;
    MailRecipient& r = mail.recipients[index];
    switch (route.kind) {
    case Kind::deliver: {
        if (!route.address.empty()) r.address = route.address;
        if (r.final_route && route.transport == "local") {
            const auto address = mail::parse_address(r.address);
            r.kind = queue::Child::Kind::mailbox;
            if (address) r.address = cat('\\', address->local);    // past aliases and .forward alike: both led here in a circle
        }
        deliver_to(mail, index, route.transport, route.nexthop);
        return;
    }
    case Kind::expand:
        if (r.final_route) {
            refuse(mail, index, "5.4.6", "alias expansion loop");
            return;
        }
        expand(mail, index, route.children, {});
        return;
    case Kind::reject: {
        const std::string dsn = mail::is_enhanced_code(route.dsn) && route.dsn[0] == '5' ? route.dsn : "5.1.1";
        refuse(mail, index, dsn, route.text);
        return;
    }
    case Kind::defer: {
        const std::string dsn = mail::is_enhanced_code(route.dsn) && route.dsn[0] == '4' ? route.dsn : "4.3.0";
        defer(mail, index, dsn, route.text);
        say(mail, index, ipc::Outcome::deferred, dsn, route.text);
        return;
    }
    case Kind::discard:
        finish(mail, index, outcome_discarded, "2.0.0", route.text.empty() ? "discarded" : route.text);
        say(mail, index, ipc::Outcome::delivered, "2.0.0", route.text.empty() ? "discarded" : route.text);
        return;
    }
}

// Which agent a transport has; error, retry and discard end here.
void Scheduler::deliver_to(Mail& mail, uint32_t index, std::string transport, std::string nexthop)
{
    MailRecipient& r = mail.recipients[index];
    if (transport == "error") {
        auto [dsn, text] = coded(nexthop, "45", "5.0.0");
        if (text.empty()) text = "mail to this address is refused by the configuration";
        if (dsn[0] == '4') {
            defer(mail, index, dsn, text);
            say(mail, index, ipc::Outcome::deferred, dsn, text);
            return;
        }
        refuse(mail, index, dsn, text);
        return;
    }
    if (transport == "retry") {
        auto [dsn, text] = coded(nexthop, "4", "4.3.0");
        if (text.empty()) text = "mail to this address is deferred by the configuration";
        defer(mail, index, dsn, text);
        say(mail, index, ipc::Outcome::deferred, dsn, text);
        return;
    }
    if (transport == "discard") {
        finish(mail, index, outcome_discarded, "2.0.0", nexthop.empty() ? "discarded" : nexthop);
        say(mail, index, ipc::Outcome::delivered, "2.0.0", nexthop.empty() ? "discarded" : printable(nexthop));
        return;
    }
    const auto& waits = limits_.defer_transports;
    const std::string hop = nexthop.empty() ? std::string(r.address.substr(r.address.rfind('@') + 1)) : nexthop;
    const bool remote = !goes_to_local(transport);
    if (!mail.forced && std::find(waits.begin(), waits.end(), transport) != waits.end()) {
        mail.site = remote ? destination_hash(destination_key(transport, hop)) : 0;    // so that a flush of the site finds it
        defer(mail, index, "4.3.2", "deferred transport");
        say(mail, index, ipc::Outcome::deferred, "4.3.2", "deferred transport");
        return;
    }
    if (limits_.pipes.contains(transport)) {
        enqueue(mail, destination(transport, hop, {Agent::Kind::local, 0}), index);
        return;
    }
    if (!remote) {
        enqueue(mail, destination(transport, local_key(transport, r), {Agent::Kind::local, 0}), index);
        return;
    }
    // The router names no such transport; but a mail that was passed on may wait for a pipe that has left pipe_transports since.
    if (!goes_to_smtp(transport)) {
        const std::string text = cat("mail transport unavailable: there is no transport \"", printable(transport, 60), "\"; known are local, virtual, smtp, relay, lmtp and those of pipe_transports");
        defer(mail, index, "4.3.5", text);
        say(mail, index, ipc::Outcome::deferred, "4.3.5", text);
        return;
    }
    const uint32_t instance = destination_hash(destination_key(transport, hop)) % smtp_instances_;
    enqueue(mail, destination(transport, hop, {Agent::Kind::smtp, instance}), index);
}

// Each local user is a destination of his own, however many extensions, commands and files he makes up: what he locks
// or lets hang stops nobody else's mail.
std::string Scheduler::local_key(const std::string& transport, const MailRecipient& r) const
{
    using Kind = queue::Child::Kind;
    if (r.kind == Kind::command || r.kind == Kind::file) {
        const char* const kind = r.kind == Kind::command ? "command" : "file";
        return r.run_as.empty() ? cat(kind, ' ', r.address.substr(0, 500)) : cat(kind, " of ", r.run_as);
    }
    std::string_view text = r.address;
    if (text.starts_with('\\')) text.remove_prefix(1);
    const auto address = mail::parse_address(text);
    if (!address) return r.address.substr(0, 500);
    const std::string user = mail::split_extension(address->local, limits_.delimiters).user;
    // A user of the system has one mailbox under all local domains.
    return (transport == "local" ? user : cat(user, '@', address->domain)).substr(0, 500);
}

// As local names it in Delivered-To: with a domain, without the mark of a final mailbox.
std::string Scheduler::local_name(const MailRecipient& r) const
{
    std::string_view text = r.address;
    if (text.starts_with('\\')) text.remove_prefix(1);
    const auto address = mail::parse_address(text);
    if (!address) return {};
    return mail::Address{address->local, address->domain.empty() ? limits_.myorigin : address->domain}.text();
}

void Scheduler::expand(Mail& mail, uint32_t index, std::vector<queue::Child> children, std::string by)
{
    const auto failed = [&](const std::string& dsn, const std::string& text) { refuse(mail, index, dsn, text); };
    if (children.empty()) return failed("5.2.4", "the alias leads to nobody");
    // Nobody of them gets it before all can: a member that is left out would have no copy, and its sender no word of it.
    for (const queue::Child& child : children) {
        const std::string why = queue::why_unfit(child);
        if (why.empty()) continue;
        const std::string text = cat("the alias expands to ", why);
        log::warning(mail.id, ": ", printable(mail.recipients[index].address), ": ", text);
        defer(mail, index, "4.3.5", text);
        say(mail, index, ipc::Outcome::deferred, "4.3.5", text);
        return;
    }
    auto fresh = mail.expand(index, children, expansion_limits());
    if (!fresh) return failed("5.4.6", fresh.error().text);
    MailRecipient& r = mail.recipients[index];
    r.progress = Progress::finished;
    r.outcome = static_cast<uint8_t>(ipc::Outcome::expanded);
    r.recorded = true;                                  // the expansion itself says so
    r.expanded_as = by;
    record(expansion_record(mail.id, index, std::move(children), std::move(by)));
    ++mail.waits;
    touch(mail);
    when_durable([this, id = mail.number] {
        Mail* const m = find(id);
        if (!m) return;
        --m->waits;
        route(*m);
        touch(*m);
    });
}

}  // namespace veredus::qmgr
