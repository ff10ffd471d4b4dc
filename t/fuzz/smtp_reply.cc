// Replies of any bytes: bounded, and the same however they are cut.
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/smtp/reply.h"

using namespace veredus;

namespace {
std::string run(std::string_view in, std::size_t piece)
{
    smtp::ReplyReader reader;
    std::string out;
    while (!in.empty()) {
        std::size_t taken = 0;
        const auto state = reader.feed(in.substr(0, piece), taken);
        in.remove_prefix(taken);
        if (state == smtp::ReplyReader::State::garbage) return out + "garbage";
        if (state == smtp::ReplyReader::State::complete) {
            const smtp::Reply reply = reader.take();
            if (reply.code < 200 || reply.code > 599) std::abort();
            out += reply.wire();
        }
    }
    return out;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    if (run(in, size + 1) != run(in, 1)) std::abort();
    return 0;
}
