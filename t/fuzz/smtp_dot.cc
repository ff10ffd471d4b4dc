// DATA content of any bytes: ends where CRLF.CRLF is and nowhere else, leaves only CRLF line ends, however it is cut.
#include <cstdint>
#include <cstdlib>

#include "lib/smtp/dot.h"

using namespace veredus::smtp;

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
    DotReader binary(DotReader::Dots::binary);      // of BINARYMIME nothing changes
    std::string same;
    if (binary.feed(in, same) != size || binary.size() != size) std::abort();
    binary.finish(same);
    if (same != in || binary.saw_bare()) std::abort();
    return 0;
}
