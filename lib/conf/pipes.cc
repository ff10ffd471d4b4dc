#include "lib/conf/pipes.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/values.h"

namespace veredus::conf {

namespace {

constexpr std::size_t most_transports = 100, most_words = 200;
constexpr std::string_view own_transports[] = {"smtp", "relay", "lmtp", "local", "virtual", "error", "retry", "discard"};
constexpr std::string_view names[] = {"client_address", "client_helo", "client_hostname", "client_protocol", "domain", "extension", "mailbox", "nexthop",
                                      "original_recipient", "queue_id", "recipient", "sasl_username", "sender", "size", "user"};
struct Flag {
    char letter;
    bool PipeTransport::*member;    // null: what we do anyway
};
// X and q: it is final delivery, and addresses are quoted where they need it. Always so here.
constexpr Flag flags[] = {{'D', &PipeTransport::delivered_to}, {'F', &PipeTransport::from_line},    {'O', &PipeTransport::original_to}, {'R', &PipeTransport::return_path},
                          {'h', &PipeTransport::lower_domain}, {'u', &PipeTransport::lower_user}, {'X', nullptr},                         {'q', nullptr}};

template <class List> bool lists(const List& list, std::string_view word) { return std::find(std::begin(list), std::end(list), word) != std::end(list); }

bool is_name(std::string_view text)
{
    return !text.empty() && text.size() <= 64 &&
           std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '_' || c == '-'; });
}

// The text within the braces that `text` begins with.
Result<std::string_view> cut_group(std::string_view& text)
{
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '{') ++depth;
        if (text[i] != '}' || --depth > 0) continue;
        const std::string_view inside = text.substr(1, i - 1);
        text.remove_prefix(i + 1);
        return inside;
    }
    return fail("a } is missing");
}

Result<void> set_option(PipeTransport& pipe, std::string_view name, std::string_view value)
{
    if (name == "user") {
        if (!is_name(value)) return fail("user= wants the name of a user; its own group is used");
        pipe.user = value;
    } else if (name == "flags") {
        for (const char letter : value) {
            const auto flag = std::find_if(std::begin(flags), std::end(flags), [letter](const Flag& f) { return f.letter == letter; });
            if (flag == std::end(flags)) return fail(cat("flags=", printable(value, 20), ": flag ", printable(std::string_view(&letter, 1)), " is not known; D, F, O, R, X, h, q and u are"));
            if (flag->member) pipe.*flag->member = true;
        }
    } else if (name == "directory") {
        if (!value.starts_with('/')) return fail("directory= wants a path from / on");
        pipe.directory = value;
    } else if (name == "null_sender") {
        pipe.null_sender = value;
    } else if (name == "size") {
        const auto size = parse_number<uint64_t>(value);
        if (!size) return fail("size= wants a number of bytes");
        pipe.size = *size;
    } else {
        return fail(cat(printable(name, 40), "= is not known; user, flags, directory, null_sender, size and argv are"));
    }
    return {};
}

Result<PipeTransport> parse_one(std::string_view text)
{
    PipeTransport pipe;
    const auto words = split(text, " \t\r\n");
    if (words.empty() || !is_name(words[0])) return fail("a transport begins with its name: {NAME user=… argv=…}");
    pipe.name = words[0];
    const auto wrong = [&](std::string_view why) { return fail(cat(pipe.name, ": ", why)); };
    if (lists(own_transports, pipe.name)) return wrong("this is a transport of veredus itself");
    if (words.size() > most_words) return wrong("too many words");
    std::size_t i = 1;
    for (; i < words.size() && !words[i].starts_with("argv="); ++i) {
        const auto [name, value] = cut(words[i], '=');
        if (!value) return wrong(cat(printable(words[i], 60), ": NAME=VALUE is wanted before argv="));
        if (const auto set = set_option(pipe, name, *value); !set) return wrong(set.error().text);
    }
    for (; i < words.size(); ++i) pipe.argv.emplace_back(pipe.argv.empty() ? words[i].substr(5) : words[i]);
    if (pipe.user.empty()) return wrong("user= is missing");
    if (pipe.argv.empty() || !pipe.argv[0].starts_with('/')) return wrong("argv= wants a program with its path, and its words after it");
    for (const std::string& word : pipe.argv)
        if (const auto known = expand_pipe_word(word, [](std::string_view) { return std::string("x"); }); !known) return wrong(known.error().text);
    return pipe;
}

}  // namespace

Result<std::vector<PipeTransport>> parse_pipe_transports(std::string_view text)
{
    std::vector<PipeTransport> pipes;
    for (;;) {
        while (!text.empty() && (is_space(text[0]) || text[0] == ',')) text.remove_prefix(1);
        if (text.empty()) return pipes;
        if (text[0] != '{') return fail("{NAME user=… argv=…} is wanted for each transport");
        const std::string_view group = TRY(cut_group(text));
        auto pipe = TRY(parse_one(group));
        if (std::any_of(pipes.begin(), pipes.end(), [&](const PipeTransport& p) { return p.name == pipe.name; })) return fail(cat(pipe.name, ": named twice"));
        if (pipes.size() == most_transports) return fail("too many transports");
        pipes.push_back(std::move(pipe));
    }
}

namespace {
constexpr std::string_view limit_suffix = "_time_limit";
}

bool is_pipe_time_limit(const std::vector<PipeTransport>& pipes, std::string_view name, std::string_view value)
{
    if (!name.ends_with(limit_suffix) || !parse_duration(value, 's')) return false;
    name.remove_suffix(limit_suffix.size());
    return std::any_of(pipes.begin(), pipes.end(), [&](const PipeTransport& pipe) { return pipe.name == name; });
}

Result<std::vector<PipeTransport>> read_pipe_transports(const Values& values)
{
    auto pipes = TRY(parse_pipe_transports(values.text("pipe_transports")));
    for (PipeTransport& pipe : pipes)
        if (const auto limit = parse_duration(values.extra(cat(pipe.name, limit_suffix)), 's')) pipe.time_limit_s = *limit;
    return pipes;
}

Result<std::string> expand_pipe_word(std::string_view word, const PipeValue& value)
{
    const bool option = word.starts_with('-');
    std::string out;
    while (!word.empty()) {
        const std::size_t dollar = word.find('$');
        out.append(word.substr(0, dollar));
        if (dollar == std::string_view::npos) break;
        word.remove_prefix(dollar + 1);
        if (word.starts_with('$')) {
            out.push_back('$');
            word.remove_prefix(1);
            continue;
        }
        const char open = word.empty() ? '\0' : word[0];
        const bool braced = open == '{' || open == '(';
        std::string_view name = word.substr(braced ? 1 : 0);
        const auto end = braced ? name.find(open == '{' ? '}' : ')')
                                : static_cast<std::size_t>(std::find_if_not(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_'; }) - name.begin());
        if (end == std::string_view::npos) return fail(cat("$", printable(word, 40), ": the brace is not closed"));
        name = name.substr(0, end);
        if (!lists(names, name)) return fail(cat("$", printable(name, 40), " is not known here"));
        out.append(value(name));
        word.remove_prefix(end + (braced ? 2 : 0));
    }
    if (!option && out.starts_with('-')) return fail("an address that begins with - cannot be a word of a command");
    return out;
}

}  // namespace veredus::conf
