// Encoding of what writers tell qmgr and what tools ask it.
#include "lib/ipc/queue.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

namespace {

void put_filter(Writer& w, const Filter& f)
{
    put_strings(w, f.ids);
    w.str(f.sender).str(f.recipient).str(f.reason).str(f.site).i64(f.older_than_s).i64(f.younger_than_s).str(f.state);
}

Filter get_filter(Reader& r)
{
    Filter f;
    f.ids = get_strings(r, 32);
    f.sender = r.str(max_address);
    f.recipient = r.str(max_address);
    f.reason = r.str(max_text);
    f.site = r.str(1024);
    f.older_than_s = r.i64();
    f.younger_than_s = r.i64();
    f.state = r.str(32);
    return f;
}

}  // namespace

bool Filter::any() const
{
    return !ids.empty() || !sender.empty() || !recipient.empty() || !reason.empty() || !site.empty() || !state.empty() || older_than_s || younger_than_s;
}

std::string Queued::encode() const
{
    Writer w;
    put_strings(w, ids);
    return w.take();
}

Result<Queued> Queued::decode(std::string_view body)
{
    Reader r(body);
    Queued q;
    q.ids = get_strings(r, 32);
    if (!r.done()) return fail("malformed message: queued");
    return q;
}

std::string ListRequest::encode() const
{
    Writer w;
    put_filter(w, filter);
    w.str(after);
    return w.take();
}

Result<ListRequest> ListRequest::decode(std::string_view body)
{
    Reader r(body);
    ListRequest q;
    q.filter = get_filter(r);
    q.after = r.str(32);
    if (!r.done()) return fail("malformed message: list request");
    return q;
}

std::string ListReply::encode() const
{
    Writer w;
    w.u8(more).u32(static_cast<uint32_t>(mails.size()));
    for (const auto& m : mails) {
        w.str(m.id).str(m.state).i64(m.arrival_us).i64(m.next_us).u64(m.size).u32(m.attempts).str(m.sender);
        w.u32(static_cast<uint32_t>(m.recipients.size()));
        for (const auto& rcpt : m.recipients) w.str(rcpt.address).str(rcpt.reason);
    }
    return w.take();
}

Result<ListReply> ListReply::decode(std::string_view body)
{
    Reader r(body);
    ListReply reply;
    reply.more = r.u8();
    const uint32_t n = r.count(44);
    for (uint32_t i = 0; i < n && r.ok(); ++i) {
        Listed& m = reply.mails.emplace_back();
        m.id = r.str(32);
        m.state = r.str(32);
        m.arrival_us = r.i64();
        m.next_us = r.i64();
        m.size = r.u64();
        m.attempts = r.u32();
        m.sender = r.str(max_address);
        const uint32_t recipients = r.count(8);
        for (uint32_t k = 0; k < recipients && r.ok(); ++k) {
            ListedRecipient& rcpt = m.recipients.emplace_back();
            rcpt.address = r.str(max_text);
            rcpt.reason = r.str(max_text);
        }
    }
    if (!r.done()) return fail("malformed message: list reply");
    return reply;
}

std::string ActRequest::encode() const
{
    Writer w;
    w.u8(static_cast<uint8_t>(act));
    put_filter(w, filter);
    w.u8(all);
    return w.take();
}

Result<ActRequest> ActRequest::decode(std::string_view body)
{
    Reader r(body);
    ActRequest q;
    const bool good = get_enum(r, q.act, Act::flush, Act::requeue);
    q.filter = get_filter(r);
    q.all = r.u8();
    if (!r.done() || !good) return fail("malformed message: act request");
    return q;
}

std::string ActReply::encode() const { return Writer().u32(code).u64(count).str(text).take(); }
Result<ActReply> ActReply::decode(std::string_view body)
{
    Reader r(body);
    ActReply a;
    a.code = r.u32();
    a.count = r.u64();
    a.text = r.str(max_text);
    if (!r.done()) return fail("malformed message: act reply");
    return a;
}

}  // namespace veredus::ipc
