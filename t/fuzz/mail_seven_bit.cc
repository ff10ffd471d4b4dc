// 7-bit forms of any bytes: they do not depend on the cut, grow by a bounded factor, are made once only, and lines of what was made fit.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/mail/seven_bit.h"

using namespace veredus;

namespace {
std::string run(std::string_view in, std::size_t piece, bool unmarked)
{
    mail::SevenBit seven_bit(unmarked);
    std::string out;
    for (std::string_view rest = in; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) seven_bit.feed(rest.substr(0, piece), out);
    seven_bit.finish(out);
    return out;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    for (const bool unmarked : {false, true}) {
        const std::string whole = run(in, size + 1, unmarked);
        if (run(in, 1, unmarked) != whole || run(in, 7, unmarked) != whole) std::abort();
        if (whole.size() > 4 * size + 300) std::abort();
    }
    return 0;
}
