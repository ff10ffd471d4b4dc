// Encoding of string lists and children.
#include "lib/ipc/codec.h"

namespace veredus::ipc {

void put_strings(Writer& w, const std::vector<std::string>& strings)
{
    w.u32(static_cast<uint32_t>(strings.size()));
    for (const auto& s : strings) w.str(s);
}

std::vector<std::string> get_strings(Reader& r, std::size_t limit)
{
    std::vector<std::string> out;
    const uint32_t n = r.count(4);
    for (uint32_t i = 0; i < n && r.ok(); ++i) out.push_back(r.str(limit));
    return out;
}

void put_children(Writer& w, const std::vector<queue::Child>& children)
{
    w.u32(static_cast<uint32_t>(children.size()));
    for (const auto& c : children) w.u8(static_cast<uint8_t>(c.kind)).str(c.text).str(c.run_as).str(c.sender);
}

bool get_children(Reader& r, std::vector<queue::Child>& children)
{
    using Kind = queue::Child::Kind;
    const uint32_t n = r.count(13);
    for (uint32_t i = 0; i < n && r.ok(); ++i) {
        queue::Child c;
        if (!get_enum(r, c.kind, Kind::address, Kind::file)) return false;
        c.text = r.str(max_text);
        c.run_as = r.str(256);
        c.sender = r.str(max_address);
        children.push_back(std::move(c));
    }
    return r.ok();
}

}  // namespace veredus::ipc
