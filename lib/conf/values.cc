// The effective settings: typed getters, and the form in which a role gets its share.
#include "lib/conf/values.h"

#include <algorithm>

#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/conf/check.h"
#include "lib/conf/expand.h"
#include "lib/conf/pipes.h"

namespace veredus::conf {

namespace {

using Map = std::map<std::string, std::string, std::less<>>;

// The value of a name whose row has one of these types.
const std::string& typed(const Map& values, std::string_view name, std::initializer_list<Type> types)
{
    const Setting* row = find_setting(name);
    if (row && types.size() && std::find(types.begin(), types.end(), row->type) == types.end())
        panic(cat("setting ", name, " is asked for as a type that its row does not have"));
    const auto at = values.find(name);
    if (at == values.end()) panic(cat("setting ", name, row ? " is not given to this role (see its row)" : " has no row"));
    return at->second;
}

template <class T> T valid(std::string_view name, Result<T> value)
{
    if (!value) panic(cat("setting ", name, " was not validated: ", value.error().text));
    return *value;
}

std::string escaped(std::string_view value)
{
    std::string out;
    for (const char c : value) {
        if (c == '\\') out += "\\\\";
        else if (c == '\n') out += "\\n";
        else out += c;
    }
    return out;
}

std::string unescaped(std::string_view value)
{
    std::string out;
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] == '\\' && i + 1 < value.size()) {
            ++i;
            out += value[i] == 'n' ? '\n' : value[i];
        } else
            out += value[i];
    }
    return out;
}

}  // namespace

std::string_view Values::text(std::string_view name) const { return typed(values_, name, {}); }

bool Values::flag(std::string_view name) const
{
    const auto value = parse_boolean(typed(values_, name, {Type::boolean}));
    if (!value) panic(cat("setting ", name, " was not validated"));
    return *value;
}

int64_t Values::number(std::string_view name) const
{
    const std::string& value = typed(values_, name, {Type::number, Type::size});
    if (const auto plain = parse_number<int64_t>(value)) return *plain;   // a number may be negative, a size may not
    return valid(name, parse_size(value));
}

int64_t Values::seconds(std::string_view name) const
{
    const Setting* row = find_setting(name);
    return valid(name, parse_duration(typed(values_, name, {Type::duration}), row && row->words ? row->words[0] : 's'));
}

std::vector<std::string> Values::list(std::string_view name) const
{
    const auto pieces = split_list(typed(values_, name, {Type::list, Type::tables, Type::listeners, Type::text}));
    return {pieces.begin(), pieces.end()};
}

bool Values::has(std::string_view name) const { return !typed(values_, name, {}).empty(); }

std::string_view Values::extra(std::string_view name) const
{
    const auto at = extra_.find(name);
    return at == extra_.end() ? std::string_view() : std::string_view(at->second);
}

// Extras may hold anything an administrator put into a variable, so they never go where only public rows may, but for times that
// commands have.
std::string Values::serialize(Who who, bool public_only) const
{
    std::string out;
    for (const auto& [name, value] : values_) {
        const Setting* row = find_setting(name);
        if (row && (row->who & who) != 0 && (row->is_public || !public_only)) append(out, name, '=', escaped(value), '\n');
    }
    const bool pipes_known = public_only && (who & local) != 0 && values_.contains("pipe_transports");
    const auto pipes = pipes_known ? parse_pipe_transports(text("pipe_transports")) : Result<std::vector<PipeTransport>>(std::vector<PipeTransport>());
    for (const auto& [name, value] : extra_)
        if (!public_only || (pipes && is_pipe_time_limit(*pipes, name, value))) append(out, '$', name, '=', escaped(value), '\n');
    return out;
}

Result<Values> Values::deserialize(std::string_view bytes)
{
    Values values;
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        if (end == std::string_view::npos) return fail("settings: the last line has no end");
        std::string_view line = bytes.substr(0, end);
        bytes.remove_prefix(end + 1);
        const bool is_extra = line.starts_with('$');
        if (is_extra) line.remove_prefix(1);
        const auto [name, value] = cut(line, '=');
        if (!value || name.empty()) return fail("settings: a line without a name or a value");
        std::string plain = unescaped(*value);
        if (is_extra) {
            values.extra_[std::string(name)] = std::move(plain);
            continue;
        }
        const Setting* row = find_setting(name);
        if (!row) return fail(cat("settings: ", printable(name, 60), " has no row in this version"));
        if (auto fits = check_value(*row, plain); !fits) return fail(cat("settings: ", name, ": ", fits.error().text));
        values.values_[std::string(name)] = std::move(plain);
    }
    return values;
}

Values Values::defaults() { return File::parse("", "defaults").values(); }

}  // namespace veredus::conf
