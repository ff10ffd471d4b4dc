// Addresses and address lists of any bytes: what is accepted can be written and read again.
#include <cstdint>
#include <cstdlib>

#include "lib/mail/address.h"

using namespace veredus;

namespace {
void check(const mail::Address& address)
{
    const std::string text = address.text();
    if (text.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) std::abort();
    const auto again = mail::parse_address(text);
    if (!again || !(*again == address)) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    if (const auto address = mail::parse_address(in)) check(*address);
    if (const auto list = mail::parse_address_list(in, 1000))
        for (const auto& mailbox : *list) check(mailbox.address);
    return 0;
}
