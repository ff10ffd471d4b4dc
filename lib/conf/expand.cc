// $name, ${name?text}, ${name:text}: Postfix's mac_expand(3), with bounds.
#include "lib/conf/expand.h"

#include "lib/base/text.h"

namespace veredus::conf {

namespace {

constexpr bool is_name_char(char c) { return is_alnum(c) || c == '_'; }

// The bytes between the bracket at text[0] and its partner; nullopt without one.
std::optional<std::string_view> bracketed(std::string_view text)
{
    const char open = text[0], close = open == '{' ? '}' : ')';
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == open) ++depth;
        if (text[i] == close && --depth == 0) return text.substr(1, i - 1);
    }
    return std::nullopt;
}

std::string_view name_at(std::string_view text)
{
    std::size_t end = 0;
    while (end < text.size() && is_name_char(text[end])) ++end;
    return text.substr(0, end);
}

void skip_blanks(std::string_view& text)
{
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
}

// "3.6" < "3.10": numbers between dots; what is no number compares as 0.
int compare_levels(std::string_view a, std::string_view b)
{
    const auto pa = split_on(a, '.'), pb = split_on(b, '.');
    for (std::size_t i = 0; i < std::max(pa.size(), pb.size()); ++i) {
        const auto na = i < pa.size() ? parse_number<int64_t>(pa[i]).value_or(0) : 0;
        const auto nb = i < pb.size() ? parse_number<int64_t>(pb[i]).value_or(0) : 0;
        if (na != nb) return na < nb ? -1 : 1;
    }
    return 0;
}

int compare_operands(std::string_view a, std::string_view b)
{
    const auto na = parse_number<int64_t>(a), nb = parse_number<int64_t>(b);
    if (na && nb) return *na < *nb ? -1 : *na > *nb;
    return a.compare(b);
}

class Expansion {
public:
    Expansion(const Lookup& lookup, int depth) : lookup_(lookup), depth_(depth) {}

    Result<std::string> run(std::string_view text)
    {
        if (depth_ > max_nesting) return fail(cat("more than ", max_nesting, " levels of $name: does a name lead back to itself?"));
        while (!text.empty()) {
            const std::size_t plain = std::min(text.find('$'), text.size());
            TRY(put(text.substr(0, plain)));
            text.remove_prefix(plain);
            if (!text.empty()) TRY(reference(text));
        }
        return std::move(out_);
    }

private:
    Result<void> put(std::string_view bytes)
    {
        if (out_.size() + bytes.size() > max_expanded) return fail(cat("the expanded value is longer than ", max_expanded, " bytes"));
        out_.append(bytes);
        return {};
    }
    Result<std::string> nested(std::string_view text) const { return Expansion(lookup_, depth_ + 1).run(text); }

    Result<void> reference(std::string_view& text)   // text begins with '$'
    {
        text.remove_prefix(1);
        if (!text.empty() && text.front() == '$') {
            text.remove_prefix(1);
            return put("$");
        }
        if (!text.empty() && (text.front() == '{' || text.front() == '(')) {
            const auto inner = bracketed(text);
            if (!inner) return fail(cat("$", text.substr(0, 30), ": the bracket is never closed"));
            text.remove_prefix(inner->size() + 2);
            return conditional(*inner);
        }
        const std::string_view name = name_at(text);
        if (name.empty()) return fail("a $ without a name after it; write $$ for a plain $");
        text.remove_prefix(name.size());
        return put(TRY(lookup_(name)));
    }

    // name, name?text, name:text, name?{text}:{text}, {a} == {b}?{text}:{text}
    Result<void> conditional(std::string_view inner)
    {
        const std::string_view whole = inner;
        skip_blanks(inner);
        bool truth = false;
        std::string value;
        if (!inner.empty() && inner.front() == '{') {
            truth = TRY(relation(inner));
            if (truth) value = "true";
        } else {
            const std::string_view name = name_at(inner);
            if (name.empty()) return fail(cat("${", whole.substr(0, 30), "}: a name is missing"));
            inner.remove_prefix(name.size());
            value = TRY(lookup_(name));
            truth = !value.empty();
        }
        skip_blanks(inner);
        if (inner.empty()) return put(value);
        if (inner.front() != '?' && inner.front() != ':')
            return fail(cat("${", whole.substr(0, 60), "}: ? or : is expected at \"", inner.substr(0, 10), "\""));
        return branches(inner, truth, whole);
    }

    Result<void> branches(std::string_view rest, bool truth, std::string_view whole)
    {
        const bool when = rest.front() == '?';
        rest.remove_prefix(1);
        std::string_view after = rest;
        skip_blanks(after);
        if (after.empty() || after.front() != '{')   // ${name?text}: all that follows
            return truth == when ? put(TRY(nested(rest))) : Result<void>();
        const auto first = bracketed(after);
        if (!first) return fail(cat("${", whole.substr(0, 60), "}: a { is never closed"));
        after.remove_prefix(first->size() + 2);
        skip_blanks(after);
        if (after.empty()) return truth == when ? put(TRY(nested(trim(*first)))) : Result<void>();
        if (!when || after.front() != ':') return fail(cat("${", whole.substr(0, 60), "}: text after the }"));
        after.remove_prefix(1);
        std::string_view other = after;   // {text}, or all that follows
        skip_blanks(other);
        if (!other.empty() && other.front() == '{') {
            const auto inner = bracketed(other);
            if (!inner || !trim(other.substr(inner->size() + 2)).empty()) return fail(cat("${", whole.substr(0, 60), "}: text after the last }"));
            other = trim(*inner);
        } else {
            other = after;
        }
        return put(TRY(nested(truth ? trim(*first) : other)));
    }

    Result<bool> relation(std::string_view& inner)
    {
        const auto left = bracketed(inner);
        if (!left) return fail("${{…}: a { is never closed");
        inner.remove_prefix(left->size() + 2);
        skip_blanks(inner);
        const std::size_t op_size = std::min(inner.find_first_of(" \t{"), inner.size());
        std::string_view op = inner.substr(0, op_size);
        inner.remove_prefix(op_size);
        skip_blanks(inner);
        if (inner.empty() || inner.front() != '{') return fail("${{a} op {b}…}: {b} is missing");
        const auto right = bracketed(inner);
        if (!right) return fail("${{a} op {b}…}: a { is never closed");
        inner.remove_prefix(right->size() + 2);
        const std::string a = TRY(nested(trim(*left))), b = TRY(nested(trim(*right)));
        int order;
        if (op.ends_with("level")) {
            op.remove_suffix(5);
            order = compare_levels(a, b);
        } else
            order = compare_operands(a, b);
        if (op == "==") return order == 0;
        if (op == "!=") return order != 0;
        if (op == "<") return order < 0;
        if (op == "<=") return order <= 0;
        if (op == ">") return order > 0;
        if (op == ">=") return order >= 0;
        return fail(cat("${{a} ", op.substr(0, 20), " {b}…}: the operator is none of == != < <= > >="));
    }

    const Lookup& lookup_;
    int depth_;
    std::string out_;
};

}  // namespace

Result<std::string> expand(std::string_view text, const Lookup& lookup, int depth) { return Expansion(lookup, depth).run(text); }

void references(std::string_view text, std::set<std::string, std::less<>>& out)
{
    for (std::size_t at = 0; (at = text.find('$', at)) != std::string_view::npos;) {
        std::string_view rest = text.substr(++at);
        if (!rest.empty() && rest.front() == '$') {
            ++at;
            continue;
        }
        if (!rest.empty() && (rest.front() == '{' || rest.front() == '(')) rest.remove_prefix(1);
        skip_blanks(rest);
        const std::string_view name = name_at(rest);
        if (!name.empty()) out.emplace(name);
    }
}

std::vector<std::string_view> split_list(std::string_view text)
{
    std::vector<std::string_view> out;
    std::size_t begin = 0;
    int depth = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        const bool cut_here = i == text.size() || (depth == 0 && (is_space(text[i]) || text[i] == ','));
        if (cut_here) {
            if (i > begin) out.push_back(text.substr(begin, i - begin));
            begin = i + 1;
        } else if (text[i] == '{') {
            ++depth;
        } else if (text[i] == '}' && depth > 0) {
            --depth;
        }
    }
    return out;
}

}  // namespace veredus::conf
