// SMTP replies: what a server says and what a client hears (RFC 5321 §4.2, RFC 2034, RFC 3463).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::smtp {

struct Reply {
    int code = 0;             // 200 to 599
    std::string enhanced;     // "2.1.5", or empty where RFC 2034 §4 has none (greeting, EHLO, 354)
    std::string text;         // one line, or several parted by '\n'; printable
    std::string wire() const; // "250-2.1.5 text\r\n250 2.1.5 text\r\n", lines cut to 512 bytes (§4.5.3.1.5)
    bool positive() const { return code < 400; }
    bool temporary() const { return code >= 400 && code < 500; }
    bool permanent() const { return code >= 500; }
};

// Gathers one reply from a server: any cut. Bounded: lines of at most 2 KB are kept, at most 100 lines, the rest is
// counted and dropped; what is no reply at all is `garbage`.
class ReplyReader {
public:
    // Makes another line of one (without its CRLF); false: it cannot tell now.
    using Filter = std::function<bool(std::string& line)>;
    explicit ReplyReader(Filter filter = nullptr) : filter_(std::move(filter)) {}
    enum class State { more, complete, garbage, unfiltered };
    // Takes bytes up to the end of one reply and says how many it took.
    State feed(std::string_view bytes, std::size_t& taken);
    Reply take();             // after complete; the enhanced code is cut from the text when it fits the reply code's class

private:
    State end_line();
    Filter filter_;
    std::string line_;
    std::vector<std::string> lines_;
    std::size_t dropped_ = 0;
    int code_ = 0;
};

}  // namespace veredus::smtp
