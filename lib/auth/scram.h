// SCRAM, server side (RFC 5802, RFC 7677), with and without channel binding.
#pragma once

#include "lib/auth/mechanism.h"

namespace veredus::auth {

class Scram final : public Mechanism {
public:
    Scram(tls::Digest hash, bool plus, Binding binding, std::string nonce) : hash_(hash), plus_(plus), binding_(std::move(binding)), nonce_(std::move(nonce)) {}
    Step start(std::optional<std::string_view> initial) override;
    Step feed(std::string_view response) override;
    Step secret(const ScramSecret& secret, bool real) override;
    tls::Digest hash() const override { return hash_; }

private:
    enum class State { first, secret, final, acknowledge, over };
    Step first(std::string_view message);
    Step final(std::string_view message);
    bool read_binding_flag(std::string_view flag);
    tls::Digest hash_;
    bool plus_;
    Binding binding_;
    std::string nonce_;                            // ours at first, then the client's and ours
    State state_ = State::first;
    std::string user_, bound_, first_bare_, server_first_;      // bound_: what c= must say, decoded
    ScramSecret secret_;
    bool real_ = false;
};

}  // namespace veredus::auth
