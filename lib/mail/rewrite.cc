// Other addresses in the place of those of a header.
#include "lib/mail/rewrite.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/mail/address.h"

namespace veredus::mail {

namespace {

constexpr std::string_view sender_fields[] = {"From", "Sender", "Reply-To", "Errors-To", "Return-Receipt-To", "Disposition-Notification-To"};
constexpr std::string_view recipient_fields[] = {"To", "Cc", "Bcc", "Apparently-To", "Mail-Followup-To"};

template <class List> bool lists(const List& list, std::string_view name)
{
    return std::any_of(std::begin(list), std::end(list), [&](std::string_view f) { return iequals(f, name); });
}

bool skip_until(std::string_view s, std::size_t& at, char closing)
{
    for (; at < s.size(); ++at) {
        if (s[at] == '\\') ++at;
        else if (s[at] == closing) return ++at, true;
    }
    return false;
}

bool skip_comment(std::string_view s, std::size_t& at)
{
    for (int depth = 1; at < s.size(); ++at) {
        if (s[at] == '\\') ++at;
        else if (s[at] == '(') ++depth;
        else if (s[at] == ')' && --depth == 0) return ++at, true;
    }
    return false;
}

// Walks over an address list and remembers where addresses stand: [begin, end) of what is written without a gap around one @.
class Spans {
public:
    bool find(std::string_view s)      // false: not well-formed
    {
        const bool good = each_piece(s, [this](std::size_t begin, std::size_t end, char kind) {
            if (kind != 'w' && kind != '@') return special(kind);
            if (kind == '@') ++ats_;
            piece(begin, end);
            return true;
        });
        if (!good || in_angle_) return false;
        end_address();
        return true;
    }
    const std::vector<std::pair<std::size_t, std::size_t>>& spans() const { return spans_; }

private:
    void piece(std::size_t begin, std::size_t end)
    {
        if (end_ == begin_) begin_ = begin;
        else if (begin != end_) gap_ = true;
        end_ = end;
    }
    bool special(char c)
    {
        switch (c) {
        case '<':
            if (in_angle_ || done_) return false;
            in_angle_ = true;
            reset();
            return true;
        case '>':
            if (!in_angle_) return false;
            in_angle_ = false;
            end_address();
            done_ = true;
            return true;
        case ':':              // a group's name, or the route before an address in < >
            reset();
            return true;
        default:
            if (in_angle_) return true;      // a comma of a route
            if (!done_) end_address();
            reset();
            done_ = false;
            return true;
        }
    }
    void end_address()
    {
        if (!done_ && ats_ == 1 && !gap_) spans_.emplace_back(begin_, end_);
        reset();
    }
    void reset()
    {
        begin_ = end_ = ats_ = 0;
        gap_ = false;
    }
    std::vector<std::pair<std::size_t, std::size_t>> spans_;
    std::size_t begin_ = 0, end_ = 0, ats_ = 0;
    bool gap_ = false, in_angle_ = false, done_ = false;
};

}  // namespace

bool each_piece(std::string_view s, const std::function<bool(std::size_t begin, std::size_t end, char kind)>& take)
{
    constexpr std::string_view specials = "<>@,;:";
    for (std::size_t i = 0; i < s.size();) {
        const char c = s[i];
        std::size_t end = i + 1;
        bool good = true;
        if (c == '(') {
            good = skip_comment(s, end);
        } else if (c == '"' || c == '[') {
            good = skip_until(s, end, c == '"' ? '"' : ']') && take(i, end, 'w');
        } else if (specials.find(c) != std::string_view::npos) {
            good = take(i, end, c);
        } else if (!is_space(c)) {
            while (end < s.size() && !is_space(s[end]) && std::string_view("()<>@,;:\"[]").find(s[end]) == std::string_view::npos) ++end;
            good = take(i, end, 'w');
        }
        if (!good) return false;
        i = end;
    }
    return true;
}

AddressField address_field(std::string_view name)
{
    if (istarts_with(name, "Resent-")) name.remove_prefix(7);
    if (lists(sender_fields, name)) return AddressField::sender;
    return lists(recipient_fields, name) ? AddressField::recipient : AddressField::none;
}

std::string rewrite_list(std::string_view body, const MapAddress& map)
{
    Spans found;
    if (!found.find(body)) return std::string(body);
    std::string out;
    std::size_t from = 0;
    for (const auto& [begin, end] : found.spans()) {
        const auto address = parse_address(body.substr(begin, end - begin));
        const auto other = address ? map(address->text()) : std::nullopt;
        if (!other) continue;
        append(out, body.substr(from, begin - from), *other);
        from = end;
    }
    return out.append(body.substr(from));
}

HeaderBlock rewrite_header(const HeaderBlock& header, const std::function<std::optional<std::string>(AddressField, const std::string&)>& map)
{
    std::string text;
    for (const Field& field : header.fields()) {
        const AddressField kind = address_field(field.name());
        if (kind == AddressField::none) {
            text += field.raw;
            continue;
        }
        const std::size_t body = field.raw.find(':') + 1;
        append(text, std::string_view(field.raw).substr(0, body),
               rewrite_list(std::string_view(field.raw).substr(body), [&](const std::string& address) { return map(kind, address); }));
    }
    return HeaderBlock::parse(text);
}

}  // namespace veredus::mail
