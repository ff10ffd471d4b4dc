// Tables: any text compiles without harm, and any key may be asked. The first byte chooses the type.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/table/kinds.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    using namespace veredus::table;
    if (size < 2) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    auto table = data[0] % 5 == 0   ? text_table_of(text)
                 : data[0] % 5 == 1 ? pattern_table_of(Pattern::posix, text)
                 : data[0] % 5 == 2 ? pattern_table_of(Pattern::pcre, text)
                 : data[0] % 5 == 3 ? pattern_table_of(Pattern::cidr, text)
                                    : open_inline(text);
    if (!table) return 0;
    for (const std::string_view key : {text.substr(0, 40), std::string_view("192.0.2.1"), std::string_view("user@example.org")}) {
        (void)(*table)->find(key);
        (void)(*table)->origin(key);
    }
    (void)(*table)->problems();
    return 0;
}
