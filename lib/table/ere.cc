#include "lib/table/ere.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::table {

namespace {

// Behind the bracket expression that begins at `at`. "]" first in it is an ordinary character, and a class has brackets of its own.
std::size_t end_of_bracket(std::string_view text, std::size_t at)
{
    if (++at < text.size() && text[at] == '^') ++at;
    if (at < text.size() && text[at] == ']') ++at;
    while (at < text.size() && text[at] != ']') {
        if (text[at] == '[' && at + 1 < text.size() && (text[at + 1] == ':' || text[at + 1] == '.' || text[at + 1] == '=')) {
            const char closing[] = {text[at + 1], ']'};
            at = std::min(text.find(std::string_view(closing, 2), at + 2), text.size() - 1) + 1;
        }
        ++at;
    }
    return std::min(at + 1, text.size());
}

class Translation {
public:
    explicit Translation(std::string_view text) : text_(text) {}
    Result<std::string> run()
    {
        while (at_ < text_.size()) TRY(step());
        return std::move(out_);
    }

private:
    Result<void> step()
    {
        const char c = text_[at_];
        switch (c) {
        case '\\': return escape();
        case '[': return bracket();
        case '*':
        case '+':
        case '?': ++at_; return repeat(std::string_view(&text_[at_ - 1], 1));
        case '{': return interval();
        case '(':
        case '|':
        case '^': return put(std::string(1, c), false);
        default: return put(std::string(1, c), true);
        }
    }
    // `what` for the character in hand; `atom`: it may be repeated.
    Result<void> put(const std::string& what, bool atom)
    {
        ++at_;
        out_ += what;
        atom_ = atom;
        return {};
    }
    Result<void> escape()
    {
        ++at_;
        if (at_ == text_.size()) return fail("a backslash at the end");
        const char c = text_[at_];
        if (c >= '1' && c <= '9') return put(cat("\\g{", c, '}'), true);    // "\10" is the first group and a nought
        switch (c) {
        case 'w':
        case 'W':
        case 's':
        case 'S': return put(cat('\\', c), true);
        case 'b':
        case 'B': return put(cat('\\', c), false);
        case '<': return put("\\b(?=\\w)", false);
        case '>': return put("\\b(?<=\\w)", false);
        case '`': return put("\\A", false);
        case '\'': return put("\\z", false);
        default: return put(is_alnum(c) ? std::string(1, c) : cat('\\', c), true);
        }
    }
    Result<void> bracket()
    {
        const std::size_t end = end_of_bracket(text_, at_);
        std::string out = "[";
        std::size_t at = at_ + 1;
        if (at < end && text_[at] == '^') out += text_[at++];
        if (at < end && text_[at] == ']') out += "\\]", ++at;
        for (; at + 1 < end; ++at) {
            const bool named = text_[at] == '[' && (text_[at + 1] == '.' || text_[at + 1] == '=');
            if (named) return fail("a collating symbol beside a back-reference");
            if (text_[at] == '[' && text_[at + 1] == ':') {
                const std::size_t behind = std::min(text_.find(":]", at + 2), end - 2) + 2;
                out += text_.substr(at, behind - at);
                at = behind - 1;
            } else {
                if (text_[at] == '\\' || text_[at] == '[') out += '\\';
                out += text_[at];
            }
        }
        at_ = end - 1;
        return put(out + ']', true);
    }
    Result<void> interval()
    {
        const std::size_t end = text_.find('}', at_);
        if (end == std::string_view::npos) return fail("{ without }");
        const std::string_view inner = text_.substr(at_ + 1, end - at_ - 1);
        at_ = end + 1;
        return repeat(cat('{', inner.starts_with(',') ? "0" : "", inner, '}'));
    }
    Result<void> repeat(std::string_view how)
    {
        if (!atom_) return fail(cat("\"", how, "\" repeats nothing, or a repetition, beside a back-reference"));
        out_ += how;
        atom_ = false;
        return {};
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::string out_;
    bool atom_ = false;
};

}  // namespace

bool has_back_reference(std::string_view pattern)
{
    for (std::size_t at = 0; at < pattern.size();) {
        if (pattern[at] == '[') {
            at = end_of_bracket(pattern, at);
        } else if (pattern[at] == '\\' && at + 1 < pattern.size()) {
            if (pattern[at + 1] >= '1' && pattern[at + 1] <= '9') return true;
            at += 2;
        } else {
            ++at;
        }
    }
    return false;
}

Result<std::string> pcre_of_ere(std::string_view pattern) { return Translation(pattern).run(); }

}  // namespace veredus::table
