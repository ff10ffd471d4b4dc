// What a value of each type may look like, and what it means.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/conf/setting.h"

namespace veredus::conf {

// Does the expanded value fit the row? The error says what is wrong, without the setting's name.
Result<void> check_value(const Setting& setting, std::string_view value);

// In the place of a mailbox, of mailbox_command or one of mailbox_command_maps: an Error for one that is too long or has control characters.
constexpr std::size_t longest_mailbox_command = 4096;
Result<void> check_mailbox_command(std::string_view command);

// auth_username_format filled with a login name: %u the whole name, %n what is before the @, %d the domain; L or U between: in lower or
// upper case; %% a percent sign.
Result<std::string> format_user_name(std::string_view format, std::string_view login);

std::optional<bool> parse_boolean(std::string_view value);
Result<int64_t> parse_size(std::string_view value);
// `unit` is that of a bare number: s, m, h, d or w.
Result<int64_t> parse_duration(std::string_view value, char unit);

// "TYPE:NAME" as a lookup table: an error when we cannot read that type, with what to use instead.
Result<void> check_table(std::string_view spec);

// The suffixes of Postfix's TRANSPORT_x parameters ("slow_destination_concurrency_limit"): is `name` one, and does the
// value fit it?
bool is_transport_parameter(std::string_view name);
Result<void> check_transport_parameter(std::string_view name, std::string_view value);
// Why such a parameter, which has no row, does nothing; empty: it does. `pipes`: the names of pipe_transports.
std::string why_without_effect(std::string_view name, std::string_view value, const std::set<std::string, std::less<>>& pipes);

}  // namespace veredus::conf
