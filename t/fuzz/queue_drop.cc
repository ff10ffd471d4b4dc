// Maildrop files of any bytes: a verdict that does not depend on how they were cut, and never more than the limits allow.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/crc32c.h"
#include "lib/queue/drop_format.h"

using namespace veredus;
using queue::drop::Parser;

namespace {

constexpr uint64_t limit = 4096;

std::string told(std::string_view in, std::size_t step, bool check_sum)
{
    Parser parser(limit, check_sum ? crc32c : nullptr);
    std::string out;
    for (std::size_t at = 0; at < in.size(); at += step) {
        std::string_view piece = in.substr(at, step);
        for (;;) {
            const Parser::Step s = parser.next(piece);
            if (s == Parser::Step::bad) return out + "bad: " + parser.error();
            if (s == Parser::Step::more) break;
            if (s == Parser::Step::record) {
                if (parser.payload().size() > queue::drop::max_envelope_record) std::abort();
                queue::drop::RecipientView view;
                if (parser.type() == queue::drop::Type::recipient && !queue::drop::split_recipient(parser.payload(), view)) std::abort();
                out += static_cast<char>(parser.type());
            }
            if (s != Parser::Step::end) out += parser.payload();
        }
    }
    if (parser.content_size() > limit) std::abort();
    return out + (parser.ended() ? "ended" : "open");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    for (const bool check_sum : {false, true}) {
        const std::string whole = told(in, size ? size : 1, check_sum);
        if (told(in, 1, check_sum) != whole || told(in, 7, check_sum) != whole) std::abort();
    }
    return 0;
}
