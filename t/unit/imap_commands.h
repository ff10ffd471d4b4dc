// Commands of IMAP as text, and a handler that writes down what the reader tells it: for the reader's tests and its
// fuzzer.
#pragma once

#include "lib/base/text.h"
#include "lib/imap/reader.h"

namespace veredus::imap {

inline std::string describe(const SequenceSet& set)
{
    std::string out = set.saved ? "$" : "";
    for (const auto& [first, last] : set.ranges)
        append(out, out.empty() ? "" : ",", first, first == last ? "" : cat(":", last));
    return out;
}

inline std::string describe(const Flags& flags)
{
    std::string out = cat("{", static_cast<int>(flags.system));
    for (const auto& keyword : flags.keywords) append(out, " ", keyword);
    return out + "}";
}

inline std::string describe(const SearchKey& key)
{
    static constexpr std::string_view names[] = {
        "all",        "and",       "or",        "not",         "seq",     "uid",        "flag",      "unflag",
        "keyword",    "unkeyword", "recent",    "old",         "new",     "before",     "on",        "since",
        "sentbefore", "senton",    "sentsince", "savedbefore", "savedon", "savedsince", "savedates", "older",
        "younger",    "larger",    "smaller",   "header",      "from",    "to",         "cc",        "bcc",
        "subject",    "body",      "text",      "modseq",      "emailid", "threadid"};
    std::string out(names[static_cast<int>(key.kind)]);
    if (key.flag) append(out, " ", static_cast<int>(key.flag));
    if (!key.field.empty()) append(out, " ", key.field);
    if (!key.text.empty()) append(out, " <", key.text, ">");
    if (key.number) append(out, " ", key.number);
    if (key.day) append(out, " day ", key.day);
    if (!key.set.ranges.empty() || key.set.saved) append(out, " ", describe(key.set));
    if (key.keys.empty()) return out;
    out += "(";
    for (const auto& inner : key.keys) append(out, out.back() == '(' ? "" : ", ", describe(inner));
    return out + ")";
}

inline std::string describe(const FetchItem& item)
{
    static constexpr std::string_view names[] = {
        "flags",   "uid",      "date",          "size",        "envelope",    "body",        "structure",
        "section", "rfc822",   "rfc822.header", "rfc822.text", "binary",      "binary.size", "modseq",
        "emailid", "threadid", "savedate",      "preview",     "preview.lazy"};
    static constexpr std::string_view kinds[] = {"", "header", "fields", "fields.not", "text", "mime"};
    std::string out(names[static_cast<int>(item.what)]);
    if (item.what == FetchItem::What::section || item.what == FetchItem::What::binary ||
        item.what == FetchItem::What::binary_size) {
        out += "[";
        for (const auto part : item.section.part) append(out, part, ".");
        out += kinds[static_cast<int>(item.section.kind)];
        for (const auto& field : item.section.fields) append(out, " ", field);
        out += "]";
    }
    if (item.partial) append(out, "<", item.partial->first, ".", item.partial->second, ">");
    return out + (item.peek ? "" : "!");
}

inline std::string describe(const Command& command)
{
    struct Visitor {
        static std::string flag(bool on, std::string_view name) { return on ? cat(" ", name) : ""; }
        std::string operator()(const Simple& c) const
        {
            static constexpr std::string_view names[] = {"capability", "noop",     "logout",    "starttls", "check",
                                                         "close",      "unselect", "namespace", "idle",     "compress"};
            return std::string(names[static_cast<int>(c.verb)]);
        }
        std::string operator()(const Login& c) const { return cat("login <", c.user, "> <", c.password, ">"); }
        std::string operator()(const Authenticate& c) const
        {
            return cat("authenticate ", c.mechanism, c.initial ? cat(" <", *c.initial, ">") : "");
        }
        std::string operator()(const Id& c) const
        {
            std::string out = "id";
            for (const auto& [name, value] : c.fields) append(out, " ", name, "=", value.value_or("(nil)"));
            return out;
        }
        std::string operator()(const Enable& c) const
        {
            std::string out = "enable";
            for (const auto& name : c.capabilities) append(out, " ", name);
            return out;
        }
        std::string operator()(const Select& c) const
        {
            std::string out = cat(c.examine ? "examine <" : "select <", c.mailbox, ">", flag(c.condstore, "condstore"));
            if (!c.qresync) return out;
            append(out, " qresync ", c.qresync->uidvalidity, " ", c.qresync->modseq);
            if (c.qresync->known_uids) append(out, " known ", describe(*c.qresync->known_uids));
            if (c.qresync->match)
                append(out, " match ", describe(c.qresync->match->first), " ", describe(c.qresync->match->second));
            return out;
        }
        std::string operator()(const Create& c) const
        {
            std::string out = cat("create <", c.mailbox, ">");
            for (const auto& use : c.special_use) append(out, " ", use);
            return out;
        }
        std::string operator()(const Delete& c) const { return cat("delete <", c.mailbox, ">"); }
        std::string operator()(const Rename& c) const { return cat("rename <", c.from, "> <", c.to, ">"); }
        std::string operator()(const Subscribe& c) const
        {
            return cat(c.on ? "subscribe <" : "unsubscribe <", c.mailbox, ">");
        }
        std::string operator()(const Status& c) const { return cat("status <", c.mailbox, "> ", c.items); }
        std::string operator()(const List& c) const
        {
            std::string out = cat(c.lsub ? "lsub" : c.extended ? "xlist" : "list", " <", c.reference, ">");
            for (const auto& pattern : c.patterns) append(out, " <", pattern, ">");
            out += flag(c.select_subscribed, "subscribed") + flag(c.select_remote, "remote") +
                   flag(c.select_recursive_match, "recursive") + flag(c.select_special_use, "special-use") +
                   flag(c.return_subscribed, "+subscribed") + flag(c.return_children, "+children") +
                   flag(c.return_special_use, "+special-use");
            if (c.return_status) append(out, " +status ", c.return_status);
            return out;
        }
        std::string operator()(const Fetch& c) const
        {
            std::string out = cat(c.uid ? "uid fetch " : "fetch ", describe(c.set));
            for (const auto& item : c.items) append(out, " ", describe(item));
            if (c.changed_since) append(out, " since ", *c.changed_since);
            return out + flag(c.vanished, "vanished");
        }
        std::string operator()(const Store& c) const
        {
            static constexpr std::string_view hows[] = {"=", "+", "-"};
            return cat(c.uid ? "uid store " : "store ", describe(c.set), " ", hows[static_cast<int>(c.how)],
                       describe(c.flags), flag(c.silent, "silent"),
                       c.unchanged_since ? cat(" unless ", *c.unchanged_since) : "");
        }
        std::string operator()(const Copy& c) const
        {
            return cat(c.uid ? "uid " : "", c.move ? "move " : "copy ", describe(c.set), " <", c.mailbox, ">");
        }
        std::string operator()(const Expunge& c) const { return cat("expunge", c.uids ? " " + describe(*c.uids) : ""); }
        std::string operator()(const Search& c) const
        {
            return cat(c.uid ? "uid search" : "search", flag(c.extended, "extended"), flag(c.min, "min"),
                       flag(c.max, "max"), flag(c.all, "all"), flag(c.count, "count"), flag(c.save, "save"), " ",
                       describe(c.key));
        }
        std::string operator()(const Sort& c) const
        {
            static constexpr std::string_view names[] = {"arrival", "cc", "date", "from", "size", "subject", "to"};
            std::string out = c.uid ? "uid sort" : "sort";
            for (const auto& by : c.by) append(out, by.reverse ? " -" : " ", names[static_cast<int>(by.by)]);
            return cat(out, " ", describe(c.key));
        }
        std::string operator()(const Thread& c) const
        {
            return cat(c.uid ? "uid thread " : "thread ",
                       c.algorithm == Thread::Algorithm::references ? "references " : "orderedsubject ",
                       describe(c.key));
        }
    };
    return std::visit(Visitor{}, command);
}

// Writes down one line per call. Authenticate and IDLE go as they do in a session.
struct Recorder : Handler {
    std::string seen;
    Reader* reader = nullptr;
    bool wait = false;                  // commands are not done until resume()
    std::size_t strikes = SIZE_MAX;     // refused() says "enough" at this one
    uint64_t append_limit = UINT64_MAX; // of one message
    std::size_t disk = SIZE_MAX;        // append_content fails behind that many bytes
    std::string no_mailbox = "none";    // append_begin refuses it

    bool command(std::string tag, Command c) override
    {
        append(seen, tag, " ", describe(c), "\n");
        if (std::holds_alternative<Authenticate>(c)) return reader->set_sasl(true), true;
        const Simple* simple = std::get_if<Simple>(&c);
        if (simple && simple->verb == Verb::idle) return reader->set_idle(true), false;
        return !wait;
    }
    bool refused(const std::string& tag, const Refusal& refusal) override
    {
        append(seen, tag, refusal.bad ? " BAD " : " NO ", refusal.text, "\n");
        return --strikes > 0;
    }
    bool sasl_line(std::string_view line) override
    {
        append(seen, "sasl <", line, ">\n");
        reader->set_sasl(false);
        return true;
    }
    void idle_done(bool well) override { seen += well ? "done\n" : "not done\n"; }
    std::unique_ptr<Refusal> append_begin(const std::string& tag, const Append& a) override
    {
        append(seen, tag, a.uid ? " uid" : "", a.replace ? cat(" replace ", a.replaced) : " append", " <", a.mailbox,
               ">\n");
        if (a.mailbox == no_mailbox) return std::make_unique<Refusal>(Refusal{false, "[TRYCREATE] none"});
        return nullptr;
    }
    std::unique_ptr<Refusal> append_message(const AppendMessage& m) override
    {
        append(seen, "message ", m.size, describe(m.flags), m.received ? cat(" at ", *m.received) : "",
               m.literal8 ? " binary" : "", m.utf8 ? " utf8" : "", "\n:");
        if (m.size > append_limit) return std::make_unique<Refusal>(Refusal{false, "[TOOBIG] large"});
        return nullptr;
    }
    std::unique_ptr<Refusal> append_content(std::string_view bytes) override
    {
        for (const char c : bytes) { // as a disk that is full at one byte, whatever the pieces
            if (disk == 0) return std::make_unique<Refusal>(Refusal{false, "disk full"});
            --disk;
            seen += c;
        }
        return nullptr;
    }
    std::unique_ptr<Refusal> append_content_end() override { return seen += ";\n", nullptr; }
    bool append_end(const std::string& tag) override { return append(seen, tag, " appended\n"), !wait; }
    void append_aborted(const std::string& tag, const Refusal& refusal) override
    {
        append(seen, tag, refusal.bad ? " aborted BAD " : " aborted NO ", refusal.text, "\n");
    }
};

} // namespace veredus::imap
