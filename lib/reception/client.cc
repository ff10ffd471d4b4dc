// Who is at the other end of a session, and the lines that name him.
#include "lib/reception/client.h"

#include "lib/base/text.h"
#include "lib/mail/date.h"

namespace veredus::reception {

namespace {

// A peer's word in Received or a log line's <>: nothing that could end either, and one word where he sent several.
std::string word(std::string_view text)
{
    std::string out = printable(text, 255);
    for (char& c : out)
        if (c == ' ') c = '_';
        else if (std::string_view("()<>\\\",;").find(c) != std::string_view::npos) c = '?';
    return out;
}

}  // namespace

std::string Client::label() const { return cat(name, '[', address.is_ip() ? address.ip() : std::string("unknown"), ']'); }

std::string client_network(const net::Address& address)
{
    const std::string bytes = address.ip_bytes();
    return bytes.size() == 16 ? bytes.substr(0, 8) : bytes;
}

std::string event_line(std::string_view what, std::string_view stage, const Client& client, std::string_view text, const mail::Address& from,
                       const mail::Address* to, const Talk& talk)
{
    std::string out = cat(what, ": ", stage, " from ", client.label(), ": ", printable(text), "; from=<", printable(from.text()), '>');
    if (to) append(out, " to=<", printable(to->text()), '>');
    append(out, " proto=", talk.protocol);
    if (!talk.helo.empty()) append(out, " helo=<", word(talk.helo), '>');
    return out;
}

std::string reject_line(std::string_view stage, const Client& client, const smtp::Reply& reply, const mail::Address& from, const mail::Address* to,
                        const Talk& talk)
{
    return event_line("reject", stage, client, cat(reply.code, ' ', reply.enhanced, reply.enhanced.empty() ? "" : " ", printable(reply.text)), from, to, talk);
}

std::string received_body(const Client& client, const Talk& talk, std::string_view hostname, std::string_view id, const mail::Address* only,
                          int64_t now_us)
{
    const std::string literal = client.address.is_ip() ? client.address.literal() : std::string("[unknown]");
    std::string out;
    if (!talk.hide_client) append(out, "from ", talk.helo.empty() ? client.name : word(talk.helo), " (", client.name, ' ', literal, ")\r\n\t");
    if (!talk.tls.empty()) append(out, "(using ", talk.tls, ")\r\n\t");
    append(out, "by ", hostname, " (veredus) with ", talk.protocol, " id ", id);
    if (only) append(out, "\r\n\tfor <", printable(only->text()), '>');
    append(out, "; ", mail::date_rfc5322(now_us));
    return out;
}

}  // namespace veredus::reception
