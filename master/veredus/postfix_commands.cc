#include "master/veredus/postfix_commands.h"

#include <algorithm>
#include <optional>

#include "lib/base/text.h"

namespace veredus::admin {

namespace {

struct Option {
    char letter;
    std::string value;    // of those that take one
};

struct Words {
    std::vector<Option> options;
    std::vector<std::string> operands;
    bool has(char letter) const { return std::any_of(options.begin(), options.end(), [&](const Option& o) { return o.letter == letter; }); }
    std::string config_directory() const
    {
        const auto last = std::find_if(options.rbegin(), options.rend(), [](const Option& o) { return o.letter == 'c'; });
        return last == options.rend() ? std::string() : last->value;
    }
};

using ReadIds = std::function<std::vector<std::string>()>;
using Commands = std::vector<std::vector<std::string>>;
using Translate = Result<Commands> (*)(const Words& words, const ReadIds& read_ids);

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// postconf
Result<Commands> to_config(const Words& words, const ReadIds&)
{
    std::vector<std::string> command{"config"};
    for (const Option& option : words.options) {
        if (std::string_view("MPF").find(option.letter) != std::string_view::npos)
            return fail("there is no master.cf: where daemons listen and how many there are is said in main.cf (smtpd_listen, submission_listen, pipe_transports, ...)");
        if (std::string_view("abtlmACT").find(option.letter) != std::string_view::npos)
            return fail(cat("-", option.letter, ": nothing like that is shown; veredus-tables(5) and main.cf(5) say what there is"));
        if (std::string_view("ndexXhH").find(option.letter) != std::string_view::npos) command.push_back(std::string("-") + option.letter);
        if (option.letter == '#') command.push_back("-X");
    }
    const bool assigns = std::any_of(words.operands.begin(), words.operands.end(), [](const std::string& word) { return word.find('=') != std::string::npos; });
    if (assigns && !words.has('e')) command.push_back("-e");
    command.insert(command.end(), words.operands.begin(), words.operands.end());
    return Commands{command};
}

// postqueue
Result<Commands> to_queue(const Words& words, const ReadIds&)
{
    Commands commands;
    for (const Option& option : words.options) {
        if (option.letter == 'p') commands.push_back({"queue", "list"});
        if (option.letter == 'j') commands.push_back({"queue", "list", "-j"});
        if (option.letter == 'f') commands.push_back({"flush"});
        if (option.letter == 'i') commands.push_back({"flush", option.value});
        if (option.letter == 's') commands.push_back({"flush", "--site", option.value});
    }
    if (commands.size() != 1 || !words.operands.empty()) return fail("say one of -p, -j, -f, -i ID, -s SITE");
    return commands;
}

struct Super {
    char letter;
    const char* verb;
};
constexpr Super supers[] = {{'d', "delete"}, {'h', "hold"}, {'H', "release"}, {'r', "requeue"}};

// postsuper
Result<Commands> to_acts(const Words& words, const ReadIds& read_ids)
{
    Commands commands;
    if (words.has('e') || words.has('f')) return fail("a mail cannot be expired by hand: delete it, or set maximal_queue_lifetime");
    for (const Option& option : words.options) {
        const auto super = std::find_if(std::begin(supers), std::end(supers), [&](const Super& s) { return s.letter == option.letter; });
        if (super == std::end(supers)) continue;    // -p and -s mend a spool, which this one does by itself
        std::vector<std::string> command{"queue", super->verb};
        const std::vector<std::string> ids = option.value == "-" ? read_ids() : std::vector<std::string>{option.value};
        if (ids.empty()) continue;
        if (option.value != "ALL") command.insert(command.end(), ids.begin(), ids.end());
        else if (words.operands.empty()) command.push_back("ALL");
        if (words.operands.empty()) {
            commands.push_back(std::move(command));
            continue;
        }
        for (const std::string& state : words.operands) {
            commands.push_back(command);
            commands.back().insert(commands.back().end(), {"--state", state});
        }
    }
    return commands;
}

// postcat
Result<Commands> to_show(const Words& words, const ReadIds&)
{
    if (!words.has('q')) return fail("queue files are shown by their ID: postcat -q ID");
    if (words.operands.empty()) return fail("say which mail: postcat -q ID");
    const bool message = words.has('h') || words.has('b'), envelope = words.has('e');
    std::vector<std::string> command{"queue", "show"};
    if (message != envelope) command.push_back(message ? "-m" : "-e");
    command.insert(command.end(), words.operands.begin(), words.operands.end());
    return Commands{command};
}

// postmap and postalias
Result<Commands> to_table(const Words& words, bool aliases)
{
    std::vector<std::string> command{"table"};
    if (aliases) command.push_back("-a");
    for (const Option& option : words.options) {
        if (option.letter == 'd') return fail("tables are text: remove the line from the file; that is seen at once");
        if (option.letter == 's') return fail("tables are text: the file itself says what is in it");
        if (option.letter == 'q') command.insert(command.end(), {"-q", option.value});
    }
    if (words.operands.empty()) return fail("say which table, as in hash:/etc/veredus/transport");
    command.insert(command.end(), words.operands.begin(), words.operands.end());
    return Commands{command};
}
Result<Commands> to_map(const Words& words, const ReadIds&) { return to_table(words, false); }
Result<Commands> to_alias(const Words& words, const ReadIds&) { return to_table(words, true); }

struct Verb {
    std::string_view name;
    std::vector<std::string> command;
};

// postfix
Result<Commands> to_start(const Words& words, const ReadIds&)
{
    static const Verb verbs[] = {{"start", {"start"}},   {"start-fg", {"start", "-f"}}, {"stop", {"stop"}},   {"abort", {"stop"}},            {"quick-stop", {"stop"}},
                                 {"reload", {"reload"}}, {"flush", {"flush"}},          {"check", {"check"}}, {"status", {"status"}},         {"set-permissions", {"setup"}},
                                 {"upgrade-configuration", {"setup"}}};
    if (words.operands.empty()) return fail("say start, stop, reload, flush, check or status");
    for (const Verb& verb : verbs)
        if (verb.name == words.operands[0]) return Commands{verb.command};
    return fail(cat(printable(words.operands[0], 40), ": veredus has no such command; `veredus --help` lists what it has"));
}

struct Program {
    std::string_view name;
    std::string_view letters;    // a colon behind one that takes a value
    Translate translate;
};
constexpr Program programs[] = {
    {"postfix", "c:vD", to_start},
    {"postconf", "c:ndexXhHfpovq#MPFabtlmACT", to_config},
    {"postqueue", "c:pjfvi:s:", to_queue},
    {"postsuper", "c:d:h:H:r:e:f:psSv", to_acts},
    {"postcat", "c:qhbedorv", to_show},
    {"postmap", "c:q:d:sbhmNUfFinoprtuvw", to_map},
    {"postalias", "c:q:d:sNUfFinoprtuvw", to_alias},
};

const Program* find_program(std::string_view name)
{
    for (const Program& program : programs)
        if (program.name == last_part(name)) return &program;
    return nullptr;
}

Result<Words> take_apart(std::string_view letters, const std::vector<std::string>& words)
{
    Words out;
    std::size_t i = 0;
    for (; i < words.size() && words[i].size() > 1 && words[i][0] == '-' && words[i] != "--"; ++i)
        for (std::size_t at = 1; at < words[i].size(); ++at) {
            const std::size_t known = words[i][at] == ':' ? std::string_view::npos : letters.find(words[i][at]);
            if (known == std::string_view::npos) return fail(cat("-", printable(words[i].substr(at, 1)), ": no such option"));
            Option option{words[i][at], ""};
            if (known + 1 < letters.size() && letters[known + 1] == ':') {
                option.value = words[i].substr(at + 1);
                if (option.value.empty() && ++i == words.size()) return fail(cat("-", option.letter, ": a value is missing"));
                if (option.value.empty()) option.value = words[i];
                at = words[i].size();    // the word is used up
            }
            out.options.push_back(std::move(option));
        }
    if (i < words.size() && words[i] == "--") ++i;
    out.operands.assign(words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
    return out;
}

}  // namespace

bool is_postfix_command(std::string_view program) { return find_program(program) != nullptr; }

Result<PostfixCall> translate_postfix_command(std::string_view program, const std::vector<std::string>& words, const ReadIds& read_ids)
{
    const Program* known = find_program(program);
    if (!known) return fail(cat(printable(program, 40), " is no command of Postfix that is known here"));
    const Words apart = TRY(take_apart(known->letters, words));
    return PostfixCall{apart.config_directory(), TRY(known->translate(apart, read_ids))};
}

}  // namespace veredus::admin
