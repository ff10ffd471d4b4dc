#include "lib/mail/idna.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

std::vector<uint32_t> code_points(std::string_view utf8) // of valid UTF-8
{
    std::vector<uint32_t> points;
    for (std::size_t i = 0; i < utf8.size();) {
        const auto lead = static_cast<unsigned char>(utf8[i]);
        const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        uint32_t point = size == 1 ? lead : lead & (0x7fu >> size);
        for (std::size_t k = 1; k < size; ++k) point = point << 6 | (static_cast<unsigned char>(utf8[i + k]) & 0x3fu);
        points.push_back(point);
        i += size;
    }
    return points;
}

// RFC 3492 §5.
constexpr uint32_t base = 36, tmin = 1, tmax = 26, skew = 38, damp = 700, initial_bias = 72, initial_n = 128;

uint32_t adapt(uint32_t delta, uint32_t count, bool first) // §6.1
{
    delta = first ? delta / damp : delta / 2;
    delta += delta / count;
    uint32_t k = 0;
    for (; delta > (base - tmin) * tmax / 2; k += base) delta /= base - tmin;
    return k + (base - tmin + 1) * delta / (delta + skew);
}

char digit(uint32_t value)
{
    return static_cast<char>(value < 26 ? 'a' + value : '0' + (value - 26));
}

void put_number(std::string& out, uint32_t q, uint32_t bias)
{
    for (uint32_t k = base;; k += base) {
        const uint32_t t = k <= bias ? tmin : k >= bias + tmax ? tmax : k - bias;
        if (q < t) break;
        out += digit(t + (q - t) % (base - t));
        q = (q - t) / (base - t);
    }
    out += digit(q);
}

// §6.3. A label of at most 252 bytes cannot overflow 32 bits here: 1,114,111 * 253 is less.
std::string punycode(const std::vector<uint32_t>& points)
{
    std::string out;
    for (const uint32_t p : points)
        if (p < 0x80) out += to_lower(static_cast<char>(p));
    const auto basic = static_cast<uint32_t>(out.size());
    uint32_t n = initial_n, delta = 0, bias = initial_bias, done = basic;
    if (basic > 0) out += '-';
    while (done < points.size()) {
        uint32_t next = UINT32_MAX;
        for (const uint32_t p : points)
            if (p >= n) next = std::min(next, p);
        delta += (next - n) * (done + 1);
        n = next;
        for (const uint32_t p : points) {
            if (p < n) ++delta;
            if (p != n) continue;
            put_number(out, delta, bias);
            bias = adapt(delta, done + 1, done == basic);
            delta = 0;
            ++done;
        }
        ++delta;
        ++n;
    }
    return out;
}

} // namespace

std::optional<std::string> domain_to_ascii(std::string_view domain)
{
    if (domain.size() > 252 || !is_utf8(domain)) return std::nullopt;
    std::string out;
    for (const std::string_view label : split_on(domain, '.')) {
        const std::string ascii = is_ascii(label) ? lower(label) : "xn--" + punycode(code_points(label));
        if (ascii.size() > 63) return std::nullopt;
        append(out, out.empty() ? "" : ".", ascii);
    }
    return out;
}

} // namespace veredus::mail
