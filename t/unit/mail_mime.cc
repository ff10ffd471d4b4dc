// lib/mail: the structure of MIME messages as events, and the fields that describe it.
#include "t/unit/catch.h"

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/mail/mime.h"
#include "lib/mail/seven_bit.h"

using namespace veredus;
using namespace veredus::mail;

namespace {

// One line per event, in the order they came.
class Recorder final : public MimeSink {
public:
    explicit Recorder(std::string_view all, bool lines = true) : all_(all), lines_(lines) {}
    bool wants_lines() const override { return lines_; }
    void part_begins(const MimePart& p) override
    {
        static const char* const kinds[] = {"message", "part", "nested"};
        veredus::append(out, "+", p.index, ' ', kinds[static_cast<int>(p.kind)], " in ", p.parent, " no ", p.number, '\n');
    }
    void field(const MimePart& p, const MimeField& f) override
    {
        ok &= f.cut || all_.substr(f.offset, f.size) == f.raw;
        veredus::append(out, p.index, " field ", f.name(), '=', unfold(f.body()), f.cut ? " cut" : "", '\n');
    }
    void headers_end(const MimePart& p) override
    {
        veredus::append(out, p.index, " is ", p.type, '/', p.subtype, p.multipart ? " multi" : "", p.holds_message ? " holds" : "", p.header_cut ? " cut" : "", '\n');
    }
    void line(const MimePart& p, const MimeLine& l) override
    {
        static const char* const wheres[] = {"line", "outside", "boundary"};
        ok &= all_.substr(l.offset, l.bytes.size()) == l.bytes;
        if (!lines_) return;
        std::string_view text = l.text();
        veredus::append(out, p.index, ' ', wheres[static_cast<int>(l.where)], l.begins ? "" : " more", l.ends ? "" : " open", ' ', text.size() > 30 ? cat(text.size()) : std::string(text), '\n');
    }
    void part_ends(const MimePart& p) override
    {
        bodies.push_back(std::string(all_.substr(p.body_offset, p.body_size)));
        veredus::append(out, "-", p.index, " header ", p.header_size, " body ", p.body_size, " lines ", p.body_lines, '\n');
        veredus::append(ends, p.index, ' ', p.header_size, ' ', p.header_bare_lfs, ' ', p.body_offset, ' ', p.body_size, ' ', p.body_lines, ' ', p.body_bare_lfs, '\n');
    }
    std::string out, ends;
    std::vector<std::string> bodies;   // in the order of ending
    bool ok = true;

private:
    std::string_view all_;
    bool lines_;
};

Recorder parse(std::string_view text, std::size_t piece = 1 << 20, const MimeLimits& limits = {})
{
    Recorder sink(text), without_lines(text, false);
    for (Recorder* r : {&sink, &without_lines}) {
        MimeParser parser(*r, limits);
        for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) parser.feed(rest.substr(0, piece));
        parser.finish();
        std::size_t bare = 0;
        for (std::size_t i = 0; i < text.size(); ++i) bare += text[i] == '\n' && (i == 0 || text[i - 1] != '\r');
        CHECK(parser.bare_lfs() == bare);
    }
    CHECK(without_lines.ends == sink.ends);
    CHECK(without_lines.ok);
    return sink;
}

std::string crlf(std::string_view lf)
{
    std::string out;
    for (const char c : lf) {
        if (c == '\n') out += '\r';
        out += c;
    }
    return out;
}

}  // namespace

TEST_CASE("what a MIME message is made of comes as events", "[mail][mime][rfc2046-5.1]")
{
    struct Case {
        const char *name, *text, *events;
    };
    static const Case cases[] = {
        {"nothing", "", "+0 message in 0 no 1\n0 is text/plain\n-0 header 0 body 0 lines 0\n"},
        {"a body without header", "hello\nyou\n", "+0 message in 0 no 1\n0 is text/plain\n0 line hello\n0 line you\n-0 header 0 body 12 lines 2\n"},
        {"a header without body", "A: 1\n", "+0 message in 0 no 1\n0 field A=1\n0 is text/plain\n-0 header 6 body 0 lines 0\n"},
        {"a header without line end", "A: 1", "+0 message in 0 no 1\n0 field A=1\n0 is text/plain\n-0 header 4 body 0 lines 0\n"},
        {"folding", "A: 1\n 2\n\t3\nB:\n\nx", "+0 message in 0 no 1\n0 field A=1 2\t3\n0 field B=\n0 is text/plain\n0 line open x\n-0 header 20 body 1 lines 0\n"},
        {"two parts",
         "Content-Type: multipart/mixed; boundary=b\n\nbefore\n--b\n\none\n--b \nContent-Type: text/html\n\ntwo\n\n--b--\nafter\n",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/mixed; boundary=b\n0 is multipart/mixed multi\n0 outside before\n0 boundary --b\n"
         "+1 part in 0 no 1\n1 is text/plain\n1 line one\n-1 header 2 body 3 lines 0\n0 boundary --b \n"
         "+2 part in 0 no 2\n2 field Content-Type=text/html\n2 is text/html\n2 line two\n2 line \n-2 header 27 body 5 lines 1\n0 boundary --b--\n0 outside after\n"
         "-0 header 45 body 74 lines 11\n"},
        {"a part without body and one without header end",
         "Content-Type: multipart/mixed; boundary=\"b\"\n\n--b\nA: 1\n--b\n\n--b--",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/mixed; boundary=\"b\"\n0 is multipart/mixed multi\n0 boundary --b\n"
         "+1 part in 0 no 1\n1 field A=1\n1 is text/plain\n-1 header 6 body 0 lines 0\n0 boundary --b\n"
         "+2 part in 0 no 2\n2 is text/plain\n-2 header 2 body 0 lines 0\n0 boundary open --b--\n-0 header 47 body 23 lines 4\n"},
        {"the boundary of the outer one ends the inner ones",
         "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\nx\n--o--\n",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/mixed; boundary=o\n0 is multipart/mixed multi\n0 boundary --o\n"
         "+1 part in 0 no 1\n1 field Content-Type=multipart/alternative; boundary=i\n1 is multipart/alternative multi\n1 boundary --i\n"
         "+2 part in 1 no 1\n2 is text/plain\n2 line x\n-2 header 2 body 1 lines 0\n-1 header 51 body 8 lines 2\n0 boundary --o--\n-0 header 45 body 73 lines 7\n"},
        {"a message within a message",
         "Content-Type: message/rfc822\n\nSubject: in\n\nbody\n",
         "+0 message in 0 no 1\n0 field Content-Type=message/rfc822\n0 is message/rfc822 holds\n+1 nested in 0 no 1\n1 field Subject=in\n1 is text/plain\n1 line body\n"
         "-1 header 15 body 6 lines 1\n-0 header 32 body 21 lines 3\n"},
        {"an encoded message stays shut",
         "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA==\n",
         "+0 message in 0 no 1\n0 field Content-Type=message/rfc822\n0 field Content-Transfer-Encoding=base64\n0 is message/rfc822\n0 line U3ViamVjdDogeA==\n-0 header 67 body 18 lines 1\n"},
        {"a digest's parts are messages",
         "Content-Type: multipart/digest; boundary=d\n\n--d\n\nA: 1\n\nx\n--d--\n",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/digest; boundary=d\n0 is multipart/digest multi\n0 boundary --d\n"
         "+1 part in 0 no 1\n1 is message/rfc822 holds\n+2 nested in 1 no 1\n2 field A=1\n2 is text/plain\n2 line x\n-2 header 8 body 1 lines 0\n"
         "-1 header 2 body 9 lines 2\n0 boundary --d--\n-0 header 46 body 25 lines 6\n"},
        {"a multipart without boundary is one piece", "Content-Type: multipart/mixed\n\n--x\n",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/mixed\n0 is multipart/mixed\n0 line --x\n-0 header 33 body 5 lines 1\n"},
        {"the exact boundary goes before the one that is its beginning",
         "Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--ab\n\ny\n--ab--\n",
         "+0 message in 0 no 1\n0 field Content-Type=multipart/mixed; boundary=ab\n0 is multipart/mixed multi\n0 boundary --ab\n"
         "+1 part in 0 no 1\n1 field Content-Type=multipart/mixed; boundary=a\n1 is multipart/mixed multi\n1 boundary --a\n+2 part in 1 no 1\n2 is text/plain\n2 line x\n"
         "-2 header 2 body 1 lines 0\n-1 header 45 body 8 lines 2\n0 boundary --ab\n+3 part in 0 no 2\n3 is text/plain\n3 line y\n-3 header 2 body 1 lines 0\n0 boundary --ab--\n"
         "-0 header 46 body 80 lines 10\n"},
    };
    for (const Case& c : cases) {
        INFO(c.name);
        const std::string text = crlf(c.text);
        const Recorder whole = parse(text);
        CHECK(whole.out == c.events);
        CHECK(whole.ok);
        for (std::size_t piece = 1; piece < 9; ++piece) CHECK(parse(text, piece).out == c.events);
    }
}

TEST_CASE("lines that end with LF only have the same structure, and the difference is counted", "[mail][mime]")
{
    const std::string lf = "Content-Type: multipart/mixed; boundary=b\n\n--b\nA: 1\n\none\ntwo\n--b--\n";
    struct Sizes final : MimeSink {
        void part_ends(const MimePart& p) override
        {
            sizes.push_back(p.header_size + p.header_bare_lfs);
            sizes.push_back(p.body_size + p.body_bare_lfs);
            sizes.push_back(p.body_lines);
        }
        std::vector<uint64_t> sizes;
    };
    Sizes a, b;
    for (const auto& [sink, text] : {std::pair{&a, lf}, std::pair{&b, crlf(lf)}}) {
        MimeParser parser(*sink);
        parser.feed(text);
        parser.finish();
    }
    CHECK(a.sizes == b.sizes);
    CHECK(a.sizes.size() == 6);
    CHECK(parse(lf).bodies[0] == "one\ntwo");
}

TEST_CASE("very long lines come in pieces that do not depend on how they were fed", "[mail][mime]")
{
    for (const std::size_t size : {4093u, 4094u, 4095u, 4096u, 4097u, 8190u, 8191u, 8192u, 10'000u}) {
        const std::string text = cat("A: ", std::string(size, 'h'), "\r\n\r\n", std::string(size, 'x'), "\r\nshort\r\n--", std::string(size, 'y'), "\r\nend");
        const Recorder whole = parse(text);
        CHECK(whole.ok);
        for (const std::size_t piece : {1u, 3u, 4095u, 4096u, 4097u}) CHECK(parse(text, piece).out == whole.out);
        CHECK(whole.out.find("0 line short\n") != std::string::npos);
    }
}

TEST_CASE("past the bounds the rest is plain body", "[mail][mime]")
{
    std::string deep;
    for (int i = 0; i < 300; ++i) veredus::append(deep, "Content-Type: multipart/mixed; boundary=b", 100 + i, "\r\n\r\n--b", 100 + i, "\r\n");
    const Recorder nested = parse(deep);
    CHECK(nested.ok);
    CHECK(nested.bodies.size() == 101);
    std::string messages;
    for (int i = 0; i < 300; ++i) messages += "Content-Type: message/rfc822\r\n\r\n";
    CHECK(parse(messages).bodies.size() == 101);
    std::string many = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    for (int i = 0; i < 50; ++i) many += "--b\r\n\r\nx\r\n";
    MimeLimits limits;
    limits.parts = 10;
    CHECK(parse(many, 1 << 20, limits).bodies.size() == 10);
    limits = {};
    limits.header_bytes = 100;
    limits.field_bytes = 10;
    const std::string text = cat("Long: ", std::string(50, 'x'), "\r\nB: ", std::string(60, 'y'), "\r\n\r\nbody\r\n");
    for (const std::size_t piece : {1u, 1000u}) {
        const Recorder cut = parse(text, piece, limits);
        CHECK(cut.out == "+0 message in 0 no 1\n0 field Long=xxxx cut\n0 is text/plain cut\n0 line 63\n0 line \n0 line body\n-0 header 58 body 73 lines 3\n");
    }
}

TEST_CASE("Content-Type and its parameters as they are written", "[mail][mime][rfc2045-5.1]")
{
    struct Case {
        const char *body, *type, *parameters;
    };
    static const Case cases[] = {
        {"text/html; charset=UTF-8", "text/html", "charset=UTF-8"},
        {"TEXT/HTML (a (nested) comment);\r\n\tCharset=\"utf-8\" (Unicode)", "text/html", "charset=utf-8"},
        {" text / plain ; a = b ; c=\"d\\\"e;f\"", "text/plain", "a=b c=d\"e;f"},
        {"", "text/plain", ""},
        {"text", "text/plain", ""},
        {"text; charset=x", "text/plain", "charset=x"},
        {"nonsense; boundary=x", "text/plain", ""},
        {"multipart; boundary=x", "multipart/mixed", "boundary=x"},
        {"a/b/c", "text/plain", ""},
        {"image/png; name=my holiday picture.png; x=1", "image/png", "name=my holiday picture.png x=1"},
        {"image/png; name=a(b.png", "image/png", "name=a(b.png"},
        {"image/png;;; name=a;; name=b;=c;d", "image/png", "name=a"},
        {"text/plain; x=\"never closed", "text/plain", "x=never closed"},
        // RFC 2231 §3, §4.1
        {"message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub\"", "message/external-body", "access-type=URL url=ftp://cs.utk.edu/pub"},
        {"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "application/x-stuff", "title=This is ***fun***{us-ascii,en-us}"},
        {"application/x-stuff; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*0*=us-ascii'en'This%20is%20even%20more%20; title*2=\"isn't it!\"", "application/x-stuff",
         "title=This is even more ***fun*** isn't it!{us-ascii,en}"},
        {"a/b; n=plain; n*=UTF-8''%e2%82%ac", "a/b", "n=\xe2\x82\xac{utf-8,}"},
        {"a/b; n*1=x; m*0=a; m*2=c", "a/b", "m=a"},
        {"a/b; n*=100%; k*x=1", "a/b", "k*x=1 n=100%{,}"},
    };
    for (const Case& c : cases) {
        INFO(c.body);
        const ContentType type = parse_content_type(c.body);
        CHECK(cat(type.type, '/', type.subtype) == c.type);
        std::string all;
        for (const MimeParameter& p : type.parameters) {
            veredus::append(all, all.empty() ? "" : " ", p.name, '=', p.value);
            if (p.extended) veredus::append(all, '{', p.charset, ',', p.language, '}');
        }
        CHECK(all == c.parameters);
    }
    const ContentType joined = parse_content_type("a/b; f*0*=utf-8'de'%c3%a4; f*1*=%c3%b6; f*2=x");
    REQUIRE(find_parameter(joined.parameters, "F"));
    CHECK(find_parameter(joined.parameters, "F")->joined == "utf-8'de'%c3%a4%c3%b6x");
    // What was no code stays none when it stands behind one.
    const ContentType mixed = parse_content_type("a/b; f*0*=utf-8''%c3%a4; f*1=\" 50%41 'q'*\"");
    REQUIRE(find_parameter(mixed.parameters, "f"));
    CHECK(find_parameter(mixed.parameters, "f")->value == "\xc3\xa4 50%41 'q'*");
    CHECK(find_parameter(mixed.parameters, "f")->joined == "utf-8''%c3%a4%2050%2541%20%27q%27%2A");
    CHECK(parse_content_type("multipart/x; boundary=\"a b  \"").boundary() == "a b");
    CHECK(parse_content_type(cat("multipart/x; boundary=", std::string(2000, 'x'))).boundary().empty());
    std::string many = "a/b";
    for (int i = 0; i < 5000; ++i) veredus::append(many, ";p", i, "=v");
    CHECK(parse_content_type(many).parameters.size() == max_mime_parameters);
    (void)parse_content_type(std::string(200'000, '('));
}

TEST_CASE("the small fields of MIME", "[mail][mime][rfc2183-2]")
{
    CHECK(parse_transfer_encoding(" BASE64 ") == Encoding::base64);
    CHECK(parse_transfer_encoding("8bit (really)") == Encoding::eight_bit);
    CHECK(parse_transfer_encoding("") == Encoding::seven_bit);
    CHECK(parse_transfer_encoding("Quoted-Printable;") == Encoding::quoted_printable);
    CHECK(parse_transfer_encoding("x-uuencode") == Encoding::unknown);
    CHECK(transfer_encoding_token("X-UUencode") == "x-uuencode");
    CHECK_FALSE(is_identity(Encoding::unknown));
    const Disposition d = parse_disposition("Attachment; filename*=utf-8''a%20b; size=7");
    CHECK(d.type == "attachment");
    CHECK(find_parameter(d.parameters, "filename")->value == "a b");
    CHECK(parse_disposition("").type.empty());
    CHECK(parse_content_id(" (c) <a@b> ") == "<a@b>");
    CHECK(parse_content_id("bare") == "bare");
    CHECK(parse_languages("en, de (German),\r\n fr-CA,,") == std::vector<std::string>{"en", "de", "fr-CA"});
    CHECK(unfold(" a\r\n b ") == "a b");
}

namespace {

std::string seven_bit(std::string_view in, bool unmarked = false, SevenBit::Care care = SevenBit::Care::text)
{
    std::string whole;
    for (const std::size_t piece : {in.size() + 1, std::size_t(1), std::size_t(7), std::size_t(4097)}) {
        SevenBit converter(unmarked, care);
        std::string out;
        for (std::string_view rest = in; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) converter.feed(rest.substr(0, piece), out);
        converter.finish(out);
        if (whole.empty()) whole = out;
        CHECK((whole == out)); // however it was cut
    }
    return whole;
}

std::string unquoted(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '=') out += text[i];
        else if (text.substr(i, 3) == "=\r\n") i += 2;
        else out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)), i += 2;
    }
    return out;
}

std::string body_of(const std::string& mail) { return mail.substr(mail.find("\r\n\r\n") + 4); }

} // namespace

TEST_CASE("text of 8 bits becomes quoted-printable, line by line", "[mail][mime][rfc2045-6.7]")
{
    const std::string header = "Subject: x\r\nContent-Transfer-Encoding: 8BIT\r\nContent-Type: text/plain; charset=utf-8\r\n";
    struct Case {
        const char *in, *out;
    };
    const Case cases[] = {
        {"gr\xc3\xbcn = x\r\n", "gr=C3=BCn =3D x\r\n"},
        {"blank \r\ntab\t\r\n\r\n", "blank=20\r\ntab=09\r\n\r\n"},
        {"no end", "no end"},
        {"a\rb\x7f\r\n.\r\n", "a=0Db=7F\r\n.\r\n"},
        {"", ""},
    };
    for (const Case& c : cases)
        CHECK(seven_bit(cat(header, "\r\n", c.in)) == cat("Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n",
                                                        "Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n\r\n", c.out));
    std::string longest;
    for (int i = 0; i < 10'000; ++i) append(longest, i % 3 ? "\xe4" : " ", i % 7);
    const std::string text = cat(std::string(76, 'x'), "\r\n", std::string(77, 'x'), "\r\n", longest, "\r\n", std::string(9000, ' '), "\r\n");
    const std::string made = body_of(seven_bit(cat(header, "\r\n", text)));
    CHECK((unquoted(made) == text));
    for (const auto line : split_on(made, '\n')) CHECK(line.size() <= 77);
    CHECK(made.starts_with(cat(std::string(76, 'x'), "\r\n", std::string(75, 'x'), "=\r\nxx\r\n")));
}

TEST_CASE("what is binary or no text becomes base64, without the line end of a boundary", "[mail][mime][rfc2045-6.8]")
{
    const std::string head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\npre\xff\r\n--b\r\n";
    for (const std::string& content : {std::string("\x00\xff", 2), std::string(57, 'x'), std::string(58, 'y'), std::string("a\r\n"), std::string(20'000, '\xe4'), std::string()}) {
        const std::string out = seven_bit(cat(head, "Content-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", content, "\r\n--b--\r\n"));
        const std::string fields = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        CHECK(out.find("boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\xff\r\n--b\r\n") != std::string::npos);
        const std::size_t at = out.find(fields), end = out.find("--b--");
        REQUIRE((at != std::string::npos && end != std::string::npos));
        std::string lines = out.substr(at + fields.size(), end - at - fields.size()), joined;
        for (const auto line : split_on(lines, '\n')) {
            CHECK(line.size() <= 77);
            append(joined, trim(line));
        }
        CHECK((base64_decode(joined) == content));
    }
    // the last line end of a whole message is content
    const std::string whole = body_of(seven_bit("Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\r\n"));
    CHECK(base64_decode(trim(whole)) == "\xff\r\n");
}

TEST_CASE("BINARYMIME in 7-bit form: no byte of a part is lost, what is signed stays, and disorder is told or encoded", "[mail][mime][rfc3030-3]")
{
    using Care = SevenBit::Care;
    using namespace std::string_literals;
    const auto mixed = [](std::string_view fields, std::string_view content) {
        return cat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", fields, "\r\n", content, "\r\n--b--\r\n");
    };
    const auto encoded = [&](const std::string& mail) {
        const std::string body = body_of(mail.substr(mail.find("--b")));
        return base64_decode(trim(std::string_view(body).substr(0, body.find("--b--"))));
    };
    const std::string content = "\0\n.\r\n.\r\r\n\n"s;
    const std::string binary = mixed("Content-Transfer-Encoding: binary\r\n", content), claims = mixed("Content-Type: text/plain\r\n", content);
    CHECK(encoded(seven_bit(binary, true, Care::binary)) == content);
    CHECK(seven_bit(claims, true, Care::binary) == claims);
    CHECK(encoded(seven_bit(claims, true, Care::all_parts)) == content);
    const std::string inside = "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n--b\r\n"
                               "Content-Transfer-Encoding: binary\r\n\r\n\n\r\n--b--\r\n--o\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\n--o--\r\n";
    for (const Care care : {Care::binary, Care::all_parts}) {
        const std::string out = seven_bit(inside, true, care);
        CHECK(out.find("--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\n--b--\r\n") != std::string::npos);
        CHECK(out.ends_with("--o\r\nContent-Transfer-Encoding: base64\r\n\r\nCg==\r\n--o--\r\n"));
    }
    for (const auto& [text, lost] : {std::pair("\xe4\r\n", false), std::pair("\xe4\r", false), std::pair("\xe4\n", true)}) {
        SevenBit converter(true, Care::binary);
        std::string out;
        converter.feed(cat("Content-Transfer-Encoding: 8bit\r\n\r\n", text), out);
        converter.finish(out);
        CHECK(converter.lost() == lost);
    }
}

TEST_CASE("what is 7bit or encoded stays, what is inside of messages and multiparts is converted, and what cannot be is not", "[mail][mime][rfc2045-6.4]")
{
    const std::string same[] = {
        "Subject: x\r\n\r\nplain\r\n",
        "Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\ngr\xfcn\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n",
        "Content-Type: multipart/mixed\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\r\n",
        "Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b\r\nno field\r\n--b\r\nX: y\r\n--b--\r\nend",
        "",
        "\r\n",
    };
    for (const std::string& mail : same) CHECK(seven_bit(mail) == mail);
    CHECK(seven_bit("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\r\n") ==
          "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n");
    CHECK(seven_bit("Subject: x\r\n\r\n\xe4\r\n", true) == "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
                                                         "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n");
    CHECK(seven_bit("Content-Type: application/x\r\n\r\n\xe4\r\n", true) == "Content-Type: application/x\r\nMIME-Version: 1.0\r\n"
                                                                          "Content-Transfer-Encoding: base64\r\n\r\n5A0K\r\n");
    // a part's own 7bit is believed: only of the whole it is known that it is not true
    CHECK(seven_bit(same[5], true) == same[5]);
}
