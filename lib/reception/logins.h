// Who a client is, by authd's word: the AUTH exchanges (RFC 4954) of all sessions of a process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/ipc/auth.h"
#include "lib/net/address.h"
#include "lib/smtp/reply.h"
#include "lib/tls/tls.h"

namespace veredus::reception {

class Logins {
public:
    using Done = std::function<void(Result<ipc::AuthReply>)>;
    struct Doors {
        // `wanted`: false from when the call is withdrawn; one that has not left the process then never does.
        std::function<void(ipc::AuthType type, std::string body, std::function<void(Result<ipc::Message>)> done, std::function<bool()> wanted)> call;
        std::function<void(ipc::AuthType type, std::string body)> send;
    };
    Logins(std::string service, Doors doors) : service_(std::move(service)), doors_(std::move(doors)) {}
    void heard(const ipc::Message& message);                           // of authd: what it offers
    // Those of SASL: APOP is asked for by offers().
    // "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN", for this connection; empty until authd has said what there is.
    std::string mechanisms(const tls::Session* tls) const;
    bool offers(std::string_view mechanism, const tls::Session* tls) const;
    bool told() const { return told_; }                                // authd has said what it offers, be it nothing
    // May authd be asked this; longer responses no mechanism has (RFC 4954 §4), and the client is to hear so.
    static bool fits(std::string_view response) { return response.size() <= ipc::max_sasl; }
    // `initial`: decoded, and it fits. `done` is called later, once. `connection`: a login stage's number of the client (ipc::AuthBegin).
    // Returns the number of the call, for withdraw().
    uint64_t begin(std::string_view mechanism, std::optional<std::string> initial, const net::Address& client, const tls::Session* tls, Done done,
                   uint64_t connection = 0);
    uint64_t step(uint64_t exchange, std::string response, Done done);
    void cancel(uint64_t exchange);
    // The client is gone before the answer: a call that authd has not heard yet it never hears, for another it keeps no room, and `done` hears
    // soon that it failed. With a step its exchange ends.
    void withdraw(uint64_t call);

private:
    bool usable(const std::string& mechanism, const tls::Session* tls) const;
    void call(ipc::AuthType type, uint64_t number, uint64_t exchange, std::string body, Done done);
    std::string service_;
    Doors doors_;
    std::vector<std::string> offered_;
    bool told_ = false;
    uint64_t calls_ = 0;                           // how many there were, of all channels to authd
    // Of each call that is neither answered nor withdrawn: the exchange that it is a step of, or 0. Shared with those calls, which may end after us.
    std::shared_ptr<std::unordered_map<uint64_t, uint64_t>> asked_ = std::make_shared<std::unordered_map<uint64_t, uint64_t>>();
};

// What the client hears when authd has refused him.
smtp::Reply failure_reply(ipc::AuthFailure why);

}  // namespace veredus::reception
