// Ticket keys.
#include "master/ticket_keys.h"

#include "lib/base/random.h"
#include "lib/tls/tls.h"

namespace veredus::master {

TicketKeys::TicketKeys() : current_(random_bytes(tls::ticket_key_size)), coming_(random_bytes(tls::ticket_key_size)) {}

void TicketKeys::rotate()
{
    previous_.swap(current_);
    current_.swap(coming_);
    coming_ = random_bytes(tls::ticket_key_size);
}

}  // namespace veredus::master
