// Encoding of what ETRN asks of qmgr.
#include "lib/ipc/flush.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

std::string FlushSite::encode() const
{
    return Writer().str(domain).take();
}

Result<FlushSite> FlushSite::decode(std::string_view body)
{
    Reader r(body);
    FlushSite f;
    f.domain = r.str(255);
    if (!r.done() || f.domain.empty()) return fail("malformed message: flush of a site");
    return f;
}

std::string SiteFlushed::encode() const
{
    return Writer().u8(static_cast<uint8_t>(how)).u64(waiting).take();
}

Result<SiteFlushed> SiteFlushed::decode(std::string_view body)
{
    Reader r(body);
    SiteFlushed f;
    const bool good = get_enum(r, f.how, How::started, How::busy);
    f.waiting = r.u64();
    if (!r.done() || !good) return fail("malformed message: a flushed site");
    return f;
}

} // namespace veredus::ipc
