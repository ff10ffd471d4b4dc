// Pieces that several messages share: children of an expansion, lists of strings, enumerations within bounds.
#pragma once

#include "lib/ipc/message.h"
#include "lib/queue/journal.h"

namespace veredus::ipc {

constexpr std::size_t max_text = 8192;         // a reason, a command line
// An address in external form: of a local part as long as mail::parse_address() takes, to which a rewriting hung another one, each byte
// escaped; or a parameter of a command line with one (ORCPT). Strangers choose these bytes: what they can say must pass, or they end channels.
constexpr std::size_t max_address = 2560;

void put_strings(Writer& w, const std::vector<std::string>& strings);
std::vector<std::string> get_strings(Reader& r, std::size_t limit);
void put_children(Writer& w, const std::vector<queue::Child>& children);
bool get_children(Reader& r, std::vector<queue::Child>& children);      // false: a kind out of bounds
template <class E> bool get_enum(Reader& r, E& value, E first, E last)
{
    const uint8_t raw = r.u8();
    if (!r.ok() || raw < static_cast<uint8_t>(first) || raw > static_cast<uint8_t>(last)) return false;
    value = static_cast<E>(raw);
    return true;
}

}  // namespace veredus::ipc
