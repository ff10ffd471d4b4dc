// What sendmail(1) gets from programs: any words, any content. Lines end in CRLF and hold no stray CR, in any cut.
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "submission/sendmail/arguments.cc"
#include "submission/sendmail/content.cc"
#include "submission/sendmail/prepare.cc"

using namespace veredus;

namespace {

std::string read(std::string_view in, bool dot_ends, std::size_t step)
{
    sendmail::ContentReader reader(dot_ends);
    std::string out;
    for (std::size_t at = 0; at < in.size() && !reader.ended(); at += step) reader.feed(in.substr(at, step), out);
    reader.finish(out);
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    for (const bool dot_ends : {false, true}) {
        const std::string whole = read(in, dot_ends, size ? size : 1);
        if (read(in, dot_ends, 1) != whole) std::abort();
        if (!whole.empty() && !whole.ends_with("\r\n")) std::abort();
        for (std::size_t i = 0; i < whole.size(); ++i)
            if ((whole[i] == '\r') != (i + 1 < whole.size() && whole[i + 1] == '\n')) std::abort();
    }
    std::vector<std::string> argv;
    for (const std::string_view word : split_on(in.substr(0, in.find("\n\n")), '\n')) argv.emplace_back(word);
    const auto invocation = sendmail::parse_arguments(argv);
    if (!invocation) return 0;
    const auto mail = sendmail::prepare(*invocation, read(in, false, 100), "From joe Tue", {"joe", "Joe"}, 0);
    if (mail && mail->envelope.recipients.empty()) std::abort();
    return 0;
}
