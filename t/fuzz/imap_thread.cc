// Threads of any references: every message is there once, and the parentheses are those of a thread list (RFC 5256 §5).
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "lib/imap/thread_tree.h"

using namespace veredus;

namespace {

void check(std::string_view list, std::size_t messages)
{
    std::vector<bool> seen(messages + 1);
    int depth = 0;
    std::size_t count = 0;
    for (std::size_t i = 0; i < list.size();) {
        if (list[i] == '(') {
            ++depth;
            if (++i >= list.size() || (list[i] != '(' && !is_digit(list[i]))) std::abort();
        } else if (list[i] == ')') {
            if (--depth < 0) std::abort();
            ++i;
        } else if (list[i] == ' ') {
            ++i;
            if (i >= list.size() || (list[i] != '(' && !is_digit(list[i]))) std::abort();
        } else {
            std::size_t end = i;
            while (end < list.size() && is_digit(list[end])) ++end;
            const auto number = parse_number<uint32_t>(list.substr(i, end - i));
            if (depth == 0 || !number || *number == 0 || *number > messages || seen[*number]) std::abort();
            seen[*number] = true;
            ++count;
            i = end;
        }
    }
    if (depth != 0 || count != messages) std::abort();
}

} // namespace

// A message is: its node, how many references, those, its subject, its date.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    constexpr uint32_t nodes = 40;
    std::size_t at = 0;
    const auto next = [&]() -> uint8_t { return at < size ? data[at++] : uint8_t{0}; };
    imap::ThreadTree tree;
    for (uint32_t i = 0; i < nodes; ++i) tree.add_node();
    std::vector<imap::ThreadMessage> messages;
    while (at < size) {
        uint32_t node = next() % nodes;
        if (tree.has_message(node)) node = tree.add_node();
        std::vector<uint32_t> references(next() % 6);
        for (uint32_t& reference : references) reference = next() % nodes;
        imap::ThreadMessage message;
        message.number = message.uid = static_cast<uint32_t>(messages.size() + 1);
        const uint8_t subject = next();
        message.subject = subject % 8;
        message.is_reply = subject & 0x80;
        message.date = next() % 16;
        messages.push_back(message);
        tree.add_message(node, message, references);
    }
    const std::size_t count = messages.size();
    std::string out;
    tree.put(false, out);
    check(out, count);
    out.clear();
    imap::put_ordered_subject(messages, true, out);
    check(out, count);
    return 0;
}
