// SEARCH, SORT and THREAD (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731, RFC 5182, RFC 5032, RFC 5256, RFC 7162, RFC
// 8474, RFC 8514).
#include "lib/base/text.h"
#include "lib/imap/charset.h"
#include "lib/imap/parse_tokens.h"
#include "lib/mail/charset.h"

namespace veredus::imap {

namespace {

using Kind = SearchKey::Kind;

enum class Takes : uint8_t {
    nothing,
    text,
    field_and_text,
    keyword,
    date,
    size,
    seconds,
    set,
    one_key,
    two_keys,
    modseq,
    object_id
};
enum Bit : uint8_t { answered = 1, flagged = 2, deleted = 4, seen = 8, draft = 16 }; // store::Flag

struct KeyRow {
    std::string_view name;
    Kind kind;
    Takes takes = Takes::nothing;
    uint8_t flag = 0;
};
constexpr KeyRow key_rows[] = {
    {"ALL", Kind::all},
    {"UNSEEN", Kind::no_flag, Takes::nothing, seen},
    {"SEEN", Kind::flag, Takes::nothing, seen},
    {"DELETED", Kind::flag, Takes::nothing, deleted},
    {"UNDELETED", Kind::no_flag, Takes::nothing, deleted},
    {"FLAGGED", Kind::flag, Takes::nothing, flagged},
    {"UNFLAGGED", Kind::no_flag, Takes::nothing, flagged},
    {"ANSWERED", Kind::flag, Takes::nothing, answered},
    {"UNANSWERED", Kind::no_flag, Takes::nothing, answered},
    {"DRAFT", Kind::flag, Takes::nothing, draft},
    {"UNDRAFT", Kind::no_flag, Takes::nothing, draft},
    {"UID", Kind::uid, Takes::set},
    {"NOT", Kind::not_, Takes::one_key},
    {"OR", Kind::any_of, Takes::two_keys},
    {"FROM", Kind::from, Takes::text},
    {"TO", Kind::to, Takes::text},
    {"CC", Kind::cc, Takes::text},
    {"BCC", Kind::bcc, Takes::text},
    {"SUBJECT", Kind::subject, Takes::text},
    {"BODY", Kind::body, Takes::text},
    {"TEXT", Kind::text, Takes::text},
    {"HEADER", Kind::header, Takes::field_and_text},
    {"KEYWORD", Kind::keyword, Takes::keyword},
    {"UNKEYWORD", Kind::no_keyword, Takes::keyword},
    {"RECENT", Kind::recent},
    {"OLD", Kind::old},
    {"NEW", Kind::new_},
    {"BEFORE", Kind::before, Takes::date},
    {"ON", Kind::on, Takes::date},
    {"SINCE", Kind::since, Takes::date},
    {"SENTBEFORE", Kind::sent_before, Takes::date},
    {"SENTON", Kind::sent_on, Takes::date},
    {"SENTSINCE", Kind::sent_since, Takes::date},
    {"SAVEDBEFORE", Kind::saved_before, Takes::date},
    {"SAVEDON", Kind::saved_on, Takes::date},
    {"SAVEDSINCE", Kind::saved_since, Takes::date},
    {"SAVEDATESUPPORTED", Kind::save_date_supported},
    {"LARGER", Kind::larger, Takes::size},
    {"SMALLER", Kind::smaller, Takes::size},
    {"OLDER", Kind::older, Takes::seconds},
    {"YOUNGER", Kind::younger, Takes::seconds},
    {"MODSEQ", Kind::modseq, Takes::modseq},
    {"EMAILID", Kind::emailid, Takes::object_id},
    {"THREADID", Kind::threadid, Takes::object_id},
};

class KeyParser {
public:
    KeyParser(Tokens& tokens, std::string charset) : t_(tokens), charset_(std::move(charset)) {}

    // search-key *(SP search-key) up to the end, or up to the parenthesis that ends them.
    bool all_of(SearchKey& out, std::size_t depth, bool to_end)
    {
        out.kind = Kind::all_of;
        t_.blanks();
        do {
            if (!key(out.keys.emplace_back(), depth)) return false;
            const bool blank = t_.peek() == ' ';
            t_.blanks();
            if (to_end ? t_.at_end() : t_.eat(')')) return true;
            if (!blank) return t_.expected("a blank");
        } while (true);
    }

private:
    bool key(SearchKey& out, std::size_t depth)
    {
        if (depth > t_.options().depth)
            return t_.refuse(cat("[TOOBIG] search keys may be nested ", t_.options().depth, " deep"));
        const char c = t_.peek();
        if (t_.eat('(')) return all_of(out, depth + 1, false);
        if (is_digit(c) || c == '*' || c == '$') {
            out.kind = Kind::sequence;
            return t_.sequence_set(out.set);
        }
        const char* before = t_.position();
        const std::string_view word = t_.word();
        for (const auto& row : key_rows) {
            if (row.name != word) continue;
            out.kind = row.kind;
            out.flag = row.flag;
            return row.takes == Takes::nothing || (t_.sp() && argument(row.takes, out, depth));
        }
        return t_.rewind(before), t_.expected("a search key");
    }

    bool argument(Takes takes, SearchKey& out, std::size_t depth)
    {
        switch (takes) {
        case Takes::nothing: return true;
        case Takes::text: return text(out.text);
        case Takes::field_and_text: return t_.astring(out.field) && t_.sp() && text(out.text);
        case Takes::keyword: return t_.atom(out.text);
        case Takes::date: return t_.date(out.day);
        case Takes::size: return t_.number64(out.number);
        case Takes::seconds: return t_.nz_number64(out.number);
        case Takes::set: return t_.sequence_set(out.set);
        case Takes::one_key: return key(out.keys.emplace_back(), depth + 1);
        case Takes::two_keys:
            out.keys.reserve(2);
            return key(out.keys.emplace_back(), depth + 1) && t_.sp() && key(out.keys.emplace_back(), depth + 1);
        case Takes::modseq: return modseq(out);
        case Takes::object_id: return object_id(out.text);
        }
        return false;
    }

    bool text(std::string& out)
    {
        if (!t_.astring(out)) return false;
        if (charset_.empty()) return is_utf8(out) || t_.refuse("the text to search for is not UTF-8");
        auto converted = to_utf8(charset_, out);
        if (!converted) return t_.refuse("the text to search for is not in its charset");
        out = std::move(*converted);
        return true;
    }

    bool modseq(SearchKey& out) // RFC 7162 §3.1.5: there is one mod-sequence for all that changes, so the entry's name
                                // says nothing
    {
        if (t_.peek() == '"') {
            std::string entry;
            if (!t_.string(entry) || !t_.sp()) return false;
            if (!istarts_with(entry, "/flags/")) return t_.refuse("MODSEQ knows entries of /flags/ only");
            const std::string_view type = t_.word();
            if (type != "PRIV" && type != "SHARED" && type != "ALL")
                return t_.refuse("the type of an entry is priv, shared or all");
            if (!t_.sp()) return false;
        }
        return t_.number64(out.number);
    }

    bool object_id(std::string& out) // RFC 8474 §7
    {
        if (!t_.astring(out)) return false;
        for (const char c : out)
            if (!is_alnum(c) && c != '_' && c != '-') return t_.refuse("that is no object ID");
        return (!out.empty() && out.size() <= 255) || t_.refuse("an object ID has 1 to 255 characters");
    }

    Tokens& t_;
    const std::string charset_; // empty: UTF-8
};

bool known_charset(Tokens& t, const std::string& charset)
{
    if (mail::is_charset(charset)) return true;
    return t.refuse_no(cat("[BADCHARSET (", charset_list(), ")] there is no charset ", printable(charset, 40)));
}

bool search_program(Tokens& t, const std::string& charset, SearchKey& key)
{
    KeyParser keys(t, charset);
    return keys.all_of(key, 0, true);
}

bool return_options(Tokens& t, Search& search) // RFC 4731 §3.1, RFC 5182 §2
{
    search.extended = true;
    t.blanks();
    if (!t.expect('(')) return false;
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        if (t.eat_word("MIN"))
            search.min = true;
        else if (t.eat_word("MAX"))
            search.max = true;
        else if (t.eat_word("ALL"))
            search.all = true;
        else if (t.eat_word("COUNT"))
            search.count = true;
        else if (t.eat_word("SAVE"))
            search.save = true;
        else
            return t.expected("a return option of SEARCH");
    }
    if (!search.min && !search.max && !search.count && !search.save) search.all = true;
    return t.sp();
}

} // namespace

bool parse_search(Tokens& t, bool uid, Command& command)
{
    Search search;
    search.uid = uid;
    std::string charset;
    if (!t.sp()) return false;
    if (t.eat_word("RETURN") && !return_options(t, search)) return false;
    if (t.eat_word("CHARSET")) {
        if (!t.sp() || !t.astring(charset) || !known_charset(t, charset) || !t.sp()) return false;
    }
    if (!search_program(t, charset, search.key)) return false;
    command = std::move(search);
    return true;
}

bool parse_sort(Tokens& t, bool uid, Command& command)
{
    static constexpr std::pair<std::string_view, SortCriterion::By> names[] = {
        {"ARRIVAL", SortCriterion::By::arrival}, {"CC", SortCriterion::By::cc},
        {"DATE", SortCriterion::By::date},       {"FROM", SortCriterion::By::from},
        {"SIZE", SortCriterion::By::size},       {"SUBJECT", SortCriterion::By::subject},
        {"TO", SortCriterion::By::to},
    };
    constexpr std::size_t most_criteria = 64;
    Sort sort;
    sort.uid = uid;
    if (!t.sp() || !t.expect('(')) return false;
    t.blanks();
    do {
        SortCriterion criterion;
        criterion.reverse = t.eat_word("REVERSE");
        t.blanks();
        bool found = false;
        for (const auto& [name, by] : names)
            if (t.eat_word(name)) {
                criterion.by = by;
                found = true;
                break;
            }
        if (!found) return t.expected("what to sort by");
        if (sort.by.size() == most_criteria) return t.refuse(cat("SORT has at most ", most_criteria, " criteria"));
        sort.by.push_back(criterion);
        t.blanks();
    } while (!t.eat(')'));
    std::string charset;
    if (!t.sp() || !t.astring(charset) || !known_charset(t, charset) || !t.sp() ||
        !search_program(t, charset, sort.key))
        return false;
    command = std::move(sort);
    return true;
}

bool parse_thread(Tokens& t, bool uid, Command& command)
{
    Thread thread;
    thread.uid = uid;
    if (!t.sp()) return false;
    if (t.eat_word("ORDEREDSUBJECT"))
        thread.algorithm = Thread::Algorithm::ordered_subject;
    else if (!t.eat_word("REFERENCES"))
        return t.expected("ORDEREDSUBJECT or REFERENCES");
    std::string charset;
    if (!t.sp() || !t.astring(charset) || !known_charset(t, charset) || !t.sp() ||
        !search_program(t, charset, thread.key))
        return false;
    command = std::move(thread);
    return true;
}

} // namespace veredus::imap
