// Transparency of DATA (RFC 5321 §4.5.2), and the one rule for line ends: content ends at CRLF.CRLF only.
#include "lib/smtp/dot.h"

#include <algorithm>
#include <cstring>

#include "lib/base/text.h"

namespace veredus::smtp {

namespace {

constexpr std::size_t npos = std::string_view::npos;

}  // namespace

// One pass over a block. What needs no change stays in `run_`, which is appended in one go; only a dot at the start of a
// line or a line end that is no CRLF breaks it.
class DotReader::Pass {
public:
    Pass(DotReader& reader, std::string_view bytes, std::string& out) : r_(reader), bytes_(bytes), out_(out) {}

    std::size_t go()
    {
        while (at_ < bytes_.size() && !r_.ended_) step();
        flush(at_);
        return at_;
    }

private:
    void step()
    {
        const char c = bytes_[at_];
        switch (r_.state_) {
        case State::line_start:
        case State::lf_start:
            if (c != '.' || r_.dots_ == Dots::plain) {
                r_.leading_dot_ |= c == '.';
                r_.state_ = State::line;
                break;
            }
            flush(at_);
            skip();
            r_.state_ = r_.state_ == State::line_start ? State::dot : State::lf_dot;
            break;
        case State::dot:
        case State::lf_dot:
            if (c == '\r') {
                skip();
                r_.state_ = r_.state_ == State::dot ? State::dot_cr : State::lf_dot_cr;
            } else if (c == '\n') {
                bare_lone_dot();
            } else {  // a stuffed dot: dropped
                r_.leading_dot_ |= c == '.';
                r_.state_ = State::line;
            }
            break;
        case State::dot_cr:
            if (c == '\n') {
                skip();
                r_.ended_ = true;
            } else {
                dot_and_bare_cr();
            }
            break;
        case State::lf_dot_cr:
            if (c == '\n') {  // LF.CRLF: a line of one dot, and what follows stands after a true CRLF
                lone_dot_line();
                r_.state_ = State::line_start;
            } else {
                dot_and_bare_cr();
            }
            break;
        case State::cr:
            if (c == '\n') {
                skip();
                put("\r\n");
                end_line(State::line_start);
            } else {
                bare_cr();
            }
            break;
        case State::line: line(); break;
        }
    }

    // Inside a line: to its end, or to the end of the block. The position of the next LF is kept, so that a block full of
    // CRs costs no more than one of text.
    void line()
    {
        if (lf_ == unknown || (lf_ != npos && lf_ < at_)) lf_ = bytes_.find('\n', at_);
        const std::size_t end = std::min(lf_, bytes_.size());
        const void* found = std::memchr(bytes_.data() + at_, '\r', end - at_);
        if (!found) {
            r_.line_size_ += end - at_;
            at_ = end;
            if (lf_ == npos) return;
            flush(at_);
            skip();
            put("\r\n");
            r_.saw_bare_ = r_.saw_bare_lf_ = true;
            end_line(State::lf_start);
            return;
        }
        const std::size_t cr = static_cast<std::size_t>(static_cast<const char*>(found) - bytes_.data());
        r_.line_size_ += cr - at_;
        if (cr + 1 == lf_) {
            at_ = cr + 2;
            end_line(State::line_start);
            return;
        }
        at_ = cr;
        flush(at_);
        skip();
        if (at_ == bytes_.size()) r_.state_ = State::cr;
        else bare_cr();
    }

    void bare_cr()  // as Postfix does: a blank, so that no reader takes it for a line end
    {
        put(" ");
        ++r_.line_size_;
        r_.saw_bare_ = true;
        r_.state_ = State::line;
    }
    void dot_and_bare_cr()
    {
        put(". ");
        r_.leading_dot_ = r_.saw_bare_ = true;
        r_.line_size_ += 2;
        r_.state_ = State::line;
    }
    void lone_dot_line()
    {
        skip();
        put(".\r\n");
        r_.leading_dot_ = r_.saw_bare_ = true;
        r_.longest_ = std::max<std::size_t>(r_.longest_, 1);
    }
    void bare_lone_dot()
    {
        lone_dot_line();
        r_.saw_bare_lf_ = true;
        r_.state_ = State::lf_start;
    }
    void end_line(State next)
    {
        r_.longest_ = std::max(r_.longest_, r_.line_size_);
        r_.line_size_ = 0;
        r_.state_ = next;
    }
    void skip()  // this byte is not copied
    {
        ++at_;
        run_ = at_;
    }
    void put(std::string_view s)
    {
        out_.append(s);
        run_ = at_;
    }
    void flush(std::size_t to)
    {
        if (to > run_) out_.append(bytes_.substr(run_, to - run_));
        run_ = to;
    }

    static constexpr std::size_t unknown = npos - 1;
    DotReader& r_;
    std::string_view bytes_;
    std::string& out_;
    std::size_t at_ = 0, run_ = 0, lf_ = unknown;
};

std::size_t DotReader::feed(std::string_view bytes, std::string& out)
{
    if (ended_) return 0;
    const std::size_t before = out.size();
    std::size_t taken = bytes.size();
    if (dots_ == Dots::binary) {
        look_at(bytes);
        out.append(bytes);
    } else {
        taken = Pass(*this, bytes, out).go();
    }
    const std::string_view fresh = std::string_view(out).substr(before);
    size_ += fresh.size();
    longest_ = std::max(longest_, line_size_);
    saw_8bit_ = saw_8bit_ || !is_ascii(fresh);
    saw_nul_ = saw_nul_ || (!fresh.empty() && std::memchr(fresh.data(), 0, fresh.size()));
    return taken;
}

// Lines in binary content: only what they say about its form.
void DotReader::look_at(std::string_view bytes)
{
    while (!bytes.empty()) {
        leading_dot_ = leading_dot_ || (line_size_ == 0 && bytes[0] == '.');
        const std::size_t lf = bytes.find('\n');
        if (lf == npos) {
            line_size_ += bytes.size();
            return;
        }
        longest_ = std::max(longest_, line_size_ + lf);
        line_size_ = 0;
        bytes.remove_prefix(lf + 1);
    }
}

void DotReader::finish(std::string& out)
{
    if (ended_) return;
    ended_ = true;
    if (dots_ == Dots::binary) return;
    const std::size_t before = out.size();
    if (state_ == State::cr) {
        out.push_back(' ');
        saw_bare_ = true;
    }
    if (state_ != State::line_start && state_ != State::lf_start) out.append("\r\n");
    size_ += out.size() - before;
}

void DotWriter::feed(std::string_view content, std::string& out)
{
    if (content.empty()) return;
    if (line_start_ && content.front() == '.') out.push_back('.');
    std::size_t from = 0;
    for (std::size_t at = content.find("\n."); at != npos; at = content.find("\n.", at + 1)) {
        out.append(content.substr(from, at + 1 - from));
        out.push_back('.');
        from = at + 1;
    }
    out.append(content.substr(from));
    last_ = content.back();
    line_start_ = last_ == '\n';
}

void DotWriter::finish(std::string& out)
{
    if (last_ != '\n') out.append("\r\n");
    out.append(".\r\n");
    line_start_ = true;
    last_ = '\n';
}

}  // namespace veredus::smtp
