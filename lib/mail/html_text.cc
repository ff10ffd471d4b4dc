// The words of an HTML text without its markup.
#include "lib/mail/html_text.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "lib/base/text.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

template <std::size_t N> bool is_one_of(std::string_view name, const std::string_view (&names)[N])
{
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

constexpr std::string_view hidden_elements[] = {"head", "script", "style", "title", "template"};
// Within them there are no tags but their own end.
constexpr std::string_view raw_elements[] = {"script", "style", "title"};
constexpr std::string_view blocks[] = {"p",  "br",         "div", "td",     "th",      "tr",      "li",     "ul",
                                       "ol", "h1",         "h2",  "h3",     "h4",      "h5",      "h6",     "table",
                                       "hr", "blockquote", "pre", "body",   "section", "article", "header", "footer",
                                       "dt", "dd",         "dl",  "center", "img"};

struct Entity {
    std::string_view name;
    uint32_t character;
};
constexpr Entity entities[] = {
    {"amp", '&'},      {"lt", '<'},       {"gt", '>'},       {"quot", '"'},      {"apos", '\''},     {"nbsp", 0xA0},
    {"iexcl", 0xA1},   {"pound", 0xA3},   {"sect", 0xA7},    {"copy", 0xA9},     {"laquo", 0xAB},    {"shy", 0xAD},
    {"reg", 0xAE},     {"deg", 0xB0},     {"middot", 0xB7},  {"raquo", 0xBB},    {"iquest", 0xBF},   {"Agrave", 0xC0},
    {"Aacute", 0xC1},  {"Acirc", 0xC2},   {"Atilde", 0xC3},  {"Auml", 0xC4},     {"Aring", 0xC5},    {"AElig", 0xC6},
    {"Ccedil", 0xC7},  {"Egrave", 0xC8},  {"Eacute", 0xC9},  {"Ecirc", 0xCA},    {"Iacute", 0xCD},   {"Ntilde", 0xD1},
    {"Oacute", 0xD3},  {"Ocirc", 0xD4},   {"Ouml", 0xD6},    {"times", 0xD7},    {"Oslash", 0xD8},   {"Uacute", 0xDA},
    {"Uuml", 0xDC},    {"szlig", 0xDF},   {"agrave", 0xE0},  {"aacute", 0xE1},   {"acirc", 0xE2},    {"atilde", 0xE3},
    {"auml", 0xE4},    {"aring", 0xE5},   {"aelig", 0xE6},   {"ccedil", 0xE7},   {"egrave", 0xE8},   {"eacute", 0xE9},
    {"ecirc", 0xEA},   {"euml", 0xEB},    {"igrave", 0xEC},  {"iacute", 0xED},   {"icirc", 0xEE},    {"iuml", 0xEF},
    {"ntilde", 0xF1},  {"ograve", 0xF2},  {"oacute", 0xF3},  {"ocirc", 0xF4},    {"otilde", 0xF5},   {"ouml", 0xF6},
    {"oslash", 0xF8},  {"ugrave", 0xF9},  {"uacute", 0xFA},  {"ucirc", 0xFB},    {"uuml", 0xFC},     {"zwnj", 0x200C},
    {"zwj", 0x200D},   {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", 0x2018},  {"rsquo", 0x2019},  {"sbquo", 0x201A},
    {"ldquo", 0x201C}, {"rdquo", 0x201D}, {"bdquo", 0x201E}, {"bull", 0x2022},   {"hellip", 0x2026}, {"euro", 0x20AC},
    {"trade", 0x2122}, {"ensp", 0x2002},  {"emsp", 0x2003},  {"thinsp", 0x2009}, {"rarr", 0x2192},   {"larr", 0x2190}};

// "amp", "#8364", "#x20AC"
std::optional<uint32_t> entity_of(std::string_view name)
{
    if (!name.starts_with('#')) {
        const auto it =
            std::find_if(std::begin(entities), std::end(entities), [&](const Entity& e) { return e.name == name; });
        return it == std::end(entities) ? std::nullopt : std::optional<uint32_t>(it->character);
    }
    name.remove_prefix(1);
    const bool hex = istarts_with(name, "x");
    const auto number = hex ? parse_hex(name.substr(1)) : parse_number<uint64_t>(name);
    if (!number || *number == 0 || *number > 0x10FFFF || (*number >= 0xD800 && *number <= 0xDFFF)) return std::nullopt;
    return static_cast<uint32_t>(*number);
}

} // namespace

void HtmlText::feed(std::string_view html, std::string& out)
{
    for (std::size_t i = 0; i < html.size();)
        if (step(html[i], out)) ++i;
}

void HtmlText::finish(std::string& out)
{
    if (in_ == In::entity) step_entity(';', out);
    if (in_ == In::open) put('<', out);
    *this = {};
}

// False: the character is to be looked at once more.
bool HtmlText::step(char c, std::string& out)
{
    switch (in_) {
    case In::text:
        if (c == '<') {
            in_ = In::open;
        } else if (c == '&') {
            in_ = In::entity;
            name_.clear();
        } else {
            put(c, out);
        }
        return true;
    case In::entity: return step_entity(c, out);
    case In::open: return step_open(c, out);
    case In::tag:
        if (is_alnum(c) || c == '-' || c == ':') {
            if (name_.size() < longest_name) name_.push_back(to_lower(c));
            return true;
        }
        in_ = In::attributes;
        return false;
    case In::attributes:
        if (c == '>') {
            end_tag(out);
        } else if ((c == '"' || c == '\'') && !closing_) {
            quote_ = c;
            in_ = In::quoted;
        }
        return true;
    case In::quoted:
        if (c == quote_) in_ = In::attributes;
        return true;
    case In::declaration:
        // "<!--" is a comment; dashes_ counts how much of it was seen, and is beyond that when it was something else.
        if (c == '-' && dashes_ < 2 && ++dashes_ == 2) {
            in_ = In::comment;
            dashes_ = 0;
        } else if (c == '>') {
            in_ = In::text;
        } else if (c != '-') {
            dashes_ = 2;
        }
        return true;
    case In::comment:
        if (c == '>' && dashes_ >= 2) in_ = In::text;
        dashes_ = c == '-' ? static_cast<uint8_t>(std::min(dashes_ + 1, 2)) : uint8_t{0};
        return true;
    }
    return true;
}

// Behind "<".
bool HtmlText::step_open(char c, std::string& out)
{
    const bool raw = is_one_of(hidden_, raw_elements);
    if (c == '/') {
        closing_ = true;
        in_ = In::tag;
        name_.clear();
        return true;
    }
    if (is_alpha(c) && !raw) {
        closing_ = false;
        in_ = In::tag;
        name_.clear();
        return false;
    }
    if ((c == '!' || c == '?') && !raw) {
        in_ = In::declaration;
        dashes_ = c == '!' ? 0 : 2;
        return true;
    }
    in_ = In::text;
    put('<', out);
    return false;
}

void HtmlText::end_tag(std::string& out)
{
    in_ = In::text;
    if (!hidden_.empty()) {
        if ((closing_ && name_ == hidden_) || (hidden_ == "head" && name_ == "body")) hidden_.clear();
    } else if (!closing_ && is_one_of(name_, hidden_elements)) {
        hidden_ = name_;
    }
    if (is_one_of(name_, blocks)) put(' ', out);
}

// Behind "&".
bool HtmlText::step_entity(char c, std::string& out)
{
    if ((is_alnum(c) || (c == '#' && name_.empty())) && name_.size() < longest_name) {
        name_.push_back(c);
        return true;
    }
    in_ = In::text;
    const auto character = entity_of(name_);
    if (!hidden_.empty()) return c == ';';
    // Without a semicolon it may be no entity at all: "AT&T", "?a=1&copy=2".
    if (character && (c == ';' || name_.starts_with('#'))) {
        put_utf8(out, *character);
        return c == ';';
    }
    append(out, '&', name_);
    return false;
}

} // namespace veredus::mail
