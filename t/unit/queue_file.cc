// lib/queue: the mail file and the envelope, as they are written and as an enemy writes them.
#include "t/unit/catch.h"

#include "lib/base/crc32c.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/queue/codec.h"
#include "lib/queue/file.h"

using namespace veredus;
using namespace veredus::queue;

namespace {

mail::Envelope full_envelope()
{
    mail::Envelope e;
    e.sender = {"alice smith", "example.org"};
    e.recipients = {{{"bob", "example.net"}, mail::notify_success | mail::notify_delay, "rfc822;Bob@example.net"}, {{"root", ""}, 0, ""}};
    e.body = mail::Body::eight_bit;
    e.smtputf8 = true;
    e.ret = mail::Ret::headers;
    e.envid = "QQ314159";
    e.origin = mail::Origin::authenticated;
    e.arrival_us = 1'795'528'800'123'456;
    e.client_name = "mua.example.org";
    e.client_address = "2001:db8::7";
    e.helo = "[192.0.2.7]";
    e.protocol = "ESMTPSA";
    e.auth_user = "alice";
    e.uid = 1000;
    e.filtered = true;
    e.tls = mail::TlsNeed::required;
    return e;
}

bool same(const mail::Envelope& a, const mail::Envelope& b)
{
    if (a.recipients.size() != b.recipients.size()) return false;
    for (std::size_t i = 0; i < a.recipients.size(); ++i) {
        const auto &x = a.recipients[i], &y = b.recipients[i];
        if (!(x.address == y.address) || x.notify != y.notify || x.orcpt != y.orcpt) return false;
    }
    return a.sender == b.sender && a.body == b.body && a.smtputf8 == b.smtputf8 && a.ret == b.ret && a.envid == b.envid &&
           a.origin == b.origin && a.arrival_us == b.arrival_us && a.client_name == b.client_name && a.client_address == b.client_address &&
           a.helo == b.helo && a.protocol == b.protocol && a.auth_user == b.auth_user && a.uid == b.uid && a.filtered == b.filtered && a.hold == b.hold && a.tls == b.tls;
}

constexpr std::string_view header = "Subject: x\r\nFrom: a@b\r\n";
constexpr std::string_view body = "one\r\n.two\r\n";

std::string whole_file(std::string_view with_body = body)
{
    return cat(file_start(), with_body, encode_tail(with_body.size(), crc32c(0, with_body), true, false, header, full_envelope()));
}

Result<MailFile> read_bytes(std::string_view bytes, bool check_body = true)
{
    const Fd fd = std::move(*sealed_memfd("mail", bytes));
    return read_mail_file(disk::posix_disk(), fd, check_body);
}

std::string with_crc(std::string file)    // an enemy who can sum
{
    const std::size_t end = file.size() - end_size;
    Reader sizes(std::string_view(file).substr(end + 24, 16));
    const auto offset = sizes.integer<uint64_t>();
    std::string crc;
    put_int(crc, crc32c(0, std::string_view(file).substr(static_cast<std::size_t>(std::min<uint64_t>(offset, end)), file.size() - 8 - static_cast<std::size_t>(std::min<uint64_t>(offset, end)))));
    file.replace(file.size() - 8, 4, crc);
    return file;
}

}  // namespace

TEST_CASE("a mail file reads back as it was written", "[queue][veredus-queue.5]")
{
    const auto read = read_bytes(whole_file());
    REQUIRE(read);
    CHECK(same(read->envelope, full_envelope()));
    CHECK(read->layout.body_offset == 16);
    CHECK(read->layout.body_size == body.size());
    CHECK(read->layout.header_size == header.size());
    CHECK(read->layout.content_size() == header.size() + 2 + body.size());
    CHECK(read->layout.leading_dot);
    CHECK_FALSE(read->layout.eight_bit);
    const Fd fd = std::move(*sealed_memfd("mail", whole_file()));
    CHECK(*read_header(fd, read->layout, 1000) == header);
    CHECK_FALSE(read_header(fd, read->layout, header.size() - 1));
    REQUIRE(read_bytes(whole_file("")));
}

TEST_CASE("END has the bytes that the page says", "[queue][veredus-queue.5]")
{
    const std::string file = whole_file();
    CHECK(file.substr(0, 16) == "veredus-mail 1\r\n");
    CHECK(file.substr(16, body.size()) == body);
    CHECK(file.substr(16 + body.size(), header.size()) == header);
    const std::string_view end = std::string_view(file).substr(file.size() - 72);
    CHECK(end.substr(0, 4) == "END1");
    CHECK(end.substr(68) == "1DNE");
    CHECK(Reader(end.substr(4)).integer<uint32_t>() == 1);
    CHECK(Reader(end.substr(8)).integer<uint64_t>() == 16);
    CHECK(Reader(end.substr(16)).integer<uint64_t>() == body.size());
    CHECK(Reader(end.substr(56)).integer<uint32_t>() == crc32c(0, body));
    CHECK(Reader(end.substr(64)).integer<uint32_t>() == crc32c(0, std::string_view(file).substr(16 + body.size(), file.size() - 16 - body.size() - 8)));
}

TEST_CASE("a dot line and high bytes of the header reach END", "[queue]")
{
    const std::string file = cat(file_start(), encode_tail(0, 0, false, false, "A: b\r\n.odd: \xc3\xa4\r\n", full_envelope()));
    const auto read = read_bytes(file);
    REQUIRE(read);
    CHECK(read->layout.leading_dot);
    CHECK(read->layout.eight_bit);
}

TEST_CASE("END knows the longest line of a body when that is no usual one", "[queue][veredus-queue.5]")
{
    const std::string with_body = std::string(5000, 'x') + "\r\n";
    const auto end_of = [&](uint64_t longest) { return cat(file_start(), with_body, encode_tail(with_body.size(), crc32c(0, with_body), false, false, header, full_envelope(), longest)); };
    const std::pair<uint64_t, uint32_t> cases[] = {{0, 0}, {998, 0}, {999, 999}, {5000, 5000}};
    for (const auto& [said, read] : cases) {
        const auto mail = read_bytes(end_of(said));
        REQUIRE(mail);
        CHECK(mail->layout.longest_line == read);
    }
    CHECK_FALSE(read_bytes(end_of(5003)));    // longer than the body
    std::string lie = end_of(0), bytes;
    put_int(bytes, uint32_t{998});
    CHECK_FALSE(read_bytes(with_crc(lie.replace(lie.size() - end_size + 60, 4, bytes))));
}

TEST_CASE("every flipped byte and every cut of a mail file is found", "[queue]")
{
    const std::string file = whole_file();
    for (std::size_t i = 0; i < file.size(); ++i) {
        std::string bad = file;
        bad[i] = static_cast<char>(bad[i] ^ 0x10);
        INFO("byte " << i);
        const auto read = read_bytes(bad);
        REQUIRE_FALSE(read);
        CHECK(read.error().code == 0);    // corrupt, not the world's trouble
    }
    for (std::size_t size = 0; size < file.size(); ++size) {
        INFO("size " << size);
        CHECK_FALSE(read_bytes(std::string_view(file).substr(0, size)));
    }
    CHECK_FALSE(read_bytes(file + "x"));
}

TEST_CASE("offsets and sizes of END that lie are refused, with a good checksum too", "[queue]")
{
    const std::string file = whole_file();
    const uint64_t lies[] = {0, 1, 15, 17, file.size(), file.size() + 1, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 15, ~uint64_t{0} - file.size()};
    for (std::size_t field = 8; field < 56; field += 8) {
        for (const uint64_t lie : lies) {
            std::string bad = file, bytes;
            put_int(bytes, lie);
            const std::size_t at = file.size() - end_size + field;
            if (bad.compare(at, 8, bytes) == 0) continue;
            bad.replace(at, 8, bytes);
            INFO("field " << field << " lie " << lie);
            CHECK_FALSE(read_bytes(with_crc(bad)));
        }
    }
    REQUIRE(read_bytes(with_crc(file)));    // the helper itself sums right
}

TEST_CASE("an envelope reads back, with odd bytes made harmless", "[queue]")
{
    mail::Envelope e = full_envelope();
    CHECK(same(*decode_envelope(encode_envelope(e)), e));
    e.helo = "evil\r\nX: y";
    e.recipients[0].orcpt = std::string("rfc822;a\0b", 10);
    const auto read = decode_envelope(encode_envelope(e));
    REQUIRE(read);
    CHECK(read->helo == "evil??X: y");
    CHECK(read->recipients[0].orcpt == "rfc822;a?b");
    e = full_envelope();
    e.sender = {};
    CHECK(decode_envelope(encode_envelope(e))->sender.empty());
}

TEST_CASE("an envelope that a reader would refuse is not written", "[queue]")
{
    const auto refused = [](auto change) {
        mail::Envelope e = full_envelope();
        change(e);
        CHECK_FALSE(check_envelope(e));
    };
    CHECK(check_envelope(full_envelope()));
    refused([](mail::Envelope& e) { e.recipients.clear(); });
    refused([](mail::Envelope& e) { e.sender.local = "a\nb"; });
    refused([](mail::Envelope& e) { e.recipients[0].address.domain = std::string(70'000, 'x'); });
    refused([](mail::Envelope& e) { e.recipients[0].address = {}; });
    refused([](mail::Envelope& e) { e.recipients[0].notify = mail::notify_never | mail::notify_delay; });
    refused([](mail::Envelope& e) { e.recipients.resize(max_recipients + 1, e.recipients[0]); });
}

TEST_CASE("envelopes from an enemy: doubles, unknown types, lengths that lie", "[queue]")
{
    const std::string good = encode_envelope(full_envelope());
    const auto record = [](uint8_t type, std::string_view payload) {
        std::string out(1, static_cast<char>(type));
        put_int(out, static_cast<uint32_t>(payload.size()));
        return out + std::string(payload);
    };
    CHECK(decode_envelope(good + record(200, "from a later version")));    // skippable
    CHECK_FALSE(decode_envelope(good + record(100, "not skippable")));
    CHECK_FALSE(decode_envelope(good + record(0, "")));
    CHECK_FALSE(decode_envelope(good + record(4, "a second ENVID")));
    CHECK_FALSE(decode_envelope(good + record(2, "")));
    CHECK_FALSE(decode_envelope(good + std::string("\x02\xff\xff\xff\xff", 5)));
    std::string cr;
    put_int(cr, uint8_t{0});
    put_string(cr, "a\rb");
    put_string(cr, "example.org");
    put_string(cr, "");
    CHECK_FALSE(decode_envelope(good + record(2, cr)));
    CHECK_FALSE(decode_envelope(""));
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto cut = decode_envelope(std::string_view(good).substr(0, size));
        if (cut) CHECK(cut->recipients.size() == 1);    // cut between the records of two recipients: END knows better
    }
}
