// Default folders and special uses, over a tree of either kind.
#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "lib/base/text.h"
#include "lib/store/beneath.h"
#include "lib/store/index_lock.h"
#include "lib/store/mailbox.h"

namespace veredus::store {

namespace {

constexpr char file_name[] = "special-use";
constexpr std::size_t max_file = 1u << 22;
// RFC 6154 §2, RFC 8457 §3.
constexpr std::string_view uses[] = {"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"};

// As the RFC spells it; nothing: no use.
std::optional<std::string_view> known_use(std::string_view word)
{
    for (const auto use : uses)
        if (iequals(use, word)) return use;
    return std::nullopt;
}

Result<std::string> spelled(std::string_view attributes)
{
    std::string out;
    for (const auto word : split(attributes, " ")) {
        const auto use = known_use(word);
        if (!use) return fail_errno(cat("special use ", printable(word)), EINVAL);
        append(out, out.empty() ? "" : " ", *use);
    }
    return out;
}

// The file: "use NAME ATTRIBUTES" and "off NAME" (a default folder that is not subscribed to), tabs between.
struct Notes {
    std::map<std::string, std::string> uses;
    std::set<std::string> off;

    static Result<Notes> read(const disk::Directory& index)
    {
        Notes out;
        const auto text = TRY(read_small(index, file_name, max_file));
        if (!text) return out;
        for (const auto line : split(*text, "\n")) {
            const auto parts = split_on(line, '\t');
            if (parts.size() == 3 && parts[0] == "use") {
                if (const auto attributes = spelled(parts[2])) out.uses[std::string(parts[1])] = *attributes;
            } else if (parts.size() == 2 && parts[0] == "off") {
                out.off.emplace(parts[1]);
            }
        }
        return out;
    }
    Result<void> write(const disk::Directory& index) const
    {
        std::string out;
        for (const auto& [name, attributes] : uses) append(out, "use\t", name, '\t', attributes, '\n');
        for (const auto& name : off) append(out, "off\t", name, '\n');
        return replace_file(index, file_name, out);
    }
};

class DefaultFolders final : public Mailbox {
public:
    DefaultFolders(std::unique_ptr<Mailbox> box, std::vector<DefaultFolder> folders) : box_(std::move(box))
    {
        for (auto& f : folders)
            if (box_->is_name(f.name) && !iequals(f.name, "INBOX")) folders_[f.name] = std::move(f.special_use);
    }

    char separator() const override { return box_->separator(); }
    bool is_name(std::string_view name) const override { return box_->is_name(name); }
    const disk::Directory& index() const override { return box_->index(); }

    Result<std::vector<Listed>> list() override
    {
        const std::vector<Listed> there = TRY(box_->list());
        const Notes notes = TRY(Notes::read(index()));
        std::map<std::string, Listed> all;
        for (const Listed& l : there) all[l.name] = l;
        for (const auto& [name, use] : folders_) {
            auto [found, missing] = all.try_emplace(name, Listed{name, true, false, "", false});
            if (!missing && found->second.selectable) continue;
            found->second.selectable = true;               // open() makes it
            found->second.on_disk = false;
        }
        for (const auto& [name, use] : folders_) {
            const auto end = name.rfind(separator());
            if (end == std::string::npos) continue;
            const auto parent = all.try_emplace(name.substr(0, end), Listed{name.substr(0, end), false, false, "", true}).first;
            parent->second.children = true;
        }
        std::vector<Listed> out;
        for (auto& [name, l] : all) {
            l.special_use = use_of(name, notes);
            if (iequals(name, "INBOX")) out.insert(out.begin(), l);
            else out.push_back(l);
        }
        return out;
    }

    Result<std::unique_ptr<Folder>> open(std::string_view name) override
    {
        auto folder = box_->open(name);
        if (folder || folder.error().code != ENOENT || !is_default(name)) return folder;
        TRY(make(name));
        return box_->open(name);
    }

    bool is_still(std::string_view name, const Folder& folder) const override { return box_->is_still(name, folder); }

    Result<void> create(std::string_view name) override { return box_->create(name); }

    Result<void> remove(std::string_view name) override
    {
        auto done = box_->remove(name);
        if (!done && done.error().code == ENOENT && is_default(name)) return fail_errno(cat("folder ", printable(name), " is always there"), EPERM);
        if (!done) return done;
        return change([&](Notes& notes) { return notes.uses.erase(std::string(name)) > 0; });
    }

    Result<void> rename(std::string_view from, std::string_view to) override
    {
        auto done = box_->rename(from, to);
        if (!done && done.error().code == ENOENT && is_default(from)) {
            TRY(make(from));
            done = box_->rename(from, to);
        }
        if (!done || iequals(from, "INBOX")) return done;
        const std::string below = cat(from, separator());
        return change([&](Notes& notes) {
            std::map<std::string, std::string> after;
            bool any = false;
            for (auto& [name, attributes] : notes.uses) {
                const bool moves = name == from || name.starts_with(below);
                any = any || moves;
                after[moves ? cat(to, name.substr(from.size())) : name] = std::move(attributes);
            }
            notes.uses = std::move(after);
            return any;
        });
    }

    Result<std::vector<std::string>> subscriptions() override
    {
        const std::vector<std::string> own = TRY(box_->subscriptions());
        const Notes notes = TRY(Notes::read(index()));
        std::set<std::string> out(own.begin(), own.end());
        for (const auto& [name, use] : folders_)
            if (!notes.off.contains(name)) out.insert(name);
        return std::vector<std::string>(out.begin(), out.end());
    }

    Result<void> subscribe(std::string_view name, bool on) override
    {
        TRY(box_->subscribe(name, on));
        if (!is_default(name)) return {};
        return change([&](Notes& notes) { return on ? notes.off.erase(std::string(name)) > 0 : notes.off.emplace(name).second; });
    }

    Result<std::string> special_use(std::string_view name) override
    {
        const Notes notes = TRY(Notes::read(index()));
        return use_of(std::string(name), notes);
    }

    Result<void> set_special_use(std::string_view name, std::string_view attributes) override
    {
        if (!is_name(name)) return fail_errno(cat("folder name ", printable(name)), EINVAL);
        const std::string wanted = TRY(spelled(attributes));
        return change([&](Notes& notes) {
            auto& mine = notes.uses[std::string(name)];
            const bool differs = mine != wanted;
            mine = wanted;
            if (wanted.empty() && !is_default(name)) notes.uses.erase(std::string(name));
            return differs || wanted.empty();
        });
    }

    Result<void> forget_index(std::string_view name) override { return box_->forget_index(name); }

private:
    bool is_default(std::string_view name) const { return folders_.contains(std::string(name)); }

    Result<void> make(std::string_view name)
    {
        auto made = box_->create(name);
        if (!made && made.error().code != EEXIST) return made;
        return {};
    }

    // What was set for it; else what it is by default, unless that was given to another folder.
    std::string use_of(const std::string& name, const Notes& notes) const
    {
        if (const auto set = notes.uses.find(name); set != notes.uses.end()) return set->second;
        const auto found = folders_.find(name);
        if (found == folders_.end()) return "";
        for (const auto& [other, attributes] : notes.uses)
            for (const auto word : split(attributes, " "))
                if (word == found->second) return "";
        return found->second;
    }

    template <class How> Result<void> change(How how)
    {
        const IndexLock lock = TRY(IndexLock::take(index()));
        Notes notes = TRY(Notes::read(index()));
        if (!how(notes)) return {};
        return notes.write(index());
    }

    std::unique_ptr<Mailbox> box_;
    std::map<std::string, std::string> folders_;
};

}  // namespace

Result<std::vector<DefaultFolder>> parse_default_folders(std::string_view setting)
{
    std::vector<DefaultFolder> out;
    for (const auto entry : split_on(setting, ',')) {
        std::string_view name = trim(entry);
        if (name.empty()) continue;
        DefaultFolder folder;
        const auto blank = name.find_last_of(" \t");
        if (const auto word = name.substr(blank == std::string_view::npos ? 0 : blank + 1); word.starts_with('\\')) {
            const auto use = known_use(word);
            if (!use || blank == std::string_view::npos) return fail(cat("default folder \"", printable(name), "\": ", use ? "has no name" : "no special use of that name"));
            folder.special_use = *use;
            name = trim(name.substr(0, blank));
        }
        if (iequals(name, "INBOX") || name.find('\\') != std::string_view::npos) return fail(cat("default folder \"", printable(name), "\": not a name for one"));
        folder.name = name;
        out.push_back(std::move(folder));
    }
    return out;
}

std::unique_ptr<Mailbox> with_default_folders(std::unique_ptr<Mailbox> box, std::vector<DefaultFolder> folders)
{
    return std::make_unique<DefaultFolders>(std::move(box), std::move(folders));
}

}  // namespace veredus::store
