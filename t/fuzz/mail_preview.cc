// Previews of any bytes: short, one line of UTF-8, and the same in any cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/text.h"
#include "lib/mail/preview.h"

using namespace veredus;

namespace {

std::string preview(std::string_view in, std::size_t piece)
{
    mail::PreviewMaker maker;
    for (std::size_t at = 0; at < in.size() && maker.feed(in.substr(at, piece)); at += piece) {
    }
    return maker.finish();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    const std::string whole = preview(in, size + 1);
    const auto characters = std::count_if(whole.begin(), whole.end(),
                                          [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    if (!is_utf8(whole) || characters > static_cast<long>(mail::preview_characters)) std::abort();
    if (std::any_of(whole.begin(), whole.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }))
        std::abort();
    if (whole.find("  ") != whole.npos || preview(in, 1) != whole || preview(in, 7) != whole) std::abort();
    return 0;
}
