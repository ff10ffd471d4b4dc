// Encoding of questions to router and its answers.
#include "lib/ipc/route.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

std::string RouteRequest::encode() const
{
    Writer w;
    w.str(sender).u8(check_only).u8(final_only);
    put_strings(w, recipients);
    return w.take();
}

Result<RouteRequest> RouteRequest::decode(std::string_view body)
{
    Reader r(body);
    RouteRequest q;
    q.sender = r.str(max_address);
    q.check_only = r.u8();
    q.final_only = r.u8();
    q.recipients = get_strings(r, max_address);
    if (!r.done()) return fail("malformed message: route request");
    return q;
}

std::string OwnerRequest::encode() const
{
    Writer w;
    w.str(user).str(address);
    return w.take();
}

Result<OwnerRequest> OwnerRequest::decode(std::string_view body)
{
    Reader r(body);
    OwnerRequest q;
    q.user = r.str(max_address);
    q.address = r.str(max_address);
    if (!r.done() || q.user.empty()) return fail("malformed message: owner request");
    return q;
}

std::string OwnerReply::encode() const
{
    Writer w;
    w.u8(static_cast<uint8_t>(word)).u8(static_cast<uint8_t>(address_class)).str(address).u8(listed);
    return w.take();
}

Result<OwnerReply> OwnerReply::decode(std::string_view body)
{
    Reader r(body);
    OwnerReply reply;
    const bool good = get_enum(r, reply.word, Word::yes, Word::temporary) && get_enum(r, reply.address_class, AddressClass::local, AddressClass::remote);
    reply.address = r.str(max_address);
    reply.listed = r.u8();
    if (!r.done() || !good) return fail("malformed message: owner reply");
    return reply;
}

std::string RouteReply::encode() const
{
    Writer w;
    w.u32(generation).u32(static_cast<uint32_t>(routes.size()));
    for (const auto& route : routes) {
        w.u8(static_cast<uint8_t>(route.kind)).u8(static_cast<uint8_t>(route.address_class));
        w.str(route.address).str(route.transport).str(route.nexthop).str(route.dsn).str(route.text);
        put_children(w, route.children);
    }
    return w.take();
}

Result<RouteReply> RouteReply::decode(std::string_view body)
{
    Reader r(body);
    RouteReply reply;
    reply.generation = r.u32();
    const uint32_t n = r.count(26);
    bool good = true;
    for (uint32_t i = 0; i < n && r.ok() && good; ++i) {
        Route route;
        good = get_enum(r, route.kind, Route::Kind::deliver, Route::Kind::discard) &&
               get_enum(r, route.address_class, AddressClass::local, AddressClass::remote);
        route.address = r.str(max_address);
        route.transport = r.str(256);
        route.nexthop = r.str(1024);
        route.dsn = r.str(16);
        route.text = r.str(max_text);
        good = good && get_children(r, route.children);
        reply.routes.push_back(std::move(route));
    }
    if (!r.done() || !good) return fail("malformed message: route reply");
    return reply;
}

std::string RewriteRequest::encode() const
{
    Writer w;
    w.u32(static_cast<uint32_t>(items.size()));
    for (const Item& item : items) w.u8(static_cast<uint8_t>(item.kind)).str(item.address);
    return w.take();
}

Result<RewriteRequest> RewriteRequest::decode(std::string_view body)
{
    Reader r(body);
    RewriteRequest q;
    bool good = true;
    for (uint32_t left = r.count(5); left > 0 && r.ok() && good; --left) {
        Item item;
        good = get_enum(r, item.kind, Kind::envelope_sender, Kind::header_recipient);
        item.address = r.str(max_address);
        q.items.push_back(std::move(item));
    }
    if (!r.done() || !good) return fail("malformed message: rewrite request");
    return q;
}

std::string RewriteReply::encode() const
{
    Writer w;
    w.str(trouble).u32(static_cast<uint32_t>(items.size()));
    for (const Item& item : items) {
        w.str(item.address);
        put_strings(w, item.copies);
    }
    return w.take();
}

Result<RewriteReply> RewriteReply::decode(std::string_view body)
{
    Reader r(body);
    RewriteReply reply;
    reply.trouble = r.str(max_address);
    for (uint32_t left = r.count(8); left > 0 && r.ok(); --left) {
        Item item;
        item.address = r.str(max_address);
        item.copies = get_strings(r, max_address);
        reply.items.push_back(std::move(item));
    }
    if (!r.done()) return fail("malformed message: rewrite reply");
    return reply;
}

}  // namespace veredus::ipc
