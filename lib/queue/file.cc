// The mail file's bytes, written once and believed never: each length, sum and value is checked when it is read.
#include "lib/queue/file.h"

#include <algorithm>
#include <array>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/queue/codec.h"

namespace veredus::queue {

namespace {

constexpr std::string_view start_magic = "veredus-mail 1\r\n";
static_assert(start_magic.size() == file_start_size);
constexpr std::string_view end_magic = "END1", end_tail = "1DNE";
constexpr std::size_t max_string = 0xFFFF;
constexpr std::size_t body_chunk = 256 * 1024;
constexpr uint64_t whole_at_once = 64 * 1024;     // a file up to here is read in one piece
constexpr uint32_t has_leading_dot = 1, has_eight_bit = 2;

enum Type : uint8_t {
    type_sender = 1, type_recipient = 2, type_parameters = 3, type_envid = 4, type_client_name = 5, type_client_address = 6,
    type_helo = 7, type_protocol = 8, type_auth_user = 9, first_skippable = 128,
};
enum Flag : uint8_t { flag_smtputf8 = 1, flag_filtered = 2, flag_hold = 4, flag_tls_required = 8, flag_tls_waived = 16 };

bool is_clean(std::string_view s) { return s.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos; }

std::string cleaned(std::string_view s)
{
    std::string out(s.substr(0, max_string));
    std::replace_if(out.begin(), out.end(), [](char c) { return c == '\0' || c == '\r' || c == '\n'; }, '?');
    return out;
}

void put_record(std::string& out, uint8_t type, std::string_view payload)
{
    out.push_back(static_cast<char>(type));
    put_int(out, static_cast<uint32_t>(payload.size()));
    out.append(payload);
}

void put_address(std::string& out, const mail::Address& address)
{
    put_string(out, address.local);
    put_string(out, address.domain);
}

bool take_address(Reader& reader, mail::Address& address)
{
    address.local = reader.string();
    address.domain = reader.string();
    return reader.good() && is_clean(address.local) && is_clean(address.domain);
}

struct Text {
    uint8_t type;
    std::string mail::Envelope::*member;
};
constexpr Text texts[] = {
    {type_envid, &mail::Envelope::envid},
    {type_client_name, &mail::Envelope::client_name},
    {type_client_address, &mail::Envelope::client_address},
    {type_helo, &mail::Envelope::helo},
    {type_protocol, &mail::Envelope::protocol},
    {type_auth_user, &mail::Envelope::auth_user},
};

std::string encode_parameters(const mail::Envelope& e)
{
    std::string out;
    put_int(out, e.arrival_us);
    put_int(out, e.uid);
    put_int(out, static_cast<uint8_t>(e.body));
    put_int(out, static_cast<uint8_t>(e.ret));
    put_int(out, static_cast<uint8_t>(e.origin));
    const int tls = e.tls == mail::TlsNeed::required ? flag_tls_required : e.tls == mail::TlsNeed::waived ? flag_tls_waived : 0;
    put_int(out, static_cast<uint8_t>((e.smtputf8 ? flag_smtputf8 : 0) | (e.filtered ? flag_filtered : 0) | (e.hold ? flag_hold : 0) | tls));
    return out;
}

// One decoding: which records came, and what they said.
class EnvelopeDecoder {
public:
    Result<mail::Envelope> decode(std::string_view bytes);

private:
    bool record(uint8_t type, std::string_view payload);
    bool recipient(Reader reader);
    bool parameters(Reader reader);
    bool text(uint8_t type, std::string_view payload);
    mail::Envelope envelope_;
    std::array<bool, 16> seen_{};
};

Result<mail::Envelope> EnvelopeDecoder::decode(std::string_view bytes)
{
    Reader reader(bytes);
    while (!reader.at_end()) {
        const auto type = reader.integer<uint8_t>();
        const std::string_view payload = reader.take(reader.integer<uint32_t>());
        if (!reader.good()) return fail("envelope: a record is longer than the envelope");
        if (type >= first_skippable) continue;
        if (type != type_recipient && type < seen_.size() && std::exchange(seen_[type], true)) return fail(cat("envelope: record type ", type, " comes twice"));
        if (!record(type, payload)) return fail(cat("envelope: bad record of type ", type));
    }
    if (!seen_[type_sender] || !seen_[type_parameters]) return fail("envelope: no sender or no parameters");
    if (envelope_.recipients.empty()) return fail("envelope: no recipient");
    return std::move(envelope_);
}

bool EnvelopeDecoder::record(uint8_t type, std::string_view payload)
{
    Reader reader(payload);
    switch (type) {
    case type_sender: return take_address(reader, envelope_.sender) && reader.at_end();
    case type_recipient: return recipient(reader);
    case type_parameters: return parameters(reader);
    default: return text(type, payload);
    }
}

bool EnvelopeDecoder::recipient(Reader reader)
{
    if (envelope_.recipients.size() >= max_recipients) return false;
    mail::Recipient r;
    r.notify = reader.integer<uint8_t>();
    if (!take_address(reader, r.address)) return false;
    r.orcpt = reader.string();
    if (!reader.good() || !reader.at_end() || !is_clean(r.orcpt) || r.address.empty()) return false;
    if (r.notify > 15 || (r.notify & mail::notify_never && r.notify != mail::notify_never)) return false;    // RFC 3461 §4.1: NEVER stands alone
    envelope_.recipients.push_back(std::move(r));
    return true;
}

bool EnvelopeDecoder::parameters(Reader reader)
{
    envelope_.arrival_us = reader.integer<int64_t>();
    envelope_.uid = reader.integer<uint32_t>();
    const auto body = reader.integer<uint8_t>(), ret = reader.integer<uint8_t>(), origin = reader.integer<uint8_t>(), flags = reader.integer<uint8_t>();
    if (!reader.good() || !reader.at_end() || body > 2 || ret > 2 || origin > 4 || flags > 31) return false;
    if ((flags & flag_tls_required) && (flags & flag_tls_waived)) return false;
    envelope_.body = static_cast<mail::Body>(body);
    envelope_.ret = static_cast<mail::Ret>(ret);
    envelope_.origin = static_cast<mail::Origin>(origin);
    envelope_.smtputf8 = flags & flag_smtputf8;
    envelope_.filtered = flags & flag_filtered;
    envelope_.hold = flags & flag_hold;
    envelope_.tls = flags & flag_tls_required ? mail::TlsNeed::required : flags & flag_tls_waived ? mail::TlsNeed::waived : mail::TlsNeed::unset;
    return true;
}

bool EnvelopeDecoder::text(uint8_t type, std::string_view payload)
{
    for (const Text& t : texts) {
        if (t.type != type) continue;
        envelope_.*t.member = payload;
        return payload.size() <= max_string && is_clean(payload);
    }
    return false;
}

bool has_dot_line(std::string_view header) { return header.starts_with('.') || header.find("\n.") != std::string_view::npos; }
bool has_high_byte(std::string_view s) { return !is_ascii(s); }

std::string encode_end(const Layout& l)
{
    std::string out(end_magic);
    put_int(out, static_cast<uint32_t>((l.leading_dot ? has_leading_dot : 0) | (l.eight_bit ? has_eight_bit : 0)));
    for (const uint64_t n : {l.body_offset, l.body_size, l.header_offset, l.header_size, l.envelope_offset, l.envelope_size}) put_int(out, n);
    put_int(out, l.body_crc);
    put_int(out, l.longest_line);
    return out;    // its CRC and the tail follow
}

template <class Read> Result<void> check_body_crc(const Read& read, const Layout& layout)
{
    uint32_t crc = 0;
    for (uint64_t done = 0; done < layout.body_size;) {
        const auto want = static_cast<std::size_t>(std::min<uint64_t>(body_chunk, layout.body_size - done));
        const std::string piece = TRY(read(layout.body_offset + done, want));
        if (piece.size() != want) return fail("mail file: it shrinks while it is read");
        crc = crc32c(crc, piece);
        done += want;
    }
    if (crc != layout.body_crc) return fail("mail file: the body's checksum is wrong");
    return {};
}

}  // namespace

Result<void> check_envelope(const mail::Envelope& envelope)
{
    const auto fits = [](const mail::Address& a) { return a.local.size() <= max_string && a.domain.size() <= max_string && is_clean(a.local) && is_clean(a.domain); };
    if (!fits(envelope.sender)) return fail("envelope: the sender cannot be written");
    if (envelope.recipients.empty()) return fail("envelope: no recipient");
    if (envelope.recipients.size() > max_recipients) return fail(cat("envelope: more than ", max_recipients, " recipients"));
    uint64_t size = 8 * max_string;
    for (const mail::Recipient& r : envelope.recipients) {
        if (!fits(r.address) || r.address.empty()) return fail("envelope: a recipient cannot be written");
        if (r.notify > 15 || (r.notify & mail::notify_never && r.notify != mail::notify_never)) return fail("envelope: NOTIFY of a recipient makes no sense");
        size += 12 + r.address.local.size() + r.address.domain.size() + std::min(r.orcpt.size(), max_string);
    }
    if (size > max_envelope_size) return fail(cat("envelope: more than ", max_envelope_size, " bytes"));
    return {};
}

std::string encode_envelope(const mail::Envelope& envelope)
{
    std::string out, payload;
    put_address(payload, envelope.sender);
    put_record(out, type_sender, payload);
    put_record(out, type_parameters, encode_parameters(envelope));
    for (const Text& t : texts)
        if (const std::string& value = envelope.*t.member; !value.empty()) put_record(out, t.type, cleaned(value));
    for (const mail::Recipient& r : envelope.recipients) {
        payload.clear();
        put_int(payload, r.notify);
        put_address(payload, r.address);
        put_string(payload, cleaned(r.orcpt));
        put_record(out, type_recipient, payload);
    }
    return out;
}

Result<mail::Envelope> decode_envelope(std::string_view bytes)
{
    if (bytes.size() > max_envelope_size) return fail("envelope: too long");
    return EnvelopeDecoder().decode(bytes);
}

std::string file_start() { return std::string(start_magic); }

std::string encode_tail(uint64_t body_size, uint32_t body_crc, bool leading_dot, bool eight_bit, std::string_view header,
                        const mail::Envelope& envelope, uint64_t longest_line)
{
    const std::string encoded = encode_envelope(envelope);
    Layout l;
    l.body_offset = file_start_size;
    l.body_size = body_size;
    l.header_offset = l.body_offset + body_size;
    l.header_size = header.size();
    l.envelope_offset = l.header_offset + header.size();
    l.envelope_size = encoded.size();
    l.body_crc = body_crc;
    l.leading_dot = leading_dot || has_dot_line(header);
    l.eight_bit = eight_bit || has_high_byte(header);
    if (longest_line > usual_line) l.longest_line = static_cast<uint32_t>(std::min<uint64_t>(longest_line, UINT32_MAX));
    std::string out;
    out.reserve(header.size() + encoded.size() + end_size);
    append(out, header, encoded, encode_end(l));
    put_int(out, crc32c(0, out));
    out.append(end_tail);
    return out;
}

Result<Layout> decode_end(std::string_view bytes, uint64_t file_size)
{
    if (bytes.size() != end_size || file_size < file_start_size + end_size) return fail("mail file: too short");
    Reader reader(bytes);
    if (reader.take(4) != end_magic || bytes.substr(end_size - 4) != end_tail) return fail("mail file: no END");
    Layout l;
    const auto flags = reader.integer<uint32_t>();
    for (uint64_t* n : {&l.body_offset, &l.body_size, &l.header_offset, &l.header_size, &l.envelope_offset, &l.envelope_size}) *n = reader.integer<uint64_t>();
    l.body_crc = reader.integer<uint32_t>();
    l.longest_line = reader.integer<uint32_t>();
    l.meta_crc = reader.integer<uint32_t>();
    if (flags & ~(has_leading_dot | has_eight_bit)) return fail("mail file: END has unknown flags");
    l.leading_dot = flags & has_leading_dot;
    l.eight_bit = flags & has_eight_bit;
    if (l.longest_line != 0 && (l.longest_line <= usual_line || l.longest_line > l.body_size)) return fail("mail file: END's longest line makes no sense");
    // Sizes first, each against what is left, so that no sum below can overflow.
    uint64_t left = file_size - file_start_size - end_size;
    for (const uint64_t n : {l.body_size, l.header_size, l.envelope_size}) {
        if (n > left) return fail("mail file: END says more than there is");
        left -= n;
    }
    if (left != 0 || l.body_offset != file_start_size || l.header_offset != l.body_offset + l.body_size ||
        l.envelope_offset != l.header_offset + l.header_size)
        return fail("mail file: the extents do not follow each other");
    if (l.header_size > max_header_size || l.envelope_size > max_envelope_size) return fail("mail file: header or envelope too long");
    return l;
}

Result<MailFile> read_mail_file(disk::Disk& disk, const Fd& file, bool check_body)
{
    const uint64_t size = TRY(disk.size(file));
    return read_mail_file(disk, file, size, check_body);
}

Result<MailFile> read_mail_file(disk::Disk& disk, const Fd& file, uint64_t size, bool check_body)
{
    if (size < file_start_size + end_size) return fail("mail file: too short");
    // Most mails are small: one read brings all of it.
    std::string whole;
    if (check_body && size <= whole_at_once) whole = TRY(disk.read(file, 0, static_cast<std::size_t>(size)));
    const auto piece = [&](uint64_t offset, std::size_t length) -> Result<std::string> {
        if (whole.empty()) return disk.read(file, offset, length);
        return offset <= whole.size() ? whole.substr(static_cast<std::size_t>(offset), length) : std::string();
    };
    if (TRY(piece(0, file_start_size)) != start_magic) return fail("mail file: no start");
    const std::string end = TRY(piece(size - end_size, end_size));
    const Layout layout = TRY(decode_end(end, size));
    const auto meta_size = static_cast<std::size_t>(layout.header_size + layout.envelope_size);
    const std::string meta = TRY(piece(layout.header_offset, meta_size));
    if (meta.size() != meta_size) return fail("mail file: it shrinks while it is read");
    if (crc32c(crc32c(0, meta), std::string_view(end).substr(0, end_size - 8)) != layout.meta_crc) return fail("mail file: the checksum of header and envelope is wrong");
    mail::Envelope envelope = TRY(decode_envelope(std::string_view(meta).substr(static_cast<std::size_t>(layout.header_size))));
    if (check_body) TRY(check_body_crc(piece, layout));
    return MailFile{layout, std::move(envelope)};
}

Result<void> check_body(disk::Disk& disk, const Fd& file, const Layout& layout)
{
    return check_body_crc([&](uint64_t offset, std::size_t length) { return disk.read(file, offset, length); }, layout);
}

Result<std::string> read_header(const Fd& file, const Layout& layout, std::size_t limit)
{
    if (layout.header_size > limit) return fail(cat("mail file: the header has ", layout.header_size, " bytes, more than ", limit));
    return pread_exact(file.get(), static_cast<off_t>(layout.header_offset), static_cast<std::size_t>(layout.header_size));
}

}  // namespace veredus::queue
