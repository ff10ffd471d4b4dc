// DNS answers of any bytes: what is taken from them is bounded and fit for a log line. The first two bytes choose the question.
#include <cstdint>
#include <cstdlib>

#include "lib/dns/resolver.h"

using namespace veredus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    static constexpr dns::Kind kinds[] = {dns::Kind::a, dns::Kind::aaaa, dns::Kind::mx, dns::Kind::ptr, dns::Kind::txt, dns::Kind::cname, dns::Kind::tlsa};
    if (size < 3) return 0;
    const std::string_view packet(reinterpret_cast<const char*>(data + 1), size - 1);
    const auto id = static_cast<uint16_t>(data[1] << 8 | data[2]);   // so that the id always fits
    const auto decoded = dns::decode_answer(packet, id, "www.example.org", kinds[data[0] % 7]);
    if (decoded.answer.records.size() > dns::max_records || decoded.hops > dns::max_hops + 1) std::abort();
    if (!decoded.matches && !decoded.answer.records.empty()) std::abort();
    for (const auto& record : decoded.answer.records) {
        if (record.name.size() > 253) std::abort();
        if (record.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_/+=") != std::string::npos) std::abort();
    }
    return 0;
}
