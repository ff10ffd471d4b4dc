// IMAP commands of any bytes: the reader never crashes, what it makes of them does not depend on the cut, and what it
// holds stays bounded. The first byte chooses limits and modes.
#include <cstdint>
#include <cstdlib>

#include "t/unit/imap_commands.h"

using namespace veredus;

namespace {
std::string run(std::string_view in, std::size_t piece, uint8_t mode)
{
    imap::ReaderLimits limits;
    limits.command = mode & 1 ? 200 : 65536;
    limits.depth = 20;
    limits.literal_plus = !(mode & 2);
    limits.swallow = 100'000;
    imap::Recorder recorder;
    recorder.append_limit = mode & 4 ? 50 : UINT64_MAX;
    recorder.disk = mode & 8 ? 30 : SIZE_MAX;
    imap::Reader reader(recorder, limits);
    reader.set_utf8(mode & 16);
    recorder.reader = &reader;
    std::string out;
    for (; !in.empty() && !reader.closed(); in.remove_prefix(std::min(piece, in.size()))) {
        reader.feed(in.substr(0, piece), out);
        if (reader.held() && !reader.closed()) std::abort(); // each command is done at once
    }
    return recorder.seen + out + (reader.closed() ? "closed" : "");
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    if (!size) return 0;
    const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::string whole = run(in, size, data[0]);
    if (run(in, 1, data[0]) != whole || run(in, 7, data[0]) != whole) std::abort();
    return 0;
}
