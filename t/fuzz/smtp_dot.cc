// DATA content of any bytes: ends where CRLF.CRLF is and nowhere else, leaves only CRLF line ends, however it is cut. Folded, no line is too
// long, however it is cut, and nothing but the breaks is new.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "lib/smtp/dot.h"
#include "lib/smtp/fold.h"

using namespace veredus::smtp;

namespace {

std::string without_breaks(std::string_view text)
{
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const bool is_break = text.substr(at, 3) == "\r\n ";
        if (!is_break) out += text[at];
        at += is_break ? 3 : 1;
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    DotReader whole, cut;
    std::string a, b;
    const std::size_t taken = whole.feed(in, a);
    for (std::size_t i = 0; i < size && !cut.ended(); ++i) cut.feed(in.substr(i, 1), b);
    if (a != b || whole.ended() != cut.ended()) std::abort();
    const std::size_t end = ("\r\n" + std::string(in)).find("\r\n.\r\n");
    if (whole.ended() != (end != std::string::npos) || (whole.ended() && taken != end + 3)) std::abort();
    for (std::size_t i = 0; i < a.size(); ++i)
        if ((a[i] == '\n' && (i == 0 || a[i - 1] != '\r')) || (a[i] == '\r' && i + 1 < a.size() && a[i + 1] != '\n')) std::abort();
    if (whole.ended()) {
        DotWriter writer;
        DotReader again;
        std::string wire, c;
        writer.feed(a, wire);
        writer.finish(wire);
        if (again.feed(wire, c) != wire.size() || !again.ended() || c != a) std::abort();
    }
    constexpr std::size_t limit = 20;
    LineFolder at_once(limit), in_pieces(limit);
    std::string folded, same_folded;
    at_once.feed(a, folded);
    at_once.finish(folded);
    for (std::size_t i = 0; i < a.size(); i += 3) in_pieces.feed(std::string_view(a).substr(i, 3), same_folded);
    in_pieces.finish(same_folded);
    if (folded != same_folded || folded.size() < a.size()) std::abort();
    for (std::size_t from = 0, lf = 0; lf != std::string::npos; from = lf + 2) {
        lf = folded.find("\r\n", from);
        if (std::min(lf, folded.size()) - from > limit) std::abort();
    }
    if (without_breaks(folded) != without_breaks(a)) std::abort();
    DotReader binary(DotReader::Dots::binary);      // of BINARYMIME nothing changes
    std::string same;
    if (binary.feed(in, same) != size || binary.size() != size) std::abort();
    binary.finish(same);
    if (same != in || binary.saw_bare()) std::abort();
    return 0;
}
