// The tables without a file: inline:, static:, and the system's users and groups.
#include <grp.h>
#include <pwd.h>

#include <map>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/table/kinds.h"

namespace veredus::table {

namespace {

using Answer = Result<std::optional<std::string>>;

std::string_view without_braces(std::string_view text)
{
    text = trim(text);
    if (text.size() >= 2 && text.front() == '{' && text.back() == '}') text = trim(text.substr(1, text.size() - 2));
    return text;
}

class Inline final : public Table {
public:
    Result<void> add(std::string_view pair)
    {
        const auto [key, value] = cut(without_braces(pair), '=');
        if (!value || trim(key).empty()) return fail(cat("inline: \"", printable(pair, 60), "\" is not name=value"));
        entries_.emplace(lower(trim(key)), std::string(trim(*value)));   // the first of equal names stays
        return {};
    }
    Answer find(std::string_view key) const override
    {
        const auto at = entries_.find(lower(key));
        return at == entries_.end() ? std::optional<std::string>() : std::optional(at->second);
    }
    std::string origin(std::string_view key) const override { return entries_.count(lower(key)) ? "inline:" : ""; }
    std::vector<RightSide> right_sides() const override
    {
        std::vector<RightSide> out;
        for (const auto& [key, value] : entries_) out.push_back({cat("inline: ", key), value});
        return out;
    }

private:
    std::map<std::string, std::string, std::less<>> entries_;
};

class Static final : public Table {
public:
    explicit Static(std::string value) : value_(std::move(value)) {}
    Answer find(std::string_view) const override { return std::optional(value_); }
    std::string origin(std::string_view) const override { return cat("static:", value_); }
    std::vector<RightSide> right_sides() const override { return {{"static", value_}}; }
    bool is_pattern() const override { return true; }

private:
    std::string value_;
};

// XXX getpwnam may block in a name service. Daemons ask the resolver instead (router does); this is for commands.
class System final : public Table {
public:
    explicit System(bool groups) : groups_(groups) {}
    Answer find(std::string_view key) const override
    {
        if (key.empty() || key.size() > 256 || key.find_first_of(std::string_view(":\n\0", 3)) != std::string_view::npos) return std::optional<std::string>();
        const std::string name(key);
        std::string buffer(64 * 1024, '\0');
        return groups_ ? group(name, buffer) : user(name, buffer);
    }
    std::string origin(std::string_view) const override { return groups_ ? "unix:group.byname" : "unix:passwd.byname"; }

private:
    static Answer user(const std::string& name, std::string& buffer)
    {
        passwd entry{}, *found = nullptr;
        if (const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found); code != 0 && code != ENOENT)
            return fail_errno(cat("user ", name), code);
        if (!found) return std::optional<std::string>();
        return std::optional(cat(entry.pw_name, ":x:", entry.pw_uid, ':', entry.pw_gid, ':', entry.pw_gecos, ':', entry.pw_dir, ':', entry.pw_shell));
    }
    static Answer group(const std::string& name, std::string& buffer)
    {
        ::group entry{}, *found = nullptr;
        if (const int code = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found); code != 0 && code != ENOENT)
            return fail_errno(cat("group ", name), code);
        if (!found) return std::optional<std::string>();
        return std::optional(cat(entry.gr_name, ":x:", entry.gr_gid, ":"));
    }
    bool groups_;
};

}  // namespace

Result<std::unique_ptr<Table>> open_inline(std::string_view text)
{
    text = trim(text);
    if (!text.starts_with('{') || !text.ends_with('}')) return fail("inline: the pairs stand in braces, as in inline:{a=b, c=d}");
    auto table = std::make_unique<Inline>();
    for (const std::string_view pair : conf::split_list(text.substr(1, text.size() - 2))) TRY(table->add(pair));
    return table;
}

Result<std::unique_ptr<Table>> open_static(std::string_view text) { return std::make_unique<Static>(std::string(without_braces(text))); }

Result<std::unique_ptr<Table>> open_system(std::string_view name)
{
    if (name != "passwd.byname" && name != "group.byname") return fail(cat("unix:", printable(name, 60), ": there are passwd.byname and group.byname"));
    return std::make_unique<System>(name == "group.byname");
}

}  // namespace veredus::table
