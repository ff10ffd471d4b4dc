// Access tables, and what their results and the answers of policy services do.
#include "lib/reception/judge_walk.h"

#include <algorithm>

namespace veredus::reception {

namespace {

std::string at_word(At at)
{
    static constexpr const char* names[] = {"HELO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "ETRN"};
    return names[static_cast<std::size_t>(at)];
}

}  // namespace

std::vector<std::string> domain_keys(std::string_view domain, bool itself, bool subdomains)
{
    std::vector<std::string> keys;
    std::string name = lower(domain);
    if (itself) keys.push_back(name);
    for (std::size_t dot; (dot = name.find('.')) != std::string::npos && keys.size() < 300;) {
        name = name.substr(dot + 1);
        if (name.empty()) break;
        keys.push_back(subdomains ? name : "." + name);
    }
    return keys;
}

std::vector<std::string> network_keys(const net::Address& address)
{
    std::vector<std::string> keys;
    std::string name = address.ip();
    const char mark = address.family() == AF_INET ? '.' : ':';
    for (std::size_t at; (at = name.rfind(mark)) != std::string::npos;) {
        name.resize(at);
        while (!name.empty() && name.back() == mark) name.pop_back();
        if (!name.empty()) keys.push_back(name);
    }
    return keys;
}

Judge::Status Judge::access(const Restriction& r, const Subject& subject, const std::vector<std::string>& whole, const std::vector<std::string>& parts, int depth)
{
    const auto at = tables_.find(r.argument);
    const auto broken = [&](std::string_view why) {
        out_.warnings.push_back(cat(r.name, ' ', r.argument, ": ", why));
        return refuse(451, "4.3.5", subject, config_trouble);
    };
    if (at == tables_.end()) return broken("is not open");
    if (!at->second) return broken(at->second.error().text);
    const table::Table& table = **at->second;
    for (const auto* keys : {&whole, &parts}) {
        if (keys == &parts && table.is_pattern()) break;
        for (const std::string& key : *keys) {
            if (key.empty()) continue;
            const auto value = table.find(key);
            if (!value) return broken(value.error().text);
            if (*value) return act(**value, r.argument, subject, depth);
        }
    }
    return Status::dunno;
}

// access(5): user@domain, domain and its parents, user@; with an extension also without it.
Judge::Status Judge::address_access(const Restriction& r, const mail::Address& address, const Subject& subject, int depth)
{
    if (address.empty()) return access(r, subject, {codes_.null_key}, {}, depth);
    const std::string domain = lower(address.domain);
    const auto split = mail::split_extension(address.local, rules_.settings.delimiters);
    std::vector<std::string> parts;
    if (split.extension && !domain.empty()) parts.push_back(cat(split.user, '@', domain));
    for (std::string& key : domain_keys(domain, true, codes_.subdomains)) parts.push_back(std::move(key));
    parts.push_back(cat(address.local, '@'));
    if (split.extension) parts.push_back(cat(split.user, '@'));
    return access(r, subject, {domain.empty() ? address.local : cat(address.local, '@', domain)}, parts, depth);
}

// What a table or a policy service answered.
Judge::Status Judge::act(const std::string& value, std::string_view source, const Subject& subject, int depth)
{
    if (const auto action = mail::parse_action(value)) return carry_out(*action, subject);
    std::string why;
    const RestrictionList list = depth < most_nesting ? parse_restrictions(value, rules_, why) : RestrictionList();
    if (why.empty() && depth < most_nesting) return each(list, subject, depth + 1);
    out_.warnings.push_back(cat(source, ": ", why.empty() ? "restrictions nested too deep" : why));
    return refuse(451, "4.3.5", subject, config_trouble);
}

Judge::Status Judge::carry_out(const Action& action, const Subject& subject)
{
    const std::string_view denied = action.text.empty() ? std::string_view("Access denied") : std::string_view(action.text);
    const auto status = [&](const char* otherwise) { return action.enhanced.empty() ? std::string(otherwise) : action.enhanced; };
    using mail::Verb;
    switch (action.verb) {
    case Verb::ok: return Status::ok;
    case Verb::dunno: return Status::dunno;
    case Verb::reject: return refuse(action.code ? action.code : codes_.access_reject, status("5.7.1"), subject, denied);
    case Verb::defer: return refuse(action.code ? action.code : codes_.access_defer, status("4.7.1"), subject, denied);
    case Verb::defer_if_permit: return defer_if_permit(status("4.7.1"), cat('<', subject.name, ">: ", subject.kind, " rejected: ", action.text.empty() ? "Service unavailable" : action.text));
    case Verb::defer_if_reject:
        if (!if_reject_.active)
            if_reject_ = {true, {450, mail::status_for(450, status("4.7.1")), printable(cat('<', subject.name, ">: ", subject.kind, " rejected: ", action.text.empty() ? "Service unavailable" : action.text), longest_reply)}};
        return Status::dunno;
    case Verb::warn: return noted("warn", subject, action.text, "triggers WARN action");
    case Verb::info: return noted("info", subject, action.text, "triggers INFO action");
    case Verb::hold:
        out_.deeds.hold = true;
        return noted("hold", subject, action.text, "triggers HOLD action");
    case Verb::discard:
        out_.deeds.discard = true;
        (void)noted("discard", subject, action.text, "triggers DISCARD action");
        return Status::ok;
    case Verb::prepend:
        if (const std::size_t colon = action.text.find(':'); colon == 0 || colon == std::string::npos || action.text.find_first_of(" \t") < colon) {
            out_.warnings.push_back(cat("PREPEND ", printable(action.text, 100), ": a header field (Name: text) is wanted; ignored"));
            return Status::dunno;
        }
        out_.deeds.prepend.push_back(printable(action.text, 900));     // a header line of at most 998 bytes (RFC 5322 §2.1.1)
        return noted("prepend", subject, cat("triggers PREPEND ", printable(action.text)), "");
    case Verb::redirect:
    case Verb::bcc: {
        const bool redirect = action.verb == Verb::redirect;
        const auto address = mail::parse_address(action.text);
        if (!address || address->empty()) {
            out_.warnings.push_back(cat(mail::verb_name(action.verb), ' ', printable(action.text, 100), ": an address is wanted; ignored"));
            return Status::dunno;
        }
        if (redirect) out_.deeds.redirect = address->text();
        else out_.deeds.bcc.push_back(address->text());
        return noted(redirect ? "redirect" : "bcc", subject, cat("triggers ", mail::verb_name(action.verb), ' ', printable(address->text())), "");
    }
    default:
        out_.warnings.push_back(cat(mail::verb_name(action.verb), " for <", subject.name, ">: veredus does not do this; the mail goes on without it"));
        return Status::dunno;
    }
}

// The keys are the fingerprints, of the certificate and then of its public key.
Judge::Status Judge::certificate_access(const Restriction& r, int depth)
{
    if (s_.ccert_fingerprint.empty()) return Status::dunno;
    return access(r, {client().name, "Client certificate"}, {s_.ccert_fingerprint, s_.ccert_key_fingerprint}, {}, depth);
}

Judge::Status Judge::permit_certificate()
{
    if (s_.ccert_fingerprint.empty()) return Status::dunno;
    for (const std::string& spec : rules_.relay_clientcerts) {
        const auto at = tables_.find(spec);
        for (const std::string& key : {s_.ccert_fingerprint, s_.ccert_key_fingerprint}) {
            const auto value = at == tables_.end() ? Result<std::optional<std::string>>(fail("is not open"))
                               : !at->second       ? Result<std::optional<std::string>>(unexpected(at->second.error()))
                                                   : (*at->second)->find(key);
            if (!value) {
                // Who might have been permitted must not be refused for good.
                out_.warnings.push_back(cat("relay_clientcerts ", spec, ": ", value.error().text));
                if (!if_reject_.active) if_reject_ = {true, {451, "4.3.0", cat('<', client().name, ">: Client certificate: Temporary lookup failure")}};
                return Status::dunno;
            }
            if (*value) return Status::ok;
        }
    }
    return Status::dunno;
}

// ---- policy services ----

Judge::Status Judge::policy(const Restriction& r, const Subject& subject, int depth)
{
    const std::string* action = facts_.policy(r.server, policy_request(s_, at_word(at_), r.server->context));
    return action ? act(*action, r.argument, subject, depth) : wait();
}

}  // namespace veredus::reception
