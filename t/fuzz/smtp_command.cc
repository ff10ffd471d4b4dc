// Whole SMTP and LMTP conversations of any bytes: the engine never crashes, and the cut of the input changes nothing.
#include <cstdint>
#include <cstdlib>

#include "lib/smtp/server.h"

using namespace veredus;

namespace {
class Policy final : public smtp::Delegate {
public:
    std::string content_seen;
    smtp::Outcome helo(std::string_view, bool) override { return smtp::Reply{250, "", ""}; }
    smtp::Outcome sender(const mail::Envelope&, uint64_t) override { return smtp::Reply{250, "2.1.0", "Ok"}; }
    smtp::Outcome recipient(mail::Recipient, const mail::Envelope&) override { return smtp::Reply{250, "2.1.5", "Ok"}; }
    smtp::Outcome data(const mail::Envelope&) override { return smtp::Reply{354, "", ""}; }
    bool content(std::string_view bytes) override { return content_seen.append(bytes), true; }
    smtp::Outcome end_of_data(const Content&, mail::Envelope&&) override { return smtp::Reply{250, "2.0.0", "Ok"}; }
};

std::string run(std::string_view in, bool lmtp, std::size_t piece, std::string& content)
{
    smtp::Limits limits;
    limits.hostname = limits.banner = "mx";
    limits.strict_groups = false;
    limits.lmtp = lmtp;
    limits.dsn = limits.smtputf8 = limits.chunking = true;
    Policy policy;
    smtp::Server server(policy, limits);
    std::string out;
    for (; !in.empty(); in.remove_prefix(std::min(piece, in.size())))
        if (server.feed(in.substr(0, piece), out) != smtp::Server::Wants::input) break;
    content = policy.content_seen;
    return out;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    for (const bool lmtp : {false, true}) {
        std::string whole_content, cut_content;
        if (run(in, lmtp, size + 1, whole_content) != run(in, lmtp, 1, cut_content) || whole_content != cut_content) std::abort();
    }
    return 0;
}
