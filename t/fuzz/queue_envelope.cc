// An envelope of any bytes: what is accepted can be written again, and reads back the same.
#include <cstdint>
#include <cstdlib>

#include "lib/queue/file.h"

using namespace veredus;
using namespace veredus::queue;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const auto envelope = decode_envelope({reinterpret_cast<const char*>(data), size});
    if (!envelope) return 0;
    if (!check_envelope(*envelope)) std::abort();
    const std::string once = encode_envelope(*envelope);
    const auto again = decode_envelope(once);
    if (!again || encode_envelope(*again) != once) std::abort();
    return 0;
}
