// The grammar of SMTP commands and paths as pure functions (RFC 5321 §4.1, RFC 3461, RFC 6531). No state, no policy.
#include "lib/smtp/grammar.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp {

namespace {

constexpr std::size_t most_params = 32;

bool is_blank(char c) { return c == ' ' || c == '\t'; }

void drop_blanks(std::string_view& s)
{
    while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
}

// The text between < and its >, which quoted strings may contain too; `rest` continues after the >.
Result<std::string_view> take_bracketed(std::string_view& rest)
{
    bool quoted = false;
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if (quoted && rest[i] == '\\') ++i;
        else if (rest[i] == '"') quoted = !quoted;
        else if (rest[i] == '>' && !quoted) {
            const std::string_view inner = rest.substr(1, i - 1);
            rest.remove_prefix(i + 1);
            return inner;
        }
    }
    return fail("the > is missing");
}

Result<std::vector<Param>> parse_params(std::string_view rest)
{
    std::vector<Param> params;
    for (const std::string_view word : split(rest, " \t")) {
        const auto [name, value] = cut(word, '=');
        const auto in_name = [](char c) { return is_alnum(c) || c == '-'; };
        const auto in_value = [](char c) { return static_cast<unsigned char>(c) > 32 && c != 127 && c != '='; };
        if (name.empty() || !is_alnum(name[0]) || !std::all_of(name.begin(), name.end(), in_name)) return fail("bad parameter name");
        if (value && (value->empty() || !std::all_of(value->begin(), value->end(), in_value))) return fail("bad parameter value");
        if (params.size() == most_params) return fail("too many parameters");
        params.push_back(Param{name, value});
    }
    return params;
}

Result<Path> parse_path(std::string_view rest, std::string_view keyword, bool strict, bool null_allowed)
{
    if (!istarts_with(rest, keyword)) return fail(cat("expected ", keyword, "<address>"));
    rest.remove_prefix(keyword.size());
    if (!strict) drop_blanks(rest);
    std::string_view inner;
    if (rest.starts_with('<')) {
        // "<<alice@example.org>>" and "< alice@example.org >" are what old devices write; Postfix takes them, too.
        std::size_t more = 0;
        for (; !strict && rest.substr(1).starts_with('<'); ++more) rest.remove_prefix(1);
        inner = TRY(take_bracketed(rest));
        for (; more > 0 && rest.starts_with('>'); --more) rest.remove_prefix(1);
        if (more > 0) return fail("a > is missing");
        if (!strict) inner = trim(inner);
        if (!rest.empty() && !is_blank(rest.front())) return fail("something stands right after the >");
    } else {
        if (strict) return fail("the address must stand between < and >");
        const std::size_t end = std::min(rest.find_first_of(" \t"), rest.size());
        inner = rest.substr(0, end);
        rest.remove_prefix(end);
        if (inner.empty()) return fail("no address");
    }
    Path path;
    path.params = TRY(parse_params(rest));
    if (inner.starts_with('@')) {  // RFC 5321 §4.1.1.3: a source route is taken and ignored
        const std::size_t colon = inner.find(':');
        if (colon == std::string_view::npos) return fail("a route without an address");
        inner.remove_prefix(colon + 1);
    }
    if (inner.empty()) {
        if (!null_allowed) return fail("no address");
        return path;
    }
    // "alice@example.org." is what DNS people write; as Postfix does, the root's dot is dropped.
    if (const std::size_t at = inner.rfind('@'); !strict && at != std::string_view::npos && inner.size() > at + 2 && inner.ends_with('.') && !inner.ends_with(".."))
        inner.remove_suffix(1);
    path.address = TRY(mail::parse_address(inner));
    if (strict && (path.address.local.size() > max_local_part || inner.size() > max_path)) return fail("the address is too long");
    path.utf8 = !is_ascii(inner);
    return path;
}

int hex_digit(char c)
{
    if (is_digit(c)) return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;  // RFC 3461 §4: upper case only
}

}  // namespace

Line split_verb(std::string_view line)
{
    while (!line.empty() && (is_blank(line.back()) || line.back() == '\r')) line.remove_suffix(1);
    drop_blanks(line);
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    Line out{line.substr(0, end), line.substr(end)};
    drop_blanks(out.rest);
    return out;
}

Result<Path> parse_mail_from(std::string_view rest, bool strict) { return parse_path(rest, "FROM:", strict, true); }
Result<Path> parse_rcpt_to(std::string_view rest, bool strict) { return parse_path(rest, "TO:", strict, false); }

std::optional<std::string> xtext_decode(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c < 33 || c > 126 || c == '=') return std::nullopt;
        if (c != '+') {
            out.push_back(text[i]);
            continue;
        }
        if (i + 2 >= text.size()) return std::nullopt;
        const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
        if (high < 0 || low < 0) return std::nullopt;
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
    }
    return out;
}

std::string xtext_encode(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        if (u < 33 || u > 126 || c == '+' || c == '=') append(out, '+', hex_upper(u, 2));
        else out.push_back(c);
    }
    return out;
}

std::optional<uint8_t> parse_notify(std::string_view value)
{
    if (iequals(value, "NEVER")) return mail::notify_never;
    uint8_t out = 0;
    for (const std::string_view word : split_on(value, ',')) {
        if (iequals(word, "SUCCESS")) out |= mail::notify_success;
        else if (iequals(word, "FAILURE")) out |= mail::notify_failure;
        else if (iequals(word, "DELAY")) out |= mail::notify_delay;
        else return std::nullopt;
    }
    return out;
}

std::optional<std::string> parse_helo(std::string_view words)
{
    std::string name;
    for (const std::string_view word : split(words, " \t")) append(name, name.empty() ? "" : " ", word);
    const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) >= 32 && c != 127; });
    if (name.empty() || name.size() > max_domain || !printable) return std::nullopt;
    return name;
}

}  // namespace veredus::smtp
