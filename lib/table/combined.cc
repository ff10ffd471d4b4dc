// Tables made of tables: pipemap: asks one for what the one before answered, unionmap: puts all answers together.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/table/kinds.h"

namespace veredus::table {

namespace {

using Answer = Result<std::optional<std::string>>;
using Parts = std::vector<std::unique_ptr<Table>>;

constexpr int max_depth = 8; // tables of tables of tables
constexpr std::size_t max_tables = 100;

class Combined final : public Table {
public:
    Combined(bool pipe, Parts parts) : pipe_(pipe), parts_(std::move(parts)) {}
    Answer find(std::string_view key) const override { return pipe_ ? one_after_another(key) : together(key); }
    Result<void> refresh(bool& changed) override
    {
        Looks looks;
        for (const auto& part : parts_) looks.add(part->refresh(changed));
        return looks.said();
    }
    bool restless() const override
    {
        return std::any_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->restless(); });
    }
    std::vector<std::string> sources() const override
    {
        return gather([](const Table& part) { return part.sources(); });
    }
    std::vector<std::string> problems() const override
    {
        return gather([](const Table& part) { return part.problems(); });
    }
    // The table that decides: the first that has the key.
    std::string origin(std::string_view key) const override
    {
        for (const auto& part : parts_) {
            if (auto origin = part->origin(key); !origin.empty()) return origin;
            if (pipe_) break;
        }
        return {};
    }
    bool is_pattern() const override
    {
        return std::any_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->is_pattern(); });
    }

private:
    Answer one_after_another(std::string_view key) const
    {
        std::string now(key);
        for (const auto& part : parts_) {
            auto value = TRY(part->find(now));
            if (!value) return value;
            now = std::move(*value);
        }
        return std::optional(std::move(now));
    }
    Answer together(std::string_view key) const
    {
        std::optional<std::string> all;
        for (const auto& part : parts_) {
            auto value = TRY(part->find(key));
            if (!value) continue;
            if (all) append(*all, ',', *value);
            else all = std::move(value);
        }
        return all;
    }
    template <class F> std::vector<std::string> gather(F&& of) const
    {
        std::vector<std::string> out;
        for (const auto& part : parts_)
            for (std::string& one : of(*part)) out.push_back(std::move(one));
        return out;
    }
    bool pipe_;
    Parts parts_;
};

} // namespace

std::optional<std::string_view> inside_of(std::string_view spec)
{
    while (spec.starts_with("proxy:")) spec.remove_prefix(6);
    if (!spec.starts_with("pipemap:") && !spec.starts_with("unionmap:")) return std::nullopt;
    spec = trim(spec.substr(spec.find(':') + 1));
    if (spec.size() >= 2 && spec.front() == '{' && spec.back() == '}') return spec.substr(1, spec.size() - 2);
    return std::string_view();
}

Result<std::unique_ptr<Table>> open_combined(const std::string& spec, const Opener& open)
{
    thread_local int depth = 0;
    struct Deeper {
        Deeper() { ++depth; }
        ~Deeper() { --depth; }
    } deeper;
    if (depth > max_depth) return fail(cat("\"", printable(spec, 100), "\": tables in tables, more than ", max_depth, " deep"));
    const auto words = conf::split_list(inside_of(spec).value_or(""));
    if (words.empty()) return fail(cat("\"", printable(spec, 100), "\": the tables stand in braces, as in pipemap:{hash:/a, hash:/b}"));
    if (words.size() > max_tables) return fail(cat("\"", printable(spec, 100), "\": more than ", max_tables, " tables"));
    Parts parts;
    for (const std::string_view word : words) {
        auto part = TRY(open(std::string(word)));
        parts.push_back(std::move(part));
    }
    const bool pipe = spec.find("pipemap:") < spec.find("unionmap:");
    return std::make_unique<Combined>(pipe, std::move(parts));
}

std::vector<std::string> files_of(std::string_view spec)
{
    std::vector<std::string> out;
    std::vector<std::string> todo{std::string(spec)};
    for (std::size_t i = 0; i < todo.size() && i < max_tables * max_depth; ++i) {
        const std::string one = todo[i];
        if (const auto inside = inside_of(one)) {
            for (const std::string_view word : conf::split_list(*inside)) todo.emplace_back(word);
        } else if (auto path = file_of(one)) {
            out.push_back(std::move(*path));
        }
    }
    return out;
}

} // namespace veredus::table
