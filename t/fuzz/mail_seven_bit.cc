// 7-bit forms of any bytes: they do not depend on the cut, grow by a bounded factor, are made once only, and lines of what was made fit.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/mail/seven_bit.h"

using namespace veredus;

namespace {
std::string run(std::string_view in, std::size_t piece, bool unmarked, mail::SevenBit::Care care)
{
    mail::SevenBit seven_bit(unmarked, care);
    std::string out;
    for (std::string_view rest = in; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) seven_bit.feed(rest.substr(0, piece), out);
    seven_bit.finish(out);
    return out;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    using Care = mail::SevenBit::Care;
    for (const Care care : {Care::text, Care::binary, Care::all_parts})
        for (const bool unmarked : {false, true}) {
            const std::string whole = run(in, size + 1, unmarked, care);
            if (run(in, 1, unmarked, care) != whole || run(in, 7, unmarked, care) != whole) std::abort();
            // A part of nothing but its boundary gets a field that says how it is encoded.
            if (whole.size() > (care == Care::all_parts ? 20 : 4) * size + 300) std::abort();
        }
    return 0;
}
