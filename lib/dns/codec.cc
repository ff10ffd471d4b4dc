// DNS packets to and from our terms (RFC 1035 §4.1). libresolv cuts the packets; what the records mean is judged here.
#include <arpa/nameser.h>
#include <resolv.h>

#include <algorithm>
#include <cstring>

#include "lib/base/text.h"
#include "lib/dns/resolver.h"

namespace veredus::dns {

std::string_view status_text(Status s)
{
    switch (s) {
    case Status::ok: return "Host found";
    case Status::nxdomain: return "Host not found";
    case Status::nodata: return "Host found but no data record of requested type";
    case Status::broken: return "Malformed or unexpected name server reply";
    case Status::servfail:
    case Status::refused:
    case Status::timeout: break;
    }
    return "Host not found, try again";
}

std::string reverse_name(const net::Address& address)
{
    const std::string bytes = address.ip_bytes();
    std::string name;
    for (auto i = bytes.rbegin(); i != bytes.rend(); ++i) {
        const unsigned value = static_cast<unsigned char>(*i);
        if (bytes.size() == 4)
            append(name, value, '.');
        else // RFC 3596 §2.5: nibbles, the low one first
            append(name, "0123456789abcdef"[value & 15], '.', "0123456789abcdef"[value >> 4], '.');
    }
    return name + (bytes.size() == 4 ? "in-addr.arpa" : "ip6.arpa");
}

std::string encode_query(uint16_t id, const std::string& name, Kind kind, bool edns)
{
    struct __res_state state {}; // no file is read: the codec wants the flags only
    state.options = RES_RECURSE;
    unsigned char packet[NS_PACKETSZ];
    const int size = ::res_nmkquery(&state, ns_o_query, name.c_str(), ns_c_in, static_cast<int>(kind), nullptr, 0,
                                    nullptr, packet, sizeof packet - 11);
    if (size < NS_HFIXEDSZ) return {};
    std::string query(reinterpret_cast<char*>(packet), static_cast<std::size_t>(size));
    query[0] = static_cast<char>(id >> 8);
    query[1] = static_cast<char>(id & 0xff);
    query[3] = static_cast<char>(query[3] | 0x20); // AD: tell us whether it is authentic (RFC 6840 §5.7)
    if (edns) {
        query[11] = 1; // one additional record: root, OPT, 1232 bytes (what no path fragments), no flags, no options
        query += std::string_view("\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
    }
    return query;
}

namespace {

using Packet = ns_msg;

// The presentation form of a name as ours: lower case, no last dot. Nothing that must be escaped gets through: such
// bytes have no business in the names that mail uses, and they would reach logs and commands.
bool usable_name(std::string_view text, std::string_view more, std::string& name)
{
    if (!text.empty() && text.back() == '.') text.remove_suffix(1);
    if (text.size() > 253) return false;
    for (const char c : text)
        if (!is_alnum(c) && c != '-' && c != '_' && c != '.' && more.find(c) == std::string_view::npos) return false;
    name = lower(text);
    return true;
}

constexpr std::string_view classless = "/+="; // RFC 2317 §4 and what else stands in the names of aliases

bool read_name(const Packet& packet, const unsigned char* at, const unsigned char* end, std::string_view more,
               std::string& name)
{
    char text[NS_MAXDNAME];
    const int used = ::ns_name_uncompress(ns_msg_base(packet), ns_msg_end(packet), at, text, sizeof text);
    return used > 0 && at + used == end && usable_name(std::strcmp(text, ".") ? text : "", more, name);
}

net::Address read_address(int family, const unsigned char* bytes)
{
    sockaddr_in6 six{};
    sockaddr_in four{};
    four.sin_family = AF_INET;
    six.sin6_family = AF_INET6;
    if (family == AF_INET) {
        std::memcpy(&four.sin_addr, bytes, 4);
        return net::Address::from_sockaddr(reinterpret_cast<sockaddr*>(&four), sizeof four);
    }
    std::memcpy(&six.sin6_addr, bytes, 16);
    return net::Address::from_sockaddr(reinterpret_cast<sockaddr*>(&six), sizeof six);
}

std::string read_strings(const unsigned char* at, const unsigned char* end) // RFC 1035 §3.3.14
{
    std::string text;
    while (at < end) {
        const std::size_t size = *at++;
        if (size > static_cast<std::size_t>(end - at)) break;
        text.append(reinterpret_cast<const char*>(at), size);
        at += size;
    }
    return text;
}

bool read_data(const Packet& packet, const ns_rr& rr, Record& record)
{
    const unsigned char* at = ns_rr_rdata(rr);
    const unsigned char* end = at + ns_rr_rdlen(rr);
    const std::size_t size = ns_rr_rdlen(rr);
    switch (record.kind) {
    case Kind::a:
        if (size != 4) return false;
        record.address = read_address(AF_INET, at);
        return true;
    case Kind::aaaa:
        if (size != 16) return false;
        record.address = read_address(AF_INET6, at);
        return record.address.family() == AF_INET6; // a v4-mapped one is no honest AAAA
    case Kind::mx:
        if (size < 3) return false;
        record.preference = static_cast<uint16_t>(at[0] << 8 | at[1]);
        return read_name(packet, at + 2, end, "", record.name);
    case Kind::ns:
    case Kind::ptr: return read_name(packet, at, end, "", record.name) && !record.name.empty();
    case Kind::cname: return read_name(packet, at, end, classless, record.name) && !record.name.empty();
    case Kind::txt: record.bytes = read_strings(at, end); return true;
    case Kind::tlsa: record.bytes.assign(reinterpret_cast<const char*>(at), size); return size > 3;
    }
    return false;
}

struct Owned {
    std::string owner;
    Record record;
};

// The usable records of the answer section: those of `kind`, and CNAMEs.
std::vector<Owned> read_answers(Packet& packet, Kind kind)
{
    std::vector<Owned> all;
    const int count = std::min<int>(ns_msg_count(packet, ns_s_an), 2 * max_records);
    for (int i = 0; i < count && all.size() < max_records; ++i) {
        ns_rr rr;
        if (::ns_parserr(&packet, ns_s_an, i, &rr) != 0) break;
        if (ns_rr_class(rr) != ns_c_in) continue;
        const auto type = static_cast<uint16_t>(ns_rr_type(rr));
        if (type != static_cast<uint16_t>(kind) && type != static_cast<uint16_t>(Kind::cname)) continue;
        Owned one;
        one.record.kind = static_cast<Kind>(type);
        const uint32_t ttl = ns_rr_ttl(rr);
        one.record.ttl = ttl > INT32_MAX ? 0 : ttl; // RFC 2181 §8
        if (usable_name(rr.name, classless, one.owner) && read_data(packet, rr, one.record))
            all.push_back(std::move(one));
    }
    return all;
}

// RFC 2308 §5: for how long "no" may be kept. Without a SOA not at all.
struct Denial {
    bool soa = false;
    uint32_t ttl = 0;
};
Denial read_denial(Packet& packet)
{
    const int count = std::min<int>(ns_msg_count(packet, ns_s_ns), 50);
    for (int i = 0; i < count; ++i) {
        ns_rr rr;
        if (::ns_parserr(&packet, ns_s_ns, i, &rr) != 0) break;
        if (ns_rr_type(rr) != ns_t_soa || ns_rr_class(rr) != ns_c_in || ns_rr_rdlen(rr) < 22) continue;
        const uint32_t minimum = ns_get32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4);
        const uint32_t ttl = std::min<uint32_t>(minimum, ns_rr_ttl(rr));
        return {true, ttl > INT32_MAX ? 0 : ttl};
    }
    return {};
}

bool question_matches(Packet& packet, const std::string& name, Kind kind)
{
    const int rcode = ns_msg_getflag(packet, ns_f_rcode);
    // Old servers refuse EDNS with a bare header.
    if (ns_msg_count(packet, ns_s_qd) == 0) return rcode != ns_r_noerror && rcode != ns_r_nxdomain;
    ns_rr rr;
    if (ns_msg_count(packet, ns_s_qd) != 1 || ::ns_parserr(&packet, ns_s_qd, 0, &rr) != 0) return false;
    std::string asked;
    std::string_view want = name;
    if (!want.empty() && want.back() == '.') want.remove_suffix(1);
    return ns_rr_type(rr) == static_cast<int>(kind) && ns_rr_class(rr) == ns_c_in &&
           usable_name(rr.name, classless, asked) && iequals(asked, want);
}

Status failure_of(int rcode)
{
    return rcode == ns_r_refused ? Status::refused : Status::servfail;
}

// Follows the aliases from the question's name, then gathers what the last one owns.
void follow(Decoded& decoded, std::vector<Owned>& all, Kind kind)
{
    Answer& answer = decoded.answer;
    answer.ttl = INT32_MAX;
    while (kind != Kind::cname) {
        const auto alias = std::find_if(all.begin(), all.end(), [&](const Owned& o) {
            return o.record.kind == Kind::cname && o.owner == answer.canonical;
        });
        if (alias == all.end()) break;
        if (++decoded.hops > max_hops) {
            answer.status = Status::broken;
            return;
        }
        answer.canonical = alias->record.name;
        answer.ttl = std::min(answer.ttl, alias->record.ttl);
    }
    for (Owned& o : all) {
        if (o.record.kind != kind || o.owner != answer.canonical) continue;
        answer.ttl = std::min(answer.ttl, o.record.ttl);
        answer.records.push_back(std::move(o.record));
    }
}

} // namespace

namespace {

// A truncated packet may end inside a record: its header and question, with the other counts at zero.
std::string only_question(std::string_view bytes)
{
    if (bytes.size() < NS_HFIXEDSZ || !(bytes[2] & 0x02)) return {};
    const auto* base = reinterpret_cast<const unsigned char*>(bytes.data());
    const int name = ::dn_skipname(base + NS_HFIXEDSZ, base + bytes.size());
    if (name < 0) return {};
    std::string head(bytes.substr(0, static_cast<std::size_t>(NS_HFIXEDSZ + name + 4)));
    std::fill(head.begin() + 6, head.begin() + NS_HFIXEDSZ, '\0');
    return head;
}

bool parse(std::string_view bytes, Packet& packet)
{
    return bytes.size() <= NS_MAXMSG && ::ns_initparse(reinterpret_cast<const unsigned char*>(bytes.data()),
                                                       static_cast<int>(bytes.size()), &packet) == 0;
}

} // namespace

Decoded decode_answer(std::string_view bytes, uint16_t id, const std::string& name, Kind kind)
{
    Decoded decoded;
    Answer& answer = decoded.answer;
    answer.status = Status::broken;
    Packet packet;
    std::string head;
    if (!parse(bytes, packet)) {
        head = only_question(bytes);
        if (head.empty() || !parse(head, packet)) return decoded;
    }
    if (ns_msg_id(packet) != id || !ns_msg_getflag(packet, ns_f_qr) ||
        ns_msg_getflag(packet, ns_f_opcode) != ns_o_query)
        return decoded;
    decoded.rcode = ns_msg_getflag(packet, ns_f_rcode);
    decoded.matches = question_matches(packet, name, kind);
    if (!decoded.matches) return decoded;
    decoded.truncated = ns_msg_getflag(packet, ns_f_tc);
    answer.authentic = ns_msg_getflag(packet, ns_f_ad);
    if (decoded.rcode != ns_r_noerror && decoded.rcode != ns_r_nxdomain) {
        answer.status = failure_of(decoded.rcode);
        return decoded;
    }
    if (!usable_name(name, classless, answer.canonical)) return decoded;
    std::vector<Owned> all = read_answers(packet, kind);
    answer.status = Status::ok;
    follow(decoded, all, kind);
    if (answer.status == Status::broken || !answer.records.empty()) return decoded;
    const Denial denial = read_denial(packet);
    decoded.chase = decoded.rcode == ns_r_noerror && decoded.hops > 0 && !denial.soa;
    answer.ttl = decoded.chase ? answer.ttl : denial.soa ? std::min(answer.ttl, denial.ttl) : 0;
    if (decoded.rcode == ns_r_nxdomain) {
        answer.status = Status::nxdomain; // RFC 2308 §2.1: of the name at the end of the chain
    } else if (decoded.chase) {
        answer.status = Status::nodata;
    } else if (ns_msg_count(packet, ns_s_an) == 0 && !ns_msg_getflag(packet, ns_f_aa) &&
               !ns_msg_getflag(packet, ns_f_ra)) {
        answer.status = Status::servfail; // a referral: this server does not recurse for us
    } else {
        // Records of that kind were there, but none fit for use (a hostile MX name): that is no proof of absence.
        answer.status =
            ns_msg_count(packet, ns_s_an) > 0 && decoded.hops == 0 && !denial.soa ? Status::broken : Status::nodata;
    }
    return decoded;
}

} // namespace veredus::dns
