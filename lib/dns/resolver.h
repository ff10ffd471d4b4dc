// The DNS client: libresolv builds and decodes packets, our loop carries them. UDP with retries over several servers,
// random id and port, EDNS0, TCP on truncation, CNAME chains, and a bounded cache that honours TTLs (RFC 1035, 2308, 6891).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/loop/loop.h"
#include "lib/net/address.h"

namespace veredus::dns {

enum class Kind : uint16_t { a = 1, ns = 2, cname = 5, ptr = 12, mx = 15, txt = 16, aaaa = 28, tlsa = 52 };
// ok: records are there. nodata: the name exists, this kind does not. broken: unusable or looping answer. timeout: no server answered.
enum class Status { ok, nxdomain, nodata, servfail, refused, broken, timeout };
inline bool temporary(Status s) { return s != Status::ok && s != Status::nxdomain && s != Status::nodata; }
std::string_view status_text(Status s);    // "Host not found", "Host found but no data record of requested type", "Host not found, try again"

struct Record {
    Kind kind{};
    uint32_t ttl = 0;
    uint16_t preference = 0;     // mx
    std::string name;            // mx, ns, ptr, cname: target in lower case without the last dot ("" is the root: null MX, RFC 7505)
    net::Address address;        // a, aaaa; port 0
    std::string bytes;           // txt: strings joined; tlsa: raw
};

struct Answer {
    Status status = Status::timeout;
    std::vector<Record> records; // of the kind asked for, at the end of the CNAME chain
    std::string canonical;       // the name at the end of the chain
    bool authentic = false;      // the AD bit (RFC 6840 §5.8): trusted only with a local validating resolver
    uint32_t ttl = 0;            // for which the whole answer may be kept
};

struct Config {
    std::vector<net::Address> servers;     // at most 3
    std::vector<std::string> search;       // kept, never used for mail
    std::chrono::milliseconds timeout{5000};   // per try
    int attempts = 2;
    bool rotate = false;
    bool edns = true;
    bool trust_ad = false;                 // "options trust-ad", or every server is a loopback address: Answer::authentic may be true
    static Result<Config> from_resolv_conf(std::string_view text);   // resolv.conf(5); no nameserver: 127.0.0.1
};

// On whose behalf a question is put. Questions of all who ask go by turns, so that nobody can fill the resolver for the others.
struct Asker {
    std::string who;             // a client's network; empty: ourselves, whom no share limits
    bool greeting = false;       // a client waits for his greeting: such questions have places of their own
    bool operator==(const Asker&) const = default;
};

class Resolver {
public:
    Resolver(Loop& loop, Config config, std::size_t cache_entries = 10'000);
    ~Resolver();
    Resolver(const Resolver&) = delete;
    using Done = std::function<void(const Answer&)>;
    using DoneShared = std::function<void(const std::shared_ptr<const Answer>&)>;
    using Ticket = uint64_t;
    // `done` is never called from inside lookup(). Questions for the same name and kind share one query. Where too many wait already
    // the answer is Status::timeout.
    Ticket lookup(const std::string& name, Kind kind, Done done, Asker asker = {});
    // For who keeps the answer: he shares it with all who have it.
    Ticket lookup_shared(const std::string& name, Kind kind, DoneShared done, Asker asker = {});
    void cancel(Ticket ticket);            // `done` will not be called
    void set_config(Config config);        // resolv.conf changed

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

std::string reverse_name(const net::Address& address);   // "1.2.0.192.in-addr.arpa", "….ip6.arpa"

// The codec, pure, for tests and fuzzers: a packet to an Answer for that question, or broken.
std::string encode_query(uint16_t id, const std::string& name, Kind kind, bool edns);
struct Decoded {
    Answer answer;
    bool truncated = false;
    bool matches = false;        // id and question are the ones asked
    bool chase = false;          // the answer stops at a CNAME: answer.canonical is to be asked for in a query of its own
    int rcode = 0;               // as on the wire: FORMERR and NOTIMP call for a try without EDNS (RFC 6891 §7)
    unsigned hops = 0;           // CNAMEs followed
};
constexpr unsigned max_hops = 10;          // of CNAMEs, over all queries of one question
constexpr std::size_t max_records = 200;   // of one answer; more are dropped
Decoded decode_answer(std::string_view packet, uint16_t id, const std::string& name, Kind kind);

}  // namespace veredus::dns
