// Encoding of attempts and verdicts, and the line that tells of a delivery.
#include "lib/ipc/agent.h"

#include <algorithm>
#include <cstdio>

#include "lib/base/text.h"
#include "lib/ipc/codec.h"

namespace veredus::ipc {

namespace {

void put_layout(Writer& w, const queue::Layout& l)
{
    w.u64(l.body_offset).u64(l.body_size).u64(l.header_offset).u64(l.header_size).u64(l.envelope_offset).u64(l.envelope_size);
    w.u32(l.body_crc).u32(l.meta_crc).u8(l.leading_dot).u8(l.eight_bit).u32(l.longest_line);
}

queue::Layout get_layout(Reader& r)
{
    queue::Layout l;
    l.body_offset = r.u64();
    l.body_size = r.u64();
    l.header_offset = r.u64();
    l.header_size = r.u64();
    l.envelope_offset = r.u64();
    l.envelope_size = r.u64();
    l.body_crc = r.u32();
    l.meta_crc = r.u32();
    l.leading_dot = r.u8();
    l.eight_bit = r.u8();
    l.longest_line = r.u32();
    return l;
}

void put_target(Writer& w, const Target& t)
{
    w.u32(t.index).u8(static_cast<uint8_t>(t.kind)).str(t.address).str(t.original).str(t.run_as).str(t.sender);
    w.u8(t.notify).str(t.orcpt).str(t.extension);
}

bool get_target(Reader& r, Target& t)
{
    t.index = r.u32();
    if (!get_enum(r, t.kind, queue::Child::Kind::address, queue::Child::Kind::file)) return false;
    t.address = r.str(max_text);
    t.original = r.str(max_address);
    t.run_as = r.str(max_run_as);
    t.sender = r.str(max_address);
    t.notify = r.u8();
    t.orcpt = r.str(max_address);
    t.extension = r.str(max_address);
    return r.ok();
}

bool are_distinct(std::vector<uint32_t> numbers)
{
    std::sort(numbers.begin(), numbers.end());
    return std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end();
}

}  // namespace

std::optional<uint64_t> attempt_number(std::string_view body)
{
    Reader r(body);
    const uint64_t number = r.u64();
    return r.ok() ? std::optional(number) : std::nullopt;
}

std::string Attempt::encode() const
{
    Writer w;
    w.u64(attempt).str(queue_id).str(sender).str(transport).str(nexthop).str(delivered_to);
    put_layout(w, layout);
    w.u8(static_cast<uint8_t>(body)).u8(smtputf8).u8(static_cast<uint8_t>(tls)).u8(static_cast<uint8_t>(ret)).str(envid).i64(arrival_us).i64(active_us);
    w.str(client_name).str(client_address).str(helo).str(protocol).str(auth_user);
    w.u32(static_cast<uint32_t>(targets.size()));
    for (const auto& t : targets) put_target(w, t);
    return w.take();
}

Result<Attempt> Attempt::decode(std::string_view bytes)
{
    Reader r(bytes);
    Attempt a;
    a.attempt = r.u64();
    a.queue_id = r.str(32);
    a.sender = r.str(max_address);
    a.transport = r.str(256);
    a.nexthop = r.str(1024);
    a.delivered_to = r.str(max_address);
    a.layout = get_layout(r);
    bool good = get_enum(r, a.body, mail::Body::seven_bit, mail::Body::binary);
    a.smtputf8 = r.u8();
    good = good && get_enum(r, a.tls, mail::TlsNeed::unset, mail::TlsNeed::waived);
    good = good && get_enum(r, a.ret, mail::Ret::unset, mail::Ret::headers);
    a.envid = r.str(512);
    a.arrival_us = r.i64();
    a.active_us = r.i64();
    a.client_name = r.str(512);
    a.client_address = r.str(64);
    a.helo = r.str(1024);
    a.protocol = r.str(64);
    a.auth_user = r.str(512);
    const uint32_t n = r.count(30);
    for (uint32_t i = 0; i < n && r.ok() && good; ++i) good = get_target(r, a.targets.emplace_back());
    if (!r.done() || !good) return fail("malformed message: attempt");
    std::vector<uint32_t> indices;
    for (const Target& t : a.targets) indices.push_back(t.index);
    if (!are_distinct(std::move(indices))) return fail("malformed message: attempt with one recipient twice");
    return a;
}

std::string Verdicts::encode() const
{
    Writer w;
    w.u64(attempt).u32(static_cast<uint32_t>(verdicts.size()));
    for (const auto& v : verdicts) {
        w.u32(v.index).u8(static_cast<uint8_t>(v.outcome)).str(v.dsn).str(v.text).str(v.relay).str(v.remote_mta).u8(v.site).u8(v.more).u8(v.dsn_taken);
        put_children(w, v.children);
    }
    return w.take();
}

Result<Verdicts> Verdicts::decode(std::string_view body)
{
    Reader r(body);
    Verdicts all;
    all.attempt = r.u64();
    const uint32_t n = r.count(28);
    bool good = true;
    for (uint32_t i = 0; i < n && r.ok() && good; ++i) {
        Verdict v;
        v.index = r.u32();
        good = get_enum(r, v.outcome, Outcome::delivered, Outcome::expanded);
        v.dsn = r.str(16);
        v.text = r.str(max_text);
        v.relay = r.str(512);
        v.remote_mta = r.str(512);
        v.site = r.u8();
        v.more = r.u8();
        v.dsn_taken = r.u8();
        good = good && get_children(r, v.children);
        all.verdicts.push_back(std::move(v));
    }
    if (!r.done() || !good) return fail("malformed message: verdicts");
    std::vector<uint32_t> indices;    // of pages there may be several
    for (const Verdict& v : all.verdicts)
        if (!v.more) indices.push_back(v.index);
    if (!are_distinct(std::move(indices))) return fail("malformed message: two verdicts about one recipient");
    return all;
}

std::string format_delay(double seconds)
{
    // Two significant digits below 100 seconds, none behind the point above.
    seconds = std::max(seconds, 0.0);
    char text[32];
    if (seconds >= 10)
        std::snprintf(text, sizeof text, "%.0f", seconds);
    else if (seconds >= 1)
        std::snprintf(text, sizeof text, "%.1f", seconds);
    else if (seconds >= 0.005)
        std::snprintf(text, sizeof text, "%.2f", seconds);
    else
        return "0";
    std::string out = text;
    if (out.find('.') != std::string::npos) {
        while (out.back() == '0') out.pop_back();
        if (out.back() == '.') out.pop_back();
    }
    return out;
}

std::string delivery_line(const Attempt& attempt, const Target& target, const Verdict& verdict, double in_qmgr, double setup,
                          double transmission, int64_t now_us)
{
    static constexpr const char* words[] = {"", "sent", "deferred", "bounced", "sent"};
    const double before = std::max<double>(static_cast<double>(attempt.active_us - attempt.arrival_us) / 1e6, 0);
    const double total = std::max<double>(static_cast<double>(now_us - attempt.arrival_us) / 1e6, 0);
    std::string line = cat(attempt.queue_id, ": to=<", printable(target.address), ">, ");
    if (!target.original.empty() && target.original != target.address)
        append(line, "orig_to=<", printable(target.original), ">, ");
    append(line, "relay=", printable(verdict.relay.empty() ? "none" : verdict.relay), ", delay=", format_delay(total));
    append(line, ", delays=", format_delay(before), '/', format_delay(in_qmgr), '/', format_delay(setup), '/',
           format_delay(transmission));
    append(line, ", dsn=", printable(verdict.dsn), ", status=", words[static_cast<unsigned>(verdict.outcome)], " (",
           printable(verdict.text, 1000), ")");
    return line;
}

}  // namespace veredus::ipc
