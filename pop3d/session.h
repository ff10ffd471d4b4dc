// One POP3 connection after its login.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/ipc/login.h"
#include "lib/net/stream.h"
#include "lib/pop3/transaction.h"
#include "lib/pop3/vigil.h"
#include "pop3d/drop.h"
#include "pop3d/house.h"

namespace veredus::pop3d {

constexpr std::string_view no_mailbox = "-ERR [SYS/TEMP] The mailbox cannot be opened now, try again later.\r\n";

class Session final : public net::StreamUser {
public:
    Session(House& house, ipc::Arrival arrival, Fd client);
    void begin();
    void part(std::string_view why, std::string_view told); // the client is told, and the connection ends
    ipc::Presence presence() const;
    bool holds_maildrop() const { return transaction_ != nullptr; }

    void on_data(std::string_view bytes) override;
    void on_end(net::End end, const std::string& why) override;
    void on_drained() override { pump(); }

private:
    void refuse(std::string_view told);
    void feed(std::string_view bytes);
    void act(pop3::Transaction::Wants wants, std::string& out);
    void pump();
    void rest();
    void close(std::string_view why);
    void finish();

    House& house_;
    ipc::Arrival arrival_;
    std::string ended_ = "Connection closed";
    int64_t since_wall_, last_us_;
    uint64_t in_ = 0, out_ = 0;
    bool draining_ = false, closing_ = false;
    pop3::Vigil vigil_;
    std::unique_ptr<Drop> drop_;
    std::unique_ptr<pop3::Transaction> transaction_;
    net::Stream stream_;
};

} // namespace veredus::pop3d
