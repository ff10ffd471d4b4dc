// SMTP replies: what a server says and what a client hears (RFC 5321 §4.2, RFC 2034, RFC 3463).
#include "lib/smtp/reply.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/dsn.h"

namespace veredus::smtp {

namespace {

constexpr std::size_t longest_reply_line = 512;  // RFC 5321 §4.5.3.1.5, CRLF included
constexpr std::size_t longest_kept = 2048;
constexpr std::size_t most_lines = 100;
constexpr std::size_t most_dropped = 1'000'000;  // a peer that talks more than this in one reply is no mail server

void put_line(std::string& out, const Reply& reply, char separator, std::string_view text)
{
    const std::size_t begin = out.size();
    append(out, reply.code, separator);
    if (!reply.enhanced.empty()) append(out, reply.enhanced, text.empty() ? "" : " ");
    out.append(text);
    if (out.size() - begin > longest_reply_line - 2) out.resize(begin + longest_reply_line - 2);
    // Whatever was woven into the text, a reply is one line per line.
    for (std::size_t i = begin; i < out.size(); ++i)
        if (static_cast<unsigned char>(out[i]) < 0x20 || out[i] == 0x7F) out[i] = out[i] == '\t' ? ' ' : '?';
    out.append("\r\n");
}

}  // namespace

std::string Reply::wire() const
{
    std::string out;
    std::string_view rest = text;
    for (;;) {
        const std::size_t end = rest.find('\n');
        put_line(out, *this, end == std::string_view::npos ? ' ' : '-', rest.substr(0, end));
        if (end == std::string_view::npos) return out;
        rest.remove_prefix(end + 1);
    }
}

ReplyReader::State ReplyReader::feed(std::string_view bytes, std::size_t& taken)
{
    taken = 0;
    while (taken < bytes.size()) {
        const std::string_view rest = bytes.substr(taken);
        const std::size_t end = rest.find('\n');
        const std::string_view piece = rest.substr(0, end);
        const std::size_t keep = std::min(piece.size(), longest_kept - std::min(longest_kept, line_.size()));
        line_.append(piece.substr(0, keep));
        dropped_ += piece.size() - keep;
        taken += piece.size();
        if (dropped_ > most_dropped) return State::garbage;
        if (end == std::string_view::npos) return State::more;
        ++taken;
        const State state = end_line();
        if (state != State::more) return state;
    }
    return State::more;
}

ReplyReader::State ReplyReader::end_line()
{
    if (line_.ends_with('\r')) line_.pop_back();
    if (filter_) {
        if (!filter_(line_)) return State::unfiltered;
        line_.resize(std::min({line_.size(), line_.find('\n'), longest_kept}));
    }
    const std::string_view line = line_;
    const bool digits = line.size() >= 3 && std::all_of(line.begin(), line.begin() + 3, is_digit);
    const char mark = line.size() > 3 ? line[3] : ' ';
    if (!digits || line[0] < '2' || line[0] > '5' || (mark != ' ' && mark != '-')) return State::garbage;
    code_ = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (lines_.size() < most_lines) lines_.emplace_back(line.substr(std::min<std::size_t>(4, line.size())));
    else dropped_ += line.size() + 1;
    line_.clear();
    return mark == '-' ? State::more : State::complete;
}

Reply ReplyReader::take()
{
    Reply reply;
    reply.code = code_;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
        std::string_view text = lines_[i];
        const mail::Coded coded = mail::cut_enhanced_code(text);
        // RFC 2034 §4: the class repeats the first digit of the reply; anything else is text that looks like a code.
        const bool fits = !coded.code.empty() && coded.code[0] - '0' == code_ / 100;
        if (i == 0 && fits) reply.enhanced = coded.code;
        if (fits && coded.code == reply.enhanced) text = coded.text;
        append(reply.text, i == 0 ? "" : "\n", text);
    }
    *this = ReplyReader(std::move(filter_));
    return reply;
}

}  // namespace veredus::smtp
