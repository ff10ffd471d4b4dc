#include "imapd/deflate.h"

#include <algorithm>

#include <zlib.h>

#include "lib/base/panic.h"

namespace veredus::imapd {

namespace {
constexpr int window_bits = -13; // raw; 8 KB back is enough for answers, and a connection costs 64 KB and not 256
constexpr int memory_level = 6;
constexpr int raw_inflate = -15; // a client may use all that the format has
constexpr std::size_t piece = 16 * 1024;
} // namespace

struct Deflate::Streams {
    z_stream out{}, in{};
};

Deflate::Deflate() : streams_(std::make_unique<Streams>())
{
    if (::deflateInit2(&streams_->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window_bits, memory_level,
                       Z_DEFAULT_STRATEGY) != Z_OK ||
        ::inflateInit2(&streams_->in, raw_inflate) != Z_OK)
        panic("zlib cannot be started");
}

Deflate::~Deflate()
{
    ::deflateEnd(&streams_->out);
    ::inflateEnd(&streams_->in);
}

void Deflate::pack(std::string_view plain, std::string& out)
{
    if (plain.empty()) return;
    z_stream& z = streams_->out;
    unsigned char buffer[piece];
    while (!plain.empty()) {
        const auto part = plain.substr(0, 1u << 30);
        plain.remove_prefix(part.size());
        z.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(part.data()));
        z.avail_in = static_cast<unsigned>(part.size());
        do {
            z.next_out = buffer;
            z.avail_out = sizeof buffer;
            (void)::deflate(&z, plain.empty() ? Z_SYNC_FLUSH : Z_NO_FLUSH);
            out.append(reinterpret_cast<char*>(buffer), sizeof buffer - z.avail_out);
        } while (z.avail_out == 0);
    }
}

bool Deflate::unpack(std::string_view& packed, std::size_t most, std::string& out)
{
    z_stream& z = streams_->in;
    unsigned char buffer[piece];
    z.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(packed.data()));
    z.avail_in = static_cast<unsigned>(std::min<std::size_t>(packed.size(), 1u << 30));
    const unsigned given = z.avail_in;
    int done = Z_OK;
    while (most > 0 && done == Z_OK) {
        z.next_out = buffer;
        z.avail_out = static_cast<unsigned>(std::min(most, sizeof buffer));
        const unsigned room = z.avail_out;
        done = ::inflate(&z, Z_SYNC_FLUSH);
        out.append(reinterpret_cast<char*>(buffer), room - z.avail_out);
        most -= room - z.avail_out;
        if (z.avail_out > 0) break; // all that was there is used
    }
    packed.remove_prefix(given - z.avail_in);
    return done == Z_OK || done == Z_BUF_ERROR;
}

} // namespace veredus::imapd
