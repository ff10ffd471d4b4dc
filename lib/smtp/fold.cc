#include "lib/smtp/fold.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp {

namespace {

constexpr std::size_t npos = std::string_view::npos;
constexpr std::string_view fold = "\r\n ", blanks = " \t";

// Where a text that is longer than `room` is broken: not within a sequence of UTF-8, if it is one.
std::size_t break_point(std::string_view text, std::size_t room)
{
    const auto continues = [text](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    std::size_t at = room;
    for (int back = 0; back < 3 && continues(at); ++back) --at;
    return continues(at) ? room : at;
}

// A blank of a header line before which it may be broken; 0: none. What is before it is more than blanks.
std::size_t blank_before(std::string_view text, std::size_t room)
{
    const std::size_t at = text.substr(0, room + 1).find_last_of(blanks);
    if (at == npos || text.substr(0, at).find_first_not_of(blanks) == npos) return 0;
    return at;
}

}  // namespace

void LineFolder::feed(std::string_view bytes, std::string& out)
{
    while (!bytes.empty()) {
        const std::size_t lf = bytes.find('\n');
        held_.append(bytes.substr(0, lf == npos ? lf : lf + 1));
        bytes.remove_prefix(lf == npos ? bytes.size() : lf + 1);
        std::string_view text = held_;
        if (lf == npos) return take(text, false, {}, out);
        const std::size_t end = text.ends_with("\r\n") ? 2 : 1;
        take(text.substr(0, text.size() - end), true, text.substr(text.size() - end), out);
    }
}

void LineFolder::finish(std::string& out) { take(held_, true, {}, out); }

// Not whole: the last byte may be the CR of its end.
void LineFolder::take(std::string_view text, bool whole, std::string_view end, std::string& out)
{
    while (text.size() > room_ + (whole ? 0 : 1)) {
        const std::size_t at = break_point(text, room_);
        append(out, text.substr(0, at), fold);
        text.remove_prefix(at);
        room_ = limit_ - 1;
    }
    if (!whole) {
        held_.erase(0, held_.size() - text.size());
        return;
    }
    append(out, text, end);
    held_.clear();
    room_ = limit_;
}

std::string fold_header(std::string_view header, std::size_t limit)
{
    std::string out;
    while (!header.empty()) {
        const std::size_t lf = header.find('\n');
        std::string_view line = header.substr(0, lf == npos ? lf : lf + 1);
        header.remove_prefix(line.size());
        const std::size_t end = line.ends_with("\r\n") ? 2 : line.ends_with('\n') ? 1 : 0;
        for (std::size_t room = limit; line.size() - end > room;) {
            const std::size_t blank = blank_before(line, room), at = blank ? blank : break_point(line, room);
            append(out, line.substr(0, at), blank ? "\r\n" : fold);
            line.remove_prefix(at);
            room = blank ? limit : limit - 1;
        }
        out.append(line);
    }
    return out;
}

}  // namespace veredus::smtp
