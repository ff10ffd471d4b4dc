// Lines of an mbox: separators, headers that are ours, and the rest.
#include "lib/store/mbox_reader.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "lib/base/text.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_words = max_keywords;        // of X-Keywords: a folder has no more, and the UID log's name of a mail holds them
constexpr std::size_t fold_at = 900;                   // octets of a line (RFC 5322 §2.1.1: 998 at most)
constexpr uint32_t largest_base = UINT32_MAX - (1u << 30);    // of UIDs that were given and of UIDVALIDITY: some must be left to give
constexpr std::string_view internal_subject = "DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA";   // of UW imapd and Dovecot

bool is_time(std::string_view word)
{
    const auto parts = split_on(word, ':');
    if (parts.size() < 2 || parts.size() > 3) return false;
    return std::all_of(parts.begin(), parts.end(), [](std::string_view p) { return parse_number<unsigned>(p, 61).has_value(); });
}

int month_of(std::string_view word)
{
    constexpr std::array<std::string_view, 12> names = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (int i = 0; i < 12; ++i)
        if (iequals(word, names[static_cast<std::size_t>(i)])) return i;
    return -1;
}

void take_letters(std::string_view letters, MboxStatus& status)
{
    for (const char c : letters) {
        if (c == 'R') status.flags |= seen;
        if (c == 'O') status.old = true;
        if (c == 'A') status.flags |= answered;
        if (c == 'F') status.flags |= flagged;
        if (c == 'T') status.flags |= draft;
        if (c == 'D') status.flags |= deleted;
    }
}

std::string status_letters(const MboxStatus& s) { return cat(s.flags & seen ? "R" : "", s.old ? "O" : ""); }
std::string x_status_letters(const MboxStatus& s)
{
    return cat(s.flags & answered ? "A" : "", s.flags & flagged ? "F" : "", s.flags & draft ? "T" : "", s.flags & deleted ? "D" : "");
}

std::string joined(const std::vector<std::string>& words)
{
    std::string out;
    for (const auto& w : words) append(out, out.empty() ? "" : " ", w);
    return out;
}

void take_words(std::string_view text, std::vector<std::string>& out)
{
    for (const auto word : split(text, " \t\r\n")) {
        if (out.size() >= max_words || !is_keyword(word)) continue;
        if (std::find(out.begin(), out.end(), word) == out.end()) out.emplace_back(word);
    }
}

}  // namespace

bool is_from_line(std::string_view line)
{
    if (!line.starts_with("From ")) return false;
    const auto words = split(line, " \t\r\n");
    return std::any_of(words.begin() + 1, words.end(), is_time);
}

int64_t from_line_date(std::string_view line)
{
    const auto words = split(line, " \t\r\n");
    for (std::size_t i = 3; i < words.size(); ++i) {           // "Nov 24 14:00:00": month and day stand before the time
        if (!is_time(words[i])) continue;
        std::tm tm{};
        const auto clock = split_on(words[i], ':');
        tm.tm_mon = month_of(words[i - 2]);
        tm.tm_mday = parse_number<int>(words[i - 1], 31).value_or(0);
        tm.tm_hour = parse_number<int>(clock[0], 23).value_or(0);
        tm.tm_min = parse_number<int>(clock[1], 59).value_or(0);
        tm.tm_sec = clock.size() > 2 ? parse_number<int>(clock[2], 60).value_or(0) : 0;
        tm.tm_isdst = -1;
        int year = 0;
        for (std::size_t j = i + 1; j < words.size() && !year; ++j) year = parse_number<int>(words[j], 9999).value_or(0);
        if (tm.tm_mon < 0 || tm.tm_mday < 1 || year < 1970) continue;
        tm.tm_year = year - 1900;
        const auto seconds = std::mktime(&tm);
        return seconds == -1 ? unknown_time : int64_t{seconds};
    }
    return unknown_time;
}

std::string status_text(const MboxStatus& s) { return cat(status_letters(s), ',', x_status_letters(s), ',', joined(s.keywords)); }

MboxStatus parse_status_text(std::string_view text)
{
    MboxStatus out;
    const auto [status, rest] = cut(text, ',');
    take_letters(status, out);
    if (!rest) return out;
    const auto [x_status, words] = cut(*rest, ',');
    take_letters(x_status, out);
    if (words) take_words(*words, out.keywords);
    return out;
}

std::string status_headers(const MboxStatus& s)
{
    std::string out;
    if (const auto letters = status_letters(s); !letters.empty()) append(out, "Status: ", letters, '\n');
    if (const auto letters = x_status_letters(s); !letters.empty()) append(out, "X-Status: ", letters, '\n');
    std::size_t line = 0;
    for (const auto& word : s.keywords) {                  // folded where the reader would not look at the rest
        const bool fits = line > 0 && line + word.size() < fold_at;
        append(out, line == 0 ? "X-Keywords: " : fits ? " " : "\n\t", word);
        line = fits ? line + word.size() + 1 : word.size() + 12;
    }
    if (line) out += '\n';
    return out;
}

std::vector<Extent> MboxMail::visible() const
{
    std::vector<Extent> out;
    uint64_t at = content;
    for (const Extent& h : hidden) {
        if (h.offset > at) out.push_back({at, h.offset - at});
        at = h.offset + h.size;
    }
    if (end > at) out.push_back({at, end - at});
    return out;
}

void MboxReader::feed(std::string_view bytes)
{
    while (!bytes.empty()) {
        const auto lf = bytes.find('\n');
        const auto piece = bytes.substr(0, lf == std::string_view::npos ? lf : lf + 1);
        offset_ += piece.size();
        if (lf == std::string_view::npos) {
            last_ = piece.back();
            partial_ += piece.substr(0, max_line - std::min(max_line, partial_.size()));
            return;
        }
        bare_lf_ = (piece.size() > 1 ? piece[piece.size() - 2] : line_start_ + 1 < offset_ ? last_ : char{0}) != '\r';
        if (partial_.empty() && line_start_ + piece.size() == offset_) {
            line(piece.substr(0, max_line), line_start_, offset_);
        } else {
            partial_ += piece.substr(0, max_line - std::min(max_line, partial_.size()));
            line(partial_, line_start_, offset_);
            partial_.clear();
        }
        line_start_ = offset_;
        bytes.remove_prefix(piece.size());
    }
}

void MboxReader::finish()
{
    bare_lf_ = false;
    unended_ = line_start_ != offset_;
    if (unended_) line(partial_, line_start_, offset_);
    partial_.clear();
    line_start_ = offset_;
    if (in_mail_) end_mail(offset_);
}

void MboxReader::hash(std::string_view text)
{
    for (const char c : text.substr(0, text.find_last_not_of("\r\n") + 1)) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
}

void MboxReader::begin_mail(std::string_view from_line, uint64_t start, uint64_t end)
{
    if (in_mail_) end_mail(start);
    mail_ = MboxMail();
    mail_.start = start;
    mail_.content = end;
    mail_.date = from_line_date(from_line);
    in_mail_ = in_head_ = true;
    hiding_ = after_blank_ = x_imap_ = internal_subject_ = false;
    from_daemon_ = from_line.starts_with("From MAILER-DAEMON");
    hash_ = 0xcbf29ce484222325;
    hash(from_line);
}

void MboxReader::end_mail(uint64_t at)
{
    const bool first = mails_.empty() && begun_at_ == 0;
    mail_.next = at;
    mail_.end = at;
    if (after_blank_ && !in_head_ && blank_at_ > mail_.head_end) {
        mail_.end = blank_at_;
        mail_.wire_size -= blank_wire_;
    }
    if (in_head_) mail_.head_end = mail_.end = at;
    mail_.internal = first && from_daemon_ && x_imap_ && internal_subject_;
    // A last line without its end gets one as soon as another mail follows: it is the same mail then.
    uint64_t seen_bytes = unended_ ? 1 : 0;
    for (const Extent& e : mail_.visible()) seen_bytes += e.size;
    mail_.fingerprint = cat(hex_upper(hash_, 16), '.', seen_bytes);
    mails_.push_back(std::move(mail_));
    in_mail_ = false;
}

void MboxReader::line(std::string_view text, uint64_t start, uint64_t end)
{
    if (after_blank_ && text.starts_with("From ") && is_from_line(text)) {
        begin_mail(text, start, end);
        return;
    }
    const bool blank = text == "\n" || text == "\r\n";
    if (!in_mail_) {
        if (!blank) wrong_ = true;
        return;
    }
    if (in_head_ && blank) {
        in_head_ = false;
        mail_.head_end = start;
    } else if (in_head_) {
        header_line(text, start, end);
    }
    const bool hidden = in_head_ && hiding_;
    if (!hidden) mail_.wire_size += wire_size_of(start, end);
    after_blank_ = blank;
    if (!blank) return;
    blank_at_ = start;
    blank_wire_ = wire_size_of(start, end);
}

void MboxReader::take_base(std::string_view value)
{
    const auto words = split(value, " \t\r\n");
    if (words.size() < 2) return;
    const auto validity = parse_number<uint32_t>(words[0], largest_base);
    const auto last = parse_number<uint32_t>(words[1], largest_base);
    if (!validity || !last || *validity == 0) return;
    uidvalidity_ = *validity;
    uidnext_ = *last + 1;                              // the last UID that was given
    for (std::size_t i = 2; i < words.size() && base_keywords_.size() < max_keywords; ++i)
        if (is_keyword(words[i])) base_keywords_.emplace_back(words[i]);
}

void MboxReader::header_line(std::string_view text, uint64_t start, uint64_t end)
{
    if (text[0] == ' ' || text[0] == '\t') {           // goes with the line before
        if (!hiding_) hash(text);
        else mail_.hidden.back().size += end - start;
        if (hiding_ && !mail_.status_lines.empty() && mail_.status_lines.back().offset == mail_.hidden.back().offset)
            mail_.status_lines.back() = mail_.hidden.back();
        if (words_go_on_) take_words(text, mail_.status.keywords);
        return;
    }
    const auto [name, value] = cut(text, ':');
    const std::string field = lower(trim(name));
    const bool status = field == "status" || field == "x-status" || field == "x-keywords";
    const bool base = field == "x-imap" || field == "x-imapbase";
    words_go_on_ = value && field == "x-keywords";
    hiding_ = value && (status || base || field == "x-uid");
    if (!hiding_) {
        if (field == "subject" && value) internal_subject_ = iequals(trim(*value), internal_subject);
        hash(text);
        return;
    }
    mail_.hidden.push_back({start, end - start});
    if (status) mail_.status_lines.push_back({start, end - start});
    if (field == "x-keywords") take_words(*value, mail_.status.keywords);
    else if (status) take_letters(trim(*value), mail_.status);
    else if (field == "x-uid") mail_.uid = parse_number<uint32_t>(trim(*value), UINT32_MAX - 1).value_or(0);
    else if (mails_.empty() && uidvalidity_ == 0) take_base(*value);
    if (field == "x-imap") x_imap_ = true;
}

}  // namespace veredus::store
