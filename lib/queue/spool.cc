// Where each state lies, and how a mail gets from one to the next without ever being nameless on the disk.
#include "lib/queue/spool.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/disk/parallel_sync.h"
#include "lib/queue/id.h"

namespace veredus::queue {

namespace {

constexpr std::size_t fans = 16;    // deferred/0 to deferred/F
constexpr std::size_t many = 1000;   // mails of a move that several threads share
constexpr unsigned move_threads = 4;
constexpr char hex_digits[] = "0123456789ABCDEF";

// Which of two names of one file stays (see the page): a person's decision and a known damage before the rest.
int rank(State state) { return static_cast<int>(state); }
static_assert(State::incoming < State::deferred && State::deferred < State::hold && State::hold < State::corrupt);

bool leaves_hold_or_corrupt(Place from, Place to) { return from.state >= State::hold || to.state >= State::hold; }

// "ID-N": a file that was put aside under a name of its own.
bool is_aside_name(std::string_view name)
{
    return name.size() > 17 && name[16] == '-' && is_queue_id(name.substr(0, 16)) && std::all_of(name.begin() + 17, name.end(), is_digit);
}

}  // namespace

std::string_view state_name(State state)
{
    switch (state) {
    case State::incoming: return "incoming";
    case State::deferred: return "deferred";
    case State::hold: return "hold";
    case State::corrupt: return "corrupt";
    }
    panic("no such state");
}

const std::vector<SpoolDirectory>& spool_directories()
{
    static const std::vector<SpoolDirectory> table = {
        {"", "root", "root", 0755},
        // Sticky: callers of sendmail, all in group veredus-drop while veredus-drop runs, cannot touch each other's files.
        {"maildrop", "root", "root", 0755},
        {"maildrop/tmp", "veredus-submission", "veredus-drop", 01770},
        {"maildrop/new", "veredus-submission", "veredus-drop", 01770},
        {"incoming", "root", "root", 0755},
        // Set-gid: the role's files get its group, which qmgr is in.
        {"incoming/smtpd", "root", "root", 0755},
        {"incoming/smtpd/tmp", "veredus-queue", "veredus-smtpd", 02770},
        {"incoming/smtpd/new", "veredus-queue", "veredus-smtpd", 02770},
        {"incoming/submission", "root", "root", 0755},
        {"incoming/submission/tmp", "veredus-queue", "veredus-submission", 02770},
        {"incoming/submission/new", "veredus-queue", "veredus-submission", 02770},
        {"incoming/lmtpd", "root", "root", 0755},
        {"incoming/lmtpd/tmp", "veredus-queue", "veredus-lmtp", 02770},
        {"incoming/lmtpd/new", "veredus-queue", "veredus-lmtp", 02770},
        {"incoming/internal", "veredus-queue", "veredus-queue", 0700},
        {"incoming/internal/tmp", "veredus-queue", "veredus-queue", 0700},
        {"incoming/internal/new", "veredus-queue", "veredus-queue", 0700},
        {"active", "veredus-queue", "veredus-queue", 0700},
        {"hold", "veredus-queue", "veredus-queue", 0700},
        {"corrupt", "veredus-queue", "veredus-queue", 0700},
        {"log", "veredus-queue", "veredus-queue", 0700},
        {"deferred", "veredus-queue", "veredus-queue", 0700},
        {"deferred/0", "veredus-queue", "veredus-queue", 0700},
        {"deferred/1", "veredus-queue", "veredus-queue", 0700},
        {"deferred/2", "veredus-queue", "veredus-queue", 0700},
        {"deferred/3", "veredus-queue", "veredus-queue", 0700},
        {"deferred/4", "veredus-queue", "veredus-queue", 0700},
        {"deferred/5", "veredus-queue", "veredus-queue", 0700},
        {"deferred/6", "veredus-queue", "veredus-queue", 0700},
        {"deferred/7", "veredus-queue", "veredus-queue", 0700},
        {"deferred/8", "veredus-queue", "veredus-queue", 0700},
        {"deferred/9", "veredus-queue", "veredus-queue", 0700},
        {"deferred/A", "veredus-queue", "veredus-queue", 0700},
        {"deferred/B", "veredus-queue", "veredus-queue", 0700},
        {"deferred/C", "veredus-queue", "veredus-queue", 0700},
        {"deferred/D", "veredus-queue", "veredus-queue", 0700},
        {"deferred/E", "veredus-queue", "veredus-queue", 0700},
        {"deferred/F", "veredus-queue", "veredus-queue", 0700},
    };
    return table;
}

struct Spool::Private {
    struct Box {
        Box(disk::Disk& disk, disk::Directory dir_) : dir(std::move(dir_)), shared_sync(disk, dir) {}
        disk::Directory dir;
        disk::DirectorySync shared_sync;
    };
    explicit Private(disk::Disk& disk_) : disk(disk_) {}
    Result<void> open_box(std::unique_ptr<Box>& box, const disk::Directory& root, const std::string& path);
    Box& box(const std::string& id, Place place);
    template <class Visit> void each_box(Visit visit);    // Visit(Box&, Place)
    Result<std::string> link_one(const std::string& id, Box& from, Box& to, State target);    // the name it got
    Result<std::string> link_aside(const std::string& id, Box& from);
    // Of a move: what goes from one directory into another one.
    struct Share {
        Box *from, *to;
        std::vector<std::string> ids;
        std::vector<std::pair<std::string, std::string>> linked;    // ID, name in the target
    };
    Result<void> link_share(Share& share, State target);
    Result<void> unlink_share(const Share& share);
    void take_back(const std::vector<Share>& shares);
    Result<bool> heal(const std::string& id, Place kept, Place other);

    disk::Disk& disk;
    std::array<std::unique_ptr<Box>, writer_count> incoming;
    std::array<std::unique_ptr<Box>, fans> deferred;
    std::unique_ptr<Box> hold, corrupt;
    disk::Directory log;
};

Result<void> Spool::Private::open_box(std::unique_ptr<Box>& box, const disk::Directory& root, const std::string& path)
{
    box = std::make_unique<Box>(disk, TRY(disk.open_directory(&root, path)));
    return {};
}

Spool::Private::Box& Spool::Private::box(const std::string& id, Place place)
{
    switch (place.state) {
    case State::incoming: return *incoming.at(place.writer);
    case State::deferred: return *deferred.at(static_cast<std::size_t>(std::string_view(hex_digits).find(id.back())));
    case State::hold: return *hold;
    case State::corrupt: return *corrupt;
    }
    panic("no such state");
}

template <class Visit> void Spool::Private::each_box(Visit visit)
{
    for (std::size_t i = 0; i < writer_count; ++i) visit(*incoming[i], Place{State::incoming, static_cast<uint8_t>(i)});
    for (const auto& fan : deferred) visit(*fan, Place{State::deferred, 0});
    visit(*hold, Place{State::hold, 0});
    visit(*corrupt, Place{State::corrupt, 0});
}

Spool::Spool(std::unique_ptr<Private> p) : private_(std::move(p)) {}
Spool::~Spool() = default;

Result<std::unique_ptr<Spool>> Spool::open(disk::Disk& disk, const std::string& base)
{
    const disk::Directory root = TRY(disk.open_directory(nullptr, base));
    auto p = std::make_unique<Private>(disk);
    for (std::size_t i = 0; i < writer_count; ++i) TRY(p->open_box(p->incoming[i], root, cat("incoming/", writer_roles[i], "/new")));
    for (std::size_t i = 0; i < fans; ++i) TRY(p->open_box(p->deferred[i], root, cat("deferred/", hex_digits[i])));
    TRY(p->open_box(p->hold, root, "hold"));
    TRY(p->open_box(p->corrupt, root, "corrupt"));
    p->log = TRY(disk.open_directory(&root, "log"));
    return std::unique_ptr<Spool>(new Spool(std::move(p)));
}

// --- moves

// A new name in the target. One that is there already came from a move whose sync failed, and a failed sync is final:
// it is made anew, which is safe, for the mail's lasting name is the one it is moved from.
Result<std::string> Spool::Private::link_one(const std::string& id, Box& from, Box& to, State target)
{
    auto linked = disk.link(from.dir, id, to.dir, id);
    if (linked) return id;
    if (linked.error().code != EEXIST) return unexpected(linked.error());
    const auto ours = TRY(disk.stat(from.dir, id));
    const auto theirs = TRY(disk.stat(to.dir, id));
    if (ours.file != theirs.file) {
        if (target == State::corrupt) return link_aside(id, from);
        return unexpected(linked.error());
    }
    TRY(disk.unlink(to.dir, id));
    TRY(disk.link(from.dir, id, to.dir, id));
    return id;
}

Result<std::string> Spool::Private::link_aside(const std::string& id, Box& from)
{
    for (unsigned n = 1; n < 1000; ++n) {
        std::string name = cat(id, '-', n);
        auto linked = disk.link(from.dir, id, corrupt->dir, name);
        if (linked) return name;
        if (linked.error().code != EEXIST) return unexpected(linked.error());
    }
    return fail(cat("corrupt holds a thousand files of ", id));
}

Result<void> Spool::Private::link_share(Share& share, State target)
{
    for (const std::string& id : share.ids) {
        auto name = link_one(id, *share.from, *share.to, target);
        // A foreign owner's file, which fs.protected_hardlinks lets nobody else link: nobody was promised anything of it.
        if (!name && name.error().code == EPERM && target == State::corrupt && disk.rename_new(share.from->dir, id, share.to->dir, id)) continue;
        // Somebody took it away by hand: no reason to move none of the others.
        if (!name && name.error().code == ENOENT)
            if (const auto there = disk.stat(share.from->dir, id); !there && there.error().code == ENOENT) continue;
        if (!name) return unexpected(name.error());
        share.linked.emplace_back(id, std::move(*name));
    }
    return {};
}

Result<void> Spool::Private::unlink_share(const Share& share)
{
    Result<void> result;
    for (const auto& [id, name] : share.linked)
        if (auto gone = disk.unlink(share.from->dir, id); !gone && result) result = gone;
    return result;
}

// None of the new names is known to last: all mails stay where they were.
void Spool::Private::take_back(const std::vector<Share>& shares)
{
    for (const Share& share : shares)
        for (const auto& [id, name] : share.linked) [[maybe_unused]] const auto gone = disk.unlink(share.to->dir, name);
}

// Each step for all before the next one: the first sync commits what the others then find done. Up to the syncs all of them are moved
// or none.
Result<void> Spool::move(const std::vector<std::string>& ids, Place from, Place to)
{
    if (from == to) panic("a move from a state to itself");
    std::vector<Private::Share> shares;    // by pair of directories: at most 16
    for (const std::string& id : ids) {
        if (!is_queue_id(id)) return fail(cat("not a queue ID: ", printable(id, 40)));
        Private::Box &source = private_->box(id, from), &target = private_->box(id, to);
        auto share = std::find_if(shares.begin(), shares.end(), [&](const Private::Share& s) { return s.from == &source && s.to == &target; });
        if (share == shares.end()) share = shares.insert(shares.end(), {&source, &target, {}, {}});
        share->ids.push_back(id);
    }
    disk::ParallelSync threads(ids.size() < many ? 1 : move_threads);
    const auto each = [&](std::size_t count, const std::function<Result<void>(std::size_t)>& step) {
        Result<void> first;
        for (Result<void>& one : threads.run(count, step))
            if (!one && first) first = std::move(one);
        return first;
    };
    const auto sync_all = [&](Private::Box* Private::Share::*side) {
        std::vector<Private::Box*> boxes;
        for (const Private::Share& share : shares)
            if (std::find(boxes.begin(), boxes.end(), share.*side) == boxes.end()) boxes.push_back(share.*side);
        return each(boxes.size(), [&](std::size_t i) { return boxes[i]->shared_sync.sync(); });
    };
    Result<void> result = each(shares.size(), [&](std::size_t i) { return private_->link_share(shares[i], to.state); });
    if (result) result = sync_all(&Private::Share::to);
    if (!result) {
        private_->take_back(shares);
        return result;
    }
    result = each(shares.size(), [&](std::size_t i) { return private_->unlink_share(shares[i]); });
    if (result && leaves_hold_or_corrupt(from, to)) result = sync_all(&Private::Share::from);
    return result;
}

Result<void> Spool::remove(const std::string& id, Place place)
{
    if (!is_queue_id(id)) return fail(cat("not a queue ID: ", printable(id, 40)));
    return private_->disk.unlink(private_->box(id, place).dir, id);
}

Result<void> Spool::settle()
{
    Result<void> result;
    private_->each_box([&](Private::Box& box, Place) {
        if (result) result = box.shared_sync.sync();
        if (result && box.shared_sync.ever_failed()) result = fail(cat(box.dir.path, ": an earlier fsync failed, so what is gone from it may come back"));
    });
    return result;
}

// --- scans

// Two names with one ID. True: one file, and now one name. False: two files, and the other one was put aside.
Result<bool> Spool::Private::heal(const std::string& id, Place kept, Place other)
{
    Box &keep = box(id, kept), &drop = box(id, other);
    const auto a = TRY(disk.stat(keep.dir, id));
    const auto b = TRY(disk.stat(drop.dir, id));
    const bool same = a.file == b.file;
    if (!same) TRY(link_aside(id, drop));
    // The name that stays may be the work of a process that was killed before its sync.
    TRY((same ? keep : *corrupt).shared_sync.sync());
    TRY(disk.unlink(drop.dir, id));
    return same;
}

Result<std::vector<Spool::Found>> Spool::scan(std::function<void(const std::string& path)> odd)
{
    std::vector<Found> all;
    Result<void> trouble;
    private_->each_box([&](Private::Box& box, Place place) {
        if (!trouble) return;
        auto names = private_->disk.list(box.dir);
        if (!names) {
            trouble = unexpected(names.error());
            return;
        }
        for (std::string& name : *names) {
            const bool right = is_queue_id(name) && &private_->box(name, place) == &box;    // deferred/X holds its own only
            if (right) all.push_back({std::move(name), place});
            else if (odd && !name.starts_with('.') && !(place.state == State::corrupt && is_aside_name(name))) odd(cat(box.dir.path, '/', name));
        }
    });
    TRY(std::move(trouble));
    std::sort(all.begin(), all.end(), [](const Found& a, const Found& b) { return a.id != b.id ? a.id < b.id : rank(a.place.state) > rank(b.place.state); });
    std::vector<Found> out;
    out.reserve(all.size());
    for (Found& found : all) {
        if (out.empty() || out.back().id != found.id) {
            out.push_back(std::move(found));
            continue;
        }
        const bool same = TRY(private_->heal(found.id, out.back().place, found.place));
        if (!same && odd) odd(cat(private_->box(found.id, found.place).dir.path, '/', found.id));
    }
    return out;
}

Result<std::vector<std::string>> Spool::scan_writer(uint8_t writer)
{
    auto names = TRY(private_->disk.list(private_->incoming.at(writer)->dir));
    std::erase_if(names, [](const std::string& name) { return !is_queue_id(name); });
    std::sort(names.begin(), names.end());
    return names;
}

Result<Fd> Spool::open_mail(const std::string& id, Place place)
{
    if (!is_queue_id(id)) return fail(cat("not a queue ID: ", printable(id, 40)));
    return private_->disk.open_read(private_->box(id, place).dir, id);
}

disk::Directory& Spool::log_directory() { return private_->log; }
disk::Disk& Spool::disk() { return private_->disk; }

}  // namespace veredus::queue
