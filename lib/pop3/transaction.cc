#include "lib/pop3/transaction.h"

#include <algorithm>
#include <array>

#include "lib/base/text.h"
#include "lib/mail/downgrade.h"
#include "lib/mail/utf8.h"

namespace veredus::pop3 {

namespace {

// One number or two, parted by blanks; nothing when it is anything else.
template <std::size_t N> bool numbers(std::string_view text, std::array<uint64_t, N>& out)
{
    const auto words = split(text, " ");
    if (words.size() != N) return false;
    for (std::size_t i = 0; i < N; ++i) {
        const auto number = parse_number<uint64_t>(words[i]);
        if (!number) return false;
        out[i] = *number;
    }
    return true;
}

} // namespace

struct Transaction::Verb {
    std::string_view name;
    void (Transaction::*handler)(std::string_view, std::string&);
};

const Transaction::Verb Transaction::verbs[] = {
    {"STAT", &Transaction::stat}, {"LIST", &Transaction::list}, {"RETR", &Transaction::retr},
    {"DELE", &Transaction::dele}, {"NOOP", &Transaction::noop}, {"RSET", &Transaction::rset},
    {"TOP", &Transaction::top},   {"UIDL", &Transaction::uidl}, {"CAPA", &Transaction::capa},
    {"LANG", &Transaction::lang}, {"UTF8", &Transaction::utf8}, {"QUIT", &Transaction::quit},
};

Result<void> Options::set_workarounds(const std::vector<std::string>& names)
{
    for (const std::string& name : names) {
        if (iequals(name, "outlook-no-nuls"))
            no_nuls = true;
        else if (iequals(name, "oe-ns-eoh"))
            header_end = true;
        else
            return fail(cat("pop3_client_workarounds = ", printable(name, 100), ": outlook-no-nuls and oe-ns-eoh are known"));
    }
    return {};
}

Transaction::Transaction(Maildrop& drop, const Options& options)
    : drop_(drop), options_(options), deleted_(drop.count() + 1)
{}

std::size_t Transaction::left() const
{
    return drop_.count() - static_cast<std::size_t>(std::count(deleted_.begin(), deleted_.end(), true));
}

uint64_t Transaction::octets() const
{
    uint64_t sum = 0;
    for (std::size_t n = 1; n <= drop_.count(); ++n)
        if (!deleted_[n]) sum += drop_.size(n);
    return sum;
}

std::string Transaction::tally() const
{
    return cat("top=", topped_, '/', topped_octets_, ", retr=", retrieved_, '/', retrieved_octets_, ", del=", removed_,
               '/', drop_.count(), ", size=", [this] {
                   uint64_t sum = 0;
                   for (std::size_t n = 1; n <= drop_.count(); ++n) sum += drop_.size(n);
                   return sum;
               }());
}

Transaction::Wants Transaction::feed(std::string_view bytes, std::string& out)
{
    input_.append(bytes);
    return go_on(out);
}

Transaction::Wants Transaction::more(std::string& out)
{
    return go_on(out);
}

// Answers as many commands as fit into one piece of output: a short message goes out in one write, with its +OK.
Transaction::Wants Transaction::go_on(std::string& out)
{
    full_ = false;
    const std::size_t begin = out.size();
    std::size_t at = 0;
    while (!closing_ && !full_ && (sending_.number ? send_piece(out) : take_line(at, out))) full_ = out.size() - begin >= piece;
    input_.erase(0, at);
    // Half a line that can be no command any more is not kept.
    if (wants() == Wants::input && input_.size() > longest_line) {
        too_long_ = true;
        input_.clear();
    }
    return wants();
}

bool Transaction::take_line(std::size_t& at, std::string& out)
{
    const std::size_t end = input_.find('\n', at);
    if (end == std::string::npos) return false;
    std::string_view line = std::string_view(input_).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (std::exchange(too_long_, false) || line.size() + 2 > longest_line) {
        append(out, "-ERR the line is longer than 255 bytes\r\n");
        if (++errors_ >= options_.errors) closing_ = true;
    } else {
        run(line, out);
    }
    return true;
}

void Transaction::run(std::string_view line, std::string& out)
{
    fetched_ = 0;
    const std::size_t blank = std::min(line.find(' '), line.size());
    const auto verb = std::find_if(std::begin(verbs), std::end(verbs),
                                   [&](const Verb& v) { return iequals(v.name, line.substr(0, blank)); });
    if (verb != std::end(verbs)) return (this->*verb->handler)(trim(line.substr(blank)), out);
    append(out, "-ERR unknown command\r\n");
    if (++errors_ < options_.errors) return;
    append(out, "-ERR too many of them\r\n");
    closing_ = true;
}

std::size_t Transaction::number_of(std::string_view text, std::string& out) const
{
    std::array<uint64_t, 1> number{};
    if (!numbers(text, number))
        append(out, "-ERR a message number is wanted\r\n");
    else if (number[0] == 0 || number[0] > drop_.count())
        append(out, "-ERR no such message, only ", drop_.count(), " messages in maildrop\r\n");
    else if (deleted_[number[0]])
        append(out, "-ERR message ", number[0], " is deleted\r\n");
    else
        return number[0];
    return 0;
}

void Transaction::stat(std::string_view, std::string& out)
{
    append(out, "+OK ", left(), ' ', octets(), "\r\n");
}
void Transaction::noop(std::string_view, std::string& out)
{
    append(out, "+OK\r\n");
}
void Transaction::list(std::string_view argument, std::string& out)
{
    listing(argument, out, false);
}
void Transaction::uidl(std::string_view argument, std::string& out)
{
    listing(argument, out, true);
}

void Transaction::listing(std::string_view argument, std::string& out, bool uids)
{
    const auto entry = [&](std::size_t n) {
        append(out, n, ' ');
        if (uids)
            append(out, drop_.uid(n));
        else
            append(out, drop_.size(n));
        append(out, "\r\n");
    };
    if (!argument.empty()) {
        const std::size_t number = number_of(argument, out);
        if (!number) return;
        append(out, "+OK ");
        return entry(number);
    }
    append(out, "+OK ", left(), " messages");
    if (!uids) append(out, " (", octets(), " octets)");
    append(out, "\r\n");
    for (std::size_t n = 1; n <= drop_.count(); ++n)
        if (!deleted_[n]) entry(n);
    append(out, ".\r\n");
}

void Transaction::dele(std::string_view argument, std::string& out)
{
    const std::size_t number = number_of(argument, out);
    if (!number) return;
    deleted_[number] = true;
    append(out, "+OK message ", number, " deleted\r\n");
}

void Transaction::rset(std::string_view, std::string& out)
{
    std::fill(deleted_.begin(), deleted_.end(), false);
    append(out, "+OK maildrop has ", left(), " messages (", octets(), " octets)\r\n");
}

void Transaction::capa(std::string_view, std::string& out)
{
    append(out, "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nLANG\r\nUTF8 USER\r\n", options_.capabilities,
           of_login_, ".\r\n");
}

// RFC 6856 §3.2: one language, and i-default for those who want none (RFC 2277 §4.5).
void Transaction::lang(std::string_view argument, std::string& out)
{
    if (argument.empty())
        append(out, "+OK languages follow\r\nen English\r\n.\r\n");
    else if (argument == "*" || iequals(argument, "en") || iequals(argument, "i-default"))
        append(out, "+OK en English it is\r\n");
    else
        append(out, "-ERR there is no such language\r\n");
}

void Transaction::utf8(std::string_view, std::string& out)
{
    utf8_ = true;
    ahead_.number = 0; // it was read for one who had not said so
    append(out, "+OK UTF8 enabled\r\n");
}

void Transaction::retr(std::string_view argument, std::string& out)
{
    const std::size_t number = number_of(argument, out);
    if (!number) return;
    if (number == ahead_.number) {
        sending_ = {};
        sending_.number = number;
        sending_.offset = drop_.size(number);
        append(out, "+OK ", ahead_.octets, " octets\r\n", ahead_.content);
        return sent();
    }
    if (begin(number, false, UINT64_MAX, out))
        append(out, "+OK ", drop_.size(number) - sending_.replaced + sending_.front.size(), " octets\r\n");
}

void Transaction::top(std::string_view argument, std::string& out)
{
    std::array<uint64_t, 2> two{};
    if (!numbers(argument, two)) return append(out, "-ERR TOP wants a message number and a number of lines\r\n");
    const std::size_t number = number_of(argument.substr(0, argument.find(' ')), out);
    if (!number) return;
    if (begin(number, true, two[1], out)) append(out, "+OK\r\n");
}

bool Transaction::begin(std::size_t number, bool top, uint64_t lines, std::string& out)
{
    if (auto prepared = drop_.prepare(number); !prepared) {
        append(out, "-ERR [SYS/TEMP] message ", number, " cannot be read now, or another session has removed it\r\n");
        return false;
    }
    sending_ = {};
    sending_.number = number;
    sending_.top = top;
    sending_.lines = lines;
    if (!utf8_)
        if (const auto content = drop_.read(number, 0, piece)) front_for(number, *content); // an error shows again in its turn
    return true;
}

// RFC 6856 §2.1: who has not said UTF8 gets no header that is more than ASCII, but its surrogate. The sizes of LIST are
// those of the message (RFC 6858 §4). `content`: how the message begins.
void Transaction::front_for(std::size_t number, std::string_view content)
{
    if (content.starts_with("\r\n")) return; // there is none
    const std::size_t blank = content.find("\r\n\r\n");
    const bool ends = blank != std::string_view::npos;
    if (!ends && content.size() < drop_.size(number)) {
        sending_.to_ascii = true; // longer than what is looked at
        return;
    }
    const std::string_view header = ends ? content.substr(0, blank + 2) : content;
    if (mail::ascii_prefix(header) == header.size()) return;
    std::string front = mail::downgrade_header(header);
    if (front == header) return;
    sending_.front = std::move(front) + "\r\n";
    sending_.replaced = ends ? blank + 4 : content.size();
}

// Of a header that is too long for a surrogate: a "?" for each byte that is not ASCII, up to the blank line.
void Transaction::to_ascii(std::string& content)
{
    Sending& s = sending_;
    for (char& c : content) {
        if (c == '\n') {
            if (s.ascii_line.empty() || s.ascii_line == "\r") {
                s.to_ascii = false;
                return;
            }
            s.ascii_line.clear();
            continue;
        }
        if (s.ascii_line.size() < 2) s.ascii_line += c;
        if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
}

Result<std::string> Transaction::next_piece()
{
    Sending& s = sending_;
    if (s.top && s.in_body && s.lines == 0) return std::string();
    if (!s.front.empty()) return std::exchange(s.front, {});
    auto content = drop_.read(s.number, s.offset, piece);
    if (content && s.to_ascii) to_ascii(*content);
    return content;
}

// How much of `bytes` TOP still wants: the header, the blank line, and so many lines.
std::string_view Transaction::cut_top(std::string_view bytes)
{
    Sending& s = sending_;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (s.in_body && s.lines == 0) return bytes.substr(0, i);
        if (bytes[i] != '\n') {
            if (s.line.size() < 2) s.line += bytes[i];
            continue;
        }
        if (s.in_body)
            --s.lines;
        else if (s.line == "\r" || s.line.empty())
            s.in_body = true;
        s.line.clear();
    }
    return bytes;
}

// Dots at line starts doubled (RFC 1939 §3).
void Transaction::give(std::string_view content, std::string& out)
{
    const std::size_t begin = out.size();
    while (!content.empty()) {
        if (sending_.line_start && content.front() == '.') out += '.';
        const std::size_t next = content.find("\n.");
        const std::size_t end = next == std::string_view::npos ? content.size() : next + 1;
        out.append(content.substr(0, end));
        sending_.line_start = content[end - 1] == '\n';
        content.remove_prefix(end);
    }
    if (options_.no_nuls) std::replace(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), '\0', '\x80');
}

// False: the message cannot be read to its end.
bool Transaction::send_piece(std::string& out)
{
    Sending& s = sending_;
    const bool in_front = !s.front.empty();
    auto content = next_piece();
    if (!content) {
        // In the midst of a message there is no way to say so: the connection is the only one that a client cannot take
        // for the end.
        closing_ = true;
        s.number = 0;
        return false;
    }
    const std::string_view wanted = s.top || options_.header_end ? cut_top(*content) : std::string_view(*content);
    s.offset = in_front ? s.replaced : s.offset + wanted.size();
    give(wanted, out);
    if (!wanted.empty() && wanted.size() == content->size()) return true;
    if (!s.line_start) out += "\r\n";
    if (options_.header_end && !s.in_body) out += "\r\n";
    out += ".\r\n";
    sent();
    return true;
}

void Transaction::sent()
{
    Sending& s = sending_;
    (s.top ? topped_ : retrieved_) += 1;
    (s.top ? topped_octets_ : retrieved_octets_) += s.offset;
    const std::size_t number = std::exchange(s.number, 0);
    if (s.top) return;
    drop_.retrieved(number);
    fetched_ = number;
}

void Transaction::look_ahead()
{
    const std::size_t next = fetched_ + 1;
    if (fetched_ == 0 || wants() != Wants::input || !input_.empty() || ahead_.number == next) return;
    if (next > drop_.count() || deleted_[next] || drop_.size(next) > piece) return;
    ahead_.number = 0;
    ahead_.content.clear();
    // What cannot be read now is told when it is asked for.
    if (!drop_.prepare(next)) return;
    auto content = drop_.read(next, 0, piece);
    if (!content || content->size() != drop_.size(next)) return;
    sending_ = {};
    if (!utf8_) front_for(next, *content);
    content->replace(0, sending_.replaced, sending_.front);
    if (options_.header_end) (void)cut_top(*content);
    give(*content, ahead_.content);
    if (!sending_.line_start) ahead_.content += "\r\n";
    if (options_.header_end && !sending_.in_body) ahead_.content += "\r\n";
    ahead_.content += ".\r\n";
    ahead_.octets = content->size();
    ahead_.number = next;
}

// RFC 1939 §6: the one way for a message to go.
void Transaction::quit(std::string_view, std::string& out)
{
    closing_ = said_quit_ = true;
    std::vector<std::size_t> gone;
    for (std::size_t n = 1; n <= drop_.count(); ++n)
        if (deleted_[n]) gone.push_back(n);
    if (!gone.empty()) {
        const auto kept = drop_.remove(gone);
        if (kept) removed_ = gone.size() - std::min(*kept, gone.size());
        if (!kept || *kept > 0) {
            trouble_ = kept ? cat(*kept, " of ", gone.size(), " deleted messages could not be removed")
                            : cat("the deleted messages could not be removed: ", kept.error().text);
            return append(out, "-ERR [SYS/TEMP] some deleted messages not removed\r\n");
        }
    }
    updated_ = true;
    append(out, "+OK Bye, ", left(), " messages left\r\n");
}

} // namespace veredus::pop3
