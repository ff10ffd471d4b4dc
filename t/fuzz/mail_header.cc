// Headers of any bytes: nothing is lost between header and body, however the content is cut.
#include <cstdint>
#include <cstdlib>

#include "lib/mail/date.h"
#include "lib/mail/header.h"

using namespace veredus;

namespace {
std::string run(std::string_view in, std::size_t piece, std::string& header)
{
    mail::HeaderCutter cutter(100'000);
    std::string body;
    for (; !in.empty(); in.remove_prefix(std::min(piece, in.size()))) body += cutter.feed(in.substr(0, piece));
    cutter.finish();
    header = cutter.take_header();
    return cutter.take_body_start() + body;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    std::string a, b;
    if (run(in, size + 1, a) != run(in, 1, b) || a != b) std::abort();
    const auto block = mail::HeaderBlock::parse(a);
    if (!block.rest().empty()) std::abort();
    if (mail::HeaderBlock::parse(block.text()).fields().size() != block.fields().size()) std::abort();
    for (const auto& field : block.fields()) (void)mail::parse_date_rfc5322(field.unfolded());
    return 0;
}
