// AUTH exchanges: the client's bytes to authd, authd's word back.
#include "lib/reception/logins.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/ipc/codec.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

std::string binding(const tls::Session* tls, std::string_view type) { return tls ? tls->channel_binding(type).value_or("") : std::string(); }

bool wants_binding(std::string_view mechanism) { return iends_with(mechanism, "-PLUS"); }

}  // namespace

void Logins::heard(const ipc::Message& message)
{
    if (message.type != static_cast<uint16_t>(ipc::AuthType::offer)) return log::warning("authd: message ", message.type, " is none that it may send");
    auto offer = ipc::AuthOffer::decode(message.body);
    if (!offer) return log::warning("authd: ", offer.error().text);
    offered_ = std::move(offer->mechanisms);
    told_ = true;
}

bool Logins::usable(const std::string& mechanism, const tls::Session* tls) const
{
    return !wants_binding(mechanism) || (tls && tls->binds_channel());
}

std::string Logins::mechanisms(const tls::Session* tls) const
{
    std::string out;
    for (const std::string& mechanism : offered_)
        if (mechanism != "APOP" && usable(mechanism, tls)) append(out, out.empty() ? "" : " ", mechanism);
    return out;
}

bool Logins::offers(std::string_view mechanism, const tls::Session* tls) const
{
    return std::any_of(offered_.begin(), offered_.end(), [&](const std::string& m) { return iequals(m, mechanism) && usable(m, tls); });
}

uint64_t Logins::begin(std::string_view mechanism, std::optional<std::string> initial, const net::Address& client, const tls::Session* tls, Done done,
                       uint64_t connection)
{
    ipc::AuthBegin begin;
    begin.connection = connection;
    begin.call = ++calls_;
    begin.mechanism = mechanism;
    begin.initial = std::move(initial);
    begin.service = service_;
    begin.client = client.ip();
    begin.tls = tls != nullptr;
    if (istarts_with(mechanism, "SCRAM-")) {     // to the others it says nothing
        begin.tls_exporter = binding(tls, "tls-exporter");
        begin.tls_unique = binding(tls, "tls-unique");
    }
    begin.plus_offered = std::any_of(offered_.begin(), offered_.end(), [&](const std::string& m) { return wants_binding(m) && usable(m, tls); });
    call(ipc::AuthType::begin, begin.call, 0, begin.encode(), std::move(done));
    return begin.call;
}

uint64_t Logins::step(uint64_t exchange, std::string response, Done done)
{
    ipc::AuthStep step;
    step.exchange = exchange;
    step.response = std::move(response);
    step.call = ++calls_;
    call(ipc::AuthType::step, step.call, exchange, step.encode(), std::move(done));
    return step.call;
}

void Logins::call(ipc::AuthType type, uint64_t number, uint64_t exchange, std::string body, Done done)
{
    asked_->emplace(number, exchange);
    const auto answered = [asked = asked_, number, done = std::move(done)](const Result<ipc::Message>& answer) {
        asked->erase(number);
        done(answer ? ipc::AuthReply::decode(answer->body) : Result<ipc::AuthReply>(unexpected(answer.error())));
    };
    doors_.call(type, std::move(body), answered, [asked = asked_, number] { return asked->count(number) > 0; });
}

void Logins::cancel(uint64_t exchange)
{
    doors_.send(ipc::AuthType::cancel, ipc::Writer().u64(exchange).take());
}

// Which of the two it is, is not known here: authd passes over what does not concern it.
void Logins::withdraw(uint64_t call)
{
    const auto at = asked_->find(call);
    if (at == asked_->end()) return;
    const uint64_t exchange = at->second;
    asked_->erase(at);
    doors_.send(ipc::AuthType::withdraw, ipc::Writer().u64(call).take());
    if (exchange) cancel(exchange);
}

smtp::Reply failure_reply(ipc::AuthFailure why)
{
    const std::string_view line = ipc::smtp_failure_reply(why);    // "535 5.7.8 text"
    const auto [code, rest] = cut(line, ' ');
    const auto [enhanced, text] = cut(rest.value_or(""), ' ');
    const int number = parse_number<int>(code).value_or(454);
    return {number, std::string(enhanced), std::string(text.value_or("Error: authentication failed"))};
}

}  // namespace veredus::reception
