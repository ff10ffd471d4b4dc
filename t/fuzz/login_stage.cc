// What strangers say before a login: the PROXY header, POP3 commands; and the messages of a login stage that has been taken over.
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/ipc/login.h"
#include "lib/login/proxy_header.h"
#include "lib/pop3/login.h"

using namespace veredus;
using Wants = login::Dialect::Wants;

namespace {

void proxy(std::string_view in)
{
    login::ProxyHeader header;
    std::string waiting;
    for (std::size_t at = 0; at < in.size();) {
        const std::size_t n = std::min<std::size_t>(1 + at % 7, in.size() - at);
        waiting += in.substr(at, n);
        at += n;
        std::size_t taken = 0;
        const auto heard = header.feed(waiting, taken);
        if (taken > waiting.size()) std::abort();
        waiting.erase(0, taken);
        if (heard != login::ProxyHeader::Heard::more) return;
        if (!waiting.empty() || at > login::ProxyHeader::longest) std::abort(); // nothing is kept but the header, and that is bounded
    }
}

// authd refuses, challenges and admits by turns.
void pop3_login(std::string_view in)
{
    pop3::Login dialect("");
    login::Circumstances now;
    now.passwords = now.starttls = true;
    now.mechanisms = {"SCRAM-SHA-256", "PLAIN"};
    dialect.set(now);
    std::string out;
    dialect.greet(out);
    unsigned turns = 0;
    for (const std::string_view part : {in.substr(0, in.size() / 3), in.substr(in.size() / 3)}) {
        Wants wants = dialect.feed(part, out);
        while (wants != Wants::input) {
            ++turns;
            if (wants == Wants::close) return;
            if (wants == Wants::starttls) {
                dialect.secured();
                wants = dialect.feed("", out);
            } else if (wants == Wants::cancel) {
                wants = dialect.feed("", out);
            } else if (turns % 5 == 0) {
                if (dialect.hand_over().input.size() > in.size()) std::abort();
                return;
            } else if (turns % 2 == 0) {
                wants = dialect.refused(login::Refusal::password, out);
            } else {
                wants = dialect.challenge("x", out);
            }
        }
    }
    if (!out.ends_with("\r\n")) std::abort();
}

template <class T> void message(std::string_view in)
{
    const auto got = T::decode(in);
    if (got && got->encode() != in) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % 8) {
    case 0: proxy(in); break;
    case 1: pop3_login(in); break;
    case 2: message<ipc::Ticket>(in); break;
    case 3: message<ipc::Arrival>(in); break;
    case 4: message<ipc::Enter>(in); break;
    case 5: message<ipc::Presences>(in); break;
    case 6: message<ipc::Kick>(in); break;
    default: proxy(in); pop3_login(in);
    }
    return 0;
}
