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
    // A first response goes on, a second one ends the exchange; what comes in is never longer than its limit (RFC 4954 §4).
    smtp::Outcome auth(std::string_view mechanism, std::string_view initial) override
    {
        responses = 0;
        if (mechanism.empty() || mechanism.find(' ') != std::string_view::npos) std::abort();
        return initial.empty() ? smtp::Reply{334, "", ""} : smtp::Reply{535, "5.7.8", std::string(initial)};
    }
    smtp::Outcome auth_response(std::string_view line) override
    {
        if (line.size() > 12'288 || line.find('\n') != std::string_view::npos || ++responses > 2) std::abort();
        return responses == 1 ? smtp::Reply{334, "", std::string(line)} : smtp::Reply{535, "5.7.8", std::string(line)};
    }
    void auth_cancelled() override { responses = 3; }
    int responses = 3;                                        // of the exchange; 3: there is none
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
    limits.dsn = limits.smtputf8 = limits.chunking = limits.binary = limits.auth = limits.auth_in_clear = true;
    limits.auth_mechanisms = "PLAIN LOGIN";
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
        const std::string said = run(in, lmtp, size + 1, whole_content);
        if (said != run(in, lmtp, 1, cut_content) || whole_content != cut_content) std::abort();
        // No control byte of the peer comes back in a reply.
        for (const char c : said)
            if ((static_cast<unsigned char>(c) < 0x20 && c != '\r' && c != '\n') || c == 0x7F) std::abort();
    }
    return 0;
}
