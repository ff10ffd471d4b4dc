// An mbox user's folders: the inbox where deliveries put it, the others as files below a directory of the home.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/utf7.h"
#include "lib/store/beneath.h"
#include "lib/store/dovecot.h"
#include "lib/store/index_lock.h"
#include "lib/store/mailbox.h"
#include "lib/store/mbox_folder.h"

namespace veredus::store {

namespace {

constexpr char separator_char = '/';
constexpr std::size_t max_folders = 100'000;
constexpr int max_depth = 20;
constexpr std::size_t max_subscriptions_file = 1u << 24;
constexpr std::size_t max_renaming = 4096;
constexpr char subscriptions_name[] = ".subscriptions";      // Dovecot's name for it here
constexpr char inbox_log[] = "inbox";
constexpr char index_name[] = ".veredus";
constexpr char renaming_name[] = "renaming";                 // a RENAME that is under way

disk::Disk& disk() { return disk::posix_disk(); }
Unexpected bad_name(std::string_view name) { return fail_errno(cat("folder name ", printable(name)), EINVAL); }

// What stands beside a UID log has its name with one of these behind it.
constexpr std::string_view kin[] = {".tail", ".cache", ".new", ".aside"};

// The UID log's name: the path with its slashes escaped, and the last dot of what would be another log's kin.
std::string log_of(std::string_view path)
{
    std::string out = "f.";
    const auto is_end = [&](std::string_view end) { return path.ends_with(end); };
    const std::size_t dot = std::any_of(std::begin(kin), std::end(kin), is_end) ? path.find_last_of('.') : path.size();
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (path[i] == '/') out += "%2F";
        else if (path[i] == '%') out += "%25";
        else if (i == dot) out += "%2E";
        else out += path[i];
    }
    return out;
}

class MboxTree final : public Mailbox {
public:
    MboxTree(MboxPlaces places, disk::Directory home, disk::Directory index) : places_(std::move(places)), home_(std::move(home)), index_(std::move(index)) {}

    char separator() const override { return separator_char; }
    const disk::Directory& index() const override
    {
        (void)reopen_if_removed(index_, home_, index_name);    // if that fails, so does what it is wanted for
        return index_;
    }
    bool is_name(std::string_view name) const override { return iequals(name, "INBOX") || path_of(name).has_value(); }

    Result<std::vector<Listed>> list() override
    {
        std::vector<Listed> out{{"INBOX", true, false, "", true}};
        auto root = root_directory(false);
        if (!root && root.error().code == ENOENT) return out;
        if (!root) return unexpected(std::move(root).error());
        std::vector<Listed> below;
        TRY(walk(*root, "", below, 0));
        std::sort(below.begin(), below.end(), [](const Listed& a, const Listed& b) { return a.name < b.name; });
        for (auto& each : below)
            if (!iequals(each.name, "INBOX")) out.push_back(std::move(each));
        return out;
    }

    Result<std::unique_ptr<Folder>> open(std::string_view name) override
    {
        TRY(finish_renaming());
        MboxPlace place;
        if (iequals(name, "INBOX")) {
            place.path = places_.inbox;
            place.log_name = inbox_log;
            place.keeper = places_.keeper;
        } else {
            const auto path = path_of(name);
            if (!path) return bad_name(name);
            if (!TRY(is_file(*path))) return fail_errno(cat("folder ", printable(name)), ENOENT);
            place.path = cat(places_.folders, '/', *path);
            place.log_name = log_of(*path);
            place.inbox = false;
        }
        if (!place.keeper) place.keeper = std::make_shared<OwnKeeper>(place.path);
        auto log_dir = TRY(open_beneath(index(), "."));
        auto numbers = std::make_shared<disk::Directory>(TRY(open_beneath(index(), ".")));    // shared by the copies of the function
        std::unique_ptr<Folder> folder = TRY(MboxFolder::open(std::move(place), std::move(log_dir), [numbers] { return new_uidvalidity(*numbers); }));
        TRY(folder->refresh());
        return folder;
    }

    Result<void> create(std::string_view name) override
    {
        if (iequals(name, "INBOX")) return fail_errno("folder INBOX", EEXIST);
        const bool parent = name.ends_with(separator_char);    // RFC 9051 §6.3.4: an mbox has nothing below it, a directory does
        if (parent) name.remove_suffix(1);
        const auto path = path_of(name);
        if (!path) return bad_name(name);
        const IndexLock lock = TRY(IndexLock::take(index()));
        TRY(finish_renaming(lock));
        const auto [dir, leaf] = TRY(parent_of(*path, true));
        const auto there = disk().stat(dir, leaf);
        if (parent && !there && there.error().code == ENOENT) {
            auto made = make_beneath(dir, leaf);
            return made ? Result<void>() : unexpected(std::move(made).error());
        }
        if (there && (parent || !remove_empty(dir, leaf))) return fail_errno(cat("folder ", printable(name)), EEXIST);
        TRY(forget_log(*path));                        // of a folder that others removed
        auto made = disk().create(dir, leaf, 0600);
        if (!made) return unexpected(std::move(made).error());
        return disk().sync(dir);
    }

    Result<void> remove(std::string_view name) override
    {
        if (iequals(name, "INBOX")) return fail_errno("INBOX cannot be removed", EPERM);
        const auto path = path_of(name);
        if (!path) return bad_name(name);
        const IndexLock lock = TRY(IndexLock::take(index()));
        TRY(finish_renaming(lock));
        auto parent = parent_of(*path, false);
        if (!parent && (parent.error().code == ENOENT || parent.error().code == ENOTDIR)) return fail_errno(cat("folder ", printable(name)), ENOENT);
        if (!parent) return unexpected(std::move(parent).error());
        const auto& [dir, leaf] = *parent;
        if (!TRY(is_file(*path))) {
            if (remove_empty(dir, leaf)) return disk().sync(dir);
            return fail_errno(cat("folder ", printable(name)), TRY(is_directory(dir, leaf)) ? ENOTEMPTY : ENOENT);
        }
        TRY(disk().unlink(dir, leaf));
        TRY(disk().sync(dir));
        return forget_log(*path);
    }

    Result<void> rename(std::string_view from, std::string_view to) override
    {
        if (iequals(to, "INBOX")) return fail_errno("folder INBOX", EEXIST);
        const auto target = path_of(to);
        if (!target) return bad_name(to);
        if (iequals(from, "INBOX")) return fail_errno("INBOX cannot be renamed", EPERM);
        const auto source = path_of(from);
        if (!source) return bad_name(from);
        if (*source == *target) return fail_errno(cat("folder ", printable(to)), EEXIST);
        if (target->starts_with(*source + '/')) return fail_errno(cat("folder ", printable(from), " into itself"), EINVAL);
        const IndexLock lock = TRY(IndexLock::take(index()));
        TRY(finish_renaming(lock));
        const auto [from_dir, from_leaf] = TRY(parent_of(*source, false));
        const auto [to_dir, to_leaf] = TRY(parent_of(*target, true));
        const auto what = disk().stat(from_dir, from_leaf);
        if (!what) return unexpected(what.error());
        if (const auto there = disk().stat(to_dir, to_leaf); there) return fail_errno(cat("folder ", printable(to)), EEXIST);
        TRY(forget_log(*target));                      // of a folder that others removed
        TRY(replace_file(index(), renaming_name, cat(what->file, '\n', *source, '\n', *target, '\n')));
        auto renamed = disk().rename_new(from_dir, from_leaf, to_dir, to_leaf);
        if (!renamed) {
            (void)disk().unlink(index(), renaming_name);
            return renamed;
        }
        TRY(disk().sync(to_dir));
        TRY(disk().sync(from_dir));
        TRY(rename_logs(*source, *target));
        return end_renaming();
    }

    Result<std::vector<std::string>> subscriptions() override
    {
        std::set<std::string> out;
        auto root = root_directory(false);
        if (!root && root.error().code == ENOENT) return std::vector<std::string>();
        if (!root) return unexpected(std::move(root).error());
        const auto text = TRY(read_small(*root, subscriptions_name, max_subscriptions_file));
        if (text)
            for (const auto& line : parse_subscriptions(*text, separator_char)) {
                const auto name = mail::from_utf7(line);
                out.insert(iequals(line, "INBOX") ? "INBOX" : name ? *name : line);
            }
        return std::vector<std::string>(out.begin(), out.end());
    }

    Result<void> subscribe(std::string_view name, bool on) override
    {
        if (!is_name(name)) return bad_name(name);
        const IndexLock lock = TRY(IndexLock::take(index()));
        const std::vector<std::string> before = TRY(subscriptions());
        std::set<std::string> names(before.begin(), before.end());
        const std::string own = iequals(name, "INBOX") ? "INBOX" : std::string(name);
        if (on ? !names.insert(own).second : names.erase(own) == 0) return {};
        std::string out;
        for (const auto& each : names) append(out, mail::to_utf7(each).value_or(each), '\n');
        const disk::Directory root = TRY(root_directory(true));
        return replace_file(root, subscriptions_name, out);
    }

    Result<void> forget_index(std::string_view name) override
    {
        if (iequals(name, "INBOX")) return forget(inbox_log);
        const auto path = path_of(name);
        if (!path) return bad_name(name);
        return forget_log(*path);
    }

private:
    // "a/b" in modified UTF-7; nothing: not a name. No part begins with a dot, or looks like a lock.
    static std::optional<std::string> path_of(std::string_view name)
    {
        if (name.empty() || iequals(name, "INBOX")) return std::nullopt;
        const auto parts = split_on(name, separator_char);
        if (parts.size() > max_depth) return std::nullopt;
        std::string out;
        for (const auto part : parts) {
            if (part.empty() || part.front() == '.' || part.ends_with(".lock")) return std::nullopt;
            for (const char c : part)
                if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
            const auto encoded = mail::to_utf7(part);
            if (!encoded || encoded->size() > 200) return std::nullopt;
            // base64 of modified UTF-7 has a comma where others have a slash
            append(out, out.empty() ? "" : "/", *encoded);
        }
        if (log_of(out).size() > 200) return std::nullopt;
        return out;
    }

    Result<disk::Directory> root_directory(bool make) const
    {
        auto root = disk().open_directory(nullptr, places_.folders);
        if (root || root.error().code != ENOENT || !make) return root;
        const auto slash = places_.folders.find_last_of('/');
        const disk::Directory parent = TRY(disk().open_directory(nullptr, slash == std::string::npos ? "." : slash == 0 ? "/" : places_.folders.substr(0, slash)));
        return make_beneath(parent, places_.folders.substr(slash == std::string::npos ? 0 : slash + 1));
    }

    Result<std::pair<disk::Directory, std::string>> parent_of(const std::string& path, bool make) const
    {
        disk::Directory dir = TRY(root_directory(make));
        const auto parts = split_on(path, '/');
        for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
            auto next = make ? make_beneath(dir, std::string(parts[i])) : open_beneath(dir, std::string(parts[i]));
            if (!next) return unexpected(std::move(next).error());
            dir = std::move(*next);
        }
        return std::pair<disk::Directory, std::string>(std::move(dir), std::string(parts.back()));
    }

    // A directory without anything in it.
    static bool remove_empty(const disk::Directory& dir, const std::string& leaf) { return ::unlinkat(dir.fd.get(), leaf.c_str(), AT_REMOVEDIR) == 0; }

    Result<bool> is_file(const std::string& path) const
    {
        auto parent = parent_of(path, false);
        if (!parent && (parent.error().code == ENOENT || parent.error().code == ENOTDIR)) return false;
        if (!parent) return unexpected(std::move(parent).error());
        const auto info = disk().stat(parent->first, parent->second);
        if (!info && info.error().code == ENOENT) return false;
        if (!info) return unexpected(info.error());
        return bool{info->regular};
    }

    Result<void> walk(const disk::Directory& dir, const std::string& prefix, std::vector<Listed>& out, int depth) const
    {
        const std::vector<std::string> names = TRY(disk().list(dir));
        for (const auto& file : names) {
            const auto part = mail::from_utf7(file);
            const std::string name = prefix + part.value_or("");
            if (!part || !path_of(name) || out.size() >= max_folders) continue;
            const auto info = disk().stat(dir, file);
            if (!info) continue;
            if (info->regular) {
                out.push_back({name, true, false, "", true});
                continue;
            }
            if (depth >= max_depth) continue;
            const auto directory = is_directory(dir, file);
            if (!directory && !is_forbidden(directory.error())) return unexpected(directory.error());
            if (!directory || !*directory) continue;
            const auto below = open_beneath(dir, file);
            if (!below && is_forbidden(below.error())) continue;
            if (!below) return unexpected(below.error());
            const std::size_t before = out.size();
            out.push_back({name, false, false, "", true});
            TRY(walk(*below, name + separator_char, out, depth + 1));
            out[before].children = out.size() > before + 1;
        }
        return {};
    }

    Result<void> forget(const std::string& log)
    {
        for (const char* tail : {"", ".tail", ".tail.aside", ".cache"})
            if (auto done = disk().unlink(index(), log + tail); !done && done.error().code != ENOENT) return done;
        return disk().sync(index());
    }
    Result<void> forget_log(const std::string& path) { return forget(log_of(path)); }

    Result<void> rename_logs(const std::string& from, const std::string& to) const
    {
        const std::vector<std::string> names = TRY(disk().list(index()));
        const std::string source = log_of(from), target = log_of(to);
        const std::string below = log_of(from + '/'), below_target = log_of(to + '/');    // of "a.new/b" the dot is no kin's
        for (const auto& name : names) {
            const bool own = name == source || name == source + ".tail" || name == source + ".tail.aside" || name == source + ".cache";
            if (!own && !name.starts_with(below)) continue;
            TRY(disk().rename(index(), name, index(), own ? target + name.substr(source.size()) : below_target + name.substr(below.size())));
        }
        return disk().sync(index());
    }

    // A crash between the file's new name and its log's: flags that only the log has, and the numbers, follow.
    Result<void> finish_renaming() const
    {
        const auto left = disk().stat(index(), renaming_name);
        if (!left && left.error().code == ENOENT) return {};
        const IndexLock lock = TRY(IndexLock::take(index()));    // perhaps it is at work now
        return finish_renaming(lock);
    }
    Result<void> finish_renaming(const IndexLock&) const
    {
        const auto text = TRY(read_small(index(), renaming_name, max_renaming));
        if (!text) return {};
        const auto lines = split_on(*text, '\n');
        const auto file = lines.empty() ? std::nullopt : parse_number<uint64_t>(lines[0], UINT64_MAX);
        if (file && lines.size() >= 3) {
            const std::string source(lines[1]), target(lines[2]);
            auto followed = follow(*file, source, target);
            // What will fail again each time would close the whole mailbox for ever.
            const bool for_ever = !followed && (is_forbidden(followed.error()) || followed.error().code == ENAMETOOLONG || followed.error().code == EINVAL);
            if (!followed && !for_ever) return followed;
            if (!followed)
                log::warning("mailbox in ", printable(places_.home), ": the RENAME of folder ", printable(source), " to ", printable(target),
                             " was cut short and cannot be finished, its UIDs are made anew: ", printable(followed.error().text));
        }
        return end_renaming();
    }
    // If the file that was renamed has its new name, so shall its log.
    Result<void> follow(uint64_t file, const std::string& source, const std::string& target) const
    {
        auto parent = parent_of(target, false);
        if (!parent && (parent.error().code == ENOENT || parent.error().code == ENOTDIR)) return {};
        if (!parent) return unexpected(std::move(parent).error());
        const auto now = disk().stat(parent->first, parent->second);
        if (!now && now.error().code == ENOENT) return {};
        if (!now) return unexpected(now.error());
        return now->file == file ? rename_logs(source, target) : Result<void>();
    }
    Result<void> end_renaming() const
    {
        TRY(disk().unlink(index(), renaming_name));
        return disk().sync(index());
    }

    MboxPlaces places_;
    disk::Directory home_;
    mutable disk::Directory index_;                    // index() gives it
};

}  // namespace

Result<std::unique_ptr<Mailbox>> open_mbox(MboxPlaces places)
{
    disk::Directory home = TRY(disk().open_directory(nullptr, places.home));
    auto index = TRY(make_beneath(home, index_name));
    std::unique_ptr<Mailbox> out = std::make_unique<MboxTree>(std::move(places), std::move(home), std::move(index));
    return out;
}

}  // namespace veredus::store
