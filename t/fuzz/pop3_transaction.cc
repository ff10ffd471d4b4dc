// POP3 commands after the login: any bytes, in two cuts; the answers are whole lines, in ASCII unless UTF8 was said, and the input that is
// kept is bounded.
#include <cstdint>
#include <algorithm>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/pop3/transaction.h"

using namespace veredus;

namespace {

struct Drop final : pop3::Maildrop {
    std::size_t count() const override { return 3; }
    uint64_t size(std::size_t n) const override { return mails[n - 1].size(); }
    std::string uid(std::size_t n) override { return std::string(1, static_cast<char>('a' + n)); }
    Result<std::string> read(std::size_t n, uint64_t offset, std::size_t most) override
    {
        const std::string& mail = mails[n - 1];
        return offset >= mail.size() ? std::string() : mail.substr(offset, std::min(most, at_once));
    }
    Result<std::size_t> remove(const std::vector<std::size_t>&) override { return std::size_t{0}; }
    // Bodies are ASCII: whatever else goes out is of a header.
    const std::string mails[3] = {"A: b\r\nSubject: \xC3\xB6\r\n\r\n.x\r\n.\r\ny", "Subject: \xC3\xB6", "A: b\r\n>From \xC3\xB6\r\nB: \xC3\xB6\r\n\r\n.\r\n"};
    std::size_t at_once = SIZE_MAX;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    Drop drop;
    pop3::Options options;
    options.no_nuls = size & 1;
    options.header_end = size & 2;
    if (size & 4) drop.at_once = 7;
    pop3::Transaction t(drop, options);
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    std::string out;
    for (const std::string_view part : {input.substr(0, size / 2), input.substr(size / 2)}) {
        auto wants = t.feed(part, out);
        while (wants == pop3::Transaction::Wants::drain) wants = t.more(out);
        if (wants == pop3::Transaction::Wants::close) break;
        t.look_ahead();
        if (t.held() > pop3::Transaction::longest_line) std::abort();
    }
    const bool said_utf8 = lower(input).find("utf8") != std::string::npos;
    if (!said_utf8 && std::any_of(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) std::abort();
    if (!out.empty() && !out.ends_with("\r\n")) std::abort();
    return 0;
}
