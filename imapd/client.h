// One IMAP connection after its login: bytes between the stream and the session, deflated when the client wants that.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "imapd/deflate.h"
#include "imapd/house.h"
#include "lib/imap/session.h"
#include "lib/ipc/login.h"
#include "lib/net/stream.h"

namespace veredus::imapd {

// What a login is answered whose mailbox cannot be opened.
std::string no_mailbox(std::string_view tag);

class Client final : public net::StreamUser {
public:
    Client(House& house, ipc::Arrival arrival, Fd client);
    ~Client() override;
    void begin();
    void part(std::string_view ended, std::string_view told); // the client is told, and the connection ends
    void tell_news();                                         // if he is in IDLE
    void check_silence();                                     // autologout (RFC 9051 §5.4)
    void notify();                                            // so that nobody on the way takes an IDLE for dead
    void go_on();
    ipc::Presence presence() const;

    void on_data(std::string_view bytes) override;
    void on_end(net::End end, const std::string& why) override;
    void on_drained() override;

private:
    using Wants = imap::Session::Wants;
    void take(std::string_view bytes); // as they came over the wire
    void unpack();
    void feed(std::string_view bytes);
    void act(Wants wants, std::string& out);
    void put(std::string_view bytes);
    void close(std::string_view ended);
    void go_on_alone(); // the client has gone, his command goes on
    void leave();

    House& house_;
    ipc::Arrival arrival_;
    std::string ended_ = "Connection closed";
    int64_t since_wall_, last_us_;
    uint64_t in_ = 0, out_ = 0;
    bool draining_ = false, closing_ = false, idling_ = false, alone_ = false, left_ = false;
    std::unique_ptr<imap::Session> session_;
    std::unique_ptr<Deflate> deflate_;
    std::string packed_; // input that waits, while the session has no room for it
    net::Stream stream_;
};

} // namespace veredus::imapd
