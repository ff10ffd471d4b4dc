// Builds DNS answers for tests, by hand, so that the codec is not checked against itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::dns_test {

inline std::string u16(unsigned v)
{
    return {static_cast<char>(v >> 8), static_cast<char>(v)};
}
inline std::string u32(uint32_t v)
{
    return u16(v >> 16) + u16(v & 0xffff);
}

inline std::string wire_name(std::string_view dotted) // no compression
{
    std::string out;
    while (!dotted.empty()) {
        const auto dot = dotted.find('.');
        const auto label = dotted.substr(0, dot);
        out += static_cast<char>(label.size());
        out += label;
        dotted = dot == std::string_view::npos ? std::string_view() : dotted.substr(dot + 1);
    }
    return out + '\0';
}

enum : unsigned { a = 1, cname = 5, soa = 6, ptr = 12, mx = 15, txt = 16, aaaa = 28 };
enum : unsigned { qr = 0x8000, aa = 0x0400, tc = 0x0200, rd = 0x0100, ra = 0x0080, ad = 0x0020 };

inline std::string record(std::string_view owner, unsigned type, uint32_t ttl, const std::string& data)
{
    return wire_name(owner) + u16(type) + u16(1) + u32(ttl) + u16(static_cast<unsigned>(data.size())) + data;
}
inline std::string mx_record(std::string_view owner, unsigned preference, std::string_view host, uint32_t ttl = 300)
{
    return record(owner, mx, ttl, u16(preference) + wire_name(host));
}
inline std::string a_record(std::string_view owner, const std::string& four, uint32_t ttl = 300)
{
    return record(owner, a, ttl, four);
}
inline std::string cname_record(std::string_view owner, std::string_view target, uint32_t ttl = 300)
{
    return record(owner, cname, ttl, wire_name(target));
}
inline std::string soa_record(std::string_view owner, uint32_t ttl, uint32_t minimum)
{
    return record(owner, soa, ttl,
                  wire_name("ns." + std::string(owner)) + wire_name("root." + std::string(owner)) + u32(1) + u32(2) +
                      u32(3) + u32(4) + u32(minimum));
}

inline const std::string test_net_one("\xc0\0\x02\x01", 4); // 192.0.2.1

struct Packet {
    uint16_t id = 0x1234;
    unsigned flags = qr | rd | ra;
    unsigned rcode = 0;
    std::string question_name;
    unsigned question_type = a;
    std::string answers, authority;
    unsigned answer_count = 0, authority_count = 0, question_count = 1;
    Packet& add(const std::string& rr)
    {
        answers += rr;
        ++answer_count;
        return *this;
    }
    Packet& deny(const std::string& rr)
    {
        authority += rr;
        ++authority_count;
        return *this;
    }
    std::string bytes() const
    {
        std::string out =
            u16(id) + u16(flags | rcode) + u16(question_count) + u16(answer_count) + u16(authority_count) + u16(0);
        if (question_count) out += wire_name(question_name) + u16(question_type) + u16(1);
        return out + answers + authority;
    }
};

// The question of a query, dotted; "" when it is no query.
inline std::string asked_name(std::string_view query)
{
    std::string name;
    std::size_t at = 12;
    while (at < query.size() && query[at] != 0) {
        const auto size = static_cast<unsigned char>(query[at]);
        if (at + 1 + size > query.size()) return {};
        if (!name.empty()) name += '.';
        name += query.substr(at + 1, size);
        at += 1u + size;
    }
    return name;
}
inline unsigned asked_type(std::string_view query)
{
    const std::size_t at = 12 + asked_name(query).size() + 2;
    return at + 2 <= query.size() ? static_cast<unsigned>(static_cast<unsigned char>(query[at]) << 8 |
                                                          static_cast<unsigned char>(query[at + 1]))
                                  : 0;
}
inline uint16_t asked_id(std::string_view query)
{
    return static_cast<uint16_t>(static_cast<unsigned char>(query[0]) << 8 | static_cast<unsigned char>(query[1]));
}
inline bool has_edns(std::string_view query)
{
    return query.size() > 12 && query[11] == 1;
}

} // namespace veredus::dns_test
