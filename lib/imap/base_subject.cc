// Base subjects, and the first mailbox of an address list.
#include "lib/imap/base_subject.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/casemap.h"
#include "lib/mail/encoded_word.h"

namespace veredus::imap {

namespace {

constexpr std::size_t npos = std::string_view::npos;

bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

std::string_view without_leading_wsp(std::string_view s)
{
    while (!s.empty() && is_wsp(s.front())) s.remove_prefix(1);
    return s;
}

// RFC 5256 §2.1 step 1: blanks of every kind become one space.
void join_blanks(std::string& text)
{
    std::size_t to = 0;
    for (const char c : text) {
        if (!is_wsp(c) && c != '\r' && c != '\n')
            text[to++] = c;
        else if (to == 0 || text[to - 1] != ' ')
            text[to++] = ' ';
    }
    text.resize(to);
}

// Steps 2 to 6 on a piece of the text that gets smaller. Every byte is looked at a bounded number of times.
class Stripper {
public:
    explicit Stripper(std::string_view text) : rest_(text), begin_(text.data()) {}
    BaseSubject run()
    {
        do {
            strip_trailers();
            while (strip_leader() || strip_blob()) {
            }
        } while (strip_forward());
        return {rest_, reply_};
    }

private:
    void strip_trailers() // step 2
    {
        for (;;) {
            if (!rest_.empty() && is_wsp(rest_.back())) {
                rest_.remove_suffix(1);
            } else if (iends_with(rest_, "(fwd)")) {
                rest_.remove_suffix(5);
                reply_ = true;
            } else {
                return;
            }
        }
    }

    // subj-blob: the size of one that `s` begins with, or 0.
    static std::size_t blob_size(std::string_view s)
    {
        if (!s.starts_with('[')) return 0;
        const std::size_t end = s.find_first_of("[]", 1);
        if (end == npos || s[end] == '[') return 0;
        return s.size() - without_leading_wsp(s.substr(end + 1)).size();
    }

    // subj-refwd: the size of one that `s` begins with, or 0.
    static std::size_t refwd_size(std::string_view s)
    {
        const std::size_t word = istarts_with(s, "re") ? 2 : istarts_with(s, "fwd") ? 3 : istarts_with(s, "fw") ? 2 : 0;
        if (word == 0) return 0;
        std::string_view after = without_leading_wsp(s.substr(word));
        after.remove_prefix(blob_size(after));
        return after.starts_with(':') ? s.size() - after.size() + 1 : 0;
    }

    bool strip_leader() // step 3
    {
        if (!rest_.empty() && is_wsp(rest_.front())) {
            rest_ = without_leading_wsp(rest_);
            return true;
        }
        // Where blobs were followed by no subj-refwd once, they are not after the first of them is gone either.
        if (rest_.data() < begin_ + tried_to_) return false;
        std::string_view after = rest_;
        while (const std::size_t size = blob_size(after)) after.remove_prefix(size);
        const std::size_t refwd = refwd_size(after);
        if (refwd == 0) {
            tried_to_ = static_cast<std::size_t>(after.data() - begin_);
            return false;
        }
        after.remove_prefix(refwd);
        rest_ = after;
        reply_ = true;
        return true;
    }

    bool strip_blob() // step 4
    {
        const std::size_t size = blob_size(rest_);
        if (size == 0 || size == rest_.size()) return false;
        rest_.remove_prefix(size);
        return true;
    }

    bool strip_forward() // step 6
    {
        if (!istarts_with(rest_, "[fwd:") || !rest_.ends_with(']')) return false;
        rest_.remove_prefix(5);
        rest_.remove_suffix(1);
        tried_to_ = 0; // what is in it was taken for one blob; a blob holds no other, so this happens once
        reply_ = true;
        return true;
    }

    std::string_view rest_;
    const char* begin_;
    std::size_t tried_to_ = 0;
    bool reply_ = false;
};

// Keys are cut between characters, as far as their text goes.
void put_key(std::string_view text, std::string& out)
{
    if (text.size() > longest_sort_key) {
        std::size_t size = longest_sort_key;
        while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
        text = text.substr(0, size);
    }
    const std::size_t old = out.size();
    mail::casemap(text, out);
    out.resize(std::min(out.size(), old + longest_sort_key));
}

// Takes an address list apart as far as its first address, whatever is wrong with it (RFC 5322 §3.4).
class FirstMailbox {
public:
    explicit FirstMailbox(std::string_view list) : in_(list) {}

    std::string find()
    {
        while (at_ < in_.size()) {
            const char c = in_[at_];
            if (c == '(') {
                comment();
            } else if (c == '"') {
                quoted();
            } else if (c == '<') {
                ++at_;
                return angle();
            } else if (c == ':' || c == ';' || c == ',') {
                ++at_;
                // The name of a group is its mailbox (RFC 9051 §7.5.2); between commas there may be nothing at all.
                std::string found = c == ':' ? std::string(trim(text_)) : local_part();
                if (!found.empty()) return found;
                text_.clear();
            } else {
                if (c != '\r' && c != '\n') text_ += c;
                ++at_;
            }
        }
        return local_part();
    }

private:
    void comment()
    {
        int depth = 0;
        for (; at_ < in_.size(); ++at_) {
            const char c = in_[at_];
            if (c == '\\')
                ++at_;
            else if (c == '(')
                ++depth;
            else if (c == ')' && --depth == 0)
                break;
        }
        ++at_;
    }

    void quoted()
    {
        for (++at_; at_ < in_.size() && in_[at_] != '"'; ++at_) {
            if (in_[at_] == '\\' && at_ + 1 < in_.size()) ++at_;
            text_ += in_[at_];
        }
        ++at_;
    }

    std::string angle()
    {
        text_.clear();
        while (at_ < in_.size() && in_[at_] != '>') {
            const char c = in_[at_];
            if (c == '"') {
                quoted();
                continue;
            }
            if (c == ':' && text_.starts_with('@'))
                text_.clear(); // a source route (RFC 5322 §4.4)
            else if (!is_space(c))
                text_ += c;
            ++at_;
        }
        return local_part();
    }

    std::string local_part() const { return std::string(trim(std::string_view(text_).substr(0, text_.rfind('@')))); }

    std::string_view in_;
    std::size_t at_ = 0;
    std::string text_;
};

} // namespace

BaseSubject base_subject(std::string& text)
{
    join_blanks(text);
    return Stripper(text).run();
}

bool put_subject_key(std::string_view body, std::string& out)
{
    std::string text;
    mail::decode_header_text(body, text);
    const BaseSubject base = base_subject(text);
    put_key(base.text, out);
    return base.reply_or_forward;
}

void put_mailbox_key(std::string_view body, std::string& out)
{
    const std::string mailbox = FirstMailbox(body).find();
    // Nearly all are ASCII; what is not may be UTF-8 (RFC 6532) or broken.
    put_key(is_ascii(mailbox) ? mailbox : mail::decode_header_text(mailbox), out);
}

} // namespace veredus::imap
