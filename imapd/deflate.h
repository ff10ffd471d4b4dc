// COMPRESS=DEFLATE (RFC 4978): both ways of a connection as raw deflate streams. Pure: bytes in, bytes out.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace veredus::imapd {

class Deflate {
public:
    Deflate();
    ~Deflate();
    Deflate(const Deflate&) = delete;
    // Appends `plain` deflated, so that the client can read all of it.
    void pack(std::string_view plain, std::string& out);
    // Appends at most `most` bytes of what the client meant and takes from `packed` what was used for it. False: it is
    // no deflate stream, or the client has ended it.
    bool unpack(std::string_view& packed, std::size_t most, std::string& out);

private:
    struct Streams;
    std::unique_ptr<Streams> streams_;
};

} // namespace veredus::imapd
