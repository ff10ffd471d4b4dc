// UIDL's names of any format and any message, as far as a stranger or a user's own programs make them: valid, and known again.
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/pop3/uidl.h"

using namespace veredus;

// The first line is the format, the second one the name of a file, and the rest how the message begins.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const auto [format_text, rest] = cut({reinterpret_cast<const char*>(data), size}, '\n');
    const auto [file, message] = cut(rest.value_or(""), '\n');
    const std::string_view head = message.value_or("");
    const std::string summed = pop3::summed_header(head);
    if (summed.size() > head.size()) std::abort();
    const auto noted = pop3::noted_uidl(head);
    if (noted && !pop3::is_uidl(*noted)) std::abort();
    const auto format = pop3::UidlFormat::parse(format_text, [](std::string_view bytes) { return std::string(32, static_cast<char>('a' + bytes.size() % 26)); });
    if (!format) return 0;
    for (const uint32_t uid : {1u, 4294967295u}) {
        const std::string name = format->text({uid, 1700000000, file, "", summed});
        if (!name.empty() && !pop3::is_uidl(name)) std::abort();
        if (!pop3::is_uidl(pop3::told_apart(name, uid))) std::abort();
        if (!format->unique()) continue;
        // Told by the UID, and so by nothing else.
        if (name == format->text({uid - 1, 1700000000, file, "", summed})) std::abort();
        if (!format->could_make(name, 1700000000)) std::abort();
    }
    if (noted) (void)format->could_make(*noted, 1700000000);
    return 0;
}
