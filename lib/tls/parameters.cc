#include "lib/tls/parameters.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <optional>

#include "lib/base/text.h"

namespace veredus::tls {

namespace {

struct Version {
    std::string_view name, digits;
    int number;
    uint64_t no;
};
constexpr Version versions[] = {
    {"SSLv2", "0002", SSL2_VERSION, 0},
    {"SSLv3", "0300", SSL3_VERSION, SSL_OP_NO_SSLv3},
    {"TLSv1", "0301", TLS1_VERSION, SSL_OP_NO_TLSv1},
    {"TLSv1.1", "0302", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {"TLSv1.2", "0303", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {"TLSv1.3", "0304", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};
constexpr std::size_t count = std::size(versions), first_usable = 2; // nothing speaks SSL any more

std::optional<std::size_t> find_version(std::string_view name)
{
    for (std::size_t i = 0; i < count; ++i)
        if (iequals(name, versions[i].name) || name == versions[i].digits || (i == 2 && iequals(name, "TLSv1.0"))) return i;
    return std::nullopt;
}

bool is_cipher_name(std::string_view name)
{
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '+'; }) &&
           is_alnum(name[0]);
}

} // namespace

Result<Versions> parse_protocols(std::string_view text)
{
    bool listed[count] = {}, refused[count] = {}, positive = false;
    std::size_t low = first_usable, high = count - 1;
    const auto words = split(text, ", \t:");
    for (std::string_view word : words) {
        const bool from = word.starts_with(">="), to = word.starts_with("<="), no = word.starts_with('!');
        const std::string_view name = word.substr(from || to ? 2 : no ? 1 : 0);
        const auto index = find_version(name);
        if (!index) return fail(cat("\"", printable(word, 40), "\" is no TLS protocol version; write for example \">=TLSv1.2\""));
        if (from) low = std::max(low, *index);
        else if (to) high = std::min(high, *index);
        else if (no) refused[*index] = true;
        else listed[*index] = positive = true;
    }
    if (words.empty()) low = 4;
    Versions out;
    for (std::size_t i = first_usable; i < count; ++i) {
        if (i < low || i > high || refused[i] || (positive && !listed[i])) continue;
        if (!out.min) out.min = versions[i].number;
        out.max = versions[i].number;
    }
    if (!out.min) return fail(cat("\"", printable(text, 100), "\" leaves no TLS protocol version"));
    for (std::size_t i = first_usable; i < count; ++i) {
        const bool inside = versions[i].number > out.min && versions[i].number < out.max;
        if (inside && (refused[i] || (positive && !listed[i]))) out.without |= versions[i].no;
    }
    if (out.max == TLS1_3_VERSION && high == count - 1 && !positive) out.max = 0; // and what comes after it
    return out;
}

Result<std::string> cipher_list(std::string_view grade, const std::vector<std::string>& exclude)
{
    std::string list;
    if (iequals(grade, "null")) list = "eNULL:!aNULL";
    else if (iequals(grade, "high")) list = "HIGH:!aNULL:!eNULL";
    // What was below is not in OpenSSL any more.
    else if (grade.empty() || iequals(grade, "medium") || iequals(grade, "low") || iequals(grade, "export")) list = "HIGH:MEDIUM:!aNULL:!eNULL";
    else return fail(cat("\"", printable(grade, 40), "\" is no cipher grade; high or medium is wanted"));
    for (const std::string& name : exclude) {
        if (!is_cipher_name(name)) return fail(cat("\"", printable(name, 60), "\" is no name of a cipher to exclude"));
        append(list, ":!", name);
    }
    return list;
}

std::string plain_fingerprint(std::string_view text)
{
    std::string out;
    for (const char c : lower(text)) {
        if (c == ':') continue;
        if (!is_digit(c) && !(c >= 'a' && c <= 'f')) return {};
        out += c;
    }
    return out.size() % 2 || out.size() < 32 ? std::string() : out;
}

} // namespace veredus::tls
