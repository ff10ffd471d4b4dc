// One pattern of a regexp:, pcre: or cidr: table.
#include "lib/table/matcher.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <regex.h>

#include <algorithm>

#include "lib/base/text.h"
#include "lib/net/address.h"
#include "lib/table/ere.h"

namespace veredus::table {

namespace {

// How many nodes regcomp(3) makes of a pattern: it copies what a + or {n} repeats, so that "a++++…" or "((a{99}){99}){99}"
// would take all memory there is.
class PosixCost {
public:
    PosixCost(std::string_view pattern, bool extended) : text_(pattern), extended_(extended), limit_(3000 + 2 * pattern.size()) {}
    bool too_much() { return count() >= limit_; }

private:
    uint64_t count()
    {
        while (at_ < text_.size() && sum_ < limit_) step();
        uint64_t total = sum_ + atom_;
        for (const uint64_t outer : outer_) total += outer;
        return total;
    }
    void begin_atom(uint64_t size)
    {
        sum_ += atom_;
        atom_ = size;
        repeats_ = false;
    }
    // A repetition of what repeats itself costs regcomp much more than the copies.
    void repeat(uint64_t times)
    {
        atom_ = std::min(atom_ * std::max<uint64_t>(times, 1) * (repeats_ ? 4 : 1), limit_);
        repeats_ = true;
    }
    void step()
    {
        char c = text_[at_++];
        bool special = extended_;
        if (c == '\\' && at_ < text_.size()) {
            c = text_[at_++];
            special = !extended_;      // \( \{ \+ are operators of the basic syntax
        }
        if (c == '[' && special == extended_) return bracket();
        if (!special) return begin_atom(1);
        if (c == '(') {
            begin_atom(0);
            outer_.push_back(sum_);
            sum_ = 0;
            inside_.push_back(false);
        } else if (c == ')' && !outer_.empty()) {
            const uint64_t inner = sum_ + atom_ + 1;
            sum_ = outer_.back();
            outer_.pop_back();
            atom_ = inner;
            repeats_ = inside_.back();
            inside_.pop_back();
        } else if (c == '+') {
            repeat(2);
        } else if (c == '{') {
            interval();
        } else if (c == '*' || c == '?') {
            repeat(1);
        } else {
            begin_atom(1);
        }
        if (repeats_)
            for (std::size_t i = 0; i < inside_.size(); ++i) inside_[i] = true;
    }
    void interval()
    {
        uint64_t most = 0, number = 0;
        for (; at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == ','); ++at_) {
            number = text_[at_] == ',' ? 0 : std::min<uint64_t>(number * 10 + static_cast<uint64_t>(text_[at_] - '0'), limit_);
            most = std::max(most, number);
        }
        if (at_ < text_.size() && text_[at_] == '\\') ++at_;
        if (at_ < text_.size() && text_[at_] == '}') ++at_;
        repeat(most + 1);
    }
    void bracket()      // "]" first in it is an ordinary character
    {
        if (at_ < text_.size() && text_[at_] == '^') ++at_;
        if (at_ < text_.size() && text_[at_] == ']') ++at_;
        at_ = std::min(text_.find(']', at_), text_.size() - 1) + 1;
        begin_atom(1);
    }

    std::string_view text_;
    bool extended_;
    uint64_t limit_;
    std::size_t at_ = 0;
    uint64_t sum_ = 0, atom_ = 0;
    std::vector<uint64_t> outer_;
    bool repeats_ = false;              // the last atom
    std::vector<bool> inside_;          // each open group
};

class Posix final : public Matcher {
public:
    ~Posix() override
    {
        if (compiled_) ::regfree(&regex_);
    }
    Result<void> compile(const std::string& pattern, int flags)
    {
        if (const int code = ::regcomp(&regex_, pattern.c_str(), flags); code != 0) {
            char why[200];
            ::regerror(code, &regex_, why, sizeof why);
            return fail(cat("\"", printable(pattern, 80), "\": ", std::string_view(why)));
        }
        compiled_ = true;
        return {};
    }
    Result<bool> match(const std::string& key, std::vector<std::string>& found) const override
    {
        std::vector<regmatch_t> at(regex_.re_nsub + 1);
        const int code = ::regexec(&regex_, key.c_str(), at.size(), at.data(), 0);
        if (code == REG_NOMATCH) return false;
        if (code != 0) return fail("regexec: out of memory");
        found.clear();
        for (const regmatch_t& m : at)
            found.push_back(m.rm_so < 0 ? std::string() : key.substr(static_cast<std::size_t>(m.rm_so), static_cast<std::size_t>(m.rm_eo - m.rm_so)));
        return true;
    }
    std::size_t groups() const override { return regex_.re_nsub; }

private:
    regex_t regex_{};
    bool compiled_ = false;
};

template <auto Free> struct Freed {
    void operator()(auto* p) const noexcept { Free(p); }
};
using CodePtr = std::unique_ptr<pcre2_code, Freed<pcre2_code_free>>;
using MatchPtr = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;
using ContextPtr = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;

class Pcre final : public Matcher {
public:
    Result<void> compile(const std::string& pattern, uint32_t options)
    {
        int error = 0;
        PCRE2_SIZE offset = 0;
        code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, nullptr));
        if (!code_) return fail(cat("\"", printable(pattern, 80), "\": ", text_of(error), " at character ", offset));
        context_.reset(pcre2_match_context_create(nullptr));
        // A pattern that goes wild on a stranger's words must not stop the daemon: the lookup fails, and mail waits.
        pcre2_set_match_limit(context_.get(), 200'000);
        pcre2_set_depth_limit(context_.get(), 10'000);
        pcre2_set_heap_limit(context_.get(), 8 * 1024);   // KiB
        pcre2_pattern_info(code_.get(), PCRE2_INFO_CAPTURECOUNT, &groups_);
        return {};
    }
    Result<bool> match(const std::string& key, std::vector<std::string>& found) const override
    {
        const MatchPtr data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
        const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(key.data()), key.size(), 0, 0, data.get(), context_.get());
        if (count == PCRE2_ERROR_NOMATCH) return false;
        if (count < 0) return fail(cat("pattern: ", text_of(count)));
        const PCRE2_SIZE* at = pcre2_get_ovector_pointer(data.get());
        found.assign(groups_ + 1, std::string());
        for (int i = 0; i < count; ++i) {
            const PCRE2_SIZE begin = at[2 * i], end = at[2 * i + 1];
            if (begin != PCRE2_UNSET && end >= begin) found[static_cast<std::size_t>(i)] = key.substr(begin, end - begin);
        }
        return true;
    }
    std::size_t groups() const override { return groups_; }

private:
    static std::string text_of(int error)
    {
        PCRE2_UCHAR buffer[200];
        pcre2_get_error_message(error, buffer, sizeof buffer);
        return reinterpret_cast<const char*>(buffer);
    }
    CodePtr code_;
    ContextPtr context_;
    uint32_t groups_ = 0;
};

class Cidr final : public Matcher {
public:
    explicit Cidr(net::Network network) : network_(std::move(network)) {}
    Result<bool> match(const std::string& key, std::vector<std::string>&) const override
    {
        const auto address = net::Address::parse_ip(key, 0);
        return address && network_.contains(*address);
    }

private:
    net::Network network_;
};

}  // namespace

Result<std::unique_ptr<Matcher>> posix_matcher(const std::string& pattern, std::string_view flags)
{
    int options = REG_EXTENDED | REG_ICASE;
    for (const char flag : flags) {
        if (flag == 'i') options ^= REG_ICASE;
        else if (flag == 'm') options ^= REG_NEWLINE;
        else if (flag == 'x') options ^= REG_EXTENDED;
        else return fail(cat("unknown flag \"", flag, "\"; known are i, m and x"));
    }
    if (PosixCost(pattern, options & REG_EXTENDED).too_much())
        return fail(cat("\"", printable(pattern, 80), "\": repeats too much within repetitions"));
    auto matcher = std::make_unique<Posix>();
    TRY(matcher->compile(pattern, options));
    if (!has_back_reference(pattern)) return matcher;
    if (!(options & REG_EXTENDED)) return fail(cat("\"", printable(pattern, 80), "\": a back-reference in the basic syntax: use the extended one, or pcre:"));
    auto like = pcre_of_ere(pattern);
    if (!like) return fail(cat("\"", printable(pattern, 80), "\": ", like.error().text, ": use pcre:"));
    auto bounded = std::make_unique<Pcre>();
    TRY(bounded->compile(*like, (options & REG_ICASE ? PCRE2_CASELESS : 0U) | (options & REG_NEWLINE ? PCRE2_MULTILINE : PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY)));
    return bounded;
}

Result<std::unique_ptr<Matcher>> pcre_matcher(const std::string& pattern, std::string_view flags)
{
    uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL;
    for (const char flag : flags) {
        if (flag == 'i') options ^= PCRE2_CASELESS;
        else if (flag == 'm') options ^= PCRE2_MULTILINE;
        else if (flag == 's') options ^= PCRE2_DOTALL;
        else if (flag == 'x') options ^= PCRE2_EXTENDED;
        else if (flag == 'A') options ^= PCRE2_ANCHORED;
        else if (flag == 'E') options ^= PCRE2_DOLLAR_ENDONLY;
        else if (flag == 'U') options ^= PCRE2_UNGREEDY;
        else if (flag != 'X') return fail(cat("unknown flag \"", flag, "\"; known are i, m, s, x, A, E, U and X"));
    }
    auto matcher = std::make_unique<Pcre>();
    TRY(matcher->compile(pattern, options));
    return matcher;
}

Result<std::unique_ptr<Matcher>> cidr_matcher(std::string_view network) { return std::make_unique<Cidr>(TRY(net::Network::parse(network))); }

}  // namespace veredus::table
