// aliases(5) and .forward: the grammar of targets, the compiled aliases file.
#include "lib/table/aliases.h"

#include <cerrno>

#include "lib/base/text.h"
#include "lib/mail/address.h"
#include "lib/table/source.h"

namespace veredus::table {

namespace {

constexpr std::size_t most_in_item = 1000;    // addresses between two commas

// One target as it stands between two commas, and the same without its quotes and (RFC 822) comments.
struct Item {
    std::string written;
    std::string plain;
    bool all_quoted = false;    // the whole of it was one quoted string
};

// Commands and paths may hold a ( that begins no comment.
bool no_address(std::string_view plain)
{
    plain = trim(plain);
    return plain.starts_with('|') || plain.starts_with('/') || plain.starts_with(':');
}

Result<Item> cut_item(std::string_view& text)
{
    Item item;
    bool quoted = false, outside = false;
    int comment = 0;
    std::size_t i = 0;
    for (; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '\0') return fail("a NUL byte");
        const bool escape = c == '\\' && (quoted || comment) && i + 1 < text.size();
        if (!comment) item.written.append(text.substr(i, escape ? 2 : 1));
        if (escape) {
            ++i;
            if (!comment) item.plain += text[i];
        } else if (comment) {
            comment += c == '(' ? 1 : c == ')' ? -1 : 0;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (quoted) {
            item.plain += c;
        } else if (c == ',') {
            item.written.pop_back();
            break;
        } else if (c == '(' && !no_address(item.plain)) {
            item.written.pop_back();
            comment = 1;
        } else {
            outside = outside || !is_space(c);
            item.plain += c;
        }
    }
    if (quoted) return fail("a quote is never closed");
    if (comment) return fail("a ( is never closed");
    text.remove_prefix(std::min(i + 1, text.size()));
    item.written = trim(item.written);
    item.plain = trim(item.plain);
    item.all_quoted = !outside;
    return item;
}

// What an error may show.
enum class Show : uint8_t { words, nothing };
std::string shown(std::string_view text, Show show) { return show == Show::words ? cat('"', printable(text, 80), "\" is") : std::string("there is"); }

// Addresses: what a To field takes (display names and all), or a quoted user@domain as sendmail's files have it.
Result<void> add_addresses(const Item& item, Show show, std::vector<AliasTarget>& out)
{
    if (item.all_quoted) {
        const auto address = mail::parse_address(item.plain);
        out.push_back({AliasTarget::Kind::address, address ? address->text() : mail::quote_local(item.plain), false});
        return {};
    }
    const auto list = mail::parse_address_list(item.written, most_in_item);
    if (!list || list->empty()) return fail(cat(shown(item.written, show), " no address: are commas missing between several?"));
    for (const mail::Mailbox& box : *list) out.push_back({AliasTarget::Kind::address, box.address.text(), false});
    return {};
}

Result<void> add_one(const Item& item, Show show, std::vector<AliasTarget>& out)
{
    using Kind = AliasTarget::Kind;
    const std::string& plain = item.plain;
    if (plain.empty()) return {};
    if (plain.front() == '|') {
        const std::string_view command = trim(std::string_view(plain).substr(1));
        if (command.empty()) return fail("a | without a command");
        out.push_back({Kind::command, std::string(command), false});
    } else if (plain.front() == '/' || plain.starts_with("~/")) {
        out.push_back({Kind::file, plain, false});
    } else if (istarts_with(plain, ":include:")) {
        const std::string_view path = trim(std::string_view(plain).substr(9));
        if (!path.starts_with('/')) return fail(":include: wants an absolute path");
        out.push_back({Kind::include, std::string(path), false});
    } else if (plain.front() == '\\') {
        const auto address = mail::parse_address(trim(std::string_view(plain).substr(1)));
        if (!address || address->empty()) return fail(cat(shown(plain, show), " no user"));
        out.push_back({Kind::address, address->text(), true});
    } else {
        return add_addresses(item, show, out);
    }
    return {};
}

// What stands between two quotes or blanks.
std::vector<std::string_view> words_of(std::string_view text)
{
    std::vector<std::string_view> words;
    bool quoted = false, inside = false;
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        const bool ends = i == text.size() || (!quoted && is_space(text[i]));
        if (ends && inside) words.push_back(text.substr(begin, i - begin));
        if (!ends && !inside) begin = i;
        inside = !ends;
        if (ends) continue;
        if (quoted && text[i] == '\\') ++i;
        else if (text[i] == '"') quoted = !quoted;
    }
    return words;
}

// "alice bob": between addresses Postfix adds the commas that are missing. False: these are no addresses. A comment that begins with #
// behind an address is words, and nobody's address.
bool add_words(std::string_view written, Show show, std::vector<AliasTarget>& out)
{
    const auto words = words_of(written);
    if (words.size() < 2 || words.size() > most_in_item || written.find_first_of("<>():;") != std::string_view::npos) return false;
    std::vector<AliasTarget> all;
    for (std::string_view word : words) {
        if (word.front() == '#' || no_address(word)) return false;
        const auto item = cut_item(word);
        if (!item || !add_one(*item, show, all)) return false;
    }
    out.insert(out.end(), all.begin(), all.end());
    return true;
}

Result<void> add_target(const Item& item, Show show, std::vector<AliasTarget>& out)
{
    auto added = add_one(item, show, out);
    if (!added && !item.all_quoted && !no_address(item.plain) && add_words(item.written, show, out)) return {};
    return added;
}

Result<void> add_line(std::string_view line, std::size_t limit, Show show, std::vector<AliasTarget>& out)
{
    while (!line.empty()) {
        const Item item = TRY(cut_item(line));
        TRY(add_target(item, show, out));
        if (out.size() > limit) return fail(cat("more than ", limit, " targets"));
    }
    return {};
}

// As add_line(), past what cannot be read: that is a target of Kind::bad, and the first of them is what the Error tells.
Result<void> add_entry(std::string_view line, std::size_t limit, std::vector<AliasTarget>& out)
{
    Result<void> first;
    while (!line.empty()) {
        if (out.size() >= limit) {    // nobody gets it before all can
            out.assign(1, {AliasTarget::Kind::bad, {}, false});
            return fail(cat("more than ", limit, " targets; make several aliases of it"));
        }
        auto item = cut_item(line);
        auto added = item ? add_target(*item, Show::words, out) : Result<void>(unexpected(item.error()));
        if (added) continue;
        out.push_back({AliasTarget::Kind::bad, {}, false});
        if (first) first = std::move(added);
        if (!item) return first;     // where the next would begin nobody knows
    }
    return first;
}

// The key of "key: targets", which may be quoted; `line` is left with what follows the colon. `has_domain`: there is an @ outside of quotes.
Result<std::string> cut_key(std::string_view& line, bool& has_domain)
{
    std::string key;
    bool quoted = false;
    has_domain = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (c == '\0') return fail("a NUL byte: this is no text file");
        if (quoted && c == '\\' && i + 1 < line.size()) {
            key += line[++i];
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == ':' && !quoted) {
            line.remove_prefix(i + 1);
            key = lower(trim(key));
            if (key.empty()) return fail("a name is missing before the colon");
            return key;
        } else {
            has_domain = has_domain || (c == '@' && !quoted);
            key += c;
        }
    }
    return quoted ? fail("a quote is never closed") : fail("there is no colon after the name");
}

}  // namespace

Result<std::vector<AliasTarget>> parse_targets(std::string_view text, std::size_t limit)
{
    std::vector<AliasTarget> out;
    unsigned number = 0;
    for (std::string_view line : split_on(text, '\n')) {
        ++number;
        if (line.ends_with('\r')) line.remove_suffix(1);
        const std::string_view visible = trim(line);
        if (visible.empty() || visible.front() == '#') continue;
        if (line.size() > max_line) return fail(cat("line ", number, ": longer than ", max_line, " bytes"));
        const std::size_t before = out.size();
        if (auto added = add_line(visible, limit, Show::nothing, out); !added) return fail(cat("line ", number, ": ", added.error().text));
        for (std::size_t i = before; i < out.size(); ++i) out[i].line = number;
    }
    return out;
}

Aliases Aliases::parse(std::string_view text, std::vector<AliasProblem>& problems)
{
    Aliases aliases;
    Lines lines(text);
    std::string line;
    unsigned number = 0;
    while (lines.next(line, number)) {
        const bool overlong = lines.overlong();
        if (overlong) problems.push_back({number, cat("longer than ", max_line, " bytes; mail for it waits: make several aliases of it")});
        std::string_view rest = line;
        if (is_space(rest.front())) {
            problems.push_back({number, "begins with white space but continues nothing"});
            continue;
        }
        bool has_domain = false;
        auto key = cut_key(rest, has_domain);
        Entry entry{{}, number};
        auto added = !key ? Result<void>(unexpected(key.error())) : overlong ? Result<void>() : add_entry(rest, max_targets, entry.targets);
        if (overlong) entry.targets.assign(1, {AliasTarget::Kind::bad, {}, false});
        if (added && entry.targets.empty()) added = fail(cat(*key, ": there is nothing after the colon"));
        if (!added) problems.push_back({number, std::move(added).error().text});
        if (!key) continue;
        if (has_domain) problems.push_back({number, cat(*key, ": names are local here and have no domain; virtual_alias_maps is for whole addresses")});
        if (const auto [at, fresh] = aliases.entries_.emplace(std::move(*key), std::move(entry)); !fresh)
            problems.push_back({number, cat("duplicate entry: \"", at->first, "\" is already on line ", at->second.line, ", which is used")});
    }
    return aliases;
}

Result<Aliases> Aliases::load(const std::string& path, std::vector<AliasProblem>& problems)
{
    const std::string text = TRY(Source(path).read());
    return parse(text, problems);
}

const Aliases::Entry* Aliases::find(std::string_view name) const
{
    const auto at = entries_.find(lower(name));
    return at == entries_.end() ? nullptr : &at->second;
}

std::optional<std::string> text_file_of(std::string_view spec)
{
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    const auto [type, path] = cut(spec, ':');
    for (const std::string_view known : {"hash", "texthash", "lmdb", "btree", "cdb", "dbm", "sdbm"})
        if (path && type == known) return std::string(*path);
    return std::nullopt;
}

}  // namespace veredus::table
