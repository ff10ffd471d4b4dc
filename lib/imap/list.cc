// Mailboxes by name: LIST in all its forms, STATUS, and making, removing, renaming, subscribing (RFC 9051 §6.3, RFC
// 5258, RFC 5819, RFC 6154).
#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "lib/base/text.h"
#include "lib/imap/pattern.h"
#include "lib/imap/respond.h"
#include "lib/imap/session.h"

namespace veredus::imap {

void Session::run_namespace(const std::string& tag)
{
    append(*out_, "* NAMESPACE ((\"\" \"", account_.mailbox().separator(), "\")) NIL NIL\r\n");
    finish(tag, "OK done", true);
}

void Session::run_create(const std::string& tag, const Create& create)
{
    std::string name = create.mailbox;
    const char separator = account_.mailbox().separator();
    // RFC 9051 §6.3.4: with the separator at its end it shall have children; of mboxes that is a name without messages,
    // any folder of a Maildir may (EINVAL: no name there).
    if (name.size() > 1 && name.back() == separator) {
        const auto made = create.special_use.empty() ? account_.create(name) : fail_errno("a use", EINVAL);
        if (made) return finish(tag, "OK created", true);
        if (made.error().code != EINVAL) return finish(tag, refusal(made.error(), "CREATE"), true);
        name.pop_back();
    }
    std::string uses;
    for (const auto& use : create.special_use) {
        if (!is_special_use(use)) return finish(tag, "NO [USEATTR] no such use", true);
        append(uses, uses.empty() ? "" : " ", use);
    }
    if (auto done = account_.create(name); !done) return finish(tag, refusal(done.error(), "CREATE"), true);
    if (!uses.empty())
        if (auto done = account_.mailbox().set_special_use(name, uses); !done) {
            (void)account_.remove(name);
            return finish(tag, "NO [USEATTR] the use cannot be kept", true);
        }
    auto folder = account_.open(name);
    if (!folder) return finish(tag, refusal(folder.error(), "CREATE"), true);
    std::string id;
    put_object_id(id, 'F', (*folder)->table().mailbox_id());
    finish(tag, cat("OK [MAILBOXID (", id, ")] created"), true);
}

void Session::run_delete(const std::string& tag, const Delete& remove)
{
    const std::string name = Account::canonical(remove.mailbox);
    if (name == "INBOX") return finish(tag, "NO [CANNOT] INBOX stays", true);
    if (selected_ && selected_->folder->name() == name) {
        leave_selected();
        *out_ += "* OK [CLOSED] the mailbox is going\r\n";
    }
    if (auto done = account_.remove(name); !done) return finish(tag, refusal(done.error(), "DELETE"), true);
    finish(tag, "OK removed", true);
}

void Session::run_rename(const std::string& tag, const Rename& rename)
{
    std::string to = rename.to;
    if (to.size() > 1 && to.back() == account_.mailbox().separator()) to.pop_back();
    if (Account::canonical(rename.from) == "INBOX") return rename_inbox(tag, to);
    if (auto done = account_.rename(rename.from, to); !done) return finish(tag, refusal(done.error(), "RENAME"), true);
    finish(tag, "OK renamed", true);
}

void Session::run_subscribe(const std::string& tag, const Subscribe& subscribe)
{
    const std::string_view word = subscribe.on ? "SUBSCRIBE" : "UNSUBSCRIBE";
    const std::string name = Account::canonical(subscribe.mailbox);
    if (subscribe.on && !account_.mailbox().is_name(name))
        return finish(tag, cat("NO [CANNOT] ", word, ": not a mailbox name here"), true);
    if (auto done = account_.mailbox().subscribe(name, subscribe.on); !done)
        return finish(tag, refusal(done.error(), word), true);
    finish(tag, "OK done", true);
}

// --- STATUS

// RFC 8438: the sizes of all messages, for a moment at a time; some mails must be read for theirs.
class Session::SizeSum {
public:
    explicit SizeSum(std::shared_ptr<OpenFolder> folder) : folder_(std::move(folder))
    {
        uids_.reserve(folder_->table().messages().size());
        for (const store::Message& m : folder_->table().messages()) uids_.push_back(m.uid);
    }
    // True: total() is known.
    Result<bool> step(const Clock& clock)
    {
        const int64_t until = clock.mono_us() + turn_us;
        while (at_ < uids_.size()) {
            const auto one = folder_->use([&](store::Folder& f) { return f.size(uids_[at_]); });
            if (!one && one.error().code != ENOENT) return unexpected(one.error());
            if (one) total_ += *one;
            if (++at_ < uids_.size() && clock.mono_us() > until) return false;
        }
        return true;
    }
    uint64_t total() const { return total_; }

private:
    std::shared_ptr<OpenFolder> folder_;
    std::vector<uint32_t> uids_;
    std::size_t at_ = 0;
    uint64_t total_ = 0;
};

class Session::StatusTask final : public Task {
public:
    StatusTask(Session& session, std::string tag, Status status, std::shared_ptr<OpenFolder> folder)
        : session_(session), tag_(std::move(tag)), status_(std::move(status)), sum_(std::move(folder))
    {}
    bool step(std::string& out) override
    {
        const auto done = sum_.step(session_.clock());
        if (done && !*done) return false;
        auto line = done ? session_.status_line(status_.mailbox, status_.items, sum_.total())
                         : Result<std::string>(unexpected(done.error()));
        if (line) out += *line;
        session_.finish(tag_, line ? "OK done" : session_.refusal(line.error(), "STATUS"), true);
        return true;
    }

private:
    Session& session_;
    std::string tag_;
    Status status_;
    SizeSum sum_;
};

Result<std::string> Session::status_line(const std::string& mailbox, uint16_t items, uint64_t size)
{
    const auto folder = TRY(account_.open(mailbox));
    const store::UidTable& table = folder->table();
    uint64_t unseen = 0, removed = 0, recent = 0;
    const uint32_t recent_from = folder->take_recent(true).first;
    for (const store::Message& m : table.messages()) {
        unseen += !(m.flags & store::seen);
        removed += (m.flags & store::deleted) != 0;
        recent += recent_from && m.uid >= recent_from;
    }
    std::string out = "* STATUS ";
    put_mailbox(out, Account::canonical(mailbox), utf8_);
    out += " (";
    const auto put = [&](StatusItem item, std::string_view name, uint64_t value) {
        if (items & item) append(out, name, ' ', value, ' ');
    };
    put(status_messages, "MESSAGES", table.messages().size());
    put(status_recent, "RECENT", recent);
    put(status_uidnext, "UIDNEXT", table.uidnext());
    put(status_uidvalidity, "UIDVALIDITY", table.uidvalidity());
    put(status_unseen, "UNSEEN", unseen);
    put(status_deleted, "DELETED", removed);
    put(status_highestmodseq, "HIGHESTMODSEQ", table.highest_modseq());
    put(status_size, "SIZE", size);
    if (items & status_mailboxid) {
        out += "MAILBOXID (";
        put_object_id(out, 'F', table.mailbox_id());
        out += ") ";
    }
    if (items & status_appendlimit) {
        if (options_.append_limit)
            append(out, "APPENDLIMIT ", options_.append_limit, ' ');
        else
            out += "APPENDLIMIT NIL ";
    }
    if (out.back() == ' ') out.pop_back();
    out += ")\r\n";
    return out;
}

void Session::run_status(const std::string& tag, const Status& status)
{
    if (status.items & status_highestmodseq) condstore_ = true; // RFC 7162 §3.1.5
    if (status.items & status_size) {
        auto folder = account_.open(status.mailbox);
        if (!folder) return finish(tag, refusal(folder.error(), "STATUS"), true);
        task_ = std::make_unique<StatusTask>(*this, tag, status, std::move(*folder));
        return;
    }
    auto line = status_line(status.mailbox, status.items, 0);
    if (!line) return finish(tag, refusal(line.error(), "STATUS"), true);
    *out_ += *line;
    finish(tag, "OK done", true);
}

// --- LIST

namespace {

// What is known of a name that may be answered.
struct Entry {
    bool exists = false, subscribed = false, has_children = false, subscribed_below = false;
    bool hidden_below = false; // one of those is in no answer itself
    std::string use;
};
using Entries = std::map<std::string, Entry>;

std::vector<std::string> parents_of(const std::string& name, char separator)
{
    std::vector<std::string> out;
    for (auto at = name.find(separator); at != std::string::npos; at = name.find(separator, at + 1))
        if (at > 0) out.push_back(name.substr(0, at));
    return out;
}

Result<Entries> gather(Account& account)
{
    Entries all;
    const char separator = account.mailbox().separator();
    const auto listed = TRY(account.mailbox().list());
    for (const auto& l : listed) {
        Entry& e = all[l.name];
        e.exists = l.selectable;
        if (!l.selectable) continue;
        e.use = l.special_use;
        for (const auto& parent : parents_of(l.name, separator)) all[parent].has_children = true;
    }
    const auto subscriptions = TRY(account.mailbox().subscriptions());
    for (const auto& name : subscriptions) {
        all[Account::canonical(name)].subscribed = true;
        for (const auto& parent : parents_of(name, separator)) all[parent].subscribed_below = true;
    }
    return all;
}

bool matches(const std::vector<std::string>& patterns, const std::string& name, char separator)
{
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& p) {
        return list_matches(p, name, separator) || (name == "INBOX" && list_matches(upper(p), name, separator));
    });
}

// RFC 9051 §7.3.1, RFC 5258 §4: attributes between parentheses.
std::string attributes_of(const Entry& e, const List& list)
{
    std::string out;
    const auto add = [&](std::string_view word) { append(out, out.empty() ? "" : " ", word); };
    if (!e.exists) add(list.extended ? "\\NonExistent" : "\\Noselect");
    if (e.subscribed && (list.return_subscribed || list.select_subscribed)) add("\\Subscribed");
    add(e.has_children ? "\\HasChildren" : "\\HasNoChildren");
    if (!e.use.empty()) add(e.use);
    return out;
}

bool is_selected(const Entry& e, const List& list)
{
    if (list.select_special_use && e.use.empty()) return false;
    if (list.select_subscribed) return e.subscribed || (list.select_recursive_match && e.hidden_below);
    return e.exists || e.has_children;
}

} // namespace

// The names are found at once; STATUS of each is looked up as the answer goes out.
class Session::Lister final : public Task {
public:
    struct Line {
        std::string text, name; // name: STATUS is wanted
    };
    Lister(Session& session, std::string tag, std::vector<Line> lines, uint16_t items)
        : session_(session), tag_(std::move(tag)), lines_(std::move(lines)), items_(items)
    {}
    bool step(std::string& out) override
    {
        for (unsigned looked = 0; at_ < lines_.size(); ++at_) {
            if (out.size() >= high_water || looked >= folders_at_a_time) return false;
            const std::string& name = lines_[at_].name;
            uint64_t size = 0;
            bool known = true;
            if (!name.empty() && (items_ & status_size)) {
                const auto done = sum(name);
                if (done && !*done) return false;
                known = done.has_value();
                size = sum_ ? sum_->total() : 0;
                sum_.reset();
            }
            out += lines_[at_].text;
            if (name.empty()) continue;
            looked += (items_ & status_size) ? folders_at_a_time : 1;
            if (!known) continue;
            if (auto status = session_.status_line(name, items_, size))
                out += *status; // RFC 5819 §2: else none is said
        }
        session_.finish(tag_, "OK done", true);
        return true;
    }

private:
    Result<bool> sum(const std::string& name)
    {
        if (!sum_) sum_.emplace(TRY(session_.account().open(name)));
        return sum_->step(session_.clock());
    }
    static constexpr unsigned folders_at_a_time = 20;
    Session& session_;
    std::string tag_;
    std::vector<Line> lines_;
    std::size_t at_ = 0;
    std::optional<SizeSum> sum_; // of the folder at at_
    uint16_t items_;
};

void Session::run_list(const std::string& tag, List list)
{
    const char separator = account_.mailbox().separator();
    if (!list.extended && list.patterns.size() == 1 &&
        list.patterns.front().empty()) { // RFC 9051 §6.3.9: what separates levels
        append(*out_, list.lsub ? "* LSUB" : "* LIST", " (\\Noselect) \"", separator, "\" \"\"\r\n");
        return finish(tag, "OK done", true);
    }
    auto all = gather(account_);
    if (!all) return finish(tag, refusal(all.error(), list.lsub ? "LSUB" : "LIST"), true);
    for (auto& p : list.patterns) p = collapse_pattern(list.reference + p);
    if (list.lsub) list.select_subscribed = true;
    if (list.select_recursive_match) // RFC 5258 §3.5: no name only for children that are answered themselves
        for (const auto& [name, e] : *all)
            if (e.subscribed && !matches(list.patterns, name, separator))
                for (const auto& parent : parents_of(name, separator)) (*all)[parent].hidden_below = true;
    std::vector<Lister::Line> lines;
    for (auto& [name, e] : *all) {
        if (name.empty() || !matches(list.patterns, name, separator)) continue;
        // RFC 9051 (and 3501 §6.3.9): a name above subscribed ones that the pattern hides is answered in their stead.
        const bool in_stead = list.lsub && !e.subscribed && e.subscribed_below && hides_children(list.patterns);
        if (!in_stead && !is_selected(e, list)) continue;
        Lister::Line line;
        append(line.text, list.lsub ? "* LSUB (" : "* LIST (");
        if (list.lsub)
            line.text += in_stead ? "\\Noselect" : "";
        else
            line.text += attributes_of(e, list);
        append(line.text, ") \"", separator, "\" ");
        put_mailbox(line.text, name, utf8_);
        if (list.select_recursive_match && e.subscribed_below) line.text += " (\"CHILDINFO\" (\"SUBSCRIBED\"))";
        line.text += "\r\n";
        if (list.return_status && e.exists) line.name = name;
        if (name == "INBOX")
            lines.insert(lines.begin(), std::move(line));
        else
            lines.push_back(std::move(line));
    }
    task_ = std::make_unique<Lister>(*this, tag, std::move(lines), list.return_status);
}

} // namespace veredus::imap
