// Base subjects of any text: a piece of it, from which nothing more can be taken; and the first mailbox of any address
// list.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/imap/base_subject.h"
#include "lib/imap/message_ids.h"

using namespace veredus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    std::string text(in);
    std::string once(imap::base_subject(text).text);
    if (text.find(once) == text.npos) std::abort();
    std::string again = once;
    const auto twice = imap::base_subject(again);
    if (twice.text != once || twice.reply_or_forward) std::abort();
    std::string key;
    imap::put_subject_key(in, key);
    imap::put_mailbox_key(in, key);
    if (key.size() > 2 * imap::longest_sort_key) std::abort();
    std::string_view rest = in, id;
    std::string scratch;
    while (imap::next_message_id(rest, id, scratch))
        if (id.size() > imap::longest_message_id || id.find('@') == id.npos) std::abort();
    return 0;
}
