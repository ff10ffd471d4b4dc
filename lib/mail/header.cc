// A header block: fields in order, each kept as it came (RFC 5322 §2.2), with finding, adding and removing.
#include "lib/mail/header.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/base/text.h"
#include "lib/mail/mime_fields.h"

namespace veredus::mail {

namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::size_t line_size(std::string_view bytes)
{
    const std::size_t end = bytes.find('\n');
    return end == std::string_view::npos ? bytes.size() : end + 1;
}

// A line for a field's raw text: its end is CRLF, whatever it was.
void add_line(std::string& raw, std::string_view line)
{
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    veredus::append(raw, line, "\r\n");
}

// A body that a program of ours gives: a line end that is no folding would begin another field, so it becomes a blank.
std::string field_text(std::string_view name, std::string_view body)
{
    std::string out = cat(name, ": ");
    for (std::size_t i = 0; i < body.size(); ++i) {
        if (body[i] == '\r' && i + 2 < body.size() && body[i + 1] == '\n' && is_blank(body[i + 2])) {
            out.append("\r\n");
            ++i;
        } else {
            out.push_back(body[i] == '\r' || body[i] == '\n' || body[i] == '\0' ? ' ' : body[i]);
        }
    }
    out.append("\r\n");
    return out;
}

// How a program that sends a mail as it lay in an mbox begins it.
bool is_from_line(std::string_view line)
{
    line.remove_prefix(std::min(line.find_first_not_of('>'), line.size()));
    return istarts_with(line, "From ") && field_name_size(line) == 0;      // "From : a@b" is a field (RFC 5322 §4.5)
}

}  // namespace

std::string_view Field::body() const
{
    std::string_view s = raw;
    s.remove_prefix(std::min(s.size(), s.find(':', name_size) + 1));
    while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
    if (s.ends_with('\n')) s.remove_suffix(1);
    if (s.ends_with('\r')) s.remove_suffix(1);
    return s;
}

std::string Field::unfolded() const
{
    const std::string_view s = body();
    std::string out;
    out.reserve(s.size());
    for (const char c : s)
        if (c != '\r' && c != '\n') out.push_back(c);
    return out;
}

HeaderBlock HeaderBlock::parse(std::string_view bytes)
{
    HeaderBlock block;
    while (!bytes.empty()) {
        const std::string_view line = bytes.substr(0, line_size(bytes));
        if (is_blank(line[0]) && !block.fields_.empty()) {
            add_line(block.fields_.back().raw, line);
        } else if (const std::size_t name = field_name_size(line)) {
            block.fields_.push_back(Field{{}, name});
            add_line(block.fields_.back().raw, line);
        } else {
            block.rest_ = bytes;
            break;
        }
        bytes.remove_prefix(line.size());
    }
    return block;
}

const Field* HeaderBlock::find(std::string_view name) const
{
    const auto it = std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return iequals(f.name(), name); });
    return it == fields_.end() ? nullptr : &*it;
}

std::size_t HeaderBlock::count(std::string_view name) const
{
    return static_cast<std::size_t>(
        std::count_if(fields_.begin(), fields_.end(), [&](const Field& f) { return iequals(f.name(), name); }));
}

void HeaderBlock::prepend(std::string_view name, std::string_view body)
{
    fields_.insert(fields_.begin(), Field{field_text(name, body), name.size()});
}

void HeaderBlock::append(std::string_view name, std::string_view body) { fields_.push_back(Field{field_text(name, body), name.size()}); }

std::size_t HeaderBlock::remove(std::string_view name)
{
    return std::erase_if(fields_, [&](const Field& f) { return iequals(f.name(), name); });
}

void HeaderBlock::replace(std::string_view name, std::string_view body)
{
    bool seen = false;
    std::erase_if(fields_, [&](Field& f) {
        if (!iequals(f.name(), name)) return false;
        if (seen) return true;
        seen = true;
        f = Field{field_text(name, body), name.size()};
        return false;
    });
    if (!seen) append(name, body);
}

std::string HeaderBlock::text() const
{
    std::size_t size = 0;
    for (const Field& f : fields_) size += f.raw.size();
    std::string out;
    out.reserve(size);
    for (const Field& f : fields_) out.append(f.raw);
    return out;
}

bool HeaderBlock::has_8bit() const
{
    return std::any_of(fields_.begin(), fields_.end(), [](const Field& f) { return !is_ascii(f.raw); });
}

std::string_view HeaderCutter::feed(std::string_view bytes)
{
    while (!done_ && !bytes.empty()) {
        const std::size_t n = line_size(bytes);
        const std::size_t room = std::max<std::size_t>(limit_ - std::min(limit_, header_.size()), 2);
        const std::size_t keep = std::min(n, room - std::min(room, line_.size()));
        if (keep < n) too_long_ = true;
        line_.append(bytes.substr(0, keep));
        const bool whole = bytes[n - 1] == '\n';
        bytes.remove_prefix(n);
        if (whole) end_line(keep < n);
    }
    return bytes;
}

void HeaderCutter::end_line(bool cut)
{
    if (!cut && (line_ == "\r\n" || line_ == "\n")) {
        done_ = true;
    } else if (too_long_) {
        // Beyond the limit nothing is kept; the owner refuses the mail or lives with the beginning.
    } else if (begins_ && is_from_line(line_)) {
        veredus::append(header_, "X-Mailbox-Line: ", line_);
        line_.clear();
        return;                                              // more of them may follow, and the header still begins
    } else if ((is_blank(line_[0]) && !header_.empty()) || field_name_size(line_)) {
        header_.append(line_);
    } else {
        body_start_ = std::move(line_);
        done_ = true;
    }
    begins_ = false;
    line_.clear();
}

void HeaderCutter::finish()
{
    if (done_) return;
    if (!line_.empty()) {
        if (!line_.ends_with('\r')) line_.push_back('\r');
        line_.push_back('\n');
        end_line(false);
    }
    done_ = true;
}

std::string quote_phrase(std::string_view phrase)
{
    const bool plain = std::all_of(phrase.begin(), phrase.end(), [](char c) {
        return is_alnum(c) || static_cast<unsigned char>(c) >= 0x80 || std::string_view("!#$%&'*+-/=?^_`{|}~ ").find(c) != std::string_view::npos;
    });
    std::string out;
    if (plain && !phrase.empty()) return std::string(phrase);
    out.push_back('"');
    for (const char c : phrase) {
        if (c == '"' || c == '\\') out.push_back('\\');
        const auto u = static_cast<unsigned char>(c);
        out.push_back(u < 0x20 || u == 0x7F ? ' ' : c);
    }
    out.push_back('"');
    return out;
}

}  // namespace veredus::mail
