// mailbox: a user's folders, seen and mended as that user.
#include <grp.h>
#include <pwd.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/login/place.h"
#include "lib/store/mailbox.h"
#include "lib/table/virtual_mailboxes.h"
#include "master/resolver/users.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"
#include "master/worker_policy.h"

namespace veredus::admin {

namespace {

constexpr std::size_t read_size = 256 * 1024;

constexpr std::size_t max_passwd_file = 64u << 20;

// As resolver answers the login stages: users of the sources of passdb, and those of virtual_mailbox_maps. Who has an account gets mail
// even when passdb does not know him.
Result<ipc::Serve> look_up(const conf::Values& values, const char* name)
{
    resolver::Users users(system_clock(), 0, ::geteuid() != 0);
    users.set_sources(values.list("passdb"));
    for (const std::string& path : users.files())        // what may not be read knows nobody
        if (const auto text = read_file(path, max_passwd_file)) users.set_file(path, *text);
    std::optional<resolver::VirtualUsers::Said> said;
    if (!values.list("virtual_mailbox_maps").empty() && resolver::Users::may_be_virtual(name)) said = resolver::VirtualUsers(values, ::geteuid() != 0).find(name);
    ipc::UserReply reply = users.find(name, said ? &*said : nullptr);
    if (reply.found != ipc::UserReply::Found::yes)
        if (auto account = resolver::system_user(name); account.found == ipc::UserReply::Found::yes) reply = std::move(account);
    if (reply.found == ipc::UserReply::Found::temporary) return fail(cat("look up ", printable(name, 100), ": ", reply.text));
    if (reply.found == ipc::UserReply::Found::no) return fail_errno(cat("no user \"", printable(name, 100), '"'), ENOENT);
    return master::make_serve(reply, false);
}

// Groups are those of an account; a user of a table has his gid alone.
Result<std::vector<uint32_t>> groups_of(const ipc::Serve& person)
{
    const struct passwd* account = ::getpwnam(person.name);
    if (!account || account->pw_uid != person.uid) return std::vector<uint32_t>{person.gid};
    std::vector<gid_t> groups(64);
    int count = static_cast<int>(groups.size());
    if (::getgrouplist(person.name, person.gid, groups.data(), &count) < 0) {
        groups.resize(static_cast<std::size_t>(count));
        if (::getgrouplist(person.name, person.gid, groups.data(), &count) < 0) return fail(cat("groups of ", printable(person.name)));
    }
    groups.resize(static_cast<std::size_t>(count));
    return std::vector<uint32_t>(groups.begin(), groups.end());
}

// His mailbox is touched with his rights and no other: what a link in it points to is his own trouble.
Result<void> become(const ipc::Serve& person)
{
    if (person.uid == 0) return fail("root has no mailbox of its own");
    if (::geteuid() == person.uid) return {};
    if (::geteuid() != 0) return fail_errno(cat("mailbox of ", printable(person.name), ": only root may look into another user's"), EPERM);
    const std::vector<uint32_t> groups = TRY(groups_of(person));
    return daemon::drop_rights(person.uid, person.gid, groups);
}

// Those that were named, or all.
Result<std::vector<std::string>> chosen(store::Mailbox& box, int argc, char** argv)
{
    std::vector<std::string> out(argv, argv + argc);
    if (!out.empty()) return out;
    const std::vector<store::Listed> all = TRY(box.list());
    for (const store::Listed& folder : all)
        if (folder.selectable) out.push_back(folder.name);
    return out;
}

bool list(store::Mailbox& box)
{
    const auto all = box.list();
    const auto subscribed = box.subscriptions();
    if (!all || !subscribed) {
        complain("%s", (all ? subscribed.error() : all.error()).text.c_str());
        return false;
    }
    for (const store::Listed& folder : *all) {
        const bool known = std::find(subscribed->begin(), subscribed->end(), folder.name) != subscribed->end();
        const std::string use = folder.special_use.empty() ? "" : cat("\t(", folder.special_use, ')');
        std::printf("%s%s%s%s\n", printable(folder.name, 1000).c_str(), folder.selectable ? "" : "\t(only a parent)", known ? "\t(subscribed)" : "", use.c_str());
    }
    return true;
}

Result<void> status_of(store::Mailbox& box, const std::string& name)
{
    auto folder = TRY(box.open(name));
    const store::UidTable& table = folder->table();
    std::vector<uint32_t> uids;
    uint64_t size = 0;
    std::size_t unseen = 0;
    for (const store::Message& m : table.messages()) {
        uids.push_back(m.uid);
        unseen += !(m.flags & store::seen);
    }
    for (const uint32_t uid : uids) {
        const auto one = folder->size(uid);
        if (one) size += *one;
        else if (one.error().code != ENOENT) return unexpected(one.error());
    }
    std::printf("%-24s %9zu %9zu %12llu %11u %10u %8llu\n", printable(name, 1000).c_str(), uids.size(), unseen, static_cast<unsigned long long>(size), table.uidvalidity(),
                table.uidnext(), static_cast<unsigned long long>(table.highest_modseq()));
    return {};
}

// Reads every mail to its end. How many were wrong.
Result<std::size_t> check_folder(store::Mailbox& box, const std::string& name)
{
    auto folder = TRY(box.open(name));
    std::size_t wrong = 0;
    const auto say = [&](const std::string& what) {
        std::printf("%s: %s\n", printable(name, 1000).c_str(), what.c_str());
        ++wrong;
    };
    if (folder->healed()) say("the index was damaged; it has been written anew");
    std::vector<uint32_t> uids;
    for (const store::Message& m : folder->table().messages()) uids.push_back(m.uid);
    for (const uint32_t uid : uids) {
        auto reader = folder->open(uid);
        if (!reader && reader.error().code == ENOENT) continue;        // removed meanwhile
        uint64_t size = 0;
        Error trouble;
        while (reader && trouble.text.empty()) {
            const auto piece = (*reader)->read(size, read_size);
            if (!piece) trouble = piece.error();
            else if (piece->empty()) break;
            else size += piece->size();
        }
        if (!reader) trouble = reader.error();
        if (!trouble.text.empty()) {
            say(cat("message ", uid, ": ", trouble.text));
            continue;
        }
        if (const auto told = folder->size(uid); told && *told != size) say(cat("message ", uid, ": ", size, " bytes, but its name says ", *told));
    }
    return wrong;
}

Result<void> rebuild(store::Mailbox& box, const std::string& name)
{
    TRY(box.forget_index(name));
    auto folder = TRY(box.open(name));
    std::printf("%s: %zu messages, UIDVALIDITY %u\n", printable(name, 1000).c_str(), folder->table().messages().size(), folder->table().uidvalidity());
    return {};
}

int run(store::Mailbox& box, const std::string& verb, int argc, char** argv)
{
    if (verb == "list") return list(box) ? 0 : EX_TEMPFAIL;
    const auto names = chosen(box, argc, argv);
    if (!names) {
        complain("%s", names.error().text.c_str());
        return EX_TEMPFAIL;
    }
    if (verb == "status") std::printf("%-24s %9s %9s %12s %11s %10s %8s\n", "folder", "messages", "unseen", "bytes", "uidvalidity", "uidnext", "modseq");
    int failed = 0;
    std::size_t wrong = 0;
    for (const std::string& name : *names) {
        Result<void> done;
        if (verb == "status") {
            done = status_of(box, name);
        } else if (verb == "rebuild") {
            done = rebuild(box, name);
        } else {
            auto found = check_folder(box, name);
            if (found) wrong += *found;
            else done = unexpected(std::move(found).error());
        }
        if (done) continue;
        complain("%s", done.error().text.c_str());
        failed = done.error().code == ENOENT ? EX_NOINPUT : done.error().code == EPROTONOSUPPORT ? EX_CONFIG : EX_TEMPFAIL;
    }
    return failed ? failed : wrong ? 1 : 0;
}

}  // namespace

int mailbox(const Common& common, int argc, char** argv)
{
    ::optind = 1;
    if (::getopt(argc, argv, "+") != -1 || argc - ::optind < 2) return usage("mailbox", false);
    const std::string verb = argv[::optind];
    if (verb != "list" && verb != "status" && verb != "check" && verb != "rebuild") return usage("mailbox", false);
    if (verb == "list" && argc - ::optind > 2) return usage("mailbox", false);
    const auto values = load_settings(common, true);
    if (!values) return EX_CONFIG;
    const auto person = look_up(*values, argv[::optind + 1]);
    if (!person) {
        complain("%s", person.error().text.c_str());
        return person.error().code == ENOENT ? EX_NOUSER : EX_TEMPFAIL;
    }
    if (auto done = become(*person); !done) {
        complain("%s", done.error().text.c_str());
        return EX_NOPERM;
    }
    auto box = login::open_mailbox(*values, *person);
    if (!box) {
        complain("%s", box.error().text.c_str());
        return box.error().code == ENOENT ? EX_NOINPUT : EX_TEMPFAIL;
    }
    const auto with_uses = store::with_default_folders(std::move(*box), {});
    return run(*with_uses, verb, argc - ::optind - 2, argv + ::optind + 2);
}

}  // namespace veredus::admin
