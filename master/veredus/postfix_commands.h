// The commands that administrators of Postfix and their scripts type, as commands of ours.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::admin {

struct PostfixCall {
    std::string config_directory;                        // -c; empty: the usual one
    std::vector<std::vector<std::string>> commands;      // each begins with a subcommand of veredus; one after the other
};

// postfix, postconf, postqueue, postsuper, postcat, postmap, postalias; a path before it does not matter.
bool is_postfix_command(std::string_view program);

// What `program` with these words (without its name) is here. An Error: nothing does that; its text says what does. `read_ids` is asked
// for queue IDs where "-" stands for standard input.
Result<PostfixCall> translate_postfix_command(std::string_view program, const std::vector<std::string>& words,
                                              const std::function<std::vector<std::string>()>& read_ids);

}  // namespace veredus::admin
