// AUTH in a session: what the client says, decoded, to authd; what authd says, encoded, to the client.
#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/session.h"

namespace veredus::reception {

namespace {

using smtp::Outcome;
using smtp::Pending;
using smtp::Reply;

const Reply not_base64{501, "5.5.2", "Error: not a base64 text (RFC 4954 section 4)"};
const Reply too_long{500, "5.5.6", "Authentication exchange line is too long"};    // RFC 4954 §6
const Reply authd_away{454, "4.7.0", "Temporary authentication failure: try again in a moment"};

}  // namespace

std::string Session::auth_mechanisms() const
{
    return house_.parts_.logins ? house_.parts_.logins->mechanisms(stream_.tls()) : std::string();
}

Outcome Session::auth(std::string_view mechanism, std::string_view initial)
{
    Logins* logins = house_.parts_.logins;
    auth_cancelled();
    login_ = std::make_unique<Login>();
    login_->method = upper(printable(mechanism, 32));
    // APOP is of POP3, and begins with a greeting of there.
    if (!logins || iequals(mechanism, "APOP") || !logins->offers(mechanism, stream_.tls())) {
        say_auth_failed("Invalid authentication mechanism", "");
        return Reply{504, "5.5.4", "Error: authentication mechanism not supported"};
    }
    std::optional<std::string> response;
    if (initial == "=") response = "";               // RFC 4954 §4: present and empty
    else if (!initial.empty()) {
        response = base64_decode(initial);
        if (!response) return not_base64;
        if (!Logins::fits(*response)) return too_long;
    }
    return metered(Meters::Kind::auth, nullptr, [this, logins, name = std::string(mechanism), response = std::move(response)]() -> Outcome {
        login_->call = logins->begin(name, response, client_.address, stream_.tls(), auth_answer());
        return Pending{};
    });
}

Outcome Session::auth_response(std::string_view line)
{
    auto response = base64_decode(line);
    if (!response) {
        auth_cancelled();
        return not_base64;
    }
    if (!Logins::fits(*response)) {
        auth_cancelled();
        return too_long;
    }
    const uint64_t exchange = std::exchange(login_->exchange, 0);
    login_->call = house_.parts_.logins->step(exchange, std::move(*response), auth_answer());
    return Pending{};
}

void Session::auth_cancelled()
{
    if (login_ && login_->exchange) house_.parts_.logins->cancel(std::exchange(login_->exchange, 0));
    if (login_ && login_->call) house_.parts_.logins->withdraw(std::exchange(login_->call, 0));
}

// The answer finds its session, or nobody: then authd may forget the exchange.
Logins::Done Session::auth_answer()
{
    return [self = std::weak_ptr(house_.self_), number = number_, question = ++question_](const Result<ipc::AuthReply>& reply) {
        const auto house = self.lock();
        if (!house) return;
        Session* session = (*house)->find(number);
        if (session && session->stage_ == Stage::talking && session->question_ == question) return session->answer(question, session->judge_auth(reply));
        if (reply && reply->kind == ipc::AuthReply::Kind::challenge) (*house)->parts_.logins->cancel(reply->exchange);
    };
}

Reply Session::judge_auth(const Result<ipc::AuthReply>& reply)
{
    login_->call = 0;
    if (!reply) {
        say_auth_failed(cat("Connection lost to authentication server: ", reply.error().text), "");
        return authd_away;
    }
    switch (reply->kind) {
    case ipc::AuthReply::Kind::challenge:
        login_->exchange = reply->exchange;
        return {334, "", base64_encode(reply->data)};
    case ipc::AuthReply::Kind::failed:
        say_auth_failed(ipc::failure_text(reply->why), reply->login);
        return failure_reply(reply->why);
    case ipc::AuthReply::Kind::ok: break;
    }
    login_->user = reply->user;
    login_->name = reply->login;
    client_.origin = mail::Origin::authenticated;
    engine_.authenticated(reply->user);
    return {235, "2.7.0", "Authentication successful"};
}

// The shape that fail2ban's postfix filter knows.
void Session::say_auth_failed(std::string_view why, std::string_view name)
{
    log::warning(client_.label(), ": SASL ", login_->method, " authentication failed: ", printable(why), name.empty() ? "" : ", sasl_username=", printable(name, 255));
}

}  // namespace veredus::reception
