// A client's bytes as commands: lines and literals put together, literals asked for or refused, commands parsed (RFC 9051 §4.3, §9; RFC 7888).
// Bytes in, bytes out. Used by the login stage and by the session; only the messages of APPEND stream, the rest of a command is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/imap/command.h"

namespace veredus::imap {

struct ReaderLimits {
    std::size_t command = 65536;               // bytes of a command with its literals, without APPEND's messages
    std::size_t literal_minus = 4096;          // non-synchronizing literals up to there, LITERAL- (RFC 7888 §5)
    bool literal_plus = true;                  // of any size (LITERAL+)
    std::size_t depth = 100;                   // of search keys
    std::size_t ranges = 65536;                // in one command
    uint64_t swallow = 1 << 30;                // of a refused non-synchronizing literal; more ends the session (RFC 7888 §4)
};

// A tagged refusal: "NO", "BAD"; text with its response code, "[TOOBIG] …".
struct Refusal {
    bool bad = false;
    std::string text;
};

class Handler {
public:
    virtual ~Handler() = default;
    // `tag` is whole and printable. The handler answers when it is done; until Reader::resume() nothing further is handed over if
    // it returns false ("I am not done"). IDLE: returns false, and idle_done() comes at DONE.
    virtual bool command(std::string tag, Command command) = 0;
    // Not a command, a broken one (BAD), or one that cannot be done whatever the state (NO: [BADCHARSET], [CANNOT] for what is no mailbox
    // name). "*" stands for a tag that could not be read. False: the session ends (too many).
    virtual bool refused(const std::string& tag, const Refusal& refusal) = 0;
    // What is not SASL's answer line after Authenticate (the login stage): the line without CRLF, undecoded; "*" cancels.
    virtual bool sasl_line(std::string_view line) { (void)line; return true; }
    // False: the line was not DONE. IDLE is over either way; no resume() needed.
    virtual void idle_done(bool well) { (void)well; }

    // APPEND and REPLACE: begin, then per message: message, content…, content_end; then end. A refusal of begin or message: the reader
    // refuses the literal or swallows what the client sends anyway (LITERAL+), and calls append_aborted() with the refusal at once, which the
    // handler says. Nothing of it is called for a command that breaks before its first message: that is refused(). A connection that ends
    // in the midst: the handler is destroyed, or told nothing; what was not ended never happened.
    virtual std::unique_ptr<Refusal> append_begin(const std::string& tag, const Append& append) = 0;
    virtual std::unique_ptr<Refusal> append_message(const AppendMessage& message) = 0;
    virtual std::unique_ptr<Refusal> append_content(std::string_view bytes) = 0;
    virtual std::unique_ptr<Refusal> append_content_end() = 0;
    virtual bool append_end(const std::string& tag) = 0;                                // like command()
    virtual void append_aborted(const std::string& tag, const Refusal& refusal) = 0;    // also for a syntax error in the midst
};

// None of its functions but set_*() and resume() may be called by the handler while it is being told something.
class Reader {
public:
    Reader(Handler& handler, const ReaderLimits& limits);      // both outlive it
    ~Reader();
    // Mailbox names come as UTF-8 (IMAP4rev2 or UTF8=ACCEPT is on); else as modified UTF-7.
    void set_utf8(bool on);
    // Authenticate was handed over: lines are sasl_line() until set_sasl(false). IDLE likewise.
    void set_sasl(bool on);
    void set_idle(bool on);
    // Takes any cut of input. `out`: continuation requests ("+ OK"). Stops handing over while a command is not done.
    void feed(std::string_view bytes, std::string& out);
    // The command is done: goes on with what is held.
    void resume(std::string& out);
    bool busy() const;
    std::size_t held() const;                  // bytes that wait; the owner stops reading when it is much
    std::string take_rest();                   // all that was not looked at yet, for the next stage (after login, COMPRESS, STARTTLS)
    bool closed() const;                       // a handler said so, or a line without end

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

}  // namespace veredus::imap
