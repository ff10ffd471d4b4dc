// Names of Postfix's that are no settings of ours.
#pragma once

#include <string_view>

#include "lib/conf/setting.h"

namespace veredus::conf {

// A parameter that Postfix documents; null: it knows none of this name, or it is a setting.
const Foreign* find_foreign(std::string_view name);
// What a main.cf may refer to though nobody sets it, as $mail_version; null: none such.
const char* builtin_value(std::string_view name);

}  // namespace veredus::conf
