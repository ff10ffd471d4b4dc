// The table of subcommands.
#include "master/veredus/commands.h"

#include <sysexits.h>

#include <cstdio>

namespace veredus::admin {

namespace {

constexpr Subcommand rows[] = {
    {"start", start, "[-f] [-l LIBEXEC]", "start the mail system; -f: stay in the foreground"},
    {"stop", stop, "", "stop it; what is under way is finished first"},
    {"restart", restart, "[-l LIBEXEC]", "stop and start"},
    {"reload", reload, "", "take up a changed configuration without dropping a session"},
    {"status", status, "[-q]", "say what runs; exit 0: running, 1: died, 3: stopped"},
    {"check", check, "[-l LIBEXEC]", "find everything that a start would trip over"},
    {"setup", setup, "[-n]", "make users, groups, the spool and a first configuration; -n: only say what"},
    {"config", config, "[-n|-d] [-x] [-o] [-h|-H] [NAME...] | -e NAME=VALUE... | -X NAME...", "show or edit settings, as postconf does"},
    {"queue", queue, "list [-j] | show [-e|-m] ID | hold|release|delete|requeue|flush ID...|ALL, or [--sender A] [--recipient A] [--site D] [--reason TEXT]"
                     " [--state S] [--older-than AGE] [--younger-than AGE]", "look into the queue, and act on mails in it"},
    {"explain", explain, "[-f SENDER] [-l LIBEXEC] ADDRESS...", "tell step by step where mail for ADDRESS goes, with the setting and table line that decide; exit 1: nowhere"},
    {"mailbox", mailbox, "list USER | status|check|rebuild USER [FOLDER...]", "a user's folders: names, counts and sizes; read every mail; rebuild: throw the index away, clients load all anew"},
    {"trace", trace, "[-l FILE]... ID", "tell the life of a mail from the log and the queue; -l: that log file (- is stdin); exit 1: nobody knows it"},
    {"passwd", passwd, "[-s SCHEME] [-f FILE] [-d|-l|-u] USER", "set a user's mail password (read from the terminal or stdin); -d: remove him, -l: lock, -u: unlock"},
    {"auth", authenticate, "test USER", "say whether USER gets in with a password (read from the terminal or stdin), and why not"},
    {"who", who, "[-j] [USER]", "who is logged in to read mail: from where, since when, idle, bytes, folder; -j: as JSON"},
    {"kick", kick, "USER", "end USER's connections; exit 1: there were none"},
    {"clientconfig", clientconfig, "[-o text|autoconfig|autodiscover|srv] DOMAIN", "the settings of mail programs for DOMAIN, ready to publish: for people, Thunderbird, Outlook, and as SRV records"},
    {"table", table, "[-a] [-q KEY]... TYPE:NAME...", "which lines of a lookup table cannot be used; -q: what it answers (- is stdin); -a: aliases(5); exit 1: nothing"},
    {"flush", flush, "[--site D] [ID...]", "try deferred mail now"},
};

}  // namespace

std::span<const Subcommand> subcommands() { return rows; }

const Subcommand* find_subcommand(std::string_view name)
{
    for (const Subcommand& row : rows)
        if (name == row.name) return &row;
    return nullptr;
}

int usage(const char* name, bool asked_for)
{
    std::FILE* out = asked_for ? stdout : stderr;
    const Subcommand* row = find_subcommand(name);
    if (row) std::fprintf(out, "usage: veredus [-c DIR] %s %s\n%s\n", row->name, row->usage, row->help);
    return asked_for ? 0 : EX_USAGE;
}

}  // namespace veredus::admin
