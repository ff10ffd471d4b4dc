// The words after `veredus queue`: which verb, which mails, how to show them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/ipc/queue.h"

namespace veredus::admin {

struct QueueCommand {
    enum class Verb : uint8_t { list, show, act } verb = Verb::list;
    ipc::Act act = ipc::Act::flush;
    ipc::Filter filter;
    bool all = false;            // ALL or --all: said, not meant by saying nothing
    bool json = false;
    bool envelope = true, message = true;    // show
};

// `words` begin with the verb. An Error's text is for the one who typed.
Result<QueueCommand> parse_queue_command(const std::vector<std::string>& words);
// "90", "30s", "5m", "2h", "1d", "1w": seconds.
std::optional<int64_t> parse_age(std::string_view text);
// "Deleted: 3 messages"
std::string done_text(ipc::Act act, uint64_t count);
std::string done_json(ipc::Act act, uint64_t count);     // the same for programs: one object on a line

}  // namespace veredus::admin
