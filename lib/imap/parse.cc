// Which command it is, and the commands without a file of their own: session, mailboxes, COPY, MOVE.
#include "lib/imap/parse.h"

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/imap/parse_tokens.h"

namespace veredus::imap {

namespace {

template <Verb verb> bool parse_simple(Tokens& t, bool, Command& command)
{
    command = Simple{verb};
    return t.end();
}

bool parse_compress(Tokens& t, bool, Command& command) // RFC 4978 §3
{
    if (!t.sp()) return false;
    if (t.word() != "DEFLATE") return t.refuse("COMPRESS knows DEFLATE only");
    command = Simple{Verb::compress_deflate};
    return t.end();
}

bool parse_login(Tokens& t, bool, Command& command)
{
    Login login;
    if (!t.sp() || !t.astring(login.user) || !t.sp() || !t.astring(login.password) || !t.end()) return false;
    command = std::move(login);
    return true;
}

bool parse_authenticate(Tokens& t, bool, Command& command)
{
    Authenticate authenticate;
    if (!t.sp() || !t.atom(authenticate.mechanism)) return false;
    authenticate.mechanism = upper(authenticate.mechanism);
    t.blanks();
    if (!t.at_end()) { // RFC 4959 §3
        const std::string_view text = t.to_blank();
        auto decoded = text == "=" ? std::optional<std::string>("") : base64_decode(text);
        if (!decoded) return t.refuse("the initial response is not base64");
        authenticate.initial = std::move(decoded);
    }
    if (!t.end()) return false;
    command = std::move(authenticate);
    return true;
}

bool parse_id(Tokens& t, bool, Command& command) // RFC 2971 §3.1
{
    constexpr std::size_t most = 100; // a client must stop at 30
    Id id;
    if (!t.sp()) return false;
    if (t.eat('(')) {
        for (t.blanks(); !t.eat(')'); t.blanks()) {
            std::pair<std::string, std::optional<std::string>> field;
            if (!t.astring(field.first) || !t.sp() || !t.nstring(field.second)) return false;
            if (id.fields.size() == most) return t.refuse(cat("ID has at most ", most, " fields"));
            id.fields.push_back(std::move(field));
        }
    } else if (!t.eat_word("NIL")) {
        return t.expected("a list or NIL");
    }
    if (!t.end()) return false;
    command = std::move(id);
    return true;
}

bool parse_enable(Tokens& t, bool, Command& command) // RFC 5161 §3.1
{
    Enable enable;
    if (!t.sp()) return false;
    do {
        std::string name;
        if (!t.atom(name) || (!t.at_end() && !t.sp())) return false;
        enable.capabilities.push_back(upper(name));
    } while (!t.at_end());
    command = std::move(enable);
    return true;
}

// "(" uidvalidity SP modseq [SP known-uids] [SP seq-match-data] ")": RFC 7162 §3.2.5
bool parse_qresync(Tokens& t, Qresync& qresync)
{
    if (!t.sp() || !t.expect('(') || !t.nz_number(qresync.uidvalidity) || !t.sp() || !t.nz_number64(qresync.modseq))
        return false;
    const auto has_star = [](const SequenceSet& set) {
        for (const auto& range : set.ranges)
            if (!range.first || !range.last) return true;
        return set.saved;
    };
    const auto plain_set = [&](SequenceSet& set) {
        return t.sequence_set(set) && (!has_star(set) || t.refuse("QRESYNC takes no \"*\" or \"$\""));
    };
    t.blanks();
    if (is_digit(t.peek()) || t.peek() == '*' || t.peek() == '$')
        if (!plain_set(qresync.known_uids.emplace())) return false;
    t.blanks();
    if (t.eat('(')) {
        auto& [numbers, uids] = qresync.match.emplace();
        if (!plain_set(numbers) || !t.sp() || !plain_set(uids) || !t.expect(')')) return false;
    }
    t.blanks();
    return t.expect(')');
}

template <bool examine> bool parse_select(Tokens& t, bool, Command& command)
{
    Select select;
    select.examine = examine;
    if (!t.sp() || !t.mailbox(select.mailbox)) return false;
    t.blanks();
    if (t.eat('(')) { // RFC 4466 §2.1
        for (t.blanks(); !t.eat(')'); t.blanks()) {
            if (t.eat_word("CONDSTORE"))
                select.condstore = true;
            else if (t.eat_word("QRESYNC") && !select.qresync) {
                if (!parse_qresync(t, select.qresync.emplace())) return false;
            } else
                return t.expected("CONDSTORE or QRESYNC");
        }
    }
    if (!t.end()) return false;
    command = std::move(select);
    return true;
}

bool parse_create(Tokens& t, bool, Command& command)
{
    Create create;
    if (!t.sp() || !t.mailbox(create.mailbox)) return false;
    t.blanks();
    if (t.eat('(')) { // RFC 6154 §3
        t.blanks();
        if (!t.eat_word("USE")) return t.expected("USE");
        if (!t.sp() || !t.expect('(')) return false;
        for (t.blanks(); !t.eat(')'); t.blanks()) {
            std::string use;
            if (!t.expect('\\') || !t.atom(use)) return false;
            create.special_use.push_back("\\" + use);
        }
        t.blanks();
        if (!t.expect(')')) return false;
    }
    if (!t.end()) return false;
    command = std::move(create);
    return true;
}

bool parse_delete(Tokens& t, bool, Command& command)
{
    Delete of;
    if (!t.sp() || !t.mailbox(of.mailbox) || !t.end()) return false;
    command = std::move(of);
    return true;
}

bool parse_rename(Tokens& t, bool, Command& command)
{
    Rename rename;
    if (!t.sp() || !t.mailbox(rename.from) || !t.sp() || !t.mailbox(rename.to) || !t.end()) return false;
    command = std::move(rename);
    return true;
}

template <bool on> bool parse_subscribe(Tokens& t, bool, Command& command)
{
    Subscribe subscribe{{}, on};
    if (!t.sp() || !t.mailbox(subscribe.mailbox) || !t.end()) return false;
    command = std::move(subscribe);
    return true;
}

bool parse_status(Tokens& t, bool, Command& command)
{
    Status status;
    if (!t.sp() || !t.mailbox(status.mailbox) || !t.sp() || !parse_status_items(t, status.items) || !t.end())
        return false;
    command = std::move(status);
    return true;
}

template <bool move> bool parse_copy(Tokens& t, bool uid, Command& command)
{
    Copy copy;
    copy.uid = uid;
    copy.move = move;
    if (!t.sp() || !t.sequence_set(copy.set) || !t.sp() || !t.mailbox(copy.mailbox) || !t.end()) return false;
    command = std::move(copy);
    return true;
}

bool parse_expunge(Tokens& t, bool uid, Command& command)
{
    Expunge expunge;
    if (uid && (!t.sp() || !t.sequence_set(expunge.uids.emplace()))) return false; // RFC 4315 §2.1
    if (!t.end()) return false;
    command = std::move(expunge);
    return true;
}

constexpr VerbRow verbs[] = {
    {"FETCH", true, true, parse_fetch},
    {"STORE", true, true, parse_store},
    {"NOOP", true, false, parse_simple<Verb::noop>},
    {"IDLE", true, false, parse_simple<Verb::idle>},
    {"SELECT", true, false, parse_select<false>},
    {"EXAMINE", true, false, parse_select<true>},
    {"STATUS", true, false, parse_status},
    {"SEARCH", true, true, parse_search},
    {"SORT", true, true, parse_sort},
    {"THREAD", true, true, parse_thread},
    {"COPY", true, true, parse_copy<false>},
    {"MOVE", true, true, parse_copy<true>},
    {"EXPUNGE", true, true, parse_expunge},
    {"LIST", true, false, parse_list},
    {"LSUB", true, false, parse_lsub},
    {"CREATE", true, false, parse_create},
    {"DELETE", true, false, parse_delete},
    {"RENAME", true, false, parse_rename},
    {"SUBSCRIBE", true, false, parse_subscribe<true>},
    {"UNSUBSCRIBE", true, false, parse_subscribe<false>},
    {"LOGIN", true, false, parse_login},
    {"AUTHENTICATE", true, false, parse_authenticate},
    {"CAPABILITY", true, false, parse_simple<Verb::capability>},
    {"LOGOUT", true, false, parse_simple<Verb::logout>},
    {"STARTTLS", true, false, parse_simple<Verb::starttls>},
    {"CHECK", true, false, parse_simple<Verb::check>},
    {"CLOSE", true, false, parse_simple<Verb::close>},
    {"UNSELECT", true, false, parse_simple<Verb::unselect>},
    {"NAMESPACE", true, false, parse_simple<Verb::namespace_>},
    {"ID", true, false, parse_id},
    {"ENABLE", true, false, parse_enable},
    {"COMPRESS", true, false, parse_compress},
};

// The row of the command at the front, which is cut off; nothing and a refusal when there is none.
const VerbRow* find_verb(Tokens& t, bool& uid)
{
    std::string_view name = t.word();
    uid = name == "UID";
    if (uid) {
        if (!t.sp()) return nullptr;
        name = t.word();
    }
    for (const auto& row : verbs)
        if (row.name == name && (uid ? row.with_uid : row.plain)) return &row;
    if (name == "REPLACE" || (name == "APPEND" && !uid))
        t.refuse(cat(name, " without a message as a literal"));
    else
        t.refuse(name.empty() ? "a command expected" : cat("there is no command ", uid ? "UID " : "", name));
    return nullptr;
}

} // namespace

bool parse_status_items(Tokens& t, uint16_t& items)
{
    static constexpr std::pair<std::string_view, StatusItem> names[] = {
        {"MESSAGES", status_messages},
        {"RECENT", status_recent},
        {"UIDNEXT", status_uidnext},
        {"UIDVALIDITY", status_uidvalidity},
        {"UNSEEN", status_unseen},
        {"DELETED", status_deleted},
        {"SIZE", status_size},
        {"MAILBOXID", status_mailboxid},
        {"HIGHESTMODSEQ", status_highestmodseq},
        {"APPENDLIMIT", status_appendlimit},
    };
    if (!t.expect('(')) return false;
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        const char* before = t.position();
        const std::string_view word = t.word();
        uint16_t item = 0;
        for (const auto& [name, bit] : names)
            if (name == word) item = bit;
        if (!item) return t.rewind(before), t.expected("a status item");
        items |= item;
    }
    return items || t.refuse("STATUS without an item");
}

std::variant<Command, Refusal> parse_command(std::string_view text, const ParseOptions& options)
{
    Tokens tokens(text, options);
    bool uid = false;
    Command command;
    const VerbRow* row = find_verb(tokens, uid);
    if (!row) return tokens.take_refusal();
    if (row->parse(tokens, uid, command)) return command;
    Refusal refusal = tokens.take_refusal();
    if (refusal.text.empty() || refusal.text.front() != '[')
        refusal.text.insert(0, cat(uid ? "UID " : "", row->name, ": "));
    return refusal;
}

VerbKind kind_of_verb(std::string_view text)
{
    const ParseOptions options;
    Tokens tokens(text, options);
    std::string_view name = tokens.word();
    const bool uid = name == "UID";
    if (uid) tokens.blanks(), name = tokens.word();
    if (name == "REPLACE" || (name == "APPEND" && !uid)) return VerbKind::append;
    for (const auto& row : verbs)
        if (row.name == name && (uid ? row.with_uid : row.plain)) return VerbKind::ordinary;
    return VerbKind::unknown;
}

} // namespace veredus::imap
