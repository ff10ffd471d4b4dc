#include "submission/complete.h"

#include <algorithm>
#include <vector>

#include "lib/base/text.h"

namespace veredus::submission {

namespace {

// Walks over an address list and remembers where a domain has to be put in.
class Gaps {
public:
    // False: not well-formed, leave it alone.
    bool find(std::string_view s)
    {
        for (std::size_t i = 0; i < s.size();) {
            const char c = s[i];
            std::size_t end = i + 1;
            if (c == '(') {
                if (!skip_comment(s, end)) return false;
            } else if (c == '"') {
                if (!skip_until(s, end, '"')) return false;
                word(i, end);
            } else if (c == '[') {
                if (!skip_until(s, end, ']')) return false;
                word(i, end);
            } else if (std::string_view("<>@,;:").find(c) != std::string_view::npos) {
                if (!special(c)) return false;
            } else if (!is_space(c)) {
                while (end < s.size() && !is_space(s[end]) && std::string_view("()<>@,;:\"[]").find(s[end]) == std::string_view::npos) ++end;
                word(i, end);
            }
            i = end;
        }
        if (in_angle_) return false;
        end_entry();
        return true;
    }
    const std::vector<std::size_t>& positions() const { return positions_; }

private:
    static bool skip_until(std::string_view s, std::size_t& at, char closing)
    {
        for (; at < s.size(); ++at) {
            if (s[at] == '\\') ++at;
            else if (s[at] == closing) return ++at, true;
        }
        return false;
    }
    static bool skip_comment(std::string_view s, std::size_t& at)
    {
        for (int depth = 1; at < s.size(); ++at) {
            if (s[at] == '\\') ++at;
            else if (s[at] == '(') ++depth;
            else if (s[at] == ')' && --depth == 0) return ++at, true;
        }
        return false;
    }
    void word(std::size_t begin, std::size_t end)
    {
        if (words_ == 0 || begin != word_end_) ++words_;     // "a".b is one, as is a.b
        word_end_ = end;
    }
    bool special(char c)
    {
        switch (c) {
        case '@': has_at_ = true; break;
        case '<':
            if (in_angle_ || done_) return false;
            in_angle_ = true;
            words_ = 0;
            has_at_ = false;
            break;
        case '>':
            if (!in_angle_) return false;
            in_angle_ = false;
            if (words_ == 1 && !has_at_) positions_.push_back(word_end_);
            done_ = true;
            break;
        case ':':
            if (!in_angle_) reset();      // what stood there was a group's name; in < > a route, which has its @
            break;
        default:
            if (!in_angle_) end_entry();
        }
        return true;
    }
    void end_entry()
    {
        if (!done_ && words_ == 1 && !has_at_) positions_.push_back(word_end_);
        reset();
    }
    void reset()
    {
        words_ = 0;
        has_at_ = done_ = false;
    }
    std::vector<std::size_t> positions_;
    std::size_t words_ = 0, word_end_ = 0;
    bool has_at_ = false, in_angle_ = false, done_ = false;
};

constexpr std::string_view address_fields[] = {
    "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Errors-To", "Return-Receipt-To", "Disposition-Notification-To", "Apparently-To", "Mail-Followup-To",
};

}  // namespace

void complete(mail::Address& address, const Origin& origin)
{
    if (address.empty()) return;
    if (address.domain.empty()) address.domain = origin.myorigin;
    else if (!origin.dot_mydomain.empty() && address.domain.find_first_of(".[") == std::string::npos) address.domain += origin.dot_mydomain;
}

bool has_addresses(std::string_view name)
{
    if (istarts_with(name, "Resent-")) name.remove_prefix(7);
    return std::any_of(std::begin(address_fields), std::end(address_fields), [&](std::string_view f) { return iequals(f, name); });
}

std::string complete_list(std::string_view body, std::string_view domain)
{
    Gaps gaps;
    if (!gaps.find(body)) return std::string(body);
    std::string out;
    std::size_t from = 0;
    for (const std::size_t at : gaps.positions()) {
        append(out, body.substr(from, at - from), '@', domain);
        from = at;
    }
    return out.append(body.substr(from));
}

mail::HeaderBlock complete(const mail::HeaderBlock& header, const Origin& origin)
{
    std::string text;
    for (const mail::Field& field : header.fields()) {
        if (!has_addresses(field.name())) {
            text += field.raw;
            continue;
        }
        const std::size_t body = field.raw.find(':') + 1;
        append(text, std::string_view(field.raw).substr(0, body), complete_list(std::string_view(field.raw).substr(body), origin.myorigin));
    }
    return mail::HeaderBlock::parse(text);
}

}  // namespace veredus::submission
