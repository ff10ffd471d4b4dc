// Reading a passwd-file.
#include "master/resolver/passwd_file.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "lib/auth/passwd_fields.h"
#include "lib/base/text.h"
#include "lib/ipc/control.h"

namespace veredus::resolver {

namespace {

constexpr std::size_t most_problems = 20;
constexpr std::size_t most_names = 1000;
constexpr std::size_t longest_mailbox = sizeof(ipc::Serve::mailbox) - 2;    // a slash comes behind a Maildir, and a NUL

// Ids that lines of one file give by name, each looked up once: Dovecot takes names as well.
class Names {
public:
    Result<uint32_t> uid(std::string_view text)
    {
        return id(text, uids_, "uid", [](const char* name) {
            passwd entry{}, *found = nullptr;
            return asked([&](char* room, std::size_t size) { return ::getpwnam_r(name, &entry, room, size, &found); }) && found ? std::optional<uint32_t>(entry.pw_uid) : std::nullopt;
        });
    }
    Result<uint32_t> gid(std::string_view text)
    {
        return id(text, gids_, "gid", [](const char* name) {
            group entry{}, *found = nullptr;
            return asked([&](char* room, std::size_t size) { return ::getgrnam_r(name, &entry, room, size, &found); }) && found ? std::optional<uint32_t>(entry.gr_gid) : std::nullopt;
        });
    }

private:
    using Known = std::map<std::string, std::optional<uint32_t>, std::less<>>;
    // A group with many members takes much room.
    template <class F> static bool asked(F look_up)
    {
        int code = ERANGE;
        for (std::size_t size = 16 * 1024; code == ERANGE && size <= 4 * 1024 * 1024; size *= 16) {
            std::string room(size, '\0');
            code = look_up(room.data(), size);
        }
        return code == 0;
    }
    template <class F> static Result<uint32_t> id(std::string_view text, Known& known, const char* what, F look_up)
    {
        if (const auto number = parse_number<uint32_t>(text, UINT32_MAX - 2)) return *number;    // -1 means "leave it" to the kernel, -2 is reserved by habit
        auto at = known.find(text);
        if (at == known.end() && known.size() >= most_names) return fail(cat(what, ' ', printable(text, 60), ": more than ", most_names, " names; write numbers"));
        const std::string name(text);
        const bool may_be_one = !is_digit(text[0]) && text[0] != '-' && text.size() < 256;
        if (at == known.end()) at = known.emplace(name, may_be_one ? look_up(name.c_str()) : std::nullopt).first;
        if (!at->second) return fail(cat(what, " \"", printable(text, 60), "\": neither a number nor a name that the system has"));
        return *at->second;
    }
    Known uids_, gids_;
};

// What a variable stands for: of %u, %n, %d and %h, or of Dovecot 2.4's names.
Result<std::string> variable(std::string_view name, const ipc::UserReply& user)
{
    const auto [local, domain] = cut(user.name, '@');
    std::string value;
    if (name == "u" || name == "user") value = user.name;
    else if (name == "n" || name == "username") value = local;
    else if (name == "d" || name == "domain") value = domain.value_or("");
    else if (name == "h" || name == "home") return user.home.empty() ? Result<std::string>(fail(cat('%', name, ": the line has no home"))) : Result<std::string>(user.home);
    else return fail(cat('%', name, ": not a variable that is known here; these are %u, %n, %d and %h"));
    return value;
}

// A user's name must not say another's place: what comes of it is one part of a path, or some of one.
Result<std::string> part_of_path(std::string value, std::string_view name)
{
    if (name == "h" || name == "home") return value;
    if (value.empty()) return fail(cat('%', name, ": the user's name has nothing for it"));
    if (value == "." || value == ".." || value.find('/') != std::string::npos) return fail(cat('%', name, ": \"", value, "\" cannot be part of a path"));
    return value;
}

Result<std::string> changed(std::string value, std::string_view how)
{
    if (how == "L" || how == "lower") return lower(value);
    if (how == "U" || how == "upper") return upper(value);
    if (how == "username") return std::string(cut(value, '@').first);
    if (how == "domain") return std::string(cut(value, '@').second.value_or(""));
    return fail(cat('"', how, "\": not a modifier that is known here; these are L and U"));
}

// %{user | domain | lower}: Dovecot 2.4's filters behind a name.
Result<std::string> braced(std::string_view inner, const ipc::UserReply& user)
{
    const auto words = split_on(inner, '|');
    std::string_view name = trim(words[0]);
    std::size_t next = 1;
    if (name == "user" && words.size() > 1 && (trim(words[1]) == "username" || trim(words[1]) == "domain")) name = trim(words[next++]);
    std::string value = TRY(variable(name, user));
    for (; next < words.size(); ++next) value = TRY(changed(std::move(value), trim(words[next])));
    return part_of_path(std::move(value), name);
}

// Once: what a variable stands for is text.
Result<std::string> expand(std::string_view text, const ipc::UserReply& user)
{
    std::string out;
    while (!text.empty()) {
        const std::size_t at = std::min(text.find('%'), text.size());
        out += text.substr(0, at);
        text.remove_prefix(at);
        if (text.empty()) break;
        text.remove_prefix(1);
        if (text.starts_with('{')) {
            const std::size_t end = text.find('}');
            if (end == std::string_view::npos) return fail("%{ without }");
            out += TRY(braced(text.substr(1, end - 1), user));
            text.remove_prefix(end + 1);
            continue;
        }
        std::size_t letter = 0;
        while (letter < text.size() && (text[letter] == 'L' || text[letter] == 'U')) ++letter;
        if (letter == text.size()) return fail("% without a variable");
        if (text[letter] == '%') {
            out += '%';
        } else {
            std::string value = TRY(variable(text.substr(letter, 1), user));
            for (std::size_t i = letter; i-- > 0;) value = TRY(changed(std::move(value), text.substr(i, 1)));
            out += TRY(part_of_path(std::move(value), text.substr(letter, 1)));
        }
        text.remove_prefix(letter + 1);
    }
    return out;
}

// An absolute path without slashes at its end.
Result<std::string> path_of(std::string_view written, const ipc::UserReply& user)
{
    std::string path = TRY(expand(written, user));
    if (path == "~" || path.starts_with("~/")) {
        if (user.home.empty()) return fail("~: the line has no home");
        path = cat(user.home, path.substr(1));
    }
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    if (!path.starts_with('/') || path.size() < 2) return fail(cat('"', path, "\" is no absolute path"));
    if (path.size() > longest_mailbox) return fail(cat("a path of ", path.size(), " bytes; up to ", longest_mailbox, " are possible"));
    for (const auto part : split_on(path, '/'))
        if (part == "..") return fail(cat('"', path, "\" has a part \"..\""));
    return path;
}

bool is_of_dovecot_alone(std::string_view key)
{
    for (const char* known : {"INDEX", "INDEXPVT", "INDEXCACHE", "CONTROL", "VOLATILEDIR"})
        if (key == known) return true;
    return false;
}

constexpr const char* kinds_known = "mailboxes of this kind are not read here; maildir and mbox are";

Result<std::string> mailbox_at(bool maildir, std::string root, std::string inbox, const ipc::UserReply& user)
{
    if (maildir && !inbox.empty() && inbox != root) return fail("INBOX=: a Maildir has its INBOX at its top here");
    if (maildir) return root + '/';
    if (inbox.empty()) return root;
    if (user.home.empty() || root != TRY(path_of("~/mail", user))) return fail(cat(root, ": the folders beside INBOX= are in ~/mail here"));
    return inbox;
}

// Dovecot's userdb_mail=maildir:~/Maildir:INDEX=…
Result<std::string> mailbox_of(std::string_view text, const ipc::UserReply& user)
{
    const auto [kind, rest] = cut(text, ':');
    const bool maildir = kind == "maildir";
    if (!rest) return fail("its kind comes first, as in maildir:~/Maildir");
    if (!maildir && kind != "mbox") return fail(kinds_known);
    const auto words = split_on(*rest, ':');
    std::string root = TRY(path_of(words[0], user)), inbox;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto [key, value] = cut(words[i], '=');
        if (key == "INBOX" && value) inbox = TRY(path_of(*value, user));
        else if (!(value && is_of_dovecot_alone(key)) && !iequals(words[i], maildir ? "LAYOUT=maildir++" : "LAYOUT=fs"))
            return fail(cat(words[i].empty() ? "an empty word" : words[i], ": not understood here"));
    }
    return mailbox_at(maildir, std::move(root), std::move(inbox), user);
}

// Of the extra fields those that say where a user's mail is and who he is.
struct Extra {
    std::string_view mail, driver, path, inbox, home, uid, gid;
    explicit Extra(std::string_view fields)
    {
        const std::pair<std::string_view, std::string_view*> known[] = {{"userdb_mail", &mail}, {"userdb_mail_driver", &driver}, {"userdb_mail_path", &path},
                                                                        {"userdb_mail_inbox_path", &inbox}, {"userdb_home", &home}, {"userdb_uid", &uid}, {"userdb_gid", &gid}};
        for (const std::string_view item : split(fields, " \t")) {
            const auto [name, value] = cut(item, '=');
            for (const auto& [wanted, field] : known)
                if (name == wanted && value) *field = *value;
        }
    }
    // Empty: where the settings say.
    Result<std::string> mailbox(const ipc::UserReply& user) const
    {
        const auto named = [](std::string_view name, std::string_view value, Result<std::string> done) {
            return done ? done : Result<std::string>(fail(cat(name, '=', value, ": ", done.error().text)));
        };
        if (!mail.empty()) return named("userdb_mail", mail, mailbox_of(mail, user));
        if (driver.empty() && path.empty() && inbox.empty()) return std::string();
        if (driver != "maildir" && driver != "mbox") return fail(driver.empty() ? cat("userdb_mail_path: userdb_mail_driver=maildir or mbox has to stand beside it") : cat("userdb_mail_driver=", driver, ": ", kinds_known));
        if (path.empty()) return fail(cat("userdb_mail_driver=", driver, ": userdb_mail_path has to stand beside it"));
        std::string in;
        std::string root = TRY(named("userdb_mail_path", path, path_of(path, user)));
        if (!inbox.empty()) in = TRY(named("userdb_mail_inbox_path", inbox, path_of(inbox, user)));
        return named("userdb_mail_path", path, mailbox_at(driver == "maildir", std::move(root), std::move(in), user));
    }
};

// Nothing: it names nobody.
std::optional<ipc::UserReply> parse_line(std::string_view line, uint32_t default_uid, uint32_t default_gid, Names& names)
{
    const auto fields = auth::passwd_fields(line);
    const auto field = [&](std::size_t i) { return i < fields.size() ? fields[i] : std::string_view(); };
    ipc::UserReply user;
    user.found = ipc::UserReply::Found::yes;
    user.name = field(0);
    if (user.name.empty() || user.name.size() > 255 || user.name.find('/') != std::string::npos) return std::nullopt;
    const Extra extra(field(7));
    // Nowhere is better than where nobody looks, and nobody is unknown for a slip of the pen.
    const auto flawed = [&](const std::string& why) {
        user.found = ipc::UserReply::Found::temporary;
        user.text = printable(why, 400);
        return user;
    };
    const std::string_view uid = extra.uid.empty() ? field(2) : extra.uid, gid = extra.gid.empty() ? field(3) : extra.gid;
    user.uid = default_uid;
    user.gid = default_gid;
    user.gecos = field(4);
    user.home = extra.home.empty() ? field(5) : extra.home;
    user.shell = field(6);
    std::string flaw;
    if (!uid.empty()) {
        if (const auto known = names.uid(uid)) user.uid = *known;
        else user.uid = 0, flaw = known.error().text;
    }
    if (!gid.empty()) {
        if (const auto known = names.gid(gid)) user.gid = *known;
        else user.gid = 0, flaw = known.error().text;
    }
    if (user.uid == UINT32_MAX || user.gid == UINT32_MAX) return user;    // there for the password alone
    if (!flaw.empty()) return flawed(flaw);
    if (!user.home.empty() && user.home[0] != '/') return flawed(cat("home \"", user.home, "\": is no absolute path"));
    auto mailbox = extra.mailbox(user);
    if (!mailbox) return flawed(mailbox.error().text);
    user.mailbox = std::move(*mailbox);
    return user;
}

}  // namespace

PasswdFile PasswdFile::parse(std::string_view text, uint32_t default_uid, uint32_t default_gid)
{
    PasswdFile file;
    Names names;
    unsigned number = 0;
    for (std::string_view line : split_on(text, '\n')) {
        ++number;
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (trim(line).empty() || line[0] == '#') continue;
        auto user = parse_line(line, default_uid, default_gid, names);
        if (!user) {
            ++file.misfits_;
            continue;
        }
        if (user->found == ipc::UserReply::Found::temporary) user->text = cat("line ", number, ": ", user->text);
        std::string name = user->name;
        const auto [at, fresh] = file.users_.emplace(std::move(name), std::move(*user));    // of two lines the first counts, as in /etc/passwd
        if (fresh && at->second.found == ipc::UserReply::Found::temporary && file.problems_.size() < most_problems)
            file.problems_.push_back(cat(at->second.text, "; mail for ", printable(at->first, 100), " waits, and he cannot log in"));
    }
    return file;
}

const ipc::UserReply* PasswdFile::find(const std::string& name) const
{
    const auto found = users_.find(name);
    return found == users_.end() ? nullptr : &found->second;
}

}  // namespace veredus::resolver
