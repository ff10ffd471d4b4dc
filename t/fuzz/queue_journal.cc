// A journal of any bytes: decoding stays within them, and what it finds is written and read again the same.
#include <cstdint>
#include <cstdlib>

#include "lib/base/crc32c.h"
#include "lib/queue/codec.h"
#include "lib/queue/journal.h"

using namespace veredus;
using namespace veredus::queue;

namespace {
void judge(std::string_view bytes)
{
    std::size_t valid = 0;
    const auto records = decode_records(bytes, valid);
    if (valid > bytes.size()) std::abort();
    if (records.empty()) return;
    const std::string frame = encode_frame(records);
    std::size_t all = 0;
    if (decode_records(frame, all) != records || all != frame.size()) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    judge(in);
    (void)parse_journal_start(in);
    // The input as a payload, under a sum that a fuzzer would never guess.
    std::string framed;
    put_int(framed, static_cast<uint32_t>(size));
    put_int(framed, crc32c(crc32c(0, framed), in));
    framed.append(in);
    judge(framed);
    return 0;
}
