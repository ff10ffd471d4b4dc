// regexp:, pcre: and cidr: tables: rules asked in order, if … endif, and $1 in results.
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/kinds.h"
#include "lib/table/matcher.h"
#include "lib/table/source.h"
#include "lib/table/substitution.h"

namespace veredus::table {

namespace {

// A result with its $1, ${2} and $(3).
class Template {
public:
    static Result<Template> parse(std::string_view text, std::size_t groups)
    {
        Template t;
        std::string plain;
        while (!text.empty()) {
            const char c = text.front();
            text.remove_prefix(1);
            if (c != '$') {
                plain += c;
            } else if (text.starts_with('$')) {
                plain += '$';
                text.remove_prefix(1);
            } else {
                const std::size_t group = TRY(number(text));
                if (group > groups) return fail(cat("$", group, " has no ( ) in the pattern"));
                t.pieces_.push_back({std::move(plain), group});
                plain.clear();
            }
        }
        t.pieces_.push_back({std::move(plain), none});
        return t;
    }
    static Template literal(std::string_view text)
    {
        Template t;
        t.pieces_.push_back({std::string(text), none});
        return t;
    }
    std::string fill(const std::vector<std::string>& groups) const
    {
        std::string out;
        for (const Piece& piece : pieces_) {
            out += piece.before;
            if (piece.group < groups.size()) out += groups[piece.group];
        }
        return out;
    }

    bool variable() const { return pieces_.size() > 1; }
    std::string text() const
    {
        std::string out;
        for (const Piece& piece : pieces_) {
            out += piece.before;
            if (piece.group != none) append(out, '$', piece.group);
        }
        return out;
    }

private:
    static Result<std::size_t> number(std::string_view& text)
    {
        const char close = text.starts_with('{') ? '}' : text.starts_with('(') ? ')' : '\0';
        if (close) text.remove_prefix(1);
        std::size_t digits = 0;
        while (digits < text.size() && is_digit(text[digits])) ++digits;
        const auto group = parse_number<std::size_t>(text.substr(0, digits), 1000);
        if (!group || *group == 0) return fail("a $ without a number; write $$ for a plain $");
        text.remove_prefix(digits);
        if (close && !text.starts_with(close)) return fail("a bracket after $ is never closed");
        if (close) text.remove_prefix(1);
        return *group;
    }
    static constexpr std::size_t none = SIZE_MAX;
    struct Piece {
        std::string before;
        std::size_t group;
    };
    std::vector<Piece> pieces_;
};

struct Rule {
    bool negated = false;
    bool is_if = false;
    bool refused = false;      // whom it matches waits
    std::unique_ptr<Matcher> matcher;
    Template result;
    unsigned line = 0;
    std::size_t next = 0;      // of an if: the rule after its endif
};

struct Rules {
    std::vector<Rule> rules;
    std::vector<std::string> problems;
};

// "/pattern/flags" off the front; what follows stays in `line`.
Result<std::unique_ptr<Matcher>> cut_pattern(Pattern kind, std::string_view& line)
{
    if (kind == Pattern::cidr) {
        const std::string_view word = line.substr(0, line.find_first_of(" \t"));
        line.remove_prefix(word.size());
        return cidr_matcher(word);
    }
    if (line.empty() || is_alnum(line.front())) return fail("a pattern is expected, as in /^user@/");
    const char delimiter = line.front();
    std::size_t end = 1;
    while (end < line.size() && line[end] != delimiter) end += line[end] == '\\' && end + 1 < line.size() ? 2 : 1;
    if (end >= line.size()) return fail(cat("the closing ", delimiter, " of the pattern is missing"));
    const std::string pattern(line.substr(1, end - 1));
    line.remove_prefix(end + 1);
    const std::string_view flags = line.substr(0, line.find_first_of(" \t"));
    line.remove_prefix(flags.size());
    return kind == Pattern::posix ? posix_matcher(pattern, flags) : pcre_matcher(pattern, flags);
}

bool takes_keyword(std::string_view& line, std::string_view keyword)
{
    if (!istarts_with(line, keyword)) return false;
    const std::string_view rest = line.substr(keyword.size());
    if (!rest.empty() && !is_space(rest.front()) && rest.front() != '/' && rest.front() != '!') return false;
    line = trim(rest);
    return true;
}

Result<Rule> parse_rule(Pattern kind, std::string_view line, unsigned number)
{
    Rule rule;
    rule.line = number;
    rule.is_if = takes_keyword(line, "if");
    while (line.starts_with('!')) {
        rule.negated = !rule.negated;
        line = trim(line.substr(1));
    }
    rule.matcher = TRY(cut_pattern(kind, line));
    const std::string_view result = trim(line);
    if (rule.is_if) return rule;
    if (result.empty()) return fail("the pattern has no result after it");
    rule.result = kind == Pattern::cidr ? Template::literal(result) : TRY(Template::parse(result, rule.negated ? 0 : rule.matcher->groups()));
    return rule;
}

constexpr std::string_view why_refused = "a $1 is not taken in this table: who writes to us would choose what is run or where mail goes, so mail for whom the pattern matches waits";

Rules compile_rules(Pattern kind, std::string_view text, const std::string& path, bool substitution)
{
    Rules out;
    std::vector<std::size_t> open_ifs;
    unsigned broken_ifs = 0;      // an if that could not be read hides nothing but swallows its endif
    const auto complain = [&](unsigned line, std::string_view why) {
        if (out.problems.size() < 1000) out.problems.push_back(cat(path, ", line ", line, ": ", why));
    };
    Lines lines(text);
    std::string line;
    unsigned number = 0;
    while (lines.next(line, number)) {
        std::string_view rest = trim(line);
        if (lines.overlong()) {
            complain(number, "the line is too long");
        } else if (takes_keyword(rest, "endif")) {
            if (broken_ifs > 0) {
                --broken_ifs;
            } else if (open_ifs.empty()) {
                complain(number, "endif without if");
            } else {
                out.rules[open_ifs.back()].next = out.rules.size();
                open_ifs.pop_back();
            }
        } else if (auto rule = parse_rule(kind, rest, number); !rule) {
            complain(number, rule.error().text);
            std::string_view probe = rest;
            broken_ifs += takes_keyword(probe, "if");
        } else {
            if (rule->is_if) open_ifs.push_back(out.rules.size());
            rule->refused = !rule->is_if && rule->result.variable() && !substitution;
            if (rule->refused) complain(number, why_refused);
            out.rules.push_back(std::move(*rule));
        }
    }
    for (const std::size_t i : open_ifs) {
        complain(out.rules[i].line, "if without endif");
        out.rules[i].next = out.rules.size();
    }
    return out;
}

class PatternTable final : public FileTable {
public:
    PatternTable(Pattern kind, std::string path) : FileTable(std::move(path)), kind_(kind) {}

    Result<void> compile(std::string_view text) override
    {
        if (text.find('\0') != std::string_view::npos) return fail(cat(source_.path(), ": holds NUL bytes: this is no text file"));
        rules_ = compile_rules(kind_, text, source_.path(), substitution_);
        return {};
    }
    Result<std::optional<std::string>> find(std::string_view key) const override
    {
        std::vector<std::string> groups;
        const Rule* rule = TRY(deciding(key, groups));
        if (rule && rule->refused) return fail(cat(source_.where(rule->line), ": ", why_refused));
        return rule ? std::optional(rule->result.fill(groups)) : std::nullopt;
    }
    std::string origin(std::string_view key) const override
    {
        std::vector<std::string> groups;
        const auto rule = deciding(key, groups);
        return rule && *rule ? cat(source_.path(), ':', (*rule)->line) : std::string();
    }
    bool is_pattern() const override { return true; }
    std::vector<RightSide> right_sides() const override
    {
        std::vector<RightSide> out;
        for (const Rule& rule : rules_.rules)
            if (!rule.is_if) out.push_back({source_.where(rule.line), rule.result.text(), rule.result.variable()});
        return out;
    }
    std::vector<std::string> problems() const override { return rules_.problems; }

private:
    Result<const Rule*> deciding(std::string_view key, std::vector<std::string>& groups) const
    {
        if (key.size() > max_pattern_text || key.find('\0') != std::string_view::npos) return static_cast<const Rule*>(nullptr);
        const std::string text(key);
        for (std::size_t i = 0; i < rules_.rules.size();) {
            const Rule& rule = rules_.rules[i];
            auto matched = rule.matcher->match(text, groups);
            if (!matched) return fail(cat(source_.where(rule.line), ": ", matched.error().text));
            const bool yes = *matched != rule.negated;
            if (yes && !rule.is_if) return &rule;
            i = rule.is_if && !yes ? rule.next : i + 1;
        }
        return static_cast<const Rule*>(nullptr);
    }
    std::string size() const override { return cat(rules_.rules.size(), " rules"); }
    Pattern kind_;
    bool substitution_ = !WithoutSubstitution::in_force();
    Rules rules_;
};

}  // namespace

Result<std::unique_ptr<Table>> open_patterns(Pattern kind, const std::string& path)
{
    auto table = std::make_unique<PatternTable>(kind, path);
    TRY(table->read());
    return table;
}

Result<std::unique_ptr<Table>> pattern_table_of(Pattern kind, std::string_view text, const std::string& name)
{
    auto table = std::make_unique<PatternTable>(kind, name);
    TRY(table->compile(text));
    return table;
}

}  // namespace veredus::table
