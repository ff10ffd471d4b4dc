// POP3 after the login (RFC 1939 §5 and §6): the commands on a maildrop that is open and does not change. Bytes in,
// bytes out: no fd, no clock. A message is handed out in pieces, as the peer takes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::pop3 {

// The messages of one session, numbered from 1 as they were when it began.
class Maildrop {
public:
    virtual ~Maildrop() = default;
    virtual std::size_t count() const = 0;
    virtual uint64_t
    size(std::size_t number) const = 0; // octets with CRLF line ends, to the byte what read() gives (RFC 1939 §11)
    virtual std::string uid(std::size_t number) = 0; // 1 to 70 bytes from ! to ~ (RFC 1939 §7)
    // Before the first read() of a message: an error when another session has removed it meanwhile.
    virtual Result<void> prepare(std::size_t number) { return (void)number, Result<void>(); }
    // The next bytes in CRLF form from `offset` on, at most `most`; empty at the end.
    virtual Result<std::string> read(std::size_t number, uint64_t offset, std::size_t most) = 0;
    virtual void retrieved(std::size_t number) { (void)number; } // RETR has handed it out whole
    // How many of them are still there afterwards, 0 when all went well. On an error any number may be.
    virtual Result<std::size_t> remove(const std::vector<std::size_t>& numbers) = 0;
};

struct Options {
    std::string capabilities; // further lines of CAPA, each ended by CRLF: "IMPLEMENTATION veredus\r\n"
    std::size_t errors = 20;  // commands that are none; then the session ends
    bool no_nuls = false;     // NUL bytes go out as 0x80
    bool header_end = false;  // a message without an end of its header gets a blank line behind it, uncounted
    // pop3_client_workarounds: "outlook-no-nuls" and "oe-ns-eoh".
    Result<void> set_workarounds(const std::vector<std::string>& names);
};

class Transaction {
public:
    enum class Wants { input, drain, close };
    Transaction(Maildrop& drop, const Options& options); // both outlive it
    // Takes any cut of input. drain: call more() when what is in `out` has been written, until it says otherwise. So
    // `out` grows by little more than `piece` and one listing at a time, whatever the client asks for without reading.
    Wants feed(std::string_view bytes, std::string& out);
    Wants more(std::string& out);
    // While the client looks at what he has: clients fetch one message after the other, so the next one is read now, if
    // it is short and can be. For when the last answer has been written.
    void look_ahead();
    std::size_t held() const
    {
        return input_.size();
    }                                         // input that waits for output to be written: the owner stops reading
    bool said_quit() const { return said_quit_; }
    bool updated() const { return updated_; } // QUIT was said, and what was marked is gone
    void enable_utf8() { utf8_ = true; } // RFC 6856 §2: messages go out as they are
    void set_login_capabilities(std::string lines) { of_login_ = std::move(lines); } // of CAPA; the same as before the login
    const std::string& trouble() const { return trouble_; } // why QUIT could not remove all; for the log
    std::string tally() const;                // "top=0/0, retr=2/7012, del=2/2, size=7012", as Dovecot says it

    static constexpr std::size_t longest_line = 255; // RFC 2449 §4, with CRLF
    static constexpr std::size_t piece = 64 * 1024;

private:
    struct Verb;
    static const Verb verbs[];
    struct Sending {
        std::size_t number = 0;         // 0: nothing is being sent
        uint64_t offset = 0, lines = 0; // lines: of the body, still to be sent (RETR: no end of them)
        bool top = false, in_body = false, line_start = true;
        std::string front;         // goes out instead of the first `replaced` bytes: RFC 6858
        uint64_t replaced = 0;
        bool to_ascii = false;  // the header has bytes that must not go out, and is too long for that
        std::string ascii_line; // what is known of its running line, at most two bytes
        std::string line; // what is known of the running header line, at most two bytes
    };
    void capa(std::string_view, std::string&out), dele(std::string_view, std::string&out),
        lang(std::string_view, std::string&out), list(std::string_view, std::string&out),
        noop(std::string_view, std::string&out), quit(std::string_view, std::string&out),
        retr(std::string_view, std::string&out), rset(std::string_view, std::string&out),
        stat(std::string_view, std::string&out), top(std::string_view, std::string&out),
        uidl(std::string_view, std::string&out), utf8(std::string_view, std::string&out);
    Wants go_on(std::string& out);
    bool take_line(std::size_t& at, std::string& out); // false: there is no whole one
    bool send_piece(std::string& out);
    void sent();
    Result<std::string> next_piece();
    void front_for(std::size_t number, std::string_view content);
    void to_ascii(std::string& content);
    void run(std::string_view line, std::string& out);
    void listing(std::string_view argument, std::string& out, bool uids);
    std::size_t number_of(std::string_view text, std::string& out) const; // 0: refused
    bool begin(std::size_t number, bool top, uint64_t lines, std::string& out); // false: refused
    std::string_view cut_top(std::string_view bytes);
    void give(std::string_view content, std::string& out);
    Wants wants() const { return closing_ ? Wants::close : sending_.number || full_ ? Wants::drain : Wants::input; }
    std::size_t left() const;
    uint64_t octets() const;

    Maildrop& drop_;
    const Options& options_;
    std::vector<bool> deleted_; // by number
    std::string input_;
    Sending sending_;
    struct {
        std::size_t number = 0;  // 0: none
        std::string content;     // whole, with its dots doubled and an end
        uint64_t octets = 0;
    } ahead_;
    std::size_t fetched_ = 0;    // by the last command; 0: that was no RETR
    std::size_t errors_ = 0, retrieved_ = 0, topped_ = 0, removed_ = 0;
    uint64_t retrieved_octets_ = 0, topped_octets_ = 0;
    std::string trouble_, of_login_;
    bool utf8_ = false;
    bool closing_ = false, said_quit_ = false, updated_ = false, too_long_ = false;
    bool full_ = false; // so much output that the client shall take it before he is answered more
};

} // namespace veredus::pop3
