#include "submission/sendmail/arguments.h"

#include "lib/base/text.h"

namespace veredus::sendmail {

namespace {

enum class Value : uint8_t { none, required, glued, lenient };   // lenient: the next word unless it is an option

struct Parser;
struct Option {
    char letter;
    Value value;
    Result<void> (*apply)(Parser& parser, const std::string& value);
};

struct Parser {
    Invocation inv;
    bool warned_unknown = false;
    bool mode_given = false;       // by -b or the program's name
    void warn(std::string text) { inv.warnings.push_back(std::move(text)); }
    void mode(Mode m)
    {
        inv.mode = m;
        mode_given = true;
    }
};

Unexpected usage_error(std::string text) { return unexpected(Error{EX_USAGE, std::move(text)}); }

bool has_line_break(std::string_view s) { return s.find_first_of(std::string_view("\r\n\0", 3)) != s.npos; }

Result<void> ignored(Parser&, const std::string&) { return {}; }

Result<void> body_type(Parser& p, const std::string& value)
{
    if (iequals(value, "8BITMIME")) p.inv.body = mail::Body::eight_bit;
    else if (iequals(value, "7BIT")) p.inv.body = mail::Body::seven_bit;
    else p.warn(cat("-B ", printable(value), ": body type unknown, ignored (7BIT and 8BITMIME are known)"));
    return {};
}

Result<void> config(Parser& p, const std::string& value)
{
    // Postfix takes a directory here or the main.cf in it; old sendmail a sendmail.cf, which nobody has any more.
    std::string directory = value;
    if (directory.ends_with("/main.cf")) directory.resize(directory.size() - 8);
    if (directory.ends_with(".cf")) {
        p.warn(cat("-C ", printable(value), ": ignored, the configuration is main.cf in a directory"));
        return {};
    }
    p.inv.config_directory = directory;
    return {};
}

Result<void> full_name(Parser& p, const std::string& value)
{
    if (has_line_break(value)) return usage_error("-F: a name cannot have line breaks");
    p.inv.full_name = value;
    return {};
}

Result<void> sender(Parser& p, const std::string& value)
{
    if (has_line_break(value)) return usage_error("-f: an address cannot have line breaks");
    std::string_view text = trim(value);
    if (text.size() >= 2 && text.front() == '<' && text.back() == '>') text = trim(text.substr(1, text.size() - 2));
    p.inv.sender = std::string(text);
    return {};
}

Result<void> notify(Parser& p, const std::string& value)
{
    // RFC 3461 §4.1: NEVER alone, or a list of the others.
    uint8_t flags = 0;
    const auto words = split(value, ", ");
    for (const std::string_view word : words) {
        if (iequals(word, "never") && words.size() == 1) flags = mail::notify_never;
        else if (iequals(word, "success")) flags |= mail::notify_success;
        else if (iequals(word, "failure")) flags |= mail::notify_failure;
        else if (iequals(word, "delay")) flags |= mail::notify_delay;
        else return usage_error(cat("-N ", printable(value), ": say never, or some of success,failure,delay"));
    }
    if (!flags) return usage_error("-N: say never, or some of success,failure,delay");
    p.inv.notify = flags;
    return {};
}

Result<void> returned(Parser& p, const std::string& value)
{
    if (iequals(value, "full")) p.inv.ret = mail::Ret::full;
    else if (iequals(value, "hdrs")) p.inv.ret = mail::Ret::headers;
    else return usage_error(cat("-R ", printable(value), ": say full or hdrs"));
    return {};
}

Result<void> envid(Parser& p, const std::string& value)
{
    // RFC 3461 §4.4: 100 characters of xtext; what is kept is its plain form.
    if (value.empty() || value.size() > 100) return usage_error("-V: an envelope ID has 1 to 100 characters");
    for (const char c : value)
        if (c < 33 || c > 126) return usage_error("-V: an envelope ID is printable ASCII without blanks");
    p.inv.envid = value;
    return {};
}

Result<void> run_mode(Parser& p, const std::string& value)
{
    if (value.size() != 1) {
        p.warn(cat("-b", printable(value), ": no such mode, ignored"));
        return {};
    }
    switch (value[0]) {
    case 'm': case 'a': p.mode(Mode::deliver); break;
    case 's': p.mode(Mode::smtp); break;
    case 'p': p.mode(Mode::list); break;
    case 'i': p.mode(Mode::aliases); break;
    case 'v': p.mode(Mode::verify); break;
    case 'd': case 'l': p.mode(Mode::daemon); break;
    case 'D': p.mode(Mode::foreground); break;
    case 't': p.mode(Mode::address_test); break;
    case 'h': p.mode(Mode::host_status); break;
    case 'H': p.mode(Mode::purge_status); break;
    default: p.warn(cat("-b", printable(value), ": no such mode, ignored"));
    }
    return {};
}

Result<void> queue_run(Parser& p, const std::string& value)
{
    if (value.empty() || value == "f") {
        if (p.inv.mode != Mode::daemon && p.inv.mode != Mode::foreground) p.mode(Mode::flush);
        return {};
    }
    if (is_digit(value[0]) || value[0] == 'p') {   // "-bd -q30m" of old init scripts; qmgr has its own clock
        if (!p.mode_given) p.mode(Mode::daemon);
        return {};
    }
    const std::string what = value.substr(1);
    if (what.empty() || has_line_break(what)) return usage_error(cat("-q", printable(value), ": nothing to look for"));
    switch (value[0]) {
    case 'I': p.inv.flush_id = what; break;
    case 'R': p.inv.flush_recipient = what; break;
    case 'S': p.inv.flush_sender = what; break;
    default: return usage_error(cat("-q", printable(value), ": -qI, -qR and -qS are known"));
    }
    p.mode(Mode::flush);
    return {};
}

// -oX: the single-letter options of old sendmail.
Result<void> old_option(Parser& p, const std::string& value)
{
    if (value.empty()) return {};
    switch (value[0]) {
    case 'i': p.inv.dot_ends = false; break;
    case 'A':
        if (value.size() > 1) p.inv.alias_file = value.substr(1);
        break;
    default: break;     // -odq, -oem, -o7, -or0s …: nothing that changes what happens here
    }
    return {};
}

constexpr Option options[] = {
    {'A', Value::required, ignored},       // -Ac, -Am: FreeBSD's periodic scripts
    {'B', Value::required, body_type},
    {'C', Value::required, config},
    {'D', Value::required, ignored},
    {'F', Value::required, full_name},
    {'G', Value::none, ignored},
    {'I', Value::none, [](Parser& p, const std::string&) -> Result<void> { p.mode(Mode::aliases); return {}; }},
    {'L', Value::required, ignored},
    {'M', Value::required, ignored},
    {'N', Value::required, notify},
    {'O', Value::required, ignored},
    {'R', Value::required, returned},
    {'U', Value::none, ignored},
    {'V', Value::required, envid},
    {'X', Value::required, ignored},
    {'b', Value::required, run_mode},
    {'c', Value::none, ignored},
    {'d', Value::lenient, ignored},
    {'e', Value::lenient, ignored},
    {'f', Value::required, sender},
    {'h', Value::required, ignored},
    {'i', Value::none, [](Parser& p, const std::string&) -> Result<void> { p.inv.dot_ends = false; return {}; }},
    {'j', Value::none, [](Parser& p, const std::string&) -> Result<void> { p.inv.json = true; return {}; }},
    {'m', Value::none, ignored},
    {'n', Value::none, ignored},
    {'o', Value::required, old_option},
    {'p', Value::required, ignored},
    {'q', Value::glued, queue_run},
    {'r', Value::required, sender},
    {'t', Value::none, [](Parser& p, const std::string&) -> Result<void> { p.inv.header_recipients = true; return {}; }},
    {'v', Value::none, ignored},
    {'x', Value::none, ignored},
};

const Option* find_option(char letter)
{
    for (const Option& o : options)
        if (o.letter == letter) return &o;
    return nullptr;
}

// -oA and its like want a value that is not glued from the next word; -oe and -od only a single letter.
bool old_option_takes_next(const std::string& value, const std::string& next)
{
    if (value.size() != 1) return false;
    if (std::string_view("AQSPCTrM").find(value[0]) != std::string_view::npos) return !next.starts_with('-');
    return (value[0] == 'e' || value[0] == 'd') && next.size() == 1 && is_alpha(next[0]);
}

// One word that begins with '-': a group of letters, the last of which may have a value. `at` moves over a value.
Result<void> parse_word(Parser& p, const std::vector<std::string>& argv, std::size_t& at)
{
    const std::string word = argv[at];
    for (std::size_t i = 1; i < word.size(); ++i) {
        const Option* option = find_option(word[i]);
        if (!option) {
            // What an unknown letter takes is unknown too, so the rest of the word goes with it.
            if (!p.warned_unknown) p.warn(cat("option -", printable(word.substr(i, 1)), " is unknown and ignored"));
            p.warned_unknown = true;
            return {};
        }
        if (option->value == Value::none) {
            TRY(option->apply(p, {}));
            continue;
        }
        std::string value = word.substr(i + 1);
        const bool more = at + 1 < argv.size();
        if (value.empty() && option->value == Value::required) {
            if (!more) return usage_error(cat("option -", word[i], " needs a value"));
            value = argv[++at];
        } else if (value.empty() && option->value == Value::lenient && more && !argv[at + 1].starts_with('-')) {
            value = argv[++at];
        }
        if (word[i] == 'o' && at + 1 < argv.size() && old_option_takes_next(value, argv[at + 1])) value += argv[++at];
        return option->apply(p, value);
    }
    return {};
}

void apply_program_name(Parser& p, std::string_view path)
{
    const std::string_view name = path.substr(path.rfind('/') + 1);   // npos + 1 is 0
    if (name == "mailq") p.mode(Mode::list);
    else if (name == "newaliases") p.mode(Mode::aliases);
    else if (name == "smtpd") p.mode(Mode::daemon);
    else if (name == "hoststat") p.mode(Mode::host_status);
    else if (name == "purgestat") p.mode(Mode::purge_status);
    else if (name == "runq") p.mode(Mode::flush);
    else if (name == "rmail") {
        p.inv.from_line_sender = true;
        p.inv.dot_ends = false;
    } else if (name == "rsmtp") {
        p.mode(Mode::smtp);
        p.inv.batch_smtp = true;
    }
}

}  // namespace

Result<Invocation> parse_arguments(const std::vector<std::string>& argv)
{
    Parser p;
    if (!argv.empty()) apply_program_name(p, argv[0]);
    bool options_ended = false;
    for (std::size_t at = 1; at < argv.size(); ++at) {
        const std::string& word = argv[at];
        if (options_ended || word.size() < 2 || word[0] != '-') {
            if (has_line_break(word)) return usage_error("an address cannot have line breaks");
            p.inv.operands.push_back(word);
        } else if (word == "--") {
            options_ended = true;
        } else if (word == "--help") {
            p.mode(Mode::help);
        } else if (word == "--version") {
            p.mode(Mode::version);
        } else if (word.starts_with("--")) {
            if (!p.warned_unknown) p.warn(cat("option ", printable(word, 40), " is unknown and ignored"));
            p.warned_unknown = true;
        } else {
            TRY(parse_word(p, argv, at));
        }
    }
    return std::move(p.inv);
}

Result<std::vector<mail::Address>> parse_operand(std::string_view text)
{
    if (has_line_break(text)) return usage_error("an address cannot have line breaks");
    auto boxes = mail::parse_address_list(text);
    if (!boxes) return unexpected(Error{EX_DATAERR, cat("address \"", printable(text, 200), "\": ", boxes.error().text)});
    std::vector<mail::Address> out;
    for (mail::Mailbox& box : *boxes)
        if (!box.address.empty()) out.push_back(std::move(box.address));
    return out;
}

Result<mail::Address> parse_sender(std::string_view text)
{
    auto addresses = TRY(parse_operand(text));
    if (addresses.empty()) return mail::Address{};
    if (addresses.size() > 1) return usage_error(cat("-f ", printable(text, 200), ": more than one sender"));
    return std::move(addresses[0]);
}

std::string_view usage()
{
    return "usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-B 7BIT|8BITMIME] [-N NOTIFY] [-R full|hdrs] [-V ENVID] [RECIPIENT...]\n"
           "       sendmail -bs | -bp | -bi | -bv ADDRESS... | -bd | -q | -qI ID | -qR RECIPIENT | -qS SENDER\n"
           "       mailq [-j] | newaliases\n"
           "A mail is read from standard input; exit status 0 says that it is safely in the queue. See sendmail(1).\n";
}

}  // namespace veredus::sendmail
