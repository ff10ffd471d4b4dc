// Maildir++: folders are directories side by side, whose names begin with a dot.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "lib/base/directory.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/mail/utf7.h"
#include "lib/store/beneath.h"
#include "lib/store/dovecot.h"
#include "lib/store/index_lock.h"
#include "lib/store/maildir_folder.h"
#include "lib/store/mailbox.h"
#include "lib/store/undertaker.h"

namespace veredus::store {

namespace {

constexpr char separator_char = '.';
constexpr std::size_t max_name = 255;                 // of a directory
constexpr std::size_t max_folders = 100'000;
constexpr std::size_t max_subscriptions_file = 1u << 24;
constexpr char index_name[] = ".veredus";

// Directories of `dir` whose names begin with a dot.
Result<std::vector<std::string>> dot_directories(const disk::Directory& dir)
{
    std::vector<std::string> out;
    TRY(for_each_entry(dir.fd.get(), dir.path, [&](const DirectoryEntry& entry) {
        const std::string_view name = entry.name;
        if (name.starts_with('.') && !name.starts_with("..") && name != index_name && entry.type != DT_REG) out.emplace_back(name);
        return out.size() < max_folders;
    }));
    return out;
}

Unexpected no_folder(std::string_view name) { return fail_errno(cat("folder ", printable(name)), ENOENT); }

class MaildirTree final : public Mailbox {
public:
    MaildirTree(disk::Directory root, disk::Directory index) : root_(std::move(root)), index_(std::move(index)) {}

    char separator() const override { return separator_char; }
    const disk::Directory& index() const override
    {
        (void)reopen_if_removed(index_, root_, index_name);    // if that fails, so does what it is wanted for
        return index_;
    }

    bool is_name(std::string_view name) const override { return iequals(name, "INBOX") || directory_of(name).has_value(); }

    Result<std::vector<Listed>> list() override
    {
        std::set<std::string> there;
        const std::vector<std::string> directories = TRY(dot_directories(root_));
        for (const auto& directory : directories) {
            const auto name = name_of(directory);
            if (!name) continue;
            const auto folder = is_folder(directory);
            if (!folder && !is_forbidden(folder.error())) return unexpected(folder.error());
            if (folder && *folder) there.insert(*name);
        }
        std::vector<Listed> out{{"INBOX", true, false, "", true}};
        std::set<std::string> parents;
        for (const auto& name : there)
            for (auto dot = name.rfind(separator_char); dot != std::string::npos && dot > 0; dot = name.rfind(separator_char, dot - 1))
                if (!parents.insert(name.substr(0, dot)).second) break;
        std::set<std::string> all = there;
        all.insert(parents.begin(), parents.end());
        for (const auto& name : all) {
            if (iequals(name, "INBOX")) {
                out[0].children = true;
                continue;
            }
            out.push_back({name, there.contains(name), parents.contains(name), "", true});
        }
        return out;
    }

    Result<std::unique_ptr<Folder>> open(std::string_view name) override
    {
        auto folder = TRY(open_maildir_folder(name));
        TRY(folder->refresh());
        std::unique_ptr<Folder> out = std::move(folder);
        return out;
    }

    // Another program may have moved the directory away, and another one has its name now.
    bool is_still(std::string_view name, const Folder& folder) const override
    {
        const auto* opened = dynamic_cast<const MaildirFolder*>(&folder);
        const auto directory = directory_of(name);
        if (!opened || !directory) return true;                  // INBOX is the tree itself
        struct stat st {};
        return ::fstatat(root_.fd.get(), directory->c_str(), &st, 0) == 0 && opened->is_directory(st);
    }

    Result<void> create(std::string_view name) override
    {
        if (iequals(name, "INBOX")) return fail_errno("folder INBOX", EEXIST);
        const auto directory = directory_of(name);
        if (!directory) return fail_errno(cat("folder name ", printable(name)), EINVAL);
        const IndexLock lock = TRY(IndexLock::take(index()));
        if (TRY(is_folder(*directory))) return fail_errno(cat("folder ", printable(name)), EEXIST);
        // Whole before it has its name: nobody sees a folder without its parts, nor one of a crash.
        const std::string draft = cat("new.", hex_upper(random_u64(), 16));
        auto made = make_parts(draft);
        if (made) made = disk::posix_disk().rename_new(index_, draft, root_, *directory);
        if (!made && made.error().code == EEXIST) {              // an empty directory, or a file of that name
            (void)remove_tree(index_, draft);
            return complete(*directory);
        }
        if (!made) {
            (void)remove_tree(index_, draft);
            return made;
        }
        return disk::posix_disk().sync(root_);
    }

    Result<void> remove(std::string_view name) override
    {
        if (iequals(name, "INBOX")) return fail_errno("INBOX cannot be removed", EPERM);
        const auto directory = directory_of(name);
        if (!directory) return fail_errno(cat("folder name ", printable(name)), EINVAL);
        const IndexLock lock = TRY(IndexLock::take(index()));
        if (!TRY(is_folder(*directory))) return no_folder(name);
        // Gone at once, whole; what a crash leaves of it is swept at the next start.
        const std::string grave = cat("gone.", hex_upper(random_u64(), 16));
        TRY(disk::posix_disk().rename(root_, *directory, index_, grave));
        TRY(disk::posix_disk().sync(root_));
        undertaker_.bury(index_, grave);
        return {};
    }

    Result<void> rename(std::string_view from, std::string_view to) override
    {
        const auto target = directory_of(to);
        if (!target || iequals(to, "INBOX")) return fail_errno(cat("folder name ", printable(to)), iequals(to, "INBOX") ? EEXIST : EINVAL);
        if (iequals(from, "INBOX")) return fail_errno("INBOX cannot be renamed", EPERM);
        const auto source = directory_of(from);
        if (!source) return fail_errno(cat("folder name ", printable(from)), EINVAL);
        if (cat(*target, separator_char).starts_with(cat(*source, separator_char)))
            return fail_errno(cat("folder ", printable(from), " into itself"), *target == *source ? EEXIST : EINVAL);
        const IndexLock lock = TRY(IndexLock::take(index()));
        const std::vector<std::string> directories = TRY(dot_directories(root_));
        std::vector<std::pair<std::string, std::string>> moves;
        for (const auto& directory : directories) {
            if (directory != *source && !directory.starts_with(cat(*source, separator_char))) continue;
            const std::string moved = cat(*target, directory.substr(source->size()));
            if (moved.size() > max_name) return fail_errno(cat("folder name ", printable(to)), ENAMETOOLONG);
            if (TRY(is_folder(moved))) return fail_errno(cat("folder ", printable(to)), EEXIST);
            moves.emplace_back(directory, moved);
        }
        if (moves.empty()) return no_folder(from);
        for (std::size_t i = 0; i < moves.size(); ++i) {
            auto done = disk::posix_disk().rename_new(root_, moves[i].first, root_, moves[i].second);
            if (done) continue;
            while (i-- > 0) (void)disk::posix_disk().rename_new(root_, moves[i].second, root_, moves[i].first);
            return done;
        }
        return disk::posix_disk().sync(root_);
    }

    Result<std::vector<std::string>> subscriptions() override
    {
        const auto text = TRY(read_small(root_, "subscriptions", max_subscriptions_file));
        std::set<std::string> out;
        if (text)
            for (const auto& line : parse_subscriptions(*text, separator_char)) {
                const auto name = mail::from_utf7(line);
                out.insert(iequals(line, "INBOX") ? "INBOX" : name ? *name : line);
            }
        return std::vector<std::string>(out.begin(), out.end());
    }

    Result<void> subscribe(std::string_view name, bool on) override
    {
        if (!is_name(name)) return fail_errno(cat("folder name ", printable(name)), EINVAL);
        const IndexLock lock = TRY(IndexLock::take(index()));
        const std::vector<std::string> before = TRY(subscriptions());
        std::set<std::string> names(before.begin(), before.end());
        const std::string own = iequals(name, "INBOX") ? "INBOX" : std::string(name);
        if (on ? !names.insert(own).second : names.erase(own) == 0) return {};
        const auto text = TRY(read_small(root_, "subscriptions", max_subscriptions_file));
        const bool second = text && text->starts_with("V\t2\n");
        std::string out = second ? "V\t2\n\n" : "";
        for (const auto& each : names) {
            std::string line = mail::to_utf7(each).value_or(each);
            if (second) std::replace(line.begin(), line.end(), separator_char, '\t');
            append(out, line, '\n');
        }
        return replace_file(root_, "subscriptions", out);
    }

    Result<void> forget_index(std::string_view name) override
    {
        auto dir = TRY(open_directory(name));
        auto index = open_beneath(dir, index_name);
        if (!index && index.error().code == ENOENT) return {};
        if (!index) return unexpected(std::move(index).error());
        // Not Dovecot's numbers either, which are older still; those that were taken over stay noted.
        for (const char* file : {"uidlog", "cache"})
            if (auto done = disk::posix_disk().unlink(*index, file); !done && done.error().code != ENOENT) return done;
        if (auto done = disk::posix_disk().unlink(dir, "dovecot-uidlist"); !done && done.error().code != ENOENT) return done;
        return disk::posix_disk().sync(*index);
    }

    // What a crash left half made or half removed. What is half made may be another process's at this moment, unless we have the lock;
    // what is half removed nobody wants, whoever is at it.
    void sweep()
    {
        const auto names = disk::posix_disk().list(index_);
        if (!names) return;
        for (const auto& name : *names)
            if (name.starts_with("gone.")) undertaker_.bury(index_, name);
        if (std::none_of(names->begin(), names->end(), [](const auto& n) { return n.starts_with("new."); })) return;
        const auto lock = IndexLock::take(index());
        if (!lock) return;
        for (const auto& name : *names)
            if (name.starts_with("new.")) (void)remove_tree(index_, name);
    }

private:
    // ".A.B" of "A.B"; nothing: not a name. INBOX has no directory of its own.
    static std::optional<std::string> directory_of(std::string_view name)
    {
        if (name.empty() || name.front() == separator_char || name.back() == separator_char || name.find("..") != std::string_view::npos) return std::nullopt;
        if (iequals(name, "INBOX") || iequals(cat(separator_char, name), index_name)) return std::nullopt;
        for (const char c : name)
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/') return std::nullopt;
        const auto encoded = mail::to_utf7(name);
        if (!encoded || encoded->size() >= max_name) return std::nullopt;
        return cat(separator_char, *encoded);
    }
    static std::optional<std::string> name_of(std::string_view directory)
    {
        auto name = mail::from_utf7(directory.substr(1));
        // A directory that is no modified UTF-7 would be reached by nobody: its bytes are its name where they are UTF-8.
        if (!name || !directory_of(*name)) return std::nullopt;
        return name;
    }

    Result<bool> is_folder(const std::string& directory) const { return is_directory(root_, cat(directory, "/cur")); }

    Result<void> make_parts(const std::string& draft)
    {
        auto dir = TRY(make_beneath(index_, draft));
        for (const char* part : {"cur", "new", "tmp"}) (void)TRY(make_beneath(dir, part));
        const Fd marker = TRY(disk::posix_disk().create(dir, "maildirfolder", 0600));      // Maildir++: deliver here, do not nest
        return disk::posix_disk().sync(dir);
    }
    Result<void> complete(const std::string& directory)
    {
        auto dir = TRY(open_beneath(root_, directory));
        for (const char* part : {"cur", "new", "tmp"}) (void)TRY(make_beneath(dir, part));
        return {};
    }

    Result<disk::Directory> open_directory(std::string_view name)
    {
        if (iequals(name, "INBOX")) return open_beneath(root_, ".");
        const auto directory = directory_of(name);
        if (!directory) return fail_errno(cat("folder name ", printable(name)), EINVAL);
        if (!TRY(is_folder(*directory))) return no_folder(name);
        return open_beneath(root_, *directory);
    }

    Result<std::unique_ptr<MaildirFolder>> open_maildir_folder(std::string_view name)
    {
        auto dir = TRY(open_directory(name));
        // The folder may outlive this tree: shared among the copies of the function alone.
        auto numbers = std::make_shared<disk::Directory>(TRY(open_beneath(index(), ".")));
        return MaildirFolder::open(std::move(dir), [numbers] { return new_uidvalidity(*numbers); });
    }

    disk::Directory root_;
    mutable disk::Directory index_;                   // index() gives it
    Undertaker undertaker_;
};

}  // namespace

Result<std::unique_ptr<Mailbox>> open_maildir(const std::string& given)
{
    std::string path = given;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    auto root = disk::posix_disk().open_directory(nullptr, path);
    if (!root && root.error().code == ENOENT) {
        const auto slash = path.find_last_of('/');
        const disk::Directory parent = TRY(disk::posix_disk().open_directory(nullptr, slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash)));
        root = make_beneath(parent, path.substr(slash == std::string::npos ? 0 : slash + 1));
    }
    if (!root) return unexpected(std::move(root).error());
    for (const char* part : {"cur", "new", "tmp"}) (void)TRY(make_beneath(*root, part));
    auto index = TRY(make_beneath(*root, index_name));
    auto tree = std::make_unique<MaildirTree>(std::move(*root), std::move(index));
    tree->sweep();
    std::unique_ptr<Mailbox> out = std::move(tree);
    return out;
}

}  // namespace veredus::store
