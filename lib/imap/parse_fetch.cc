// FETCH and STORE (RFC 9051 §6.4.5 and §6.4.6, RFC 3501 §6.4.5, RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970).
#include "lib/base/text.h"
#include "lib/imap/parse_tokens.h"

namespace veredus::imap {

namespace {

using What = FetchItem::What;
using Kind = Section::Kind;

constexpr std::size_t most_items = 256;
constexpr std::size_t most_parts = 100; // numbers of one section: deeper than any message is walked

bool header_list(Tokens& t, std::vector<std::string>& fields)
{
    t.blanks();
    if (!t.expect('(')) return false;
    t.blanks();
    do {
        std::string name;
        if (!t.astring(name)) return false;
        for (const char c : name) // RFC 5322 §3.6.8: ftext. It goes back to the client in the answer.
            if (c <= ' ' || c >= 0x7f || c == ':')
                return t.refuse("the name of a header field has a byte that none has");
        if (name.empty()) return t.expected("the name of a header field");
        fields.push_back(std::move(name));
        t.blanks();
    } while (!t.eat(')'));
    return true;
}

bool section_text(Tokens& t, Section& section)
{
    const char* before = t.position();
    const std::string_view word = t.word();
    if (word == "HEADER")
        section.kind = Kind::header;
    else if (word == "TEXT")
        section.kind = Kind::text;
    else if (word == "MIME" && !section.part.empty())
        section.kind = Kind::mime;
    else if (word == "HEADER.FIELDS" || word == "HEADER.FIELDS.NOT") {
        section.kind = word == "HEADER.FIELDS" ? Kind::header_fields : Kind::header_fields_not;
        return header_list(t, section.fields);
    } else
        return t.rewind(before), t.expected("a section");
    return true;
}

// "[" [section-spec] "]", `part_only` for BINARY.
bool section(Tokens& t, Section& section, bool part_only)
{
    if (!t.expect('[')) return false;
    t.blanks();
    bool text = !part_only && t.peek() != ']';
    if (is_digit(t.peek())) {
        do {
            uint32_t number = 0;
            text = !is_digit(t.peek());
            if (text) break;
            if (!t.nz_number(number)) return false;
            if (section.part.size() == most_parts)
                return t.refuse(cat("a section has at most ", most_parts, " part numbers"));
            section.part.push_back(number);
        } while (t.eat('.'));
        if (text && part_only) return t.expected("a part number");
    }
    if (text && !section_text(t, section)) return false;
    t.blanks();
    return t.expect(']');
}

// ["<" offset "." count ">"]
bool partial(Tokens& t, FetchItem& item)
{
    if (!t.eat('<')) return true;
    auto& [offset, count] = item.partial.emplace();
    return t.number64(offset) && t.expect('.') && t.nz_number64(count) && t.expect('>');
}

bool preview_modifiers(Tokens& t, FetchItem& item) // RFC 8970 §3.2
{
    const char* before = t.position();
    t.blanks();
    if (!t.eat('(')) return t.rewind(before), true;
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        if (!t.eat_word("LAZY")) return t.expected("LAZY");
        item.what = What::preview_lazy;
    }
    return true;
}

struct ItemRow {
    std::string_view name;
    What what;
    bool peek;
};
constexpr ItemRow item_rows[] = {
    {"FLAGS", What::flags, true},
    {"UID", What::uid, true},
    {"RFC822.SIZE", What::rfc822_size, true},
    {"INTERNALDATE", What::internaldate, true},
    {"ENVELOPE", What::envelope, true},
    {"BODYSTRUCTURE", What::bodystructure, true},
    {"MODSEQ", What::modseq, true},
    {"RFC822", What::rfc822, false},
    {"RFC822.HEADER", What::rfc822_header, true},
    {"RFC822.TEXT", What::rfc822_text, false},
    {"EMAILID", What::emailid, true},
    {"THREADID", What::threadid, true},
    {"SAVEDATE", What::savedate, true},
    {"PREVIEW", What::preview, true},
};

// The items with a section.
bool sectioned_item(Tokens& t, std::string_view word, FetchItem& item)
{
    if (word == "BODY" || word == "BODY.PEEK")
        item.what = What::section;
    else if (word == "BINARY" || word == "BINARY.PEEK")
        item.what = What::binary;
    else if (word == "BINARY.SIZE")
        item.what = What::binary_size;
    else
        return t.expected("an item of FETCH with a section");
    item.peek = word.ends_with(".PEEK") || item.what == What::binary_size;
    if (!section(t, item.section, item.what != What::section)) return false;
    return item.what == What::binary_size || partial(t, item);
}

bool fetch_item(Tokens& t, std::vector<FetchItem>& items)
{
    if (items.size() == most_items) return t.refuse(cat("[TOOBIG] FETCH has at most ", most_items, " items"));
    const char* before = t.position();
    const std::string_view word = t.word();
    FetchItem& item = items.emplace_back();
    if (t.peek() == '[') return sectioned_item(t, word, item);
    item.peek = true;
    if (word == "BODY") return item.what = What::body, true;
    for (const auto& row : item_rows) {
        if (row.name != word) continue;
        item.what = row.what;
        item.peek = row.peek;
        return item.what != What::preview || preview_modifiers(t, item);
    }
    return t.rewind(before), t.expected("an item of FETCH");
}

void add(std::vector<FetchItem>& items, What what)
{
    for (const auto& item : items)
        if (item.what == what) return;
    FetchItem& item = items.emplace_back();
    item.what = what;
    item.peek = true;
}

// ALL, FAST, FULL: alone, or (as some clients have it) alone in a list.
bool macro(Tokens& t, std::vector<FetchItem>& items)
{
    const bool full = t.eat_word("FULL"), all = full || t.eat_word("ALL");
    if (!all && !t.eat_word("FAST")) return false;
    for (const What what : {What::flags, What::internaldate, What::rfc822_size}) add(items, what);
    if (all) add(items, What::envelope);
    if (full) add(items, What::body);
    return true;
}

bool fetch_items(Tokens& t, std::vector<FetchItem>& items)
{
    items.reserve(8);
    if (!t.eat('(')) return macro(t, items) || fetch_item(t, items);
    t.blanks();
    const bool is_macro = macro(t, items);
    for (t.blanks(); !t.eat(')'); t.blanks())
        if (is_macro ? !t.expect(')') : !fetch_item(t, items)) return false;
    return !items.empty() || t.refuse("FETCH without an item");
}

bool fetch_modifiers(Tokens& t, Fetch& fetch) // RFC 7162 §3.1.4.1 and §3.2.6
{
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        if (t.eat_word("CHANGEDSINCE")) {
            if (!t.sp() || !t.number64(fetch.changed_since.emplace())) return false;
        } else if (t.eat_word("VANISHED")) {
            fetch.vanished = true;
        } else {
            return t.expected("CHANGEDSINCE or VANISHED");
        }
    }
    if (fetch.vanished && (!fetch.uid || !fetch.changed_since))
        return t.refuse("VANISHED is for UID FETCH with CHANGEDSINCE");
    return true;
}

} // namespace

bool parse_fetch(Tokens& t, bool uid, Command& command)
{
    Fetch fetch;
    fetch.uid = uid;
    if (!t.sp() || !t.sequence_set(fetch.set) || !t.sp() || !fetch_items(t, fetch.items)) return false;
    t.blanks();
    if (t.eat('(') && !fetch_modifiers(t, fetch)) return false;
    if (!t.end()) return false;
    if (uid) add(fetch.items, What::uid);
    if (fetch.changed_since) add(fetch.items, What::modseq);
    command = std::move(fetch);
    return true;
}

bool parse_store(Tokens& t, bool uid, Command& command)
{
    Store store;
    store.uid = uid;
    if (!t.sp() || !t.sequence_set(store.set) || !t.sp()) return false;
    if (t.eat('(')) { // RFC 7162 §3.1.3
        t.blanks();
        if (!t.eat_word("UNCHANGEDSINCE")) return t.expected("UNCHANGEDSINCE");
        if (!t.sp() || !t.number64(store.unchanged_since.emplace())) return false;
        t.blanks();
        if (!t.expect(')') || !t.sp()) return false;
    }
    if (t.eat('+'))
        store.how = Store::How::add;
    else if (t.eat('-'))
        store.how = Store::How::remove;
    store.silent = t.eat_word("FLAGS.SILENT");
    if (!store.silent && !t.eat_word("FLAGS")) return t.expected("FLAGS or FLAGS.SILENT");
    if (!t.sp()) return false;
    if (t.peek() == '(') {
        if (!t.flag_list(store.flags, false)) return false;
    } else {
        do {
            if (!t.flag(store.flags, false)) return false;
            t.blanks();
        } while (!t.at_end());
    }
    if (!t.end()) return false;
    command = std::move(store);
    return true;
}

} // namespace veredus::imap
