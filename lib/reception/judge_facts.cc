// What a judgement knows, what it asks, and the texts it fills in.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/reception/judge.h"

namespace veredus::reception {

void Deeds::add(const Deeds& other)
{
    hold = hold || other.hold;
    discard = discard || other.discard;
    if (!other.redirect.empty()) redirect = other.redirect;
    const auto join = [](std::vector<std::string>& into, const std::vector<std::string>& from) {
        for (const std::string& one : from)
            if (into.size() < 100 && std::find(into.begin(), into.end(), one) == into.end()) into.push_back(one);
    };
    join(prepend, other.prepend);
    join(bcc, other.bcc);
}

const dns::Answer* Facts::dns(const std::string& name, dns::Kind record)
{
    const auto at = dns_.find({name, record});
    if (at != dns_.end()) return at->second.get();
    questions_.push_back({Question::Kind::dns, name, record, nullptr, {}});
    return nullptr;
}

const ipc::Route* Facts::route(const std::string& address)
{
    const auto at = routes_.find(address);
    if (at != routes_.end()) return &at->second;
    questions_.push_back({Question::Kind::route, address, {}, nullptr, {}});
    return nullptr;
}

const std::string* Facts::policy(const std::shared_ptr<const PolicyServer>& server, const std::string& request)
{
    const auto at = policies_.find({server->endpoint, request});
    if (at != policies_.end()) return &at->second;
    questions_.push_back({Question::Kind::policy, request, {}, server, {}});
    return nullptr;
}

const ipc::OwnerReply* Facts::owner(const std::string& user, const std::string& address)
{
    const auto at = owners_.find({user, address});
    if (at != owners_.end()) return &at->second;
    questions_.push_back({Question::Kind::owner, address, {}, nullptr, user});
    return nullptr;
}

std::string policy_request(const Situation& s, std::string_view stage, std::string_view context)
{
    std::string out = "request=smtpd_access_policy\n";
    // A value is one line; what could end it, a peer's control bytes, does not get in.
    const auto attribute = [&](const char* name, std::string_view value) { append(out, name, '=', printable(value, 2000), '\n'); };
    attribute("protocol_state", stage);
    attribute("protocol_name", s.protocol);
    attribute("client_address", s.client.is_ip() ? s.client.ip() : std::string("unknown"));
    attribute("client_name", s.client_name);
    attribute("client_port", s.client.is_ip() ? cat(s.client.port()) : std::string("0"));
    attribute("reverse_client_name", s.reverse_name);
    attribute("server_address", s.server.is_ip() ? s.server.ip() : std::string("unknown"));
    attribute("server_port", s.server.is_ip() ? cat(s.server.port()) : std::string("0"));
    attribute("helo_name", s.helo);
    attribute("sender", s.has_sender ? s.sender.text() : std::string());
    attribute("recipient", s.has_recipient ? s.recipient.text() : std::string());
    attribute("recipient_count", stage == "DATA" || stage == "END-OF-MESSAGE" ? cat(s.recipients) : std::string("0"));
    attribute("queue_id", s.queue_id);
    attribute("instance", s.instance);
    attribute("size", cat(s.size));
    attribute("etrn_domain", s.etrn_domain);
    attribute("stress", s.stress ? "yes" : "");
    attribute("sasl_method", s.sasl_method);
    attribute("sasl_username", s.sasl_user);
    attribute("sasl_sender", s.sasl_sender);
    attribute("ccert_subject", s.ccert_subject);
    attribute("ccert_issuer", s.ccert_issuer);
    attribute("ccert_fingerprint", s.ccert_fingerprint);
    attribute("ccert_pubkey_fingerprint", s.ccert_key_fingerprint);
    attribute("encryption_protocol", s.tls_protocol);
    attribute("encryption_cipher", s.tls_cipher);
    attribute("encryption_keysize", cat(s.tls_bits));
    attribute("policy_context", context);
    return out += '\n';
}

std::string fill_rbl_reply(std::string_view format, const std::map<std::string, std::string, std::less<>>& values)
{
    std::string out;
    const auto value = [&](std::string_view name) -> std::string_view {
        const auto at = values.find(name);
        return at == values.end() ? std::string_view() : std::string_view(at->second);
    };
    for (std::size_t i = 0; i < format.size() && out.size() < 2000;) {
        if (format[i] != '$' || i + 1 == format.size()) {
            out += format[i++];
            continue;
        }
        const char open = format[i + 1], close = open == '{' ? '}' : ')';
        if (open == '$') {
            out += '$';
            i += 2;
            continue;
        }
        const bool braces = open == '{' || open == '(';
        std::size_t end = i + 1 + (braces ? 1 : 0);
        const std::size_t begin = end;
        while (end < format.size() && (is_alnum(format[end]) || format[end] == '_')) ++end;
        const std::string_view name = format.substr(begin, end - begin);
        if (!braces) {
            out += value(name);
            i = end;
            continue;
        }
        int depth = 1;
        std::size_t stop = end;
        for (; stop < format.size(); ++stop) {
            if (format[stop] == open) ++depth;
            if (format[stop] == close && --depth == 0) break;
        }
        const std::string_view rest = format.substr(end, stop - end);
        if (rest.starts_with('?') || rest.starts_with(':')) {
            if (value(name).empty() == rest.starts_with(':') && format.size() < 10'000) out += fill_rbl_reply(rest.substr(1), values);
        } else {
            out += value(name);
        }
        i = std::min(stop + 1, format.size());
    }
    return out;
}

}  // namespace veredus::reception
