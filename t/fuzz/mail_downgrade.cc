// Headers of internationalized messages for those who take ASCII only: nothing but ASCII is left, and it grows with bounds.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/mail/downgrade.h"
#include "lib/mail/header.h"
#include "lib/mail/utf8.h"

using namespace veredus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const std::string out = mail::downgrade_header(input), words = mail::encoded_words(input);
    if (out.size() > 64 * (size + 4) || words.size() > 20 * (size + 1)) std::abort();
    if (mail::ascii_prefix(words) != words.size()) std::abort();
    if (mail::ascii_prefix(out) != out.size()) std::abort();
    return 0;
}
