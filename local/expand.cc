// Alias and .forward expansion.
#include "local/expand.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/mail/address.h"
#include "lib/queue/child.h"

namespace veredus::local {

namespace {

using Kind = table::AliasTarget::Kind;
using ChildKind = queue::Child::Kind;
using table::AliasTarget;

struct Stop {                     // why an expansion ends early
    Expansion::Kind kind;
    std::string dsn, text;
};
using Step = std::optional<Stop>;

Stop temporary(std::string dsn, std::string text) { return {Expansion::Kind::deferred, std::move(dsn), std::move(text)}; }
Stop permanent(std::string dsn, std::string text) { return {Expansion::Kind::failed, std::move(dsn), std::move(text)}; }

enum class Origin : uint8_t { alias, forward, include };

// Where a target stands: who its commands run as, who gets its bounces, which names led to it.
struct Place {
    Origin origin = Origin::alias;
    std::string run_as, home;   // home: what "~/" stands for; empty: nothing
    std::string sender = "-";
    std::vector<std::string> chain;
    std::string where;          // the alias or the list, for who has to mend it; empty: the .forward, which the caller names
    std::string unmatched;      // "+ext" that the addresses here get
    int depth = 0;
};

class Expander {
public:
    Expander(const Policy& policy, const Sources& sources, bool null_sender) : policy_(policy), sources_(sources), null_sender_(null_sender) {}

    // nullopt in `found`: no such alias.
    Step alias(std::string_view local, std::string_view domain, Place place, bool& found)
    {
        found = false;
        const auto split = mail::split_extension(local, policy_.delimiters);
        std::vector<std::string> names{lower(local)};
        if (split.extension) names.push_back(lower(split.user));
        for (const std::string& name : names) {
            if (std::find(place.chain.begin(), place.chain.end(), name) != place.chain.end()) continue;
            auto found_alias = sources_.alias(name);
            if (!found_alias) return temporary("4.3.0", found_alias.error().text);
            if (!*found_alias) continue;
            found = true;
            const Targets& targets = (*found_alias)->targets;
            // Whatever list led here, the alias is what it is for everybody.
            place.origin = Origin::alias;
            place.run_as = (*found_alias)->owner.name;
            place.home = (*found_alias)->owner.home;
            if (!visited_.insert(name).second) return std::nullopt;    // expanded already, in another branch
            place.chain.push_back(name);
            place.where = cat("alias ", printable(name, 200));
            place.unmatched = policy_.propagate.alias && &name != &names.front() ? std::string(local.substr(split.user.size())) : std::string();
            if (auto stop = take_owner(name, domain, place)) return stop;
            // Postfix's answer, too: what is not to be read today may be mended tomorrow.
            if (std::all_of(targets.begin(), targets.end(), [](const AliasTarget& t) { return t.kind == Kind::bad; }))
                return temporary("4.3.0", cat(place.where, ": names nobody who can be read"));
            return each(targets, place);
        }
        return std::nullopt;
    }

    Step each(const Targets& targets, const Place& place)
    {
        for (const AliasTarget& target : targets)
            if (auto stop = one(target, place)) return stop;
        return std::nullopt;
    }

    // Nobody but those that are refused: then the name itself is, or it waits for who mends what cannot be read. Else these are recipients
    // of their own that fail, the others get the mail.
    Expansion take()
    {
        const auto slip = std::find_if(refused_.begin(), refused_.end(), [](const Refused& one) { return one.unreadable; });
        if (children_.empty() && slip != refused_.end()) return {Expansion::Kind::deferred, {}, "4.3.0", slip->stop.text};
        if (children_.empty() && !refused_.empty()) return {Expansion::Kind::failed, {}, refused_.front().stop.dsn, refused_.front().stop.text};
        for (const Refused& one : refused_) {
            const std::string hop = printable(cat("error:", one.stop.dsn, ' ', one.stop.text), queue::max_child_run_as);
            children_.push_back({ChildKind::address, self, hop.substr(0, queue::max_child_run_as), one.sender});
        }
        return {Expansion::Kind::expanded, std::move(children_), "2.0.0", {}};
    }
    std::string self;            // local@domain: under this name a target is refused
    std::string forward_user;    // of a .forward: that user's own name is his mailbox

private:
    // owner-NAME, when it is an alias too, gets the bounces (owner_request_special). Not for owner- and -request names themselves.
    Step take_owner(const std::string& name, std::string_view domain, Place& place)
    {
        if (null_sender_ || !policy_.owners || name.starts_with("owner-") || name.ends_with("-request")) return std::nullopt;
        auto owner = sources_.alias(cat("owner-", name));
        if (!owner) return temporary("4.3.0", owner.error().text);
        if (!*owner) return std::nullopt;
        const Targets& owners = (*owner)->targets;
        if (policy_.expand_owner && owners.size() == 1 && owners.front().kind == Kind::address) {
            if (auto one = mail::parse_address(owners.front().text); one && !one->local.empty()) {
                if (one->domain.empty()) one->domain = policy_.origin;
                place.sender = one->text();
                return std::nullopt;
            }
        }
        place.sender = mail::Address{cat("owner-", name), std::string(domain.empty() ? std::string_view(policy_.origin) : domain)}.text();
        return std::nullopt;
    }

    Step one(const AliasTarget& target, const Place& place)
    {
        if (++targets_ > policy_.bounds.targets)
            return temporary("4.3.5", cat(at(target, place), ": with all repeats more than ", policy_.bounds.targets, " targets in one expansion; make the lists shorter"));
        switch (target.kind) {
        case Kind::include: return include(target, place);
        case Kind::bad: return refuse("5.1.3", cat(at(target, place), ": cannot be read"), place, true);
        case Kind::command:
            if (!allows(policy_.commands, place.origin)) return refuse("5.7.1", cat("mail to command is restricted: ", shown(target, place)), place);
            return add({ChildKind::command, target.text, place.run_as, place.sender}, target, place);
        case Kind::file:
            if (!allows(policy_.files, place.origin)) return refuse("5.7.1", cat("mail to file is restricted: ", shown(target, place)), place);
            return file(target, place);
        case Kind::address: return address(target, place);
        }
        return std::nullopt;
    }

    Step file(const AliasTarget& target, const Place& place)
    {
        std::string path = target.text;
        if (path.starts_with("~/")) {
            if (place.home.empty()) return refuse("5.1.3", cat(at(target, place), ": there is no home directory for ~/"), place, true);
            path = cat(place.home == "/" ? std::string_view() : std::string_view(place.home), std::string_view(path).substr(1));
        }
        if (!path.starts_with('/')) return temporary("4.3.5", cat(at(target, place), ": not an absolute path"));
        return add({ChildKind::file, std::move(path), place.run_as, place.sender}, target, place);
    }

    Step include(const AliasTarget& target, Place place)
    {
        const std::string& path = target.text;
        if (!lists_.insert(cat(path, '\0', place.run_as)).second) return std::nullopt;
        const std::string name = cat(":include:", printable(path, 300));
        if (++place.depth > max_depth) return too_deep(name);
        if (auto stop = too_much(name)) return stop;
        auto file = sources_.include(path);
        if (!file) return temporary("4.3.5", file.error().text);
        list_bytes_ += file->size;
        if (place.run_as.empty()) {    // root may give it to a user, nobody else gives away what is his
            place.run_as = file->owner.name;
            place.home = file->owner.home;
        }
        place.origin = Origin::include;
        place.where = name;
        if (!policy_.propagate.include) place.unmatched.clear();
        return each(file->targets, place);
    }

    Step address(const AliasTarget& target, const Place& place)
    {
        auto parsed = mail::parse_address(target.text);
        if (!parsed || parsed->local.empty()) return temporary("4.3.5", cat(at(target, place), ": not an address"));
        mail::Address to = std::move(*parsed);
        if (to.domain.empty()) to.domain = policy_.origin;
        const std::string written = to.local;
        if (!target.final) to.local += place.unmatched;
        auto local = policy_.is_local(to.domain);
        if (!local) return temporary("4.3.0", local.error().text);
        if (!*local) return add({ChildKind::address, to.text(), "", place.sender}, target, place);
        const auto split = mail::split_extension(to.local, policy_.delimiters);
        if (target.final) return add({ChildKind::mailbox, final_with_extension(written), "", place.sender}, target, place);
        if (forward_user.empty()) return local_name(to, split, target, place);
        // The user's own name in his .forward is his mailbox; all else is another recipient, with aliases of its own.
        if (iequals(split.user, forward_user)) return add({ChildKind::mailbox, final_with_extension(forward_user + written.substr(mail::split_extension(written, policy_.delimiters).user.size())), "", place.sender}, target, place);
        return add({ChildKind::address, to.text(), "", place.sender}, target, place);
    }

    // Of "\\user+ext" the extension goes along: for a folder, or for mailbox_command.
    std::string final_with_extension(const std::string& local) const
    {
        const auto split = mail::split_extension(local, policy_.delimiters);
        return final_mailbox(split.extension ? mail::quote_local(local) : split.user);
    }

    Step local_name(const mail::Address& to, const mail::Split& split, const AliasTarget& target, Place place)
    {
        const auto in_chain = [&](std::string_view name) { return std::find(place.chain.begin(), place.chain.end(), lower(name)) != place.chain.end(); };
        bool found = false;
        ++place.depth;
        if (place.depth > max_depth) return too_deep(at(target, place));
        if (auto stop = alias(to.local, to.domain, place, found)) return stop;
        if (found) return std::nullopt;
        if (in_chain(to.local) || in_chain(split.user)) return add({ChildKind::mailbox, split.user, "", place.sender}, target, place);
        return add({ChildKind::address, to.text(), "", place.sender}, target, place);
    }

    static bool allows(const Allowed& allowed, Origin origin)
    {
        return origin == Origin::alias ? allowed.alias : origin == Origin::forward ? allowed.forward : allowed.include;
    }

    Step refuse(std::string dsn, std::string text, const Place& place, bool unreadable = false)
    {
        if (children_.size() + refused_.size() >= most()) return temporary("4.3.5", cat(text, "; and there are more than ", most(), " recipients in one expansion"));
        refused_.push_back({permanent(std::move(dsn), std::move(text)), place.sender, unreadable});
        return std::nullopt;
    }

    // "alias staff", ":include:/lists/news, line 3", "line 2": what stands there is not for the strangers that a verdict goes to.
    static std::string at(const AliasTarget& target, const Place& place)
    {
        const std::string line = target.line ? cat("line ", target.line) : std::string();
        if (place.where.empty()) return line.empty() ? std::string(".forward") : line;
        return line.empty() ? place.where : cat(place.where, ", ", line);
    }
    static std::string shown(const AliasTarget& target, const Place& place) { return place.origin == Origin::include ? at(target, place) : target.text; }

    static Stop too_deep(const std::string& where) { return temporary("4.4.6", cat(where, ": nested deeper than ", max_depth, ": possible loop; name the members in fewer steps")); }

    // Before one more list is read.
    Step too_much(const std::string& name)
    {
        const ExpansionBounds& bounds = policy_.bounds;
        if (lists_.size() > bounds.lists) return temporary("4.3.5", cat(name, ": more than ", bounds.lists, " lists in one expansion; join some of them"));
        if (list_bytes_ > bounds.list_bytes) return temporary("4.3.5", cat(name, ": the lists of one expansion have more than ", bounds.list_bytes, " bytes; make them shorter"));
        if (std::chrono::steady_clock::now() - began_ < bounds.list_time) return std::nullopt;
        return temporary("4.3.5", cat(name, ": after ", bounds.list_time.count() / 1000, " seconds there are still lists to read in this expansion; join some of them, or put them on a faster disk"));
    }

    std::size_t most() const { return forward_user.empty() ? max_children : max_forward_children; }

    Step add(queue::Child child, const AliasTarget& target, const Place& place)
    {
        const std::string key = cat(static_cast<int>(child.kind), '\0', child.text, '\0', child.run_as);
        if (!seen_.insert(key).second) return std::nullopt;
        if (const std::string why = queue::why_unfit(child); !why.empty()) return temporary("4.3.5", cat(at(target, place), ": ", why));
        if (children_.size() + refused_.size() >= most()) return temporary("4.3.5", cat(at(target, place), ": more than ", most(), " recipients in one expansion; make several aliases of it"));
        bytes_ += 7 + child.text.size() + child.run_as.size() + child.sender.size();
        if (bytes_ > max_children_bytes) return temporary("4.3.5", cat(at(target, place), ": the recipients of one expansion have more than ", max_children_bytes, " bytes together; make several aliases of it"));
        children_.push_back(std::move(child));
        return std::nullopt;
    }

    const Policy& policy_;
    const Sources& sources_;
    bool null_sender_;
    struct Refused {
        Stop stop;
        std::string sender;     // who hears of it
        bool unreadable = false;
    };
    std::vector<Refused> refused_;
    std::vector<queue::Child> children_;
    std::set<std::string> seen_, visited_, lists_;
    std::size_t targets_ = 0, list_bytes_ = 0, bytes_ = 0;
    const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

Expansion finish(const Step& stop, Expander& expander)
{
    if (stop) return {stop->kind, {}, stop->dsn, stop->text};
    return expander.take();
}

}  // namespace

std::string final_mailbox(std::string_view user) { return cat('\\', user); }

Result<Allowed> Allowed::parse(const std::vector<std::string>& words)
{
    Allowed allowed{false, false, false};
    for (const std::string& word : words) {
        if (iequals(word, "alias"))
            allowed.alias = true;
        else if (iequals(word, "forward"))
            allowed.forward = true;
        else if (iequals(word, "include"))
            allowed.include = true;
        else
            return fail(cat("\"", word, "\" is none of alias, forward, include"));
    }
    return allowed;
}

Allowed Allowed::among(const std::vector<std::string>& words)
{
    const auto named = [&](std::string_view name) { return std::any_of(words.begin(), words.end(), [&](const std::string& word) { return iequals(word, name); }); };
    return {named("alias"), named("forward"), named("include")};
}

Expansion expand_alias(const Policy& policy, const Sources& sources, std::string_view local, std::string_view domain, bool null_sender)
{
    Expander expander(policy, sources, null_sender);
    expander.self = mail::Address{std::string(local), std::string(domain.empty() ? std::string_view(policy.origin) : domain)}.text();
    bool found = false;
    const Step stop = expander.alias(local, domain, Place{}, found);
    if (!stop && !found) return {};
    return finish(stop, expander);
}

Expansion expand_forward(const Policy& policy, const Sources& sources, const Targets& targets, std::string_view user, std::string_view unmatched, std::string_view self, std::string_view home)
{
    Expander expander(policy, sources, false);
    expander.self = self.empty() ? mail::Address{std::string(user), policy.origin}.text() : std::string(self);
    expander.forward_user = user;
    Place place;
    place.origin = Origin::forward;
    place.run_as = user;
    place.home = home;
    if (policy.propagate.forward) place.unmatched = unmatched;
    return finish(expander.each(targets, place), expander);
}

namespace {

// Its files are made up by the kernel for whoever reads them, and tell of this process.
bool is_of_kernel(int fd)
{
    struct statfs fs {};
    if (::fstatfs(fd, &fs) != 0) return true;
    constexpr unsigned long kinds[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC};
    return std::find(std::begin(kinds), std::end(kinds), static_cast<unsigned long>(fs.f_type)) != std::end(kinds);
}

}  // namespace

Result<Include> read_include(const std::string& path, std::size_t limit)
{
    const std::string what = cat(":include:", printable(path, 300));
    if (!path.starts_with('/')) return fail(cat(what, ": not an absolute path"));
    const Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    struct stat st {};
    // local's dispatcher reads the lists of aliases with no right but everyone's.
    if (!file && errno == EACCES) return fail_errno(cat(what, ": it and the directories above it must be readable by everyone"), EACCES);
    if (!file || ::fstat(file.get(), &st) < 0) return fail_errno(what);
    if (!S_ISREG(st.st_mode)) return fail(cat(what, ": not a regular file"));
    if (st.st_mode & S_IWOTH) return fail(cat(what, ": everyone may write to it; chmod o-w ", path));
    if (is_of_kernel(file.get())) return fail(cat(what, ": not a file on a disk"));
    const auto text = read_all(file.get(), limit);
    if (!text && text.error().code == EFBIG) return fail(cat(what, ": more than ", limit, " bytes; make several lists of it"));
    if (!text) return fail_errno(what, text.error().code);
    auto targets = table::parse_targets(*text);
    if (!targets) return fail(cat(what, ", ", targets.error().text));
    return Include{std::move(*targets), {}, st.st_uid, text->size()};
}

Result<Include> read_owned_include(const std::string& path, std::size_t limit)
{
    auto include = read_include(path, limit);
    if (!include || include->uid == 0) return include;
    auto owner = owner_of(include->uid, ::getpwuid_r);
    if (!owner) return fail(cat(":include:", printable(path, 300), ": ", owner.error().text));
    include->owner = std::move(*owner);
    return include;
}

Result<Owner> owner_of(uid_t uid, decltype(&::getpwuid_r) lookup)
{
    constexpr std::size_t most = 1u << 20;
    constexpr int most_tries = 20;
    std::vector<char> buffer(4096);
    for (int tries = 0;; ++tries) {
        passwd entry{}, *found = nullptr;
        const int error = lookup(uid, &entry, buffer.data(), buffer.size(), &found);
        if (error == ERANGE && buffer.size() < most) buffer.resize(buffer.size() * 4);
        else if (error == 0 && found) return Owner{found->pw_name, found->pw_dir ? found->pw_dir : ""};
        else if (error == 0) return fail(cat("its owner, uid ", uid, ", has no name; chown it to a user"));
        else if (error != EINTR || tries >= most_tries) return fail_errno(cat("the name of its owner, uid ", uid), error);
    }
}

}  // namespace veredus::local
