// A name server on 127.0.0.1 in the test's own loop.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/net/stream.h"
#include "t/unit/catch.h"
#include "t/unit/dns_packets.h"

namespace veredus::dns_test {

// A name server on a port of 127.0.0.1 (UDP and TCP): `script` gets each query and answers any number of packets.
class FakeServer {
public:
    using Script = std::function<std::vector<std::string>(const std::string& query, bool tcp)>;
    FakeServer(Loop& loop, Script script) : loop_(loop), script_(std::move(script))
    {
        for (int i = 0; i < 50 && !listener_; ++i) { // a port that is free for both protocols
            udp_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            const auto any = *net::Address::parse_ip("127.0.0.1", 0);
            REQUIRE(::bind(udp_.get(), any.raw(), any.raw_size()) == 0);
            address_ = *net::Address::local_of(udp_.get());
            if (auto tcp = net::listen_on(address_, 10)) listener_ = std::move(*tcp);
        }
        REQUIRE(listener_);
        udp_watch_ = std::make_unique<Watch>(loop, udp_.get(), readable, [this](unsigned) { udp(); });
        tcp_watch_ = std::make_unique<Watch>(loop, listener_.get(), readable, [this](unsigned) {
            Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (fd) clients_.push_back(std::make_unique<Client>(*this, std::move(fd)));
        });
    }
    net::Address address() const { return address_; }
    std::vector<std::string> queries; // "name/type", "tcp:name/type"

private:
    struct Client final : net::StreamUser {
        Client(FakeServer& s, Fd fd) : server(s), stream(s.loop_, std::move(fd), *this) {}
        void on_data(std::string_view bytes) override
        {
            input += bytes;
            if (input.size() < 2) return;
            const std::size_t size = static_cast<unsigned char>(input[0]) * 256u + static_cast<unsigned char>(input[1]);
            if (input.size() < size + 2) return;
            for (const auto& p : server.run(input.substr(2, size), true)) {
                for (const char c : u16(static_cast<unsigned>(p.size())) + p)
                    stream.write(std::string(1, c)); // byte by byte
            }
        }
        void on_end(net::End, const std::string&) override {}
        FakeServer& server;
        std::string input;
        net::Stream stream;
    };

    std::vector<std::string> run(const std::string& query, bool tcp)
    {
        queries.push_back((tcp ? "tcp:" : "") + asked_name(query) + "/" + std::to_string(asked_type(query)));
        return script_(query, tcp);
    }
    void udp()
    {
        char buffer[1500];
        sockaddr_storage from;
        socklen_t size = sizeof from;
        const ssize_t n = ::recvfrom(udp_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (n <= 0) return;
        for (const auto& p : run(std::string(buffer, static_cast<std::size_t>(n)), false))
            ::sendto(udp_.get(), p.data(), p.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
    Loop& loop_;
    Script script_;
    net::Address address_;
    Fd udp_, listener_;
    std::unique_ptr<Watch> udp_watch_, tcp_watch_;
    std::vector<std::unique_ptr<Client>> clients_;
};

inline Packet reply_to(const std::string& query)
{
    Packet p;
    p.id = asked_id(query);
    p.question_name = asked_name(query);
    p.question_type = asked_type(query);
    return p;
}

} // namespace veredus::dns_test
