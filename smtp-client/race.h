// A connection to one of two addresses of a host: the second one is tried when the first has not answered for a moment, so that a family that
// leads nowhere costs that moment and not smtp_connect_timeout (RFC 8305 §5).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "lib/net/stream.h"

namespace veredus::smtp_client {

class Race {
public:
    struct Runner {
        net::Address to;
        std::optional<net::Address> from; // bound to
    };
    struct Times {
        std::chrono::milliseconds timeout, head_start;
    };
    enum class Who : uint8_t { first, second };
    // Once, from the loop, never within the constructor: the connection and whose it is, or why the first has none, when the second has none
    // either or was not tried. The race may be destroyed in it.
    using Done = std::function<void(Result<Fd>, Who)>;
    Race(Loop& loop, Runner first, std::optional<Runner> second, Times times, Done done);
    Race(const Race&) = delete;
    // Why the second one has none; null: it has one, is still at it, or was not tried.
    const Error* second_error() const { return second_error_ ? &*second_error_ : nullptr; }

private:
    void begin_second();
    void heard(Who who, Result<Fd> fd);
    Loop& loop_;
    Runner first_;
    std::optional<Runner> second_;
    Times times_;
    Done done_;
    std::optional<Error> first_error_, second_error_;
    std::unique_ptr<Timer> head_start_;
    std::unique_ptr<net::Connector> one_, two_;
};

} // namespace veredus::smtp_client
