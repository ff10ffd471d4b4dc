// The journal's bytes: frames of records, each frame under one checksum that nobody without the file's salt can make.
#include <algorithm>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/queue/codec.h"
#include "lib/queue/id.h"
#include "lib/queue/journal.h"

namespace veredus::queue {

namespace {

constexpr std::string_view magic = "veredus-journal 1\n\n\n";
constexpr std::size_t salt_size = 8;
static_assert(magic.size() + salt_size + 4 == journal_start_size);

void put_record(std::string& out, const Record& r)
{
    put_int(out, static_cast<uint8_t>(r.event));
    put_int(out, r.outcome);
    put_int(out, parse_hex(r.id).value_or(0));
    put_int(out, r.recipient);
    put_int(out, r.time_us);
    put_int(out, r.attempts);
    put_string(out, r.dsn);
    put_string(out, r.text);
    put_int(out, static_cast<uint32_t>(r.children.size()));
    for (const Child& child : r.children) {
        put_int(out, static_cast<uint8_t>(child.kind));
        put_string(out, child.text);
        put_string(out, child.run_as);
        put_string(out, child.sender);
    }
}

bool take_children(Reader& reader, std::vector<Child>& children)
{
    const auto count = reader.integer<uint32_t>();
    constexpr std::size_t least = 7;    // bytes of an empty child: a count that cannot be true allocates nothing
    if (count > max_children || count > reader.left() / least) return false;
    children.resize(count);
    for (Child& child : children) {
        const auto kind = reader.integer<uint8_t>();
        if (kind > static_cast<uint8_t>(Child::Kind::file)) return false;
        child.kind = static_cast<Child::Kind>(kind);
        child.text = reader.string();
        child.run_as = reader.string();
        child.sender = reader.string();
    }
    return reader.good();
}

bool take_record(Reader& reader, Record& r)
{
    const auto event = reader.integer<uint8_t>();
    if (event < static_cast<uint8_t>(Event::deferred) || event > static_cast<uint8_t>(Event::aged)) return false;
    r.event = static_cast<Event>(event);
    r.outcome = reader.integer<uint8_t>();
    r.id = hex_upper(reader.integer<uint64_t>(), 16);
    r.recipient = reader.integer<uint32_t>();
    r.time_us = reader.integer<int64_t>();
    r.attempts = reader.integer<uint32_t>();
    r.dsn = reader.string();
    r.text = reader.string();
    return take_children(reader, r.children);
}

bool take_payload(std::string_view payload, std::vector<Record>& out)
{
    Reader reader(payload);
    while (!reader.at_end()) {
        Record record;
        if (!take_record(reader, record)) return false;
        out.push_back(std::move(record));
    }
    return true;
}

uint32_t frame_crc(std::string_view salt, std::string_view size_field, std::string_view payload)
{
    return crc32c(crc32c(crc32c(0, salt), size_field), payload);
}

}  // namespace

bool operator==(const Child& a, const Child& b)
{
    return a.kind == b.kind && a.text == b.text && a.run_as == b.run_as && a.sender == b.sender;
}

std::string encode_frame(const std::vector<Record>& records, std::string_view salt)
{
    std::string out(8, '\0');
    for (const Record& r : records) put_record(out, r);
    std::string head;
    put_int(head, static_cast<uint32_t>(out.size() - 8));
    put_int(head, frame_crc(salt, head, std::string_view(out).substr(8)));
    out.replace(0, 8, head);
    return out;
}

std::string encode_record(const Record& record) { return encode_frame({record}); }

std::vector<Record> decode_records(std::string_view bytes, std::size_t& valid, std::string_view salt)
{
    std::vector<Record> out;
    valid = 0;
    for (;;) {
        Reader reader(bytes.substr(valid));
        const std::string_view size_field = reader.take(4);
        const auto size = Reader(size_field).integer<uint32_t>();
        const auto crc = reader.integer<uint32_t>();
        if (!reader.good() || size == 0 || size > max_frame || size > reader.left()) return out;
        const std::string_view payload = reader.take(size);
        if (frame_crc(salt, size_field, payload) != crc) return out;
        const std::size_t before = out.size();
        if (!take_payload(payload, out)) {
            out.resize(before);
            return out;
        }
        valid += 8 + size;
    }
}

std::string journal_start(std::string_view salt)
{
    std::string out = cat(magic, salt.substr(0, salt_size));
    out.resize(magic.size() + salt_size);
    put_int(out, crc32c(0, out));
    return out;
}

std::optional<std::string> parse_journal_start(std::string_view bytes)
{
    if (bytes.size() < journal_start_size) return std::nullopt;
    std::string salt(bytes.substr(magic.size(), salt_size));
    if (bytes.substr(0, journal_start_size) != journal_start(salt)) return std::nullopt;
    return salt;
}

}  // namespace veredus::queue
