// What a value of each type may look like, and what it means.
#include "lib/conf/check.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/pipes.h"
#include "lib/conf/port.h"
#include "lib/conf/expand.h"

namespace veredus::conf {

namespace {

constexpr std::string_view truths[] = {"yes", "true", "on", "1"};
constexpr std::string_view lies[] = {"no", "false", "off", "0"};

std::optional<int64_t> seconds_of(char unit)
{
    switch (to_lower(unit)) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    case 'w': return 604800;
    default: return std::nullopt;
    }
}

Result<void> in_bounds(const Setting& setting, int64_t number, std::string_view value)
{
    if (number >= setting.min && number <= setting.max) return {};
    if (setting.max == INT64_MAX) return fail(cat(value, " is too small: at least ", setting.min));
    return fail(cat(value, " is out of bounds: from ", setting.min, " to ", setting.max));
}

Result<void> check_number(const Setting& setting, std::string_view value)
{
    const auto number = parse_number<int64_t>(value);
    if (!number) return fail(cat("\"", value, "\" is not a number"));
    return in_bounds(setting, *number, value);
}

Result<void> check_word(const Setting& setting, std::string_view value)
{
    for (const std::string_view word : split_on(setting.words, '|'))
        if (iequals(word, value)) return {};
    std::string all(setting.words);
    for (std::size_t at; (at = all.find('|')) != std::string::npos;) all.replace(at, 1, ", ");
    return fail(cat("\"", value, "\" is none of: ", all));
}

// One item behind a '$' at the beginning of `text`, which it leaves there: home, {home}, (home) or {home?text}.
Result<std::string_view> take_item(std::string_view& text)
{
    if (text.starts_with('{') || text.starts_with('(')) {
        const std::size_t end = text.find(text[0] == '{' ? '}' : ')');
        if (end == std::string_view::npos) return fail(cat("$", text, ": its end is missing"));
        const std::string_view item = text.substr(1, end - 1);
        text.remove_prefix(end + 1);
        return item;
    }
    std::size_t end = 0;
    while (end < text.size() && (is_alnum(text[end]) || text[end] == '_')) ++end;
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(end);
    return item;
}

// $home, ${name?text if it has a value} and ${name:text if not}, with the names in `words`.
Result<void> check_delivery_names(const Setting& setting, std::string_view text)
{
    for (std::size_t at; (at = text.find('$')) != std::string_view::npos;) {
        text.remove_prefix(at + 1);
        const std::string_view item = TRY(take_item(text));
        const std::size_t mark = std::min(item.find_first_of("?:"), item.size());
        const auto known = split_on(setting.words, '|');
        const std::string_view name = item.substr(0, mark);
        if (const auto fits = check_word(setting, name); !fits) return fail(cat("$", item, ": ", fits.error().text));
        if (std::find(known.begin(), known.end(), name) == known.end()) return fail(cat("$", item, ": these names are in small letters"));
        if (item.substr(mark).starts_with("?{") || item.substr(mark).starts_with(":{")) return fail(cat("${", item, "}: braces inside of braces are not read here: write ${name?text}${name:text}"));
        if (mark < item.size()) TRY(check_delivery_names(setting, item.substr(mark + 1)));
    }
    return {};
}

Result<void> check_passdb(std::string_view source)
{
    if (source == "system" || source == "pam" || source.starts_with("file:/")) return {};
    return fail(cat("\"", source, "\" is none of system, pam and file:/path"));
}

Result<void> check_port(std::string_view port)
{
    if (port_of(port)) return {};
    return fail(cat("\"", port, "\" is not a port: a number below 65536, or the name of a TCP service, as smtp, submission, imaps or one of /etc/services"));
}

// [host:]port[/tls] or unix:path
Result<void> check_listener(std::string_view text)
{
    if (text.starts_with("unix:")) {
        if (text.size() > 5) return {};
        return fail("unix: a path is missing");
    }
    if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
        if (!iequals(text.substr(slash), "/tls")) return fail(cat("\"", text, "\": only /tls may follow a port"));
        text = text.substr(0, slash);
    }
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return check_port(text);
    const std::string_view host = text.substr(0, colon);
    if (host.find(':') != std::string_view::npos && (host.front() != '[' || host.back() != ']'))
        return fail(cat("\"", text, "\": write an IPv6 address in brackets, as in [::1]:25"));
    return check_port(text.substr(colon + 1));
}

struct Kind {
    std::string_view type;
    const char* instead;   // null: we read it
};
// XXX mysql, ldap and their kin are refused, not skipped: a table that is quietly empty bounces mail.
constexpr const char* through_socketmap = "veredus reaches databases through socketmap: only; a text table (hash:/file) does the same job";
constexpr Kind kinds[] = {
    {"hash", nullptr}, {"texthash", nullptr}, {"lmdb", nullptr}, {"btree", nullptr}, {"cdb", nullptr}, {"dbm", nullptr}, {"sdbm", nullptr},
    {"inline", nullptr}, {"static", nullptr}, {"regexp", nullptr}, {"pcre", nullptr}, {"cidr", nullptr}, {"unix", nullptr},
    {"socketmap", nullptr}, {"pipemap", nullptr}, {"unionmap", nullptr}, {"mysql", through_socketmap}, {"pgsql", through_socketmap}, {"sqlite", through_socketmap}, {"ldap", through_socketmap},
    {"tcp", through_socketmap}, {"memcache", through_socketmap}, {"mongodb", through_socketmap},
    {"nis", "NIS is asked through the system's users (unix:passwd.byname) only"}, {"nisplus", "NIS+ is not asked"}, {"netinfo", "NetInfo is not asked"},
    {"proxy", "name the table behind it, as in proxy:hash:/file"}, {"randmap", "use a text table"}, {"environ", "use inline:{name=value}"},
    {"fail", "use static:"}, {"internal", "use a text table"},
};

struct Suffix {
    std::string_view text;
    bool duration;
    bool of_pipes = false;    // counts for a transport of pipe_transports
};
constexpr Suffix suffixes[] = {   // transport_*(5) of Postfix
    {"_delivery_slot_cost", false}, {"_delivery_slot_discount", false}, {"_delivery_slot_loan", false}, {"_minimum_delivery_slots", false},
    {"_destination_concurrency_failed_cohort_limit", false, true}, {"_destination_concurrency_limit", false, true},
    {"_destination_recipient_limit", false}, {"_extra_recipient_limit", false}, {"_initial_destination_concurrency", false, true},
    {"_recipient_limit", false}, {"_recipient_refill_limit", false}, {"_destination_rate_delay", true, true}, {"_recipient_refill_delay", true},
    {"_transport_rate_delay", true}, {"_time_limit", true, true},
};
// Values like "1/concurrency" that only Postfix's scheduler knows.
constexpr std::string_view free_suffixes[] = {"_destination_concurrency_negative_feedback", "_destination_concurrency_positive_feedback"};

bool has_suffix(std::string_view name, std::string_view suffix)
{
    if (name.size() <= suffix.size() || !name.ends_with(suffix)) return false;
    name.remove_suffix(suffix.size());
    for (const char c : name)
        if (!is_alnum(c) && c != '_' && c != '-') return false;
    return true;
}

}  // namespace

Result<std::string> format_user_name(std::string_view format, std::string_view login)
{
    const auto at = login.rfind('@');
    const std::string_view local = login.substr(0, at), domain = at == std::string_view::npos ? std::string_view() : login.substr(at + 1);
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            out += format[i];
            continue;
        }
        char letter = ++i < format.size() ? format[i] : '\0';
        const char which_case = letter == 'L' || letter == 'U' ? letter : '\0';
        if (which_case) letter = ++i < format.size() ? format[i] : '\0';
        std::string piece;
        switch (letter) {
        case 'u': piece = login; break;
        case 'n': piece = local; break;
        case 'd': piece = domain; break;
        case '%': piece = "%"; break;
        default: return fail(cat("\"", printable(format, 100), "\": after % stands u, n, d or %, with L or U before it"));
        }
        out += which_case == 'L' ? lower(piece) : which_case == 'U' ? upper(piece) : piece;
    }
    return out;
}

std::optional<bool> parse_boolean(std::string_view value)
{
    for (const std::string_view word : truths)
        if (iequals(word, value)) return true;
    for (const std::string_view word : lies)
        if (iequals(word, value)) return false;
    return std::nullopt;
}

Result<int64_t> parse_size(std::string_view value)
{
    std::string_view digits = value;
    int shift = 0;
    if (!digits.empty()) {
        const char unit = to_lower(digits.back());
        shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : unit == 't' ? 40 : 0;
        if (shift) digits.remove_suffix(1);
    }
    const auto number = parse_number<int64_t>(digits, INT64_MAX >> shift);
    if (!number || *number < 0) return fail(cat("\"", value, "\" is not a size: bytes, or a number with k, M or G"));
    return *number << shift;
}

Result<int64_t> parse_duration(std::string_view value, char unit)
{
    std::string_view digits = value;
    if (!digits.empty() && is_alpha(digits.back())) {
        unit = digits.back();
        digits.remove_suffix(1);
    }
    const auto factor = seconds_of(unit);
    const auto number = factor ? parse_number<int64_t>(digits, INT32_MAX / *factor) : std::nullopt;
    if (!number || *number < 0) return fail(cat("\"", value, "\" is not a time: a number with s, m, h, d or w, at most 68 years"));
    return *number * *factor;
}

Result<void> check_table(std::string_view spec)
{
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    if (spec.starts_with('/')) return fail(cat("\"", spec, "\": a type is missing; write hash:", spec));
    const auto [type, name] = cut(spec, ':');
    if (!name) return fail(cat("\"", spec, "\" is not TYPE:NAME, as in hash:/etc/veredus/transport"));
    for (const Kind& kind : kinds)
        if (kind.type == type) {
            if (kind.instead) return fail(cat("\"", spec, "\": tables of type ", type, " are not read: ", kind.instead));
            if (name->empty()) return fail(cat("\"", spec, "\": a name is missing after the colon"));
            return {};
        }
    return fail(cat("\"", spec, "\": unknown table type; known are hash, texthash, lmdb, btree, cdb, inline, static, regexp, pcre, cidr, unix, socketmap, pipemap, unionmap"));
}

Result<void> check_value(const Setting& setting, std::string_view value)
{
    if (value.find('\0') != std::string_view::npos) return fail("the value holds a NUL byte");
    switch (setting.type) {
    case Type::raw:
        if (setting.words) return check_delivery_names(setting, value);
        if (std::string_view(setting.name) == "pipe_transports") TRY(parse_pipe_transports(value));
        if (std::string_view(setting.name) == "mailbox_command") return check_mailbox_command(value);
        return {};
    case Type::text:
        if (std::string_view(setting.name) == "auth_username_format") TRY(format_user_name(value, "user@example.org"));
        if (std::string_view(setting.name) == "default_privs" && value == "root") return fail("nothing is run as root: name a user without rights, as nobody is");
        return {};
    case Type::list:
        for (const std::string_view piece : split_list(value)) {
            if (setting.words) TRY(check_word(setting, piece));
            if (std::string_view(setting.name) == "passdb") TRY(check_passdb(piece));
        }
        return {};
    case Type::boolean:
        if (!parse_boolean(value)) return fail(cat("\"", value, "\" is neither yes nor no"));
        return {};
    case Type::number: return check_number(setting, value);
    case Type::size: return in_bounds(setting, TRY(parse_size(value)), value);
    case Type::duration: return in_bounds(setting, TRY(parse_duration(value, setting.words ? setting.words[0] : 's')), value);
    case Type::word: return check_word(setting, value);
    case Type::path:
        if (!value.empty() && value.front() != '/') return fail(cat("\"", value, "\" is not an absolute path"));
        return {};
    case Type::tables:
        for (const std::string_view spec : split_list(value)) TRY(check_table(spec));
        return {};
    case Type::listeners:
        for (const std::string_view listener : split_list(value)) TRY(check_listener(listener));
        return {};
    }
    return fail("a type that this version does not know");
}

Result<void> check_mailbox_command(std::string_view command)
{
    if (command.size() > longest_mailbox_command) return fail(cat("a command of ", command.size(), " bytes; up to ", longest_mailbox_command, " are possible, put more into a script"));
    for (const char c : command)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) return fail("a command with control characters");
    return {};
}

bool is_transport_parameter(std::string_view name)
{
    for (const Suffix& suffix : suffixes)
        if (has_suffix(name, suffix.text)) return true;
    for (const std::string_view suffix : free_suffixes)
        if (has_suffix(name, suffix)) return true;
    return false;
}

Result<void> check_transport_parameter(std::string_view name, std::string_view value)
{
    for (const Suffix& suffix : suffixes) {
        if (!has_suffix(name, suffix.text)) continue;
        if (suffix.duration) {
            TRY(parse_duration(value, 's'));
        } else if (!value.empty() && !parse_number<uint32_t>(value)) {
            return fail(cat("\"", value, "\" is not a number"));
        }
        return {};
    }
    return {};
}

std::string why_without_effect(std::string_view name, std::string_view value, const std::set<std::string, std::less<>>& pipes)
{
    const auto transport_of = [&](std::string_view suffix) { return name.substr(0, name.size() - suffix.size()); };
    for (const std::string_view suffix : free_suffixes)
        if (has_suffix(name, suffix)) return "a destination gets one attempt more with each success, and one less with each failure; the line has no effect";
    for (const Suffix& suffix : suffixes) {
        if (!has_suffix(name, suffix.text)) continue;
        const std::string_view transport = transport_of(suffix.text);
        const bool pipe = pipes.contains(transport);
        if (pipe && suffix.of_pipes) return {};
        // One at a time is how mail goes to mailboxes and commands.
        const bool singly = pipe || transport == "local" || transport == "virtual";
        if (singly && suffix.text == "_destination_recipient_limit")
            return value == "1" ? "" : "mailboxes and commands get a mail for one recipient at a time; the line has no effect";
        if (singly || transport == "smtp" || transport == "relay" || transport == "lmtp") return cat("veredus has no such setting for transport ", transport, "; the line has no effect");
        return cat("there is no transport ", transport, " (pipe_transports names those that run commands); the line has no effect");
    }
    return {};
}

}  // namespace veredus::conf
