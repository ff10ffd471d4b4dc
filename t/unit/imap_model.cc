// Clients of two processes, a mail reader and deliveries in one mailbox, at random: each client believes what RFC 9051,
// 3501 and 7162 say it may, every response is judged by that, and in the end all of them see the same.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "t/unit/imap_session.h"

using namespace imap_test;

namespace {

struct Wrong {
    std::string what;
};

// What all clients together have learnt of a folder.
struct Known {
    uint32_t uidvalidity = 0;
    std::map<uint32_t, std::string> subjects; // by UID, for ever
    std::set<uint32_t> may_go;                // \Deleted was wanted for them, or they were moved
    std::set<uint32_t> gone;                  // an EXPUNGE or VANISHED said so
};

struct World {
    World(uint32_t seed, bool in_mbox)
        : mbox(in_mbox), home(in_mbox, ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"), random(seed)
    {
        home.clock.step = 7'000; // a turn is over after a few messages
        accounts[0] = home.account.get();
        second = home.another(mbox);
        accounts[1] = second.get();
    }
    unsigned below(unsigned n) { return n ? static_cast<unsigned>(random() % n) : 0; }
    bool chance(unsigned percent) { return below(100) < percent; }
    void note(std::string line)
    {
        transcript.push_back(std::move(line));
        if (transcript.size() > 300) transcript.pop_front();
    }
    std::string new_mail()
    {
        const unsigned serial = ++mails;
        return cat("Subject: s", serial, "\nFrom: a@example.org\n\n", std::string(1 + random() % 4000, 'x'), '\n');
    }

    bool mbox;
    Home home;
    std::mt19937 random;
    std::unique_ptr<imap::Account> second;
    imap::Account* accounts[2];
    std::map<std::string, Known> known;
    std::set<std::string> touched; // subjects that another program removed, or marked for removal
    std::deque<std::string> transcript;
    unsigned mails = 0;
};

constexpr const char* folder_names[] = {"INBOX", "Sent"};

std::vector<uint32_t> members(std::string_view set)
{
    std::vector<uint32_t> out;
    for (const auto part : split_on(set, ',')) {
        const auto colon = part.find(':');
        const auto first = parse_number<uint32_t>(part.substr(0, colon), UINT32_MAX);
        const auto last =
            colon == std::string_view::npos ? first : parse_number<uint32_t>(part.substr(colon + 1), UINT32_MAX);
        if (!first || !last || *last < *first) throw Wrong{cat("not a set: ", set)};
        if (*last - *first > 100'000) throw Wrong{cat("too large a set: ", set)};
        for (uint64_t n = *first; n <= *last; ++n) out.push_back(static_cast<uint32_t>(n));
    }
    return out;
}

std::string sorted_flags(std::string_view list)
{
    std::set<std::string> all;
    for (const auto word : split(list, " "))
        if (word != "\\Recent") all.emplace(word);
    std::string out;
    for (const auto& word : all) append(out, word, ' ');
    return out;
}

// The text behind "[CODE " of a response, up to its bracket.
std::optional<std::string_view> code(std::string_view line, std::string_view name)
{
    const auto at = line.find(cat('[', name, ' '));
    if (at == std::string_view::npos) return std::nullopt;
    line.remove_prefix(at + name.size() + 2);
    return line.substr(0, line.find(']'));
}

// The items of a FETCH response: "(UID 3 FLAGS (\Seen) BODY[...] {5}\r\nhello)".
std::map<std::string, std::string> fetch_items(std::string_view in)
{
    const auto bad = [&] { return Wrong{cat("broken FETCH: ", in.substr(0, 200))}; };
    std::map<std::string, std::string> out;
    if (!in.starts_with('(')) throw bad();
    in.remove_prefix(1);
    for (;;) {
        if (in.starts_with(')')) {
            if (in.size() != 1) throw bad();
            return out;
        }
        if (in.starts_with(' ')) in.remove_prefix(1);
        std::size_t end = 0;
        for (bool inside = false; end < in.size() && (inside || (in[end] != ' ' && in[end] != ')')); ++end) {
            if (in[end] == '[') inside = true;
            if (in[end] == ']') inside = false;
        }
        const std::string key(in.substr(0, end));
        if (key.empty() || end + 1 >= in.size() || in[end] != ' ') throw bad();
        in.remove_prefix(end + 1);
        std::string value;
        if (in.front() == '(') {
            end = in.find(')');
            if (end == std::string_view::npos) throw bad();
            value = in.substr(1, end - 1);
            in.remove_prefix(end + 1);
        } else if (in.front() == '{' || in.front() == '~') {
            const auto open = in.find('{'), close = in.find("}\r\n");
            const auto size = close == std::string_view::npos
                                  ? std::nullopt
                                  : parse_number<std::size_t>(in.substr(open + 1, close - open - 1), SIZE_MAX);
            if (!size || in.size() < close + 3 + *size) throw bad();
            value = in.substr(close + 3, *size);
            in.remove_prefix(close + 3 + *size);
        } else if (in.front() == '"') {
            end = in.find('"', 1);
            if (end == std::string_view::npos) throw bad();
            value = in.substr(1, end - 1);
            in.remove_prefix(end + 1);
        } else {
            end = in.find_first_of(" )");
            if (end == std::string_view::npos) throw bad();
            value = in.substr(0, end);
            in.remove_prefix(end);
        }
        if (!out.emplace(key, value).second) throw Wrong{cat("twice in one FETCH: ", key)};
    }
}

class User {
public:
    enum class Speaks : uint8_t { rev1, condstore, qresync, rev2 };
    User(World& world, std::string name, Speaks speaks, unsigned process)
        : world_(world), name_(std::move(name)), speaks_(speaks), process_(process)
    {}

    // One thing that may happen to it now.
    void act()
    {
        if (!session_) return connect();
        if (wants_ == imap::Session::Wants::drain) return turn();
        if (idling_) {
            if (world_.chance(30)) return say("DONE\r\n");
            std::string out;
            if (session_->has_news()) wants_ = session_->tell_news(out);
            return take(out);
        }
        if (world_.chance(4)) return hang_up();
        if (!folder_.empty() && first_unknown() && world_.chance(70)) return learn();
        random_command();
    }
    // As another program's kill -9 of its process would have it.
    void hang_up()
    {
        world_.note(cat(name_, " hangs up"));
        cut_unknown();
        session_.reset();
        buffer_.clear();
        commands_.clear();
        idling_ = false;
        wants_ = imap::Session::Wants::input;
    }
    unsigned process() const { return process_; }

    // Until nothing is left to hear and everything is known.
    void settle()
    {
        if (!session_) connect();
        while (wants_ == imap::Session::Wants::drain) turn();
        if (idling_) run("DONE\r\n");
        if (folder_.empty()) select(folder_names[0]);
        for (int i = 0; i < 2; ++i) {
            command("NOOP", false);
            finish();
        }
        for (int i = 0; first_unknown(); ++i) {
            if (i == 20) throw Wrong{cat(name_, " never learns of ", *first_unknown() + 1)};
            learn();
        }
    }
    void must_see(const std::string& folder, const std::map<uint32_t, std::string>& flags)
    {
        if (folder_ != folder) return;
        std::map<uint32_t, std::string> mine;
        for (const Entry& e : view_) mine[e.uid] = e.flags.value_or("unknown");
        if (mine == flags && mine.size() == view_.size()) return;
        std::string text = cat(name_, " sees another mailbox ", folder, ":");
        for (const auto& [uid, own] : mine)
            if (!flags.contains(uid))
                append(text, " has ", uid);
            else if (flags.at(uid) != own)
                append(text, ' ', uid, " (", own, ") for (", flags.at(uid), ')');
        for (const auto& [uid, there] : flags)
            if (!mine.contains(uid)) append(text, " lacks ", uid);
        throw Wrong{text};
    }
    // What is in a folder now, as one who has never been there sees it.
    std::map<uint32_t, std::string> look(const std::string& folder)
    {
        hang_up();
        past_.clear();
        connect();
        select(folder);
        command("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", true);
        finish();
        std::map<uint32_t, std::string> out;
        for (const Entry& e : view_) out[e.uid] = e.flags.value();
        return out;
    }

private:
    struct Entry {
        uint32_t uid = 0;
        std::optional<std::string> flags;
    };
    struct Command {
        std::string tag, text;
        bool keeps_numbers = false; // no EXPUNGE may come with it
        bool fetches = false;
    };
    // What it knows of a folder that it left.
    struct Past {
        uint32_t uidvalidity = 0;
        uint64_t modseq = 0;
        std::vector<Entry> view;
    };
    bool says_modseq() const { return speaks_ == Speaks::condstore || speaks_ == Speaks::qresync; }
    Known& known() { return world_.known[folder_]; }

    // --- the wire

    void connect()
    {
        world_.note(cat(name_, " connects"));
        session_ = std::make_unique<imap::Session>(*world_.accounts[process_], world_.home.options, world_.home.clock);
        folder_.clear();
        view_.clear();
        if (speaks_ == Speaks::qresync) command("ENABLE QRESYNC", false), finish();
        if (speaks_ == Speaks::rev2) command("ENABLE IMAP4rev2", false), finish();
        select(folder_names[world_.chance(75) ? 0 : 1]);
    }
    void command(const std::string& text, bool keeps_numbers) { say(begin(text, keeps_numbers)); }
    std::string begin(const std::string& text, bool keeps_numbers)
    {
        Command c{cat(name_, ++tags_), text, keeps_numbers, text.find("FETCH ") < 5};
        commands_.push_back(c);
        return cat(c.tag, ' ', text, "\r\n");
    }
    void say(const std::string& bytes)
    {
        world_.note(cat(name_, " C: ", printable(bytes.substr(0, 200), 200)));
        std::string out;
        wants_ = session_->feed(bytes, out);
        take(out);
    }
    void run(const std::string& bytes)
    {
        say(bytes);
        finish();
    }
    void turn()
    {
        std::string out;
        wants_ = session_->more(out);
        take(out);
    }
    void finish()
    {
        while (wants_ == imap::Session::Wants::drain) turn();
        if (!commands_.empty()) throw Wrong{cat(name_, ": no end of ", commands_.front().text)};
    }
    void take(const std::string& out)
    {
        buffer_ += out;
        for (;;) {
            std::size_t end = 0;
            for (;;) {
                const auto line_end = buffer_.find("\r\n", end);
                if (line_end == std::string::npos) return;
                const auto open = buffer_.rfind('{', line_end);
                const auto size = open == std::string::npos || open < end || buffer_[line_end - 1] != '}'
                                      ? std::nullopt
                                      : parse_number<std::size_t>(
                                            std::string_view(buffer_).substr(open + 1, line_end - open - 2), SIZE_MAX);
                if (!size) {
                    end = line_end;
                    break;
                }
                end = line_end + 2 + *size;
                if (buffer_.size() < end) return;
            }
            const std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 2);
            world_.note(cat(name_, " S: ", printable(line, 300)));
            judge(line);
        }
    }

    // --- what the server may say

    void judge(std::string_view line)
    {
        if (line.starts_with("+ ")) {
            if (commands_.empty() || commands_.front().text != "IDLE") throw Wrong{"a continuation for nothing"};
            idling_ = true;
            return;
        }
        if (!line.starts_with("* ")) return tagged(line);
        line.remove_prefix(2);
        if (line.starts_with("BYE")) throw Wrong{cat("BYE: ", line)};
        if (commands_.empty()) throw Wrong{cat("nobody asked for ", line)};
        if (line.starts_with("VANISHED ")) return vanished(line.substr(9));
        if (line.starts_with("SEARCH") || line.starts_with("SORT")) return found(line);
        if (const auto modseq = code(line, "HIGHESTMODSEQ")) said_modseq_ = number64(*modseq);
        if (const auto validity = code(line, "UIDVALIDITY")) uidvalidity_ = static_cast<uint32_t>(number64(*validity));
        if (const auto copied = code(line, "COPYUID")) copy_told(*copied);
        const auto blank = line.find(' ');
        const auto number = parse_number<uint32_t>(line.substr(0, blank), UINT32_MAX);
        if (!number) return;
        const std::string_view rest = line.substr(blank + 1);
        if (rest == "EXISTS") return exists(*number);
        if (rest == "RECENT") return;
        if (*number == 0 || *number > view_.size()) throw Wrong{cat("no such number: ", line.substr(0, 100))};
        if (rest == "EXPUNGE") return expunged(*number);
        if (rest.starts_with("FETCH ")) return fetched(*number, rest.substr(6));
        throw Wrong{cat("what is ", line.substr(0, 100))};
    }
    uint64_t number64(std::string_view text)
    {
        const auto n = parse_number<uint64_t>(text, UINT64_MAX);
        if (!n) throw Wrong{cat("not a number: ", text)};
        return *n;
    }
    void tagged(std::string_view line)
    {
        if (commands_.empty() || !line.starts_with(cat(commands_.front().tag, ' ')))
            throw Wrong{cat("not asked: ", line)};
        const Command c = commands_.front();
        commands_.pop_front();
        line.remove_prefix(c.tag.size() + 1);
        const bool excused = line.starts_with("NO [EXPUNGEISSUED]"); // RFC 5530 §3
        if (!line.starts_with("OK") && !excused) throw Wrong{cat(c.text, " -> ", line)};
        if (const auto modseq = code(line, "HIGHESTMODSEQ")) said_modseq_ = number64(*modseq);
        if (const auto copied = code(line, "COPYUID")) copy_told(*copied);
        if (const auto appended = code(line, "APPENDUID")) {
            const auto words = split(*appended, " ");
            world_.known[appending_].subjects[members(words.at(1)).at(0)] = cat('s', appended_serial_);
        }
        // RFC 7162 §6: what it will come back with.
        if (said_modseq_)
            modseq_ = *said_modseq_;
        else
            modseq_ = std::max(modseq_, seen_modseq_);
        said_modseq_.reset();
        seen_modseq_ = 0;
        if (c.text.find("STORE ") < 5)
            for (const uint32_t uid : std::exchange(silent_, {})) forget_flags(uid);
        if (c.text == "IDLE") idling_ = false;
        if (c.text == "CLOSE" || c.text == "UNSELECT") folder_.clear(), view_.clear();
    }
    void exists(uint32_t number)
    {
        if (number < view_.size()) throw Wrong{cat("EXISTS ", number, " for ", view_.size())}; // RFC 9051 §7.4.1
        view_.resize(number);
    }
    void may_expunge()
    {
        if (commands_.front().keeps_numbers)
            throw Wrong{cat("an EXPUNGE within ", commands_.front().text)}; // RFC 9051 §7.5.1
    }
    void expunged(uint32_t number)
    {
        may_expunge();
        if (speaks_ == Speaks::qresync) throw Wrong{"EXPUNGE for VANISHED"};
        drop(number - 1);
    }
    void drop(std::size_t at)
    {
        if (view_[at].uid) known().gone.insert(view_[at].uid);
        view_.erase(view_.begin() + static_cast<std::ptrdiff_t>(at));
    }
    void vanished(std::string_view rest)
    {
        if (speaks_ != Speaks::qresync) throw Wrong{"VANISHED without QRESYNC"};
        const bool earlier = rest.starts_with("(EARLIER) ");
        if (earlier)
            rest.remove_prefix(10);
        else
            may_expunge();
        for (const uint32_t uid : members(rest)) {
            const auto at = std::find_if(view_.begin(), view_.end(), [&](const Entry& e) { return e.uid == uid; });
            if (earlier && !resuming_) continue; // RFC 7162 §3.2.10.1: no number changes
            if (at != view_.end())
                drop(static_cast<std::size_t>(at - view_.begin()));
            else if (!earlier)
                drop_unknown(uid); // RFC 7162 §3.2.10.2: only of messages that it has
        }
    }
    // It is one of those whose UIDs were not asked for yet: between those that are known.
    void drop_unknown(uint32_t uid)
    {
        std::size_t at = view_.size();
        for (std::size_t i = 0; i < view_.size(); ++i) {
            if (view_[i].uid > uid) break;
            if (!view_[i].uid) at = i;
        }
        if (at == view_.size()) throw Wrong{cat("VANISHED ", uid, ", for which there is no room")};
        view_.erase(view_.begin() + static_cast<std::ptrdiff_t>(at));
        known().gone.insert(uid);
    }
    void fetched(uint32_t number, std::string_view list)
    {
        if (resuming_) {
            // RFC 7162 §3.2.5.2: all VANISHED (EARLIER) come before, so the numbers are those of what is left.
            if (view_.size() < announced_) view_.resize(announced_);
        }
        const auto items = fetch_items(list);
        Entry& e = view_[number - 1];
        if (const auto uid = items.find("UID"); uid != items.end()) {
            const auto n = static_cast<uint32_t>(number64(uid->second));
            if (e.uid && e.uid != n) throw Wrong{cat("number ", number, " was ", e.uid, " and is ", n)};
            e.uid = n;
            for (std::size_t i = number - 1; i-- > 0;)
                if (view_[i].uid && view_[i].uid >= n) throw Wrong{cat("UID ", n, " behind ", view_[i].uid)};
        } else if (speaks_ == Speaks::qresync || speaks_ == Speaks::rev2) {
            if (!commands_.front().fetches)
                throw Wrong{"an update without its UID"}; // RFC 7162 §3.2.4, RFC 9051 §7.5.2
        }
        if (const auto flags = items.find("FLAGS"); flags != items.end()) e.flags = sorted_flags(flags->second);
        if (const auto modseq = items.find("MODSEQ"); modseq != items.end() && !commands_.front().fetches)
            seen_modseq_ = std::max(seen_modseq_, number64(modseq->second));
        for (const auto& [key, value] : items)
            if (key.starts_with("BODY[HEADER.FIELDS") && e.uid) {
                std::string subject(trim(value));
                if (!subject.starts_with("Subject: ")) throw Wrong{cat("no subject: ", value)};
                subject.erase(0, 9);
                const auto [at, fresh] = known().subjects.emplace(e.uid, subject);
                if (at->second != subject) throw Wrong{cat("UID ", e.uid, " was ", at->second, " and is ", subject)};
            }
    }
    void found(std::string_view line)
    {
        const bool uid = commands_.front().text.starts_with("UID ");
        std::set<uint32_t> numbers;
        for (const auto word :
             split(line.substr(line.find(' ') == std::string_view::npos ? line.size() : line.find(' ')), " ")) {
            if (word.starts_with('(')) break; // MODSEQ
            const auto n = static_cast<uint32_t>(number64(word));
            if (!uid && (n == 0 || n > view_.size())) throw Wrong{cat("found no such number: ", n)};
            if (!numbers.insert(n).second) throw Wrong{cat("found twice: ", n)};
        }
        if (resuming_uids_) *resuming_uids_ = std::move(numbers);
    }
    void copy_told(std::string_view text)
    {
        const auto words = split(text, " ");
        const auto from = members(words.at(1)), to = members(words.at(2));
        if (from.size() != to.size()) throw Wrong{cat("COPYUID ", text)};
        Known& source = known();
        Known& target = world_.known[copied_to_];
        for (std::size_t i = 0; i < from.size(); ++i) {
            if (const auto subject = source.subjects.find(from[i]); subject != source.subjects.end()) {
                const auto [at, fresh] = target.subjects.emplace(to[i], subject->second);
                if (at->second != subject->second) throw Wrong{cat("COPYUID: ", to[i], " was another mail")};
            }
            if (source.may_go.contains(from[i])) target.may_go.insert(to[i]);
            if (moves_) source.may_go.insert(from[i]);
        }
    }

    // --- what it says

    std::optional<std::size_t> first_unknown() const
    {
        for (std::size_t i = 0; i < view_.size(); ++i)
            if (!view_[i].uid || !view_[i].flags) return i;
        return std::nullopt;
    }
    void learn()
    {
        command(
            cat("FETCH ", *first_unknown() + 1, ":", view_.size(), " (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"),
            true);
        // Those that have gone and whose EXPUNGE is still due are in no answer.
        finish();
        if (first_unknown()) command("NOOP", false), finish();
    }
    // What lies behind a message of which it knows nothing it does not know either.
    void cut_unknown()
    {
        if (folder_.empty()) return;
        if (const auto from = first_unknown()) view_.resize(*from);
        past_[folder_] = {uidvalidity_, modseq_, view_};
        folder_.clear();
        view_.clear();
    }
    void select(const std::string& name)
    {
        cut_unknown();
        folder_ = name;
        const Past past = past_.contains(name) ? past_.at(name) : Past{};
        const bool back = !past.view.empty() && past.modseq > 0;
        const uint32_t last = back ? past.view.back().uid : 0;
        modseq_ = seen_modseq_ = 0;
        if (speaks_ == Speaks::qresync && back) {
            resuming_ = true;
            view_ = past.view;
            announced_ = 0;
            resume(cat("SELECT ", name, " (QRESYNC (", past.uidvalidity, ' ', past.modseq, " 1:", last, "))"));
            resuming_ = false;
        } else {
            command(cat("SELECT ", name, says_modseq() ? " (CONDSTORE)" : ""), false);
            finish();
        }
        Known& k = known();
        if (k.uidvalidity && k.uidvalidity != uidvalidity_) throw Wrong{"UIDVALIDITY changed"};
        k.uidvalidity = uidvalidity_;
        if (speaks_ == Speaks::condstore && back) resynchronize(past, last);
    }
    // EXISTS comes before VANISHED (EARLIER) then, and counts without them.
    void resume(const std::string& text)
    {
        say_resuming(begin(text, false));
        finish();
        if (view_.size() > announced_)
            throw Wrong{cat(view_.size(), " are left of what was known, and ", announced_, " exist")};
        view_.resize(announced_);
    }
    void say_resuming(const std::string& bytes)
    {
        world_.note(cat(name_, " C: ", printable(bytes, 200)));
        std::string out;
        wants_ = session_->feed(bytes, out);
        while (wants_ == imap::Session::Wants::drain) wants_ = session_->more(out);
        const auto at = out.find(" EXISTS\r\n");
        if (at == std::string::npos) throw Wrong{"SELECT without EXISTS"};
        const auto from = out.rfind("* ", at);
        announced_ = static_cast<std::size_t>(number64(std::string_view(out).substr(from + 2, at - from - 2)));
        out.erase(from, at + 9 - from);
        take(out);
    }
    // RFC 4549 §4.3 with CONDSTORE: what is still there, and what changed.
    void resynchronize(const Past& past, uint32_t last)
    {
        std::set<uint32_t> uids;
        resuming_uids_ = &uids;
        command(cat("UID SEARCH UID 1:", last), false);
        finish();
        resuming_uids_ = nullptr;
        const std::size_t count = view_.size();
        view_.clear();
        for (const Entry& e : past.view)
            if (uids.erase(e.uid)) view_.push_back(e);
        if (!uids.empty()) throw Wrong{cat("UID ", *uids.begin(), " was not there before")};
        if (view_.size() > count) throw Wrong{"more were found than exist"};
        view_.resize(count);
        command(cat("UID FETCH 1:", last, " (FLAGS) (CHANGEDSINCE ", past.modseq, ")"), false);
        finish();
    }

    std::string numbers(bool stars = true)
    {
        const auto one = [&] {
            return stars && world_.chance(10) ? std::string("*")
                                              : cat(1 + world_.below(static_cast<unsigned>(view_.size())));
        };
        if (stars && world_.chance(15)) return "1:*";
        if (world_.chance(30)) return cat(one(), ',', one());
        return world_.chance(50) ? one() : cat(one(), ':', one());
    }
    std::string uids()
    {
        const auto one = [&] {
            return view_.empty() || world_.chance(10)
                       ? cat(1 + world_.below(300))
                       : cat(std::max(1u, view_[world_.below(static_cast<unsigned>(view_.size()))].uid));
        };
        if (world_.chance(15)) return "1:*";
        return world_.chance(50) ? one() : cat(one(), ':', one());
    }
    // The entries that a set of ours means.
    std::vector<uint32_t> meant(const std::string& set, bool uid) const
    {
        std::vector<uint32_t> out;
        const uint32_t star = view_.empty() ? 0 : uid ? view_.back().uid : static_cast<uint32_t>(view_.size());
        for (const auto part : split_on(set, ',')) {
            const auto colon = part.find(':');
            const auto value = [&](std::string_view text) {
                return text == "*" ? star : parse_number<uint32_t>(text, UINT32_MAX).value();
            };
            const uint32_t a = value(part.substr(0, colon)),
                           b = colon == std::string_view::npos ? a : value(part.substr(colon + 1));
            for (std::size_t i = 0; i < view_.size(); ++i) {
                const uint32_t n = uid ? view_[i].uid : static_cast<uint32_t>(i + 1);
                if (n >= std::min(a, b) && n <= std::max(a, b) && view_[i].uid) out.push_back(view_[i].uid);
            }
        }
        return out;
    }
    std::string fetch(bool uid)
    {
        static constexpr const char* items[] = {"FLAGS",
                                                "(UID FLAGS)",
                                                "(FLAGS RFC822.SIZE)",
                                                "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
                                                "(UID FLAGS BODY[])",
                                                "(BODY.PEEK[] UID)",
                                                "(UID INTERNALDATE)"};
        std::string out = cat(uid ? "UID FETCH " : "FETCH ", uid ? uids() : numbers(), ' ', items[world_.below(7)]);
        if (says_modseq() && modseq_ > 0 && world_.chance(30))
            append(out, " (CHANGEDSINCE ", modseq_, speaks_ == Speaks::qresync && uid ? " VANISHED)" : ")");
        return out;
    }
    std::string store(bool uid, bool stars = true)
    {
        static constexpr const char* words[] = {"\\Seen",     "\\Flagged", "\\Deleted", "\\Deleted",     "\\Answered",
                                                "$Forwarded", "kw1",       "kw2",       "\\Draft \\Seen"};
        static constexpr const char* how[] = {"+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT", "-FLAGS.SILENT"};
        const std::string set = uid ? uids() : numbers(stars);
        const std::string word = words[world_.below(9)], way = how[world_.below(5)];
        silent_.clear();
        if (word == "\\Deleted" && !way.starts_with('-'))
            for (const uint32_t m : meant(set, uid)) known().may_go.insert(m);
        const std::string unless =
            says_modseq() && modseq_ > 0 && world_.chance(20) ? cat(" (UNCHANGEDSINCE ", modseq_, ")") : "";
        // What .SILENT changes nobody tells it.
        if (way.ends_with("SILENT")) silent_ = meant(set, uid);
        return cat(uid ? "UID STORE " : "STORE ", set, unless, ' ', way, " (", word, ")");
    }
    void forget_flags(uint32_t uid)
    {
        for (Entry& e : view_)
            if (e.uid == uid) e.flags.reset();
    }
    void random_command()
    {
        if (folder_.empty()) return select(folder_names[world_.below(2)]);
        const unsigned what = world_.below(100);
        if (what < 8) return command("NOOP", false);
        if (what < 10) return command("CHECK", false);
        if (what < 16) return append_mail();
        if (what < 19) return command("IDLE", false);
        if (what < 22) return select(folder_names[world_.below(2)]);
        if (what < 24) return close();
        const bool uid = world_.chance(50);
        if (what < 32) return search(uid);
        if (view_.empty() || first_unknown()) return command("NOOP", false);
        if (what < 55) return uid || world_.chance(70) ? command(fetch(uid), !uid) : pipelined();
        if (what < 78) return command(store(uid), !uid);
        if (what < 86) return expunge();
        copy(uid, what < 92);
    }
    // RFC 9051 §5.5: none of them lets numbers change. But what comes meanwhile is in "*" by then.
    void pipelined()
    {
        const std::string first = begin(fetch(false), true), second = begin(store(false, false), true),
                          third = begin(fetch(false), true);
        say(first + second + third);
    }
    void search(bool uid)
    {
        static constexpr const char* keys[] = {"ALL",        "DELETED",     "UNSEEN",     "NOT FLAGGED",
                                               "SUBJECT s1", "LARGER 2000", "KEYWORD kw1"};
        const bool sort = speaks_ != Speaks::rev2 && world_.chance(20);
        command(cat(uid ? "UID " : "", sort ? "SORT (REVERSE SIZE) US-ASCII " : "SEARCH ", keys[world_.below(7)]),
                !uid);
    }
    void expunge()
    {
        const bool some = world_.chance(40);
        command(some ? cat("UID EXPUNGE ", uids()) : "EXPUNGE", false);
    }
    void close()
    {
        cut_unknown_but_stay();
        command(world_.chance(50) ? "CLOSE" : "UNSELECT", false);
        finish();
    }
    void cut_unknown_but_stay()
    {
        std::vector<Entry> cut = view_;
        if (const auto from = first_unknown()) cut.resize(*from);
        past_[folder_] = {uidvalidity_, modseq_, std::move(cut)};
    }
    void copy(bool uid, bool move)
    {
        const std::string set = uid ? uids() : numbers();
        copied_to_ = folder_names[world_.below(2)];
        if (world_.mbox && copied_to_ == folder_) copied_to_ = folder_ == "INBOX" ? "Sent" : "INBOX";
        moves_ = move;
        if (view_.size() > 150 && !move) return command("NOOP", false);
        // What is copied may be marked for removal by now without its knowledge.
        command(cat(uid ? "UID " : "", move ? "MOVE " : "COPY ", set, ' ', copied_to_), false);
        finish();
    }
    void append_mail()
    {
        const std::string mail = world_.new_mail();
        std::string wire;
        for (const char c : mail)
            if (c == '\n')
                wire += "\r\n";
            else
                wire += c;
        appending_ = folder_names[world_.below(2)];
        appended_serial_ = world_.mails;
        command(cat("APPEND ", appending_, world_.chance(50) ? " (\\Seen kw1)" : "", " {", wire.size(), "+}\r\n", wire),
                false);
        finish();
    }

    World& world_;
    std::string name_;
    Speaks speaks_;
    unsigned process_, tags_ = 0;
    std::unique_ptr<imap::Session> session_;
    imap::Session::Wants wants_ = imap::Session::Wants::input;
    std::string buffer_, folder_, copied_to_, appending_;
    unsigned appended_serial_ = 0;
    std::deque<Command> commands_;
    std::vector<uint32_t> silent_; // whose flags a STORE on its way changes without a word
    bool idling_ = false, moves_ = false, resuming_ = false;
    std::size_t announced_ = 0;
    std::set<uint32_t>* resuming_uids_ = nullptr;
    std::vector<Entry> view_;
    uint32_t uidvalidity_ = 0;
    uint64_t modseq_ = 0, seen_modseq_ = 0;
    std::optional<uint64_t> said_modseq_;
    std::map<std::string, Past> past_;
};

// --- other programs

void write_file(const std::string& path, std::string_view text)
{
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(file);
    REQUIRE(write_all(file.get(), text));
}

std::string subject_in(std::string_view mail)
{
    const auto at = mail.find("Subject: ");
    return at == std::string_view::npos ? "" : std::string(mail.substr(at + 9, mail.find('\n', at) - at - 9));
}

// A mail reader and a delivery agent in a Maildir.
void work_in_maildir(World& w, const std::string& folder)
{
    const std::string base = w.home.path + (folder == "INBOX" ? "/Maildir" : "/Maildir/." + folder);
    const auto names = [&](const char* part) {
        std::vector<std::string> out;
        DIR* d = ::opendir(cat(base, '/', part).c_str());
        if (!d) return out;
        while (const dirent* e = ::readdir(d))
            if (e->d_name[0] != '.') out.push_back(e->d_name);
        ::closedir(d);
        std::sort(out.begin(), out.end());
        return out;
    };
    const auto fresh = names("new"), cur = names("cur");
    if (cur.empty() && fresh.empty() && ::access((base + "/new").c_str(), F_OK) != 0) return;
    if (w.chance(40)) {
        const std::string mail = w.new_mail(), name = cat(1'700'000'000 + w.mails, ".M1P1.mda");
        w.note(cat("delivery of s", w.mails, " to ", folder));
        write_file(cat(base, "/tmp/", name), mail);
        REQUIRE(::rename(cat(base, "/tmp/", name).c_str(), cat(base, "/new/", name).c_str()) == 0);
        return;
    }
    const bool from_new = !fresh.empty() && (cur.empty() || w.chance(40));
    const auto& all = from_new ? fresh : cur;
    if (all.empty()) return;
    const std::string name = all[w.below(static_cast<unsigned>(all.size()))],
                      path = cat(base, from_new ? "/new/" : "/cur/", name);
    const std::string subject = subject_in(read_file(path, 100'000).value());
    if (w.chance(20)) {
        w.note(cat("mutt removes ", subject, " from ", folder));
        w.touched.insert(subject);
        REQUIRE(::unlink(path.c_str()) == 0);
        return;
    }
    std::set<char> letters;
    const auto colon = name.find(":2,");
    if (colon != std::string::npos) letters.insert(name.begin() + static_cast<std::ptrdiff_t>(colon) + 3, name.end());
    const char letter = "SFRTP"[w.below(5)];
    if (!letters.erase(letter)) letters.insert(letter);
    if (letter == 'T') w.touched.insert(subject);
    const std::string to = cat(name.substr(0, colon), ":2,", std::string(letters.begin(), letters.end()));
    w.note(cat("mutt renames ", subject, " to ", to, " in ", folder));
    REQUIRE(::rename(path.c_str(), cat(base, "/cur/", to).c_str()) == 0);
}

// The same in an mbox.
void work_in_mbox(World& w, const std::string& folder)
{
    const std::string path = w.home.path + (folder == "INBOX" ? "/inbox" : "/mail/" + folder);
    if (folder != "INBOX" && ::access(path.c_str(), F_OK) != 0) return;
    const auto text = read_file(path, 50'000'000);
    std::vector<std::string> mails;
    if (text)
        for (std::size_t at = 0; at < text->size();) {
            const auto next = text->find("\n\nFrom ", at);
            const std::size_t end = next == std::string::npos ? text->size() : next + 2;
            mails.push_back(text->substr(at, end - at));
            at = end;
        }
    if (mails.empty() || w.chance(50)) {
        w.note(cat("delivery of s", w.mails + 1, " to ", folder));
        mails.push_back(cat("From a@example.org Fri Nov 27 10:00:00 2026\n", w.new_mail(), '\n'));
    } else {
        const auto at = mails.begin() + w.below(static_cast<unsigned>(mails.size()));
        const std::string subject = subject_in(*at);
        if (w.chance(50)) {
            w.note(cat("mutt removes ", subject, " from ", folder));
            w.touched.insert(subject);
            mails.erase(at);
        } else if (at->find("\nX-Status: ") == std::string::npos) {
            w.note(cat("mutt flags ", subject, " in ", folder));
            at->insert(at->find('\n') + 1, "X-Status: F\n");
        } else {
            const auto line = at->find("\nX-Status: ");
            w.note(cat("mutt takes the flags of ", subject, " in ", folder));
            at->erase(line + 1, at->find('\n', line + 1) - line);
        }
    }
    std::string out;
    for (const auto& mail : mails) out += mail;
    write_file(path, out);
}

// --- the play

void all_agree(World& w, std::vector<User>& users, User& stranger)
{
    for (User& u : users) u.settle();
    for (User& u : users) u.settle();
    for (const char* folder : folder_names) {
        const auto now = stranger.look(folder);
        const Known& known = w.known[folder];
        for (const auto& [uid, flags] : now)
            if (known.gone.contains(uid)) throw Wrong{cat("UID ", uid, " of ", folder, " was expunged, and is there")};
        for (const auto& [uid, subject] : known.subjects)
            if (!now.contains(uid) && !known.may_go.contains(uid) && !w.touched.contains(subject))
                throw Wrong{cat("lost: UID ", uid, ' ', subject, " of ", folder)};
        for (User& u : users) u.must_see(folder, now);
    }
}

void play_at_random(uint32_t seed, bool mbox, unsigned steps)
{
    World w(seed, mbox);
    using Speaks = User::Speaks;
    std::vector<User> users;
    users.emplace_back(w, "a", Speaks::rev1, 0);
    users.emplace_back(w, "b", Speaks::qresync, 0);
    users.emplace_back(w, "c", Speaks::rev2, 0);
    users.emplace_back(w, "d", Speaks::condstore, 1);
    users.emplace_back(w, "e", Speaks::qresync, 1);
    User stranger(w, "z", Speaks::rev1, 0);
    unsigned step = 0;
    try {
        for (; step < steps; ++step) {
            const unsigned what = w.below(100);
            if (what < 80) {
                users[w.below(5)].act();
            } else if (what < 93) {
                const std::string folder = folder_names[w.chance(75) ? 0 : 1];
                if (mbox)
                    work_in_mbox(w, folder);
                else
                    work_in_maildir(w, folder);
            } else if (what < 98) {
                imap::Account& account = *w.accounts[w.below(2)];
                w.note("tidy");
                if (w.chance(50))
                    (void)account.tidy(false);
                else
                    for (const auto& [name, folder] : account.open_folders()) (void)folder->refresh();
            } else if (what == 98 && w.chance(30)) {
                w.note("kill -9 of the second process");
                for (User& u : users)
                    if (u.process() == 1) u.hang_up();
                w.second.reset();
                w.second = w.home.another(mbox);
                w.accounts[1] = w.second.get();
            }
            if (step % 100 == 99) all_agree(w, users, stranger);
        }
        all_agree(w, users, stranger);
    } catch (const Wrong& wrong) {
        std::string text = cat("seed ", seed, " step ", step, ": ", wrong.what, '\n');
        for (const auto& line : w.transcript) append(text, line, '\n');
        FAIL(text);
    }
}

} // namespace

TEST_CASE("whatever clients, processes and other programs do at once, numbers hold and all see the same",
          "[imap][imap-model][rfc9051-7.5.1][rfc7162-6]")
{
    for (const bool mbox : {false, true})
        for (uint32_t seed = 1; seed <= 3; ++seed) play_at_random(seed, mbox, 800);
}

// Hidden: for who changes something that counts.
TEST_CASE("the same for longer", "[.][long][imap-model-long]")
{
    for (const bool mbox : {false, true})
        for (uint32_t seed = 100; seed < 130; ++seed) play_at_random(seed, mbox, 3'000);
}
