// LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, RFC 5819, RFC 6154).
#include "lib/base/text.h"
#include "lib/imap/parse_tokens.h"

namespace veredus::imap {

namespace {

bool selection_options(Tokens& t, List& list)
{
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        if (t.eat_word("SUBSCRIBED"))
            list.select_subscribed = true;
        else if (t.eat_word("REMOTE"))
            list.select_remote = true;
        else if (t.eat_word("RECURSIVEMATCH"))
            list.select_recursive_match = true;
        else if (t.eat_word("SPECIAL-USE"))
            list.select_special_use = true;
        else
            return t.expected("a selection option of LIST");
    }
    // RFC 5258 §3.1: it needs an option that it can be applied to.
    if (list.select_recursive_match && !list.select_subscribed) return t.refuse("RECURSIVEMATCH needs SUBSCRIBED");
    return true;
}

bool return_options(Tokens& t, List& list)
{
    if (!t.expect('(')) return false;
    for (t.blanks(); !t.eat(')'); t.blanks()) {
        if (t.eat_word("SUBSCRIBED"))
            list.return_subscribed = true;
        else if (t.eat_word("CHILDREN"))
            list.return_children = true;
        else if (t.eat_word("SPECIAL-USE"))
            list.return_special_use = true;
        else if (t.eat_word("STATUS")) {
            t.blanks();
            if (!parse_status_items(t, list.return_status)) return false;
        } else
            return t.expected("a return option of LIST");
    }
    return true;
}

// Of names alone: one that no mailbox can have is asked for in vain, which is no error.
bool add_pattern(Tokens& t, List& list, bool possible)
{
    std::string pattern;
    if (!t.pattern(pattern)) return false;
    if (t.to_utf8_name(pattern) && possible) list.patterns.push_back(std::move(pattern));
    return true;
}

} // namespace

bool parse_list(Tokens& t, bool, Command& command)
{
    List list;
    if (!t.sp()) return false;
    if (t.eat('(')) {
        list.extended = true;
        if (!selection_options(t, list) || !t.sp()) return false;
    }
    if (!t.astring(list.reference) || !t.sp()) return false;
    const bool possible = t.to_utf8_name(list.reference);
    if (t.eat('(')) {
        list.extended = true;
        t.blanks();
        do {
            if (!add_pattern(t, list, possible)) return false;
            t.blanks();
        } while (!t.eat(')'));
    } else if (!add_pattern(t, list, possible)) {
        return false;
    }
    t.blanks();
    if (!t.at_end()) {
        if (!t.eat_word("RETURN")) return t.expected("RETURN");
        list.extended = true;
        t.blanks();
        if (!return_options(t, list)) return false;
    }
    if (!t.end()) return false;
    command = std::move(list);
    return true;
}

bool parse_lsub(Tokens& t, bool, Command& command)
{
    List list;
    list.lsub = true;
    if (!t.sp() || !t.astring(list.reference) || !t.sp()) return false;
    if (!add_pattern(t, list, t.to_utf8_name(list.reference)) || !t.end()) return false;
    command = std::move(list);
    return true;
}

} // namespace veredus::imap
