// A session as restriction lists and policy services see it.
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/reception/session.h"

namespace veredus::reception {

// What policy services know one mail by: the same for all its recipients, another for the next mail, for ever (a process number comes again, so the time is in it).
std::string Session::instance() const { return cat(::getpid(), '.', begun_us_, '.', number_, '.', mails_begun_); }

Situation Session::situation() const
{
    Situation s;
    s.client = client_.address;
    if (auto local = net::Address::local_of(stream_.fd())) s.server = std::move(*local);
    s.client_name = client_.name;
    s.reverse_name = client_.reverse_name;
    s.name_trouble = client_.name_trouble;
    if (login_ && !login_->user.empty()) {
        s.sasl_method = login_->method;
        s.sasl_user = login_->name;
        s.user = login_->user;
    }
    s.helo = engine_.helo_name();
    s.protocol = engine_.protocol();
    s.queue_id = draft_id();
    s.instance = instance();
    s.size = declared_size_;
    s.stress = house_.stressed();
    s.pipelined = engine_.hasty();
    if (const tls::Session* tls = stream_.tls()) {
        s.tls_protocol = tls->protocol();
        const std::string cipher = tls->cipher();                // "NAME (256/256 bits)"
        s.tls_cipher = cipher.substr(0, cipher.find(' '));
        const std::size_t open = cipher.find('(');
        const std::size_t end = open == std::string::npos ? open : cipher.find_first_not_of("0123456789", open + 1);
        if (end != std::string::npos) s.tls_bits = parse_number<unsigned>(std::string_view(cipher).substr(open + 1, end - open - 1)).value_or(0);
    }
    if (const auto& shown = client_.certificate) {
        s.ccert_subject = shown->subject;
        s.ccert_issuer = shown->issuer;
        s.ccert_fingerprint = shown->fingerprint;
        s.ccert_key_fingerprint = shown->key_fingerprint;
        s.ccert_trusted = stream_.tls() && stream_.tls()->chain_trusted();
    }
    return s;
}

}  // namespace veredus::reception
