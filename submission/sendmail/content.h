// What programs pipe into sendmail(1), made into content: CRLF line ends, without From_ line, up to the lone dot.
#pragma once

#include <string>
#include <string_view>

namespace veredus::sendmail {

class ContentReader {
public:
    explicit ContentReader(bool dot_ends) : dot_ends_(dot_ends) {}
    // Appends content to `out`; any cut. After ended() the rest is not ours.
    void feed(std::string_view bytes, std::string& out);
    void finish(std::string& out);                 // end of input: a last line without its end gets one
    bool ended() const { return ended_; }          // the lone dot came
    const std::string& from_line() const { return from_line_; }   // "From joe Tue …", without its end; empty when there was none

private:
    void line(std::string_view text, std::string& out);
    bool dot_ends_, ended_ = false, first_ = true;
    std::string held_;        // the beginning of a line whose end has not come
    std::string from_line_;
};

// The sender in a From_ line: "From a@b Tue Nov 24 …", "From joe Tue … remote from host" (uucp: joe@host). Empty when none.
std::string from_line_sender(std::string_view line);

}  // namespace veredus::sendmail
