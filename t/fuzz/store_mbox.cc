// Mboxes of any bytes: every place lies within the file, mails do not overlap, and the cut does not matter.
#include <cstdint>
#include <cstdlib>

#include "lib/store/mbox_reader.h"

using namespace veredus::store;

namespace {
std::vector<MboxMail> read(std::string_view in, std::size_t cut)
{
    MboxReader reader;
    for (std::size_t at = 0; at < in.size(); at += cut) reader.feed(in.substr(at, cut));
    reader.finish();
    return reader.take_mails();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    const auto mails = read(in, size + 1), trickled = read(in, 1);
    if (mails.size() != trickled.size()) std::abort();
    uint64_t before = 0;
    for (std::size_t i = 0; i < mails.size(); ++i) {
        const MboxMail& m = mails[i];
        if (m.start < before || m.content <= m.start || m.head_end < m.content || m.end < m.head_end || m.next < m.end || m.next > size) std::abort();
        before = m.next;
        uint64_t wire = 0, at = m.content;
        bool cr = false;
        std::string out;
        for (const Extent& e : m.visible()) {
            if (e.offset < at || e.offset + e.size > m.end) std::abort();
            at = e.offset + e.size;
            to_wire(in.substr(e.offset, e.size), cr, out);
        }
        wire = out.size();
        if (m.wire_size != wire) std::abort();
        if (m.fingerprint != trickled[i].fingerprint || m.wire_size != trickled[i].wire_size || m.status != trickled[i].status) std::abort();
        if (parse_status_text(status_text(m.status)) != m.status) std::abort();
    }
    return 0;
}
