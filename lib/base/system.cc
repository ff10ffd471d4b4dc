// The process-wide seams: clock, random numbers, CRC-32C, panic.
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/panic.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus {

namespace {

int64_t read_clock(clockid_t id)
{
    timespec t{};
    clock_gettime(id, &t);
    return int64_t{t.tv_sec} * us_per_second + t.tv_nsec / 1000;
}

class SystemClock final : public Clock {
public:
    int64_t wall_us() const override { return read_clock(CLOCK_REALTIME); }
    int64_t mono_us() const override { return read_clock(CLOCK_BOOTTIME); }
};

constexpr std::array<uint32_t, 256> make_crc_table()
{
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t c = i;
        for (int k = 0; k < 8; ++k) c = c & 1 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    return table;
}
constexpr auto crc_table = make_crc_table();

uint32_t crc_portable(uint32_t c, std::string_view bytes) noexcept
{
    for (const char b : bytes) c = crc_table[(c ^ static_cast<unsigned char>(b)) & 0xFF] ^ (c >> 8);
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc_hardware(uint32_t c, std::string_view bytes) noexcept
{
    uint64_t wide = c;
    while (bytes.size() >= 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data(), 8);
        wide = __builtin_ia32_crc32di(wide, word);
        bytes.remove_prefix(8);
    }
    c = static_cast<uint32_t>(wide);
    for (const char b : bytes) c = __builtin_ia32_crc32qi(c, static_cast<unsigned char>(b));
    return c;
}
const bool have_sse42 = __builtin_cpu_supports("sse4.2");
#endif

void (*panic_hook)(std::string_view) = nullptr;

}  // namespace

const Clock& system_clock()
{
    static const SystemClock clock;
    return clock;
}

uint32_t crc32c(uint32_t crc, std::string_view bytes) noexcept
{
#if defined(__x86_64__)
    if (have_sse42) return ~crc_hardware(~crc, bytes);
#endif
    return ~crc_portable(~crc, bytes);
}

std::string random_bytes(std::size_t size)
{
    std::string out(size, '\0');
    std::size_t got = 0;
    while (got < size) {
        const ssize_t n = getrandom(out.data() + got, size - got, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            panic("getrandom failed");
        }
        got += static_cast<std::size_t>(n);
    }
    return out;
}

uint64_t random_u64()
{
    uint64_t value = 0;
    const std::string bytes = random_bytes(sizeof value);
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

uint32_t random_below(uint32_t bound)
{
    if (bound == 0) panic("random_below(0)");
    const uint64_t limit = (uint64_t{1} << 32) / bound * bound;  // reject the uneven tail
    for (;;) {
        const uint64_t value = random_u64() & 0xFFFFFFFFu;
        if (value < limit) return static_cast<uint32_t>(value % bound);
    }
}

void set_panic_hook(void (*hook)(std::string_view)) noexcept { panic_hook = hook; }

void panic(std::string_view text)
{
    const std::string line = cat("panic: ", text, '\n');
    if (panic_hook) panic_hook(text);
    [[maybe_unused]] const auto n = ::write(2, line.data(), line.size());
    std::abort();
}

}  // namespace veredus
