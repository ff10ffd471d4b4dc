// Encoding of SASL exchanges between roles and authd.
#include "lib/ipc/auth.h"

#include "lib/ipc/codec.h"
#include "lib/ipc/login.h"

namespace veredus::ipc {

namespace {
constexpr std::size_t max_mechanism = 32, max_name = 512, max_binding = 256, max_mechanisms = 32;
}

std::string AuthOffer::encode() const
{
    Writer w;
    put_strings(w, mechanisms);
    return w.take();
}

Result<AuthOffer> AuthOffer::decode(std::string_view body)
{
    Reader r(body);
    AuthOffer o;
    o.mechanisms = get_strings(r, max_mechanism);
    if (!r.done() || o.mechanisms.size() > max_mechanisms) return fail("malformed message: auth offer");
    return o;
}

std::string AuthBegin::encode() const
{
    Writer w;
    w.str(mechanism).u8(initial ? 1 : 0).str(initial.value_or("")).str(service).str(client);
    w.u8(tls ? 1 : 0).u8(plus_offered ? 1 : 0).str(tls_exporter).str(tls_unique).u64(connection).u64(call);
    return w.take();
}

Result<AuthBegin> AuthBegin::decode(std::string_view body)
{
    Reader r(body);
    AuthBegin b;
    b.mechanism = r.str(max_mechanism);
    const uint8_t has_initial = r.u8();
    std::string initial = r.str(max_message);    // longer than max_sasl is the client's fault, not a broken message: see authd
    b.service = r.str(max_mechanism);
    b.client = r.str(64);
    const uint8_t tls = r.u8(), plus = r.u8();
    b.tls_exporter = r.str(max_binding);
    b.tls_unique = r.str(max_binding);
    b.connection = r.u64();
    b.call = r.u64();
    if (!r.done() || has_initial > 1 || tls > 1 || plus > 1 || (!has_initial && !initial.empty())) return fail("malformed message: auth begin");
    if (has_initial) b.initial = std::move(initial);
    b.tls = tls == 1;
    b.plus_offered = plus == 1;
    return b;
}

std::string AuthStep::encode() const { return Writer().u64(exchange).str(response).u64(call).take(); }

Result<AuthStep> AuthStep::decode(std::string_view body)
{
    Reader r(body);
    AuthStep s;
    s.exchange = r.u64();
    s.response = r.str(max_message);
    s.call = r.u64();
    if (!r.done()) return fail("malformed message: auth step");
    return s;
}

std::string AuthReply::encode() const
{
    Writer w;
    w.u8(static_cast<uint8_t>(kind)).u64(exchange).str(data).str(user).str(login).u8(static_cast<uint8_t>(why)).str(ticket);
    return w.take();
}

Result<AuthReply> AuthReply::decode(std::string_view body)
{
    Reader r(body);
    AuthReply a;
    if (!get_enum(r, a.kind, Kind::challenge, Kind::failed)) return fail("malformed message: auth reply");
    a.exchange = r.u64();
    a.data = r.str(max_sasl);
    a.user = r.str(max_name);
    a.login = r.str(max_name);
    const bool known = get_enum(r, a.why, AuthFailure::none, AuthFailure::internal);
    a.ticket = r.str(ticket_size);
    if (!known || !r.done() || (!a.ticket.empty() && a.ticket.size() != ticket_size)) return fail("malformed message: auth reply");
    // A success without a name, or a failure without a reason, is none that may be acted upon.
    if ((a.kind == Kind::ok && a.user.empty()) || (a.kind == Kind::failed) != (a.why != AuthFailure::none)) return fail("malformed message: auth reply");
    return a;
}

const char* failure_text(AuthFailure why)
{
    switch (why) {
    case AuthFailure::none: break;
    case AuthFailure::unknown_user:
    case AuthFailure::password_mismatch: return "authentication failure";
    case AuthFailure::locked: return "account is locked";
    case AuthFailure::expired: return "account or password expired";
    case AuthFailure::malformed: return "bad protocol / cancel";
    case AuthFailure::no_mechanism: return "no mechanism available";
    case AuthFailure::throttled: return "too many failures, try again later";
    case AuthFailure::internal: return "Connection lost to authentication server";
    }
    return "";
}

const char* smtp_failure_reply(AuthFailure why)
{
    switch (why) {
    case AuthFailure::none: break;
    case AuthFailure::unknown_user:
    case AuthFailure::password_mismatch: return "535 5.7.8 Error: authentication failed: wrong user name or password";
    case AuthFailure::locked: return "535 5.7.8 Error: authentication failed: this account is locked";
    case AuthFailure::expired: return "535 5.7.8 Error: authentication failed: account or password expired";
    case AuthFailure::malformed: return "501 5.5.2 Error: authentication exchange not understood";
    case AuthFailure::no_mechanism: return "504 5.5.4 Error: authentication mechanism not supported";
    case AuthFailure::throttled: return "454 4.7.0 Temporary authentication failure: too many failures, try again later";
    case AuthFailure::internal: return "454 4.7.0 Temporary authentication failure: try again later";
    }
    return "454 4.7.0 Temporary authentication failure";
}

}  // namespace veredus::ipc
