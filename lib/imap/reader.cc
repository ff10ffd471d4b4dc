// Reader: lines and literals. One buffer holds the command that is not whole yet; a command that comes whole is parsed
// where it lies.
#include "lib/imap/reader.h"

#include <string.h>

#include <algorithm>
#include <type_traits>

#include "lib/base/text.h"
#include "lib/imap/parse.h"

namespace veredus::imap {

namespace {
constexpr std::size_t kept_capacity = 1024; // of an idle session's buffers
constexpr std::size_t mark_length = 64;     // of a line's end that can hold a literal's mark: "~{" 20 digits "+}" CR
constexpr std::size_t endless = 16;         // a line that is dropped ends the session at this many limits

// A password may have been in it.
void clear(std::string& buffer)
{
    ::explicit_bzero(buffer.data(), buffer.size());
    if (buffer.capacity() > kept_capacity)
        std::string().swap(buffer);
    else
        buffer.clear();
}
} // namespace

struct Reader::Private {
    Private(Handler& h, const ReaderLimits& l) : handler(h), limits(l), options{false, l.depth, l.ranges} {}

    Handler& handler;
    const ReaderLimits& limits;
    ParseOptions options;

    enum class State : uint8_t { line, literal, message, swallow, drop_line } state = State::line;
    bool busy = false, resumed = false, closed = false, sasl = false, idle = false;
    bool telling = false; // within the call that hands a command over
    bool append_begun = false, append_utf8 = false, append_single = false;
    bool append = false;     // the command is APPEND or REPLACE
    uint64_t left = 0;       // of a literal, a message, what is swallowed
    std::size_t line_at = 0; // in `command`: where its running line begins
    std::size_t dropped = 0; // bytes of the line that is dropped
    std::string command;     // what is known of it; of a line that is dropped: its last bytes
    std::string tag;         // of an APPEND
    std::string held;        // behind it, from held_at on: not looked at yet
    std::size_t held_at = 0;

    bool blocked() const { return closed || (busy && !idle); }

    std::size_t run(std::string_view in, std::string& out)
    {
        std::size_t taken = 0;
        while (taken < in.size() && !blocked()) {
            const std::string_view rest = in.substr(taken);
            switch (state) {
            case State::line: taken += take_line(rest, out); break;
            case State::drop_line: taken += drop_line(rest); break;
            default: taken += take_bytes(rest); break;
            }
        }
        return taken;
    }

    std::size_t take_bytes(std::string_view rest)
    {
        const std::string_view bytes = rest.substr(0, static_cast<std::size_t>(std::min<uint64_t>(rest.size(), left)));
        left -= bytes.size();
        if (state == State::literal)
            command.append(bytes);
        else if (state == State::message)
            message_bytes(bytes);
        if (left == 0) bytes_ended();
        return bytes.size();
    }

    void bytes_ended()
    {
        switch (state) {
        case State::literal:
            state = State::line;
            line_at = command.size();
            break;
        case State::message:
            state = State::line;
            if (auto refusal = handler.append_content_end()) abort_append(*refusal), state = State::drop_line;
            break;
        default: state = State::drop_line; break;
        }
    }

    void message_bytes(std::string_view bytes)
    {
        auto refusal = handler.append_content(bytes);
        if (!refusal) return;
        abort_append(*refusal);
        state = State::swallow;
    }

    // --- lines

    std::size_t take_line(std::string_view rest, std::string& out)
    {
        const std::size_t lf = rest.find('\n');
        const std::size_t n = lf == rest.npos ? rest.size() : lf;
        if (command.size() + n > limits.command) {
            const std::size_t enough = limits.command + 1 - command.size();
            command.append(rest.substr(0, enough));
            too_long();
            return enough;
        }
        if (lf == rest.npos) return command.append(rest), n;
        if (command.empty()) {
            line_ended(without_cr(rest.substr(0, lf)), out);
        } else {
            command.append(rest.substr(0, lf));
            std::string text = std::move(command); // what is called from here on may need the buffer
            command.clear();
            line_ended(text.size() > line_at ? without_cr(text) : text, out);
            ::explicit_bzero(text.data(), text.size());
        }
        return lf + 1;
    }

    static std::string_view without_cr(std::string_view line)
    {
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        return line;
    }

    void too_long()
    {
        const std::string text = std::move(command);
        const Refusal refusal{true, cat("[TOOBIG] a command has at most ", limits.command, " bytes without messages")};
        if (sasl)
            run_handler([&] { return handler.sasl_line("*"); });
        else if (idle)
            end_idle(false);
        else
            refuse_command(text, refusal);
        command_over();
        command = text.substr(text.size() - std::min(text.size(), mark_length));
        dropped = text.size();
        state = State::drop_line;
    }

    // The rest of a command that was answered: up to its last line.
    std::size_t drop_line(std::string_view rest)
    {
        const std::size_t lf = rest.find('\n');
        const std::size_t n = lf == rest.npos ? rest.size() : lf;
        const std::string_view last = rest.substr(n - std::min(n, mark_length), std::min(n, mark_length));
        command.append(last);
        if (command.size() > mark_length) command.erase(0, command.size() - mark_length);
        dropped += n;
        if (dropped > endless * limits.command) closed = true;
        if (lf == rest.npos) return n;
        const auto mark = literal_at_end(without_cr(command));
        command_over();
        if (mark && mark->plus) swallow(mark->size);
        return n + 1;
    }

    // Bytes of a non-synchronizing literal that was refused; the command's next line follows (RFC 7888 §4).
    void swallow(uint64_t size)
    {
        if (size > limits.swallow) closed = true;
        left = size;
        state = size ? State::swallow : State::drop_line;
        dropped = 0;
    }

    void command_over()
    {
        clear(command);
        state = State::line;
        line_at = dropped = 0;
        append = append_begun = append_utf8 = append_single = false;
    }

    // `text`: the whole command so far, without the last line end.
    void line_ended(std::string_view text, std::string& out)
    {
        if (sasl) return run_handler([&] { return handler.sasl_line(text); });
        if (idle) return end_idle(iequals(trim(text), "DONE"));
        const bool first = line_at == 0 && !append_begun;
        if (first && trim(text).empty()) return; // behind a literal some clients say one line end too many
        const auto mark = mark_of(text);
        if (first && mark) {
            std::string_view rest = text;
            const std::string_view cut = cut_tag(rest);
            const VerbKind kind = cut.empty() ? VerbKind::unknown : kind_of_verb(rest);
            if (kind == VerbKind::unknown) return refuse_at(mark, text);
            append = kind == VerbKind::append;
            if (append) tag = cut;
        }
        if (append) return append_line(text, mark, out);
        if (!mark) return hand_over(text);
        begin_literal(text, *mark, out);
    }

    // A synchronizing literal where none can begin is the end of a broken command: the client waits for an answer.
    std::optional<LiteralMark> mark_of(std::string_view text) const
    {
        auto mark = literal_at_end(text.substr(line_at));
        if (!mark) return mark;
        mark->at += line_at;
        const char before = mark->at ? text[mark->at - 1] : '\0';
        if (!mark->plus && before != ' ' && before != '(') mark.reset();
        return mark;
    }

    void begin_literal(std::string_view text, const LiteralMark& mark, std::string& out)
    {
        if (auto refusal = refuse_literal(mark, text.size())) return refuse_at(mark, text, *refusal);
        if (!mark.plus) out.append("+ OK\r\n");
        command.assign(text);
        command.append("\r\n");
        line_at = command.size();
        left = mark.size;
        state = left ? State::literal : State::line;
    }

    std::optional<Refusal> refuse_literal(const LiteralMark& mark, std::size_t used) const
    {
        if (auto refusal = refuse_unasked(mark)) return refusal;
        if (mark.size > limits.command || used + 2 + mark.size > limits.command)
            return Refusal{true, cat("[TOOBIG] a command has at most ", limits.command, " bytes without messages")};
        return std::nullopt;
    }

    std::optional<Refusal> refuse_unasked(const LiteralMark& mark) const
    {
        if (!mark.plus || limits.literal_plus || mark.size <= limits.literal_minus) return std::nullopt;
        return Refusal{true, cat("[TOOBIG] a non-synchronizing literal has at most ", limits.literal_minus, " bytes")};
    }

    // The command is refused at the literal that begins, without waiting for the rest of it.
    void refuse_at(const std::optional<LiteralMark>& mark, std::string_view text)
    {
        std::string_view rest = text;
        if (cut_tag(rest).empty()) return refuse_at(mark, text, {true, "a tag expected"});
        const auto parsed = parse_command(rest, options);
        const Refusal* refusal = std::get_if<Refusal>(&parsed);
        refuse_at(mark, text, refusal ? *refusal : Refusal{true, "no literal is expected here"});
    }

    void refuse_at(const std::optional<LiteralMark>& mark, std::string_view text, const Refusal& refusal)
    {
        refuse_command(text, refusal);
        command_over();
        if (mark && mark->plus) swallow(mark->size);
    }

    void refuse_command(std::string_view text, const Refusal& refusal)
    {
        if (append_begun) return abort_append(refusal);
        const std::string_view cut = cut_tag(text);
        if (!handler.refused(cut.empty() ? "*" : std::string(cut), refusal)) closed = true;
    }

    void hand_over(std::string_view text)
    {
        std::string_view rest = text;
        const std::string_view cut = cut_tag(rest);
        if (cut.empty()) return refuse_at(std::nullopt, text);
        auto parsed = parse_command(rest, options);
        command_over();
        if (const Refusal* refusal = std::get_if<Refusal>(&parsed)) return refuse_command(text, *refusal);
        run_handler([&] { return handler.command(std::string(cut), std::move(std::get<Command>(parsed))); });
    }

    template <class Call> void run_handler(Call call)
    {
        resumed = false;
        busy = telling = true;
        const bool done = call();
        telling = false;
        busy = !done && !resumed;
    }

    void end_idle(bool well)
    {
        idle = busy = false;
        handler.idle_done(well);
    }

    // --- APPEND

    void append_line(std::string_view text, const std::optional<LiteralMark>& mark, std::string& out)
    {
        const AppendPiece piece = append_begun ? parse_append_next(text, append_utf8, append_single, options)
                                               : parse_append(behind_tag(text), options);
        switch (piece.what) {
        case AppendPiece::What::argument:
            return mark ? begin_literal(text, *mark, out) : refuse_at(mark, text, piece.refusal);
        case AppendPiece::What::refused: return refuse_at(mark, text, piece.refusal);
        case AppendPiece::What::end: break;
        case AppendPiece::What::message:
            return mark ? begin_message(piece, *mark, out) : refuse_at(mark, text, piece.refusal);
        }
        command_over();
        run_handler([&] { return handler.append_end(tag); });
    }

    static std::string_view behind_tag(std::string_view text)
    {
        cut_tag(text);
        return text;
    }

    void begin_message(const AppendPiece& piece, const LiteralMark& mark, std::string& out)
    {
        if (const auto unasked = refuse_unasked(mark)) return refuse_at(mark, tag, *unasked);
        std::unique_ptr<Refusal> refusal;
        if (!append_begun) {
            append_begun = true;
            append_single = piece.append.replace;
            refusal = handler.append_begin(tag, piece.append);
        }
        if (!refusal) refusal = handler.append_message(piece.message);
        if (refusal) return refuse_at(mark, tag, *refusal);
        append_utf8 = piece.message.utf8;
        if (!mark.plus) out.append("+ OK\r\n");
        line_at = 0;
        left = mark.size;
        state = State::message;
    }

    void abort_append(const Refusal& refusal)
    {
        command_over();
        handler.append_aborted(tag, refusal);
    }
};

Reader::Reader(Handler& handler, const ReaderLimits& limits) : private_(std::make_unique<Private>(handler, limits)) {}
Reader::~Reader() = default;

void Reader::set_utf8(bool on)
{
    private_->options.utf8 = on;
}

void Reader::set_sasl(bool on)
{
    private_->sasl = on;
}

void Reader::set_idle(bool on)
{
    private_->idle = on;
}

void Reader::feed(std::string_view bytes, std::string& out)
{
    auto& p = *private_;
    if (p.closed) return;
    if (p.held.empty()) {
        bytes.remove_prefix(p.run(bytes, out));
        p.held.assign(bytes);
        return;
    }
    p.held.append(bytes);
    if (p.blocked()) return;
    p.held_at += p.run(std::string_view(p.held).substr(p.held_at), out);
    if (p.held_at == p.held.size()) {
        clear(p.held);
        p.held_at = 0;
    } else if (p.held_at > p.held.size() / 2) {
        p.held.erase(0, p.held_at);
        p.held_at = 0;
    }
}

void Reader::resume(std::string& out)
{
    auto& p = *private_;
    p.resumed = true;
    if (p.telling) return;
    p.busy = false;
    feed({}, out);
}

bool Reader::busy() const
{
    return private_->busy;
}

std::size_t Reader::held() const
{
    return private_->held.size() - private_->held_at;
}

std::string Reader::take_rest()
{
    auto& p = *private_;
    std::string rest = p.state == Private::State::line ? std::move(p.command) : std::string();
    rest.append(p.held, p.held_at);
    p.held.clear();
    p.held_at = 0;
    p.command_over();
    return rest;
}

bool Reader::closed() const
{
    return private_->closed;
}

} // namespace veredus::imap
