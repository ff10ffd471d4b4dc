// The lines of a passwd-file, and asking for a password.
#include "master/veredus/passwords.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/auth/mechanism.h"
#include "lib/auth/passwd_file.h"
#include "lib/auth/password.h"
#include "lib/base/text.h"

namespace veredus::admin {

namespace {

// Where the password of a line stands: [begin, end) in the text.
std::pair<std::size_t, std::size_t> password_place(std::string_view text, std::pair<std::size_t, std::size_t> line)
{
    const std::string_view content = text.substr(line.first, line.second - line.first);
    const auto begin = content.find(':');
    if (begin == std::string_view::npos) return {line.second, line.second};
    auto end = content.find(':', begin + 1);
    if (end == std::string_view::npos) end = content.size();
    return {line.first + begin + 1, line.first + end};
}

std::string replaced(std::string_view text, std::pair<std::size_t, std::size_t> place, std::string_view by)
{
    return cat(text.substr(0, place.first), by, text.substr(place.second));
}

Unexpected no_such(std::string_view user) { return fail(cat("no user ", printable(user), " in the file")); }

// Echo is off as long as it lives, and on again whatever ends it; signals wait meanwhile.
class Silence {
public:
    Silence()
    {
        sigset_t block;
        sigemptyset(&block);
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP}) sigaddset(&block, number);
        ::sigprocmask(SIG_BLOCK, &block, &before_);
        active_ = ::tcgetattr(STDIN_FILENO, &terminal_) == 0;
        termios silent = terminal_;
        silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        silent.c_lflag &= ~static_cast<tcflag_t>(ISIG);      // ^C comes as a character, and ends it below
        if (active_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    ~Silence()
    {
        if (active_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_);
        std::fputc('\n', stderr);
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    termios terminal_{};
    sigset_t before_{};
    bool active_ = false;
};

Result<std::string> read_line()
{
    std::string line;
    for (;;) {
        char c = 0;
        const ssize_t n = ::read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("read the password");
        if (n == 0 || c == '\n') break;
        if (c == '\3') return fail("interrupted");
        line += c;
        if (line.size() > auth::max_password + 1) return fail(cat("the password is longer than ", auth::max_password, " bytes"));
    }
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) return fail("the password is empty");
    return line;
}

Result<std::string> ask(const std::string& prompt)
{
    std::fputs(prompt.c_str(), stderr);
    const Silence silence;
    return read_line();
}

}  // namespace

Result<std::string> set_password(std::string_view text, std::string_view user, std::string_view stored)
{
    if (!auth::is_user_name(user)) return fail(cat("\"", printable(user, 100), "\" cannot stand in a passwd-file"));
    if (const auto line = auth::find_line(text, user)) {
        const auto place = password_place(text, *line);
        const bool bare = text.substr(line->first, line->second - line->first).find(':') == std::string_view::npos;
        return replaced(text, place, bare ? cat(':', stored) : std::string(stored));
    }
    std::string out(text);
    if (!out.empty() && out.back() != '\n') out += '\n';
    append(out, user, ':', stored, "::::::\n");
    return out;
}

Result<std::string> lock_password(std::string_view text, std::string_view user, bool lock)
{
    const auto line = auth::find_line(text, user);
    if (!line || !auth::is_user_name(user)) return no_such(user);
    const auto place = password_place(text, *line);
    const std::string_view stored = text.substr(place.first, place.second - place.first);
    const bool locked = stored.starts_with('!');
    if (stored.empty() || (locked && stored.size() == 1)) return fail(cat(printable(user), " has no password: he is locked until one is set"));
    if (lock == locked) return std::string(text);
    return replaced(text, place, lock ? cat('!', stored) : std::string(stored.substr(1)));
}

Result<std::string> remove_user(std::string_view text, std::string_view user)
{
    const auto line = auth::find_line(text, user);
    if (!line || !auth::is_user_name(user)) return no_such(user);
    const auto end = text.find('\n', line->second);
    return replaced(text, {line->first, end == std::string_view::npos ? text.size() : end + 1}, "");
}

Result<std::string> read_password(const std::string& prompt, bool twice)
{
    if (!::isatty(STDIN_FILENO)) return read_line();
    auto first = TRY(ask(prompt));
    if (!twice) return first;
    auto second = TRY(ask("Once more: "));
    const bool same = first == second;
    tls::wipe(second);
    if (same) return first;
    tls::wipe(first);
    return fail("the two are not the same; nothing was changed");
}

}  // namespace veredus::admin
