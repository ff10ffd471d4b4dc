// An SMTP server in the test's own loop that follows a script: any reply, any delay of replies, any way of going away.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "lib/net/stream.h"
#include "t/unit/catch.h"

namespace veredus::smtp_test {

class Peer {
public:
    // What it says to a line: a reply with its CRLF; "" says nothing; "!close" after or instead hangs up; "!tls" after
    // a reply starts TLS, "!damage" sends a record of TLS that does not decipher, "!garbage" answers whatever comes next with nonsense,
    // a greeting "!wrap" comes under TLS from the first byte on, "!chunk N" takes the next N bytes as the content. "<greeting>" and "<content>" stand for
    // the connection and the end of the content.
    using Script = std::function<std::string(const std::string& line)>;
    Peer(Loop& loop, const net::Address& address, Script script = nullptr, tls::ServerContext* tls = nullptr)
        : loop_(loop), script_(std::move(script)), tls_(tls)
    {
        auto listener = net::listen_on(address, 10);
        REQUIRE(listener);
        listener_ = std::move(*listener);
        watch_ = std::make_unique<Watch>(loop, listener_.get(), readable, [this](unsigned) {
            Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (!fd) return;
            ++connections;
            clients_.push_back(std::make_unique<Client>(*this, std::move(fd)));
        });
    }
    net::Address address() const { return *net::Address::local_of(listener_.get()); }

    static std::string usual(const std::string& line)
    {
        if (line == "<greeting>") return "220 peer.example ESMTP\r\n";
        if (line == "<content>") return "250 2.0.0 Ok: queued as 4711\r\n";
        if (istarts_with(line, "EHLO"))
            return "250-peer.example\r\n250-PIPELINING\r\n250-SIZE "
                   "1000000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n";
        if (istarts_with(line, "DATA")) return "354 go on\r\n";
        if (istarts_with(line, "QUIT")) return "221 2.0.0 Bye\r\n!close";
        if (istarts_with(line, "STARTTLS")) return "220 2.0.0 Ready\r\n!tls";
        return "250 2.1.0 Ok\r\n";
    }
    void hang_up()
    {
        for (auto& c : clients_)
            if (c->stream) c->stream->close_after_flush();
    }

    std::vector<std::string> lines, contents; // of all connections
    unsigned connections = 0, ended = 0;

private:
    struct Client final : net::StreamUser {
        Client(Peer& p, Fd fd) : peer(p), stream(std::make_unique<net::Stream>(p.loop_, std::move(fd), *this))
        {
            act("<greeting>");
        }
        void on_data(std::string_view bytes) override
        {
            if (garbage) return stream->write("500 what?\r\n500 what?\r\n");
            input += bytes;
            while (stream && !closing) {
                if (chunk) {
                    if (input.size() < chunk) return;
                    peer.contents.push_back(input.substr(0, chunk));
                    input.erase(0, std::exchange(chunk, 0));
                    act("<content>");
                    continue;
                }
                if (in_content) {
                    const auto end = input.starts_with(".\r\n") ? 0 : input.find("\r\n.\r\n");
                    if (end == std::string::npos) return;
                    peer.contents.push_back(input.substr(0, end ? end + 2 : 0));
                    input.erase(0, end ? end + 5 : 3);
                    in_content = false;
                    act("<content>");
                    continue;
                }
                const auto end = input.find("\r\n");
                if (end == std::string::npos) return;
                const std::string line = input.substr(0, end);
                input.erase(0, end + 2);
                peer.lines.push_back(line);
                act(line);
            }
        }
        void on_secure() override
        {
            if (std::exchange(wrapped, false)) stream->write(usual("<greeting>"));
        }
        void on_end(net::End, const std::string&) override
        {
            ++peer.ended;
            closing = true;
        }
        void act(const std::string& line)
        {
            std::string reply = peer.script_ ? peer.script_(line) : usual(line);
            if (reply.starts_with("!chunk ")) {
                chunk = *parse_number<std::size_t>(std::string_view(reply).substr(7));
                return;
            }
            if (reply == "!wrap") {
                REQUIRE(stream->start_tls_server(*peer.tls_));
                wrapped = true;
                return;
            }
            if (reply == "!damage") {
                REQUIRE(write_all(stream->fd(), std::string("\x17\x03\x03\0\x20", 5) + std::string(32, 'x')));
                return;
            }
            const bool close = reply.ends_with("!close"), tls = reply.ends_with("!tls");
            if (close) reply.resize(reply.size() - 6);
            if (tls) reply.resize(reply.size() - 4);
            garbage = reply.ends_with("!garbage");
            if (garbage) reply.resize(reply.size() - 8);
            if (reply.starts_with("354")) in_content = true;
            stream->write(reply);
            if (close) {
                closing = true;
                stream->close_after_flush();
            }
            if (tls && peer.tls_) REQUIRE(stream->start_tls_server(*peer.tls_));
        }
        Peer& peer;
        std::string input;
        std::size_t chunk = 0;
        bool in_content = false, closing = false, garbage = false, wrapped = false;
        std::unique_ptr<net::Stream> stream;
    };
    Loop& loop_;
    Script script_;
    tls::ServerContext* tls_;
    Fd listener_;
    std::unique_ptr<Watch> watch_;
    std::list<std::unique_ptr<Client>> clients_;
};

} // namespace veredus::smtp_test
