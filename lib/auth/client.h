// SASL mechanisms, client side, as pure exchanges: for a server that wants us to log in. No I/O, no clock.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::auth {

// What a server offers and we speak, strongest first: SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN.
const std::vector<std::string>& client_mechanism_names();
bool is_plaintext(std::string_view mechanism); // shows the password to the server, and to who listens on a line in clear

// A server whose SCRAM iterations lie outside is refused: fewer give the password away to a false server (RFC 7677 §4), more cost too
// much time of the process that serves all others.
constexpr uint32_t min_client_iterations = 4096, max_client_iterations = 1'000'000;

class ClientMechanism {
public:
    virtual ~ClientMechanism() = default;
    virtual std::optional<std::string> initial() = 0; // bytes of the initial response; nothing: the server speaks first
    // The answer to a challenge; nothing: the server does not speak the mechanism, and the exchange is to be cancelled.
    virtual std::optional<std::string> answer(std::string_view challenge) = 0;
    // Whether the server may say yes now: for SCRAM, once it has proven that it knows the password too (RFC 5802 §5).
    virtual bool complete() const = 0;
};

// Null: none of ours, or a name or password that the mechanism cannot carry. `nonce` is the client's part of SCRAM's: printable ASCII
// without comma. `name` in any case.
std::unique_ptr<ClientMechanism> make_client_mechanism(std::string_view name, const std::string& user, const std::string& password,
                                                       std::string nonce);

} // namespace veredus::auth
