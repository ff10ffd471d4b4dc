// passwd: passwords in a passwd-file.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "lib/auth/password.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "master/veredus/commands.h"
#include "master/veredus/edit.h"
#include "master/veredus/passwords.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

constexpr std::size_t max_passwd_file = 64u << 20;

enum class Deed { set, lock, unlock, remove };

struct Wish {
    Deed deed = Deed::set;
    std::string scheme = auth::makable_schemes()[0], file, user;
};

bool parse(int argc, char** argv, Wish& wish)
{
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "s:f:dlu")) != -1;) switch (option) {
        case 's': wish.scheme = ::optarg; break;
        case 'f': wish.file = ::optarg; break;
        case 'd': wish.deed = Deed::remove; break;
        case 'l': wish.deed = Deed::lock; break;
        case 'u': wish.deed = Deed::unlock; break;
        default: return false;
        }
    // Two words: somebody would have every `ps` see a password.
    if (::optind + 1 != argc) return false;
    wish.user = argv[::optind];
    return true;
}

// The first file of passdb, unless one is given.
std::string file_of(const Common& common, const Wish& wish)
{
    if (!wish.file.empty()) return wish.file;
    const auto values = load_settings(common, true);
    if (!values) return "";
    for (const std::string& source : values->list("passdb"))
        if (source.starts_with("file:")) return source.substr(5);
    complain("passdb names no passwd-file: passwords of \"system\" are set with passwd(1). For passwords of their own for mail say\n"
             "    passdb = file:%s/passwd, system\nor name a file with -f", common.config_directory.c_str());
    return "";
}

// Others who edit it wait for the directory's lock: the file itself is another one after each change.
Result<Fd> lock_folder_of(const std::string& path)
{
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno(folder);
    while (::flock(fd.get(), LOCK_EX) < 0)
        if (errno != EINTR) return fail_errno(cat("lock ", folder));
    return fd;
}

Result<std::string> changed(const Wish& wish, const std::string& text, const std::string& stored)
{
    switch (wish.deed) {
    case Deed::set: return set_password(text, wish.user, stored);
    case Deed::lock: return lock_password(text, wish.user, true);
    case Deed::unlock: return lock_password(text, wish.user, false);
    case Deed::remove: return remove_user(text, wish.user);
    }
    return text;
}

Result<void> edit(const Wish& wish, std::string path, const std::string& stored)
{
    // A symbolic link stays one.
    if (char* real = ::realpath(path.c_str(), nullptr)) {
        path = real;
        ::free(real);
    }
    const Fd lock = TRY(lock_folder_of(path));
    auto text = read_file(path, max_passwd_file);
    if (!text && text.error().code != ENOENT) return unexpected(text.error());
    if (!text && wish.deed != Deed::set) return unexpected(text.error());
    const std::string before = text ? *text : std::string();
    const std::string after = TRY(changed(wish, before, stored));
    if (after != before) TRY(replace_file(path, after, 0600));
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 0004)) complain("warning: everybody can read %s: chmod 600 it", path.c_str());
    return {};
}

int failed(const Error& error)
{
    complain("passwd: %s", error.text.c_str());
    return error.code == EACCES || error.code == EPERM ? EX_NOPERM : error.code ? EX_OSERR : EX_DATAERR;
}

}  // namespace

int passwd(const Common& common, int argc, char** argv)
{
    Wish wish;
    if (!parse(argc, argv, wish)) return usage("passwd", false);
    const std::string path = file_of(common, wish);
    if (path.empty()) return EX_CONFIG;
    std::string stored;
    if (wish.deed == Deed::set) {
        auto password = read_password(cat("New mail password of ", printable(wish.user, 100), ": "), true);
        if (!password) return failed(password.error());
        auto made = auth::make_password(wish.scheme, *password);
        tls::wipe(*password);
        if (!made) return failed(made.error());
        stored = std::move(*made);
    }
    if (auto done = edit(wish, path, stored); !done) return failed(done.error());
    return 0;
}

}  // namespace veredus::admin
