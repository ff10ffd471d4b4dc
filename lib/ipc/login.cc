// Encoding of tickets, arrivals and who is in.
#include "lib/ipc/login.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

namespace {

constexpr std::size_t max_word = 64, max_name = 512, max_facts = 512;

void put(Writer& w, const Arrival& a)
{
    w.u64(a.connection).str(a.service).str(a.user).str(a.login).str(a.method).str(a.remote).str(a.local);
    w.u16(a.remote_port).u16(a.local_port).str(a.tls).str(a.session).str(a.hand_over).str(a.input);
}

Arrival get(Reader& r)
{
    Arrival a;
    a.connection = r.u64();
    a.service = r.str(max_word);
    a.user = r.str(max_mailbox_user);
    a.login = r.str(max_name);
    a.method = r.str(max_word);
    a.remote = r.str(max_word);
    a.local = r.str(max_word);
    a.remote_port = r.u16();
    a.local_port = r.u16();
    a.tls = r.str(max_facts);
    a.session = r.str(max_word);
    a.hand_over = r.str(max_hand_over);
    a.input = r.str(max_unread);
    return a;
}

} // namespace

std::string Ticket::encode() const
{
    return Writer().str(id).str(role).u32(instance).u64(connection).str(user).take();
}

Result<Ticket> Ticket::decode(std::string_view body)
{
    Reader r(body);
    Ticket t;
    t.id = r.str(ticket_size);
    t.role = r.str(max_word);
    t.instance = r.u32();
    t.connection = r.u64();
    t.user = r.str(max_mailbox_user);
    if (!r.done() || t.id.size() != ticket_size || t.connection == 0 || t.user.empty())
        return fail("malformed message: ticket");
    return t;
}

std::string Arrival::encode() const
{
    Writer w;
    put(w, *this);
    return w.take();
}

Result<Arrival> Arrival::decode(std::string_view body)
{
    Reader r(body);
    Arrival a = get(r);
    if (!r.done()) return fail("malformed message: arrival");
    return a;
}

std::string Enter::encode() const
{
    Writer w;
    w.str(ticket);
    put(w, arrival);
    return w.take();
}

Result<Enter> Enter::decode(std::string_view body)
{
    Reader r(body);
    Enter e;
    e.ticket = r.str(ticket_size);
    e.arrival = get(r);
    if (!r.done() || e.ticket.size() != ticket_size) return fail("malformed message: enter");
    return e;
}

std::string Presences::encode() const
{
    Writer w;
    w.u32(static_cast<uint32_t>(list.size()));
    for (const Presence& p : list) {
        w.u64(p.connection).str(p.user).str(p.service).str(p.remote).str(p.folder).u8(p.tls ? 1 : 0);
        w.i64(p.since).u32(p.idle).u64(p.in).u64(p.out).u32(p.pid);
    }
    return w.take();
}

Result<Presences> Presences::decode(std::string_view body)
{
    Reader r(body);
    Presences out;
    const uint32_t count = r.count(57);
    if (count > max_presences) return fail("malformed message: presences");
    for (uint32_t i = 0; i < count && r.ok(); ++i) {
        Presence p;
        p.connection = r.u64();
        p.user = r.str(max_mailbox_user);
        p.service = r.str(max_word);
        p.remote = r.str(max_word);
        p.folder = r.str(max_facts);
        const uint8_t tls = r.u8();
        p.since = r.i64();
        p.idle = r.u32();
        p.in = r.u64();
        p.out = r.u64();
        p.pid = r.u32();
        if (tls > 1) return fail("malformed message: presences");
        p.tls = tls == 1;
        out.list.push_back(std::move(p));
    }
    if (!r.done()) return fail("malformed message: presences");
    return out;
}

std::string Kick::encode() const
{
    return Writer().str(user).take();
}

Result<Kick> Kick::decode(std::string_view body)
{
    Reader r(body);
    Kick k;
    k.user = r.str(max_mailbox_user);
    if (!r.done() || k.user.empty()) return fail("malformed message: kick");
    return k;
}

} // namespace veredus::ipc
