// hash: and its kin: "key value" lines of a text file, compiled to one block of bytes and a sorted index.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/kinds.h"
#include "lib/table/source.h"

namespace veredus::table {

namespace {

constexpr std::size_t max_problems = 1000;

// "key value": the key ends at white space outside of quotes (postmap(1)).
struct Pair {
    std::string key;
    std::string_view value;
};

Result<Pair> cut_pair(std::string_view line)
{
    Pair pair;
    bool quoted = false;
    std::size_t i = 0;
    for (; i < line.size() && (quoted || !is_space(line[i])); ++i) {
        if (line[i] == '"' && (quoted || i == 0)) {
            quoted = !quoted;
            continue;
        }
        if (quoted && line[i] == '\\' && i + 1 < line.size()) ++i;
        pair.key += to_lower(line[i]);
    }
    if (quoted) return fail("a quote is never closed");
    pair.value = trim(line.substr(i));
    if (pair.key.empty()) return fail("the key is empty");
    if (pair.value.empty()) return fail(cat("\"", printable(pair.key, 60), "\" has no value; expected: key, white space, value"));
    return pair;
}

class TextIndex {
public:
    void add(std::string_view key, std::string_view value, unsigned line)
    {
        entries_.push_back({bytes_.size(), static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size()), line});
        bytes_.append(key);
        bytes_.append(value);
    }
    // Of equal keys the first one stays, as postmap has it; `twice` hears about the others.
    template <class F> void sort(F twice)
    {
        std::stable_sort(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) { return key(a) < key(b); });
        std::size_t kept = 0;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (kept > 0 && key(entries_[kept - 1]) == key(entries_[i]))
                twice(key(entries_[i]), entries_[i].line, entries_[kept - 1].line);
            else
                entries_[kept++] = entries_[i];
        }
        entries_.resize(kept);
        entries_.shrink_to_fit();
        bytes_.shrink_to_fit();
    }
    struct Found {
        std::string_view value;
        unsigned line;
    };
    std::optional<Found> find(std::string_view wanted) const
    {
        const auto at = std::lower_bound(entries_.begin(), entries_.end(), wanted, [this](const Entry& e, std::string_view k) { return key(e) < k; });
        if (at == entries_.end() || key(*at) != wanted) return std::nullopt;
        return Found{std::string_view(bytes_).substr(at->offset + at->key, at->value), at->line};
    }
    std::size_t size() const { return entries_.size(); }
    template <class F> void each(F f) const
    {
        for (const Entry& e : entries_) f(Found{std::string_view(bytes_).substr(e.offset + e.key, e.value), e.line});
    }

private:
    struct Entry {
        uint64_t offset;
        uint32_t key, value, line;
    };
    std::string_view key(const Entry& e) const { return std::string_view(bytes_).substr(e.offset, e.key); }
    std::string bytes_;
    std::vector<Entry> entries_;
};

class TextTable final : public FileTable {
public:
    using FileTable::FileTable;

    Result<void> compile(std::string_view text) override
    {
        if (text.find('\0') != std::string_view::npos)
            return fail(cat(source_.path(), ": holds NUL bytes: this is no text file; name the text that it was made from"));
        TextIndex fresh;
        std::vector<std::string> problems;
        const auto complain = [&](unsigned line, std::string_view why) {
            if (problems.size() < max_problems) problems.push_back(cat(source_.where(line), ": ", why));
        };
        Lines lines(text);
        std::string line;
        unsigned number = 0;
        while (lines.next(line, number)) {
            if (lines.overlong() || is_space(line.front())) {
                complain(number, lines.overlong() ? "the line is too long" : "begins with white space but continues nothing");
                continue;
            }
            if (const auto pair = cut_pair(line); !pair)
                complain(number, pair.error().text);
            else if (pair->key.size() > max_key)
                complain(number, "the key is too long");
            else
                fresh.add(pair->key, pair->value, number);
        }
        fresh.sort([&](std::string_view key, unsigned at, unsigned first) {
            complain(at, cat("duplicate entry: \"", printable(key, 60), "\" is already on line ", first, ", which is used"));
        });
        index_ = std::move(fresh);
        problems_ = std::move(problems);
        return {};
    }

    Result<std::optional<std::string>> find(std::string_view key) const override
    {
        if (key.size() > max_key) return std::optional<std::string>();
        const auto found = index_.find(lower(key));
        return found ? std::optional(std::string(found->value)) : std::nullopt;
    }

    std::string origin(std::string_view key) const override
    {
        const auto found = index_.find(lower(key));
        return found ? cat(source_.path(), ':', found->line) : std::string();
    }
    std::vector<RightSide> right_sides() const override
    {
        std::vector<RightSide> out;
        index_.each([&](const TextIndex::Found& found) { out.push_back({source_.where(found.line), std::string(found.value)}); });
        return out;
    }
    std::vector<std::string> problems() const override { return problems_; }

private:
    std::string size() const override { return cat(index_.size(), " entries"); }
    TextIndex index_;
    std::vector<std::string> problems_;
};

}  // namespace

void log_problems(const std::vector<std::string>& problems)
{
    constexpr std::size_t most = 10;
    for (std::size_t i = 0; i < std::min(most, problems.size()); ++i) log::warning(problems[i]);
    if (problems.size() > most) log::warning("… and ", problems.size() - most, " more such lines; `veredus check` lists them");
}

Result<std::unique_ptr<Table>> open_text(const std::string& path)
{
    auto table = std::make_unique<TextTable>(path);
    TRY(table->read());
    return table;
}

Result<std::unique_ptr<Table>> text_table_of(std::string_view text, const std::string& name)
{
    auto table = std::make_unique<TextTable>(name);
    TRY(table->compile(text));
    return table;
}

}  // namespace veredus::table
