#include "submission/sendmail/content.h"

#include "lib/base/text.h"

namespace veredus::sendmail {

void ContentReader::line(std::string_view text, std::string& out)
{
    // PHP and others mix LF and CRLF in one mail, and a file that went through DOS twice ends its lines in CR CR LF.
    while (text.ends_with('\r')) text.remove_suffix(1);
    if (first_) {
        first_ = false;
        if (text.starts_with("From ") || text.starts_with(">From ")) {
            from_line_ = text;
            return;
        }
    }
    if (dot_ends_ && text == ".") {
        ended_ = true;
        return;
    }
    // A stray CR is a line end to some and none to others (SMTP smuggling): it leaves as a blank, as in Postfix 3.9.
    for (std::size_t at; (at = text.find('\r')) != std::string_view::npos; text.remove_prefix(at + 1)) {
        out.append(text.substr(0, at));
        out.push_back(' ');
    }
    out.append(text);
    out.append("\r\n");
}

void ContentReader::feed(std::string_view bytes, std::string& out)
{
    while (!ended_ && !bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        if (end == std::string_view::npos) {
            held_.append(bytes);
            return;
        }
        if (held_.empty()) {
            line(bytes.substr(0, end), out);
        } else {
            held_.append(bytes.substr(0, end));
            line(held_, out);
            held_.clear();
        }
        bytes.remove_prefix(end + 1);
    }
}

void ContentReader::finish(std::string& out)
{
    if (!ended_ && !held_.empty()) line(held_, out);
    held_.clear();
}

std::string from_line_sender(std::string_view line)
{
    if (line.starts_with('>')) line.remove_prefix(1);
    if (!line.starts_with("From ")) return {};
    const auto words = split(line.substr(5), " \t");
    if (words.empty()) return {};
    std::string sender(words[0]);
    // RFC 976 §2: "remote from HOST" ends the line that a neighbour wrote.
    for (std::size_t i = 1; i + 2 < words.size(); ++i)
        if (words[i] == "remote" && words[i + 1] == "from" && sender.find('@') == std::string::npos) append(sender, '@', words[i + 2]);
    return sender;
}

}  // namespace veredus::sendmail
