// MIME structures of any bytes: the events do not depend on the cut, every byte is accounted for once, and the bounds
// hold.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/mail/mime.h"

using namespace veredus;

namespace {
class Trace final : public mail::MimeSink {
public:
    explicit Trace(std::string_view all) : all_(all) {}
    void part_begins(const mail::MimePart& p) override
    {
        if (p.index != begun_++ || p.depth != open_++ || p.depth > 20 || p.index >= 100) std::abort();
        veredus::append(out, '+', p.index, ',', p.parent, ',', p.header_offset);
    }
    void field(const mail::MimePart& p, const mail::MimeField& f) override
    {
        if (f.offset < p.header_offset || f.raw.size() > 2000) std::abort();
        if (!f.cut && all_.substr(f.offset, f.size) != f.raw) std::abort();
        const auto body = f.body();
        (void)mail::parse_disposition(body), (void)mail::parse_content_id(body), (void)mail::parse_languages(body);
        veredus::append(out, 'f', f.offset, ',', f.size);
    }
    void headers_end(const mail::MimePart& p) override { veredus::append(out, 'h', p.body_offset, p.type, p.subtype); }
    void line(const mail::MimePart& p, const mail::MimeLine& l) override
    {
        if (l.offset < p.body_offset || all_.substr(l.offset, l.bytes.size()) != l.bytes || l.bytes.empty())
            std::abort();
        veredus::append(out, 'l', p.index, ',', l.offset, ',', l.bytes.size());
    }
    void part_ends(const mail::MimePart& p) override
    {
        if (p.header_offset + p.header_size != p.body_offset || p.body_offset + p.body_size > all_.size() ||
            open_-- == 0)
            std::abort();
        const std::string_view body = all_.substr(p.body_offset, p.body_size);
        if (static_cast<uint64_t>(std::count(body.begin(), body.end(), '\n')) != p.body_lines ||
            p.body_bare_lfs > p.body_lines)
            std::abort();
        veredus::append(out, '-', p.index, ',', p.body_size);
    }
    std::string out;

private:
    std::string_view all_;
    unsigned begun_ = 0, open_ = 0;
};

std::string run(std::string_view in, std::size_t piece)
{
    Trace trace(in);
    mail::MimeLimits limits;
    limits.depth = 20;
    limits.parts = 100;
    limits.header_bytes = 20'000;
    limits.field_bytes = 2000;
    mail::MimeParser parser(trace, limits);
    for (std::string_view rest = in; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size())))
        parser.feed(rest.substr(0, piece));
    parser.finish();
    return trace.out;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    const std::string whole = run(in, size + 1);
    if (run(in, 1) != whole || run(in, 7) != whole) std::abort();
    return 0;
}
