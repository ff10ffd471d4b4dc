// Addresses: the two halves, their quoting, and the address lists of header fields (RFC 5322 §3.4, RFC 5321 §4.1.2).
#include "lib/mail/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t longest_local = 512;  // RFC 5321 §4.5.3.1.1 says 64, but VERP senders go beyond it every day
constexpr std::size_t longest_domain = 255;

bool is_high(char c) { return static_cast<unsigned char>(c) >= 0x80; }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

bool is_atext(char c)
{
    return is_alnum(c) || is_high(c) || std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != std::string_view::npos;
}

// What stands unquoted before an @: atoms and dots in any order ("a..b" is real and common, though no dot-atom).
bool is_loose_local(std::string_view s)
{
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return is_atext(c) || c == '.'; });
}

// The content of the quoted string that `text` begins with, and how many bytes it took.
Result<std::string> take_quoted(std::string_view text, std::size_t& taken)
{
    std::string out;
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '"') {
            taken = i + 1;
            return out;
        }
        if (text[i] == '\\' && ++i == text.size()) break;
        out.push_back(text[i]);
    }
    return fail("a quote is not closed");
}

Result<std::string> checked_domain(std::string_view domain)
{
    if (domain.empty()) return fail("nothing follows the @");
    if (domain.size() > longest_domain) return fail("the domain is too long");
    if (domain.front() == '[') {
        if (!is_address_literal(domain)) return fail("bad address literal");
    } else if (!is_domain(domain, true)) {
        return fail("bad domain name");
    }
    return lower(domain);
}

Result<Address> checked(std::string local, std::string_view domain, bool has_domain)
{
    if (local.size() > longest_local) return fail("the local part is too long");
    if (std::any_of(local.begin(), local.end(), is_control)) return fail("a control character in the address");
    if (!is_utf8(local) || !is_utf8(domain)) return fail("the address is neither ASCII nor UTF-8");
    if (local.empty() && !has_domain) return fail("empty address");
    Address address;
    address.local = std::move(local);
    if (has_domain) address.domain = TRY(checked_domain(domain));
    return address;
}

// ---- address lists ----

struct Token {
    enum class Kind { word, quoted, literal, special } kind;
    std::string text;  // of special: the character
};

// Skips a comment that starts at `at` (nested, RFC 5322 §3.2.2); false when it is not closed.
bool skip_comment(std::string_view s, std::size_t& at)
{
    int depth = 0;
    for (; at < s.size(); ++at) {
        if (s[at] == '\\') ++at;
        else if (s[at] == '(') ++depth;
        else if (s[at] == ')' && --depth == 0) {
            ++at;
            return true;
        }
    }
    return false;
}

class Lexer {
public:
    explicit Lexer(std::string_view text) : text_(text) {}

    // The next token, nothing at the end, or what is wrong.
    Result<std::optional<Token>> next()
    {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (is_space(c)) {
                ++at_;
            } else if (c == '(') {
                if (!skip_comment(text_, at_)) return fail("a comment is not closed");
            } else {
                return token(c);
            }
        }
        return std::optional<Token>();
    }

private:
    Result<std::optional<Token>> token(char c)
    {
        if (c == '"') {
            std::size_t taken = 0;
            std::string text = TRY(take_quoted(text_.substr(at_), taken));
            at_ += taken;
            std::erase_if(text, [](char x) { return x == '\r' || x == '\n'; });  // folding inside quotes (§3.2.4)
            return std::optional<Token>(Token{Token::Kind::quoted, std::move(text)});
        }
        if (c == '[') {
            const std::size_t end = text_.find(']', at_);
            if (end == std::string_view::npos) return fail("a domain literal is not closed");
            const std::string_view text = text_.substr(at_, end + 1 - at_);
            at_ = end + 1;
            return std::optional<Token>(Token{Token::Kind::literal, std::string(text)});
        }
        if (is_atext(c)) {
            const std::size_t from = at_;
            while (at_ < text_.size() && is_atext(text_[at_])) ++at_;
            return std::optional<Token>(Token{Token::Kind::word, std::string(text_.substr(from, at_ - from))});
        }
        if (std::string_view("<>@,;:.").find(c) == std::string_view::npos)
            return fail(cat("an unexpected '", printable(std::string_view(&c, 1)), "'"));
        ++at_;
        return std::optional<Token>(Token{Token::Kind::special, std::string(1, c)});
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

class ListParser {
public:
    ListParser(std::string_view body, std::size_t limit) : lexer_(body), limit_(limit) {}

    Result<std::vector<Mailbox>> run()
    {
        for (;;) {
            auto token = TRY(lexer_.next());
            if (!token) break;
            if (token->kind != Token::Kind::special || token->text == "." || token->text == "@") {
                pending_.push_back(std::move(*token));
                continue;
            }
            TRY(special(token->text[0]));
        }
        if (in_angle_) return fail("a < is not closed");
        TRY(end_entry());
        return std::move(out_);
    }

private:
    // What a structural character does to the words gathered before it.
    Result<void> special(char c)
    {
        if (in_angle_) {
            if (c == '>') return end_angle();
            if (c == ':' || c == ',') {  // an obsolete route "@a,@b:" (§4.4): dropped
                if (pending_.empty() || pending_.front().text != "@") return fail(cat("an unexpected '", c, "' in < >"));
                pending_.clear();
                return {};
            }
            return fail(cat("an unexpected '", c, "' in < >"));
        }
        if (c == '<') {
            display_ = phrase();
            pending_.clear();
            in_angle_ = true;
            return {};
        }
        if (c == ':') {  // a group's name ends here (§3.4)
            pending_.clear();
            after_angle_ = false;
            return {};
        }
        if (c == '>') return fail("a > without <");
        return end_entry();
    }

    std::string phrase() const
    {
        std::string out;
        for (const Token& t : pending_) {
            if (!out.empty() && t.text != ".") out.push_back(' ');
            out.append(t.text);
        }
        return out;
    }

    Result<void> end_angle()
    {
        in_angle_ = false;
        after_angle_ = true;
        if (pending_.empty()) return {};  // <>
        std::size_t at = 0;
        Address address = TRY(take_address(at));
        if (at != pending_.size()) return fail("more than an address in < >");
        pending_.clear();
        return add(std::move(display_), std::move(address));
    }

    // A comma, a semicolon or the end: what is gathered is one bare address, or several whose commas were forgotten.
    Result<void> end_entry()
    {
        std::size_t at = 0;
        while (at < pending_.size()) {
            Address address = TRY(take_address(at));
            if (address.domain.empty() && (after_angle_ || at != pending_.size()))
                return fail(cat("\"", printable(phrase(), 100), "\" is no address"));
            TRY(add({}, std::move(address)));
        }
        pending_.clear();
        after_angle_ = false;
        return {};
    }

    // word *("." word) ["@" (literal / atom *("." atom))], blanks and comments between them allowed (§4.4).
    Result<Address> take_address(std::size_t& at)
    {
        const auto is = [&](std::size_t i, const char* s) {
            return i < pending_.size() && pending_[i].kind == Token::Kind::special && pending_[i].text == s;
        };
        std::string local;
        bool word_before = false;
        for (; at < pending_.size() && !is(at, "@"); ++at) {
            const bool dot = is(at, ".");
            if (pending_[at].kind == Token::Kind::literal) return fail("a domain literal without @");
            if (!dot && word_before) break;
            word_before = !dot;
            local += pending_[at].text;
        }
        if (local.empty()) return fail("nothing stands before the @");
        if (!is(at, "@")) return checked(std::move(local), {}, false);
        ++at;
        std::string domain;
        word_before = false;
        for (; at < pending_.size() && !is(at, "@"); ++at) {
            const bool dot = is(at, ".");
            if (!dot && word_before) break;
            if (pending_[at].kind == Token::Kind::quoted) return fail("a quoted domain");
            word_before = !dot;
            domain += pending_[at].text;
        }
        if (is(at, "@")) return fail("two @ in one address");
        return checked(std::move(local), domain, true);
    }

    Result<void> add(std::string display, Address address)
    {
        if (out_.size() >= limit_) return fail(cat("more than ", limit_, " addresses"));
        out_.push_back(Mailbox{std::move(display), std::move(address)});
        return {};
    }

    Lexer lexer_;
    std::size_t limit_;
    std::vector<Mailbox> out_;
    std::vector<Token> pending_;
    std::string display_;
    bool in_angle_ = false, after_angle_ = false;
};

}  // namespace

bool is_dot_atom(std::string_view local)
{
    if (!is_loose_local(local) || local.front() == '.' || local.back() == '.') return false;
    return local.find("..") == std::string_view::npos;
}

std::string quote_local(std::string_view local)
{
    if (is_dot_atom(local)) return std::string(local);
    std::string out = "\"";
    for (const char c : local) {
        if (c == '"' || c == '\\') out.push_back('\\');
        out.push_back(c);
    }
    out.push_back('"');
    return out;
}

std::string Address::text() const
{
    if (empty()) return {};
    std::string out = quote_local(local);
    if (!domain.empty()) append(out, '@', domain);
    return out;
}

Result<Address> parse_address(std::string_view text)
{
    if (text.empty()) return fail("empty address");
    if (text.front() == '"') {
        std::size_t taken = 0;
        std::string local = TRY(take_quoted(text, taken));
        const std::string_view rest = text.substr(taken);
        if (rest.empty()) return checked(std::move(local), {}, false);
        if (rest.front() != '@') return fail("something other than @ follows the quoted local part");
        return checked(std::move(local), rest.substr(1), true);
    }
    const std::size_t at = text.rfind('@');
    const std::string_view local = text.substr(0, at);
    if (local.empty()) return fail("nothing stands before the @");
    if (!is_loose_local(local)) return fail("a character that needs quoting in the local part");
    return checked(std::string(local), at == std::string_view::npos ? std::string_view() : text.substr(at + 1), at != std::string_view::npos);
}

std::string address_key(const Address& address)
{
    if (address.domain.empty()) return address.local;
    return cat(address.local, '@', lower(address.domain));
}

Result<std::vector<Mailbox>> parse_address_list(std::string_view body, std::size_t limit)
{
    return ListParser(body, limit).run();
}

Split split_extension(std::string_view local, std::string_view delimiters)
{
    static constexpr std::string_view never[] = {"mailer-daemon", "postmaster", "double-bounce"};
    const std::size_t at = local.find_first_of(delimiters);
    // NAME-request is a list's own name too, where the minus parts names (Postfix's owner_request_special).
    constexpr std::string_view request = "-request";
    const bool is_request = delimiters.find('-') != std::string_view::npos && local.size() > request.size() && iequals(local.substr(local.size() - request.size()), request);
    if (at == std::string_view::npos || at == 0 || istarts_with(local, "owner-") || is_request ||
        std::any_of(std::begin(never), std::end(never), [&](std::string_view name) { return iequals(local, name); }))
        return {std::string(local), std::nullopt, 0};
    return {std::string(local.substr(0, at)), std::string(local.substr(at + 1)), local[at]};
}

bool is_domain(std::string_view domain, bool utf8)
{
    if (domain.empty() || domain.size() > longest_domain) return false;
    bool letters = false;
    for (const std::string_view label : split_on(domain, '.')) {
        if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
        for (const char c : label) {
            if (!is_alnum(c) && c != '-' && c != '_' && !(utf8 && is_high(c))) return false;
            letters |= !is_digit(c);
        }
    }
    return letters;  // digits and dots alone are an address that lost its brackets (RFC 1123 §2.1)
}

bool is_address_literal(std::string_view domain)
{
    if (domain.size() < 3 || domain.front() != '[' || domain.back() != ']') return false;
    std::string inner(domain.substr(1, domain.size() - 2));
    if (inner.size() > 64 || inner.find('\0') != std::string::npos) return false;
    unsigned char bytes[16];
    if (istarts_with(inner, "IPv6:")) return inet_pton(AF_INET6, inner.c_str() + 5, bytes) == 1;
    return inet_pton(AF_INET, inner.c_str(), bytes) == 1;
}

}  // namespace veredus::mail
