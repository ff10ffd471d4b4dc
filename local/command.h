// Running a command with a mail on its standard input: which words, which environment, what its end means.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/agent.h"
#include "lib/store/content.h"

namespace veredus::local {

// Words to execute without a shell, or nothing when the line needs /bin/sh: characters that mean something to it, or a word of its own.
std::vector<std::string> split_command(std::string_view line);

struct Person {                   // whose command it is; no home: nobody's own
    std::string user, home, shell;
};

// The mail's addresses as a command may see them. Whatever a shell could take for more than text is replaced by '_', unless
// command_expansion_filter lets it through.
struct Facts {
    std::string sender;           // "" becomes MAILER-DAEMON
    std::string recipient, original_recipient;
    std::string local, domain, extension;
    std::string client_name, client_address, helo, protocol, auth_user;
};
// "NAME=value" strings: PATH, what export_environment lists ("TZ", "LANG=C"), then Postfix's variables.
constexpr std::string_view default_expansion_filter = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
std::vector<std::string> command_environment(const Person& person, const Facts& facts, const std::vector<std::string>& exported,
                                             std::string_view filter = default_expansion_filter);
// Every character that is not in `filter` (command_expansion_filter), and every control character, as '_'.
std::string harmless(std::string_view value, std::string_view filter = default_expansion_filter);

struct Ending {                   // how it ended
    enum class How : uint8_t { exited, signalled, timed_out, not_started } how = How::exited;
    int status = 0;               // exit status or signal
    std::string output;           // its first words on stdout and stderr
};
// What failed: an output that begins with "5.1.1 text" or "4.2.2 text" decides, else sysexits(3) as Postfix reads them.
ipc::Verdict judge(const Ending& ending, std::string_view command);

struct CommandRules {
    std::chrono::milliseconds time_limit{1'000'000};
    std::string directory;        // where it runs; "/" when that is not there
    std::string shell;            // local_command_shell: gets every command as its last word; nothing else runs one then
    std::string filter{default_expansion_filter};   // command_expansion_filter
};
// The same for words that are executed as they are; the first one is a path. No shell.
Ending run_words(std::vector<std::string> words, const std::vector<std::string>& environment, const CommandRules& rules, const store::Content& mail);
// Feeds the mail (From_ line first, LF lines) and waits. Its process group is killed when its time is up.
Ending run_command(const std::string& line, const std::vector<std::string>& environment, const CommandRules& rules, const store::Content& mail);

}  // namespace veredus::local
