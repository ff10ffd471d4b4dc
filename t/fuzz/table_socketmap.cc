// A socketmap server's reply: any bytes in any pieces. One gulp and byte by byte must agree.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/table/socketmap.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    using namespace veredus::table;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    Netstring gulp(1000), trickle(1000);
    const auto whole = gulp.feed(bytes);
    bool failed = false, done = false;
    for (std::size_t i = 0; i < size && !failed; ++i) {
        const auto step = trickle.feed(bytes.substr(i, 1));
        failed = !step;
        done = step && *step;
    }
    if (failed == whole.has_value() || (whole && *whole != done)) std::abort();
    if (!done) return 0;
    if (gulp.text() != trickle.text() || gulp.text().size() > 1000) std::abort();
    (void)socketmap_answer(gulp.text());
    return 0;
}
