// Encoding of what is counted.
#include "lib/ipc/anvil.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

std::string AnvilEvent::encode() const
{
    return Writer().u8(static_cast<uint8_t>(kind)).str(client).u32(amount).take();
}

Result<AnvilEvent> AnvilEvent::decode(std::string_view body)
{
    Reader r(body);
    AnvilEvent e;
    const bool good = get_enum(r, e.kind, Kind::connect, Kind::held);
    e.client = r.str(max_anvil_client);
    e.amount = r.u32();
    if (!r.done() || !good || e.client.empty()) return fail("malformed message: anvil event");
    return e;
}

std::string AnvilCounts::encode() const
{
    return Writer().u32(rate).u32(connections).take();
}

Result<AnvilCounts> AnvilCounts::decode(std::string_view body)
{
    Reader r(body);
    AnvilCounts c;
    c.rate = r.u32();
    c.connections = r.u32();
    if (!r.done()) return fail("malformed message: anvil counts");
    return c;
}

} // namespace veredus::ipc
