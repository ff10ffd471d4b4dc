#include "lib/login/place.h"

#include <sys/stat.h>

#include <cerrno>

#include "lib/base/text.h"
#include "lib/daemon/spool_keeper.h"
#include "lib/store/beneath.h"

namespace veredus::login {

namespace {
std::shared_ptr<store::MboxKeeper> inbox_keeper; // shared: each mailbox that is open has it, too
}

void set_inbox_keeper(std::shared_ptr<store::MboxKeeper> keeper) { inbox_keeper = std::move(keeper); }

Result<Place> place_of(const conf::Values& values, const ipc::Serve& user)
{
    // An mbox of virtual_mailbox_maps is of a user who has no home: it gets one beside it.
    const bool homeless = user.home[0] != '/';
    if (user.mailbox[0] != '\0') {
        const std::string path(user.mailbox);
        // A passwd-file may say INBOX=/var/mail/user; a virtual user of tables is of no account that lockd would know.
        const bool spool = !homeless && !path.ends_with('/') && path == daemon::spool_mailbox(values.text("mail_spool_directory"), user.name);
        return Place{path, homeless ? cat(path, ".folders") : user.home, spool};
    }
    // Who keeps root's mailbox has no home.
    const bool for_root = values.text("root_mailbox_user") == user.name;
    const std::string home_mailbox(values.text("home_mailbox"));
    if (!home_mailbox.empty() && !for_root) {
        if (home_mailbox.starts_with('/')) return Place{home_mailbox, homeless ? "" : user.home, false};
        if (homeless) return fail(cat("user ", printable(user.name), " has no home"));
        return Place{cat(user.home, '/', home_mailbox), user.home, false};
    }
    // As local delivers: a virtual user of a passwd-file has a home and no place in the spool.
    if (std::string_view(user.name).find('@') != std::string_view::npos) {
        if (homeless) return fail(cat("user ", printable(user.name), " has no home"));
        return Place{cat(user.home, "/Maildir/"), user.home, false};
    }
    const std::string name = for_root ? "root" : user.name;
    if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos)
        return fail(cat("user ", printable(name), " can have no mailbox of that name"));
    const std::string path = daemon::spool_mailbox(values.text("mail_spool_directory"), name);
    return Place{path, homeless ? "" : user.home, !path.ends_with('/')};
}

namespace {

// Who is no account has nobody that makes his home. Its parts are made as a delivery makes them.
bool makes_his_way(const ipc::Serve& user) { return user.mailbox[0] != '\0' || std::string_view(user.name).find('@') != std::string_view::npos; }

// To what `path` lies in.
Result<void> make_way_to(std::string path)
{
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    const std::string above = path.substr(0, path.rfind('/'));
    if (above.empty()) return {};
    const auto made = store::make_way(above);
    return made ? Result<void>() : unexpected(Error{made.error().code, cat("make ", above, ": ", made.error().text)});
}

} // namespace

Result<std::unique_ptr<store::Mailbox>> open_mailbox(const conf::Values& values, const ipc::Serve& user)
{
    const Place place = TRY(place_of(values, user));
    if (place.path.ends_with('/')) {
        auto maildir = store::open_maildir(place.path);
        if (maildir || maildir.error().code != ENOENT || !makes_his_way(user)) return maildir;
        TRY(make_way_to(place.path));
        return store::open_maildir(place.path);
    }
    if (place.home.empty())
        return fail(cat("user ", printable(user.name), " has no home, where the index of ", printable(place.path),
                        " would be"));
    store::MboxPlaces places;
    places.inbox = place.path;
    places.folders = cat(place.home, "/mail");
    places.home = place.home;
    if (struct stat st {}; makes_his_way(user) && ::stat(place.home.c_str(), &st) != 0 && errno == ENOENT) TRY(make_way_to(place.home + "/."));
    places.keeper = inbox_keeper;
    if (place.spool)
        places.keeper = std::make_shared<daemon::SpoolKeeper>(cat(values.text("run_directory"), "/lockd"),
                                                              place.path.substr(place.path.rfind('/') + 1));
    return store::open_mbox(std::move(places));
}

} // namespace veredus::login
