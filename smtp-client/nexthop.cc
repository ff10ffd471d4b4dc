#include "smtp-client/nexthop.h"

#include "lib/base/text.h"
#include "lib/conf/port.h"
#include "lib/mail/address.h"
#include "lib/mail/idna.h"

namespace veredus::smtp_client {

namespace {

Result<NextHop> parse_bracketed(std::string_view inside, NextHop hop)
{
    hop.literal = net::Address::parse_ip(istarts_with(inside, "IPv6:") ? inside.substr(5) : inside, hop.port);
    if (hop.literal) {
        hop.host = hop.literal->ip();
        return hop;
    }
    if (!mail::is_domain(inside))
        return fail(cat("[", printable(inside, 100), "] is neither a host name nor an address"));
    hop.host = lower(inside);
    return hop;
}

} // namespace

std::string NextHop::key() const
{
    if (literal && literal->family() == AF_UNIX) return literal->text();
    return use_mx ? cat(host, ':', port) : cat('[', host, "]:", port);
}

Result<NextHop> parse_nexthop(std::string_view text, uint16_t default_port)
{
    NextHop hop;
    hop.port = default_port;
    hop.text = text;
    std::string_view host = text, rest;
    const bool bracketed = text.starts_with('[');
    if (bracketed) {
        const auto end = text.find(']');
        if (end == std::string_view::npos)
            return fail(cat("next hop \"", printable(text, 100), "\": no closing bracket"));
        host = text.substr(1, end - 1);
        rest = text.substr(end + 1);
    } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        rest = text.substr(colon);
    }
    if (!rest.empty()) {
        const auto port = rest[0] == ':' ? conf::port_of(rest.substr(1)) : std::nullopt;
        if (port.value_or(0) == 0) return fail(cat("next hop \"", printable(text, 100), "\": no such port"));
        hop.port = *port;
    }
    if (bracketed) return parse_bracketed(host, std::move(hop));
    const auto ascii = mail::domain_to_ascii(host); // RFC 6531 §3.2: DNS knows A-labels only
    if (!ascii || !mail::is_domain(*ascii)) return fail(cat("next hop \"", printable(text, 100), "\" is no domain"));
    hop.host = *ascii;
    hop.use_mx = true;
    return hop;
}

Result<NextHop> parse_lmtp_nexthop(std::string_view text, uint16_t default_port)
{
    if (!text.starts_with("unix:")) {
        NextHop hop = TRY(parse_nexthop(text.substr(text.starts_with("inet:") ? 5 : 0), default_port));
        hop.use_mx = false;
        return hop;
    }
    const std::string path(text.substr(5));
    if (!path.starts_with('/') || path.size() >= sizeof(sockaddr_un::sun_path) || path.find('\0') != std::string::npos)
        return fail(cat("next hop \"", printable(text, 150), "\": the path of a Unix socket begins with / and has less than ", sizeof(sockaddr_un::sun_path), " bytes"));
    NextHop hop;
    hop.text = text;
    hop.host = "localhost";
    hop.port = 0;
    hop.literal = net::Address::unix_path(path);
    return hop;
}

} // namespace veredus::smtp_client
