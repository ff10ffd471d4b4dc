#include "submission/complete.h"

#include <vector>

#include "lib/base/text.h"
#include "lib/mail/rewrite.h"

namespace veredus::submission {

namespace {

// Walks over an address list and remembers where a domain has to be put in.
class Gaps {
public:
    // False: not well-formed, leave it alone.
    bool find(std::string_view s)
    {
        const bool good = mail::each_piece(s, [this](std::size_t begin, std::size_t end, char kind) {
            if (kind != 'w') return special(kind);
            word(begin, end);
            return true;
        });
        if (!good || in_angle_) return false;
        end_entry();
        return true;
    }
    const std::vector<std::size_t>& positions() const { return positions_; }

private:
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

}  // namespace

void complete(mail::Address& address, const Origin& origin)
{
    if (address.empty()) return;
    if (address.domain.empty()) address.domain = origin.myorigin;
    else if (!origin.dot_mydomain.empty() && address.domain.find_first_of(".[") == std::string::npos) address.domain += origin.dot_mydomain;
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
        if (mail::address_field(field.name()) == mail::AddressField::none) {
            text += field.raw;
            continue;
        }
        const std::size_t body = field.raw.find(':') + 1;
        append(text, std::string_view(field.raw).substr(0, body), complete_list(std::string_view(field.raw).substr(body), origin.myorigin));
    }
    return mail::HeaderBlock::parse(text);
}

}  // namespace veredus::submission
