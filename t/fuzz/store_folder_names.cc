// Folder names and Dovecot's text files of any bytes: one spelling for each name, ascending UIDs, no name with a slash.
#include <cstdint>
#include <cstdlib>

#include "lib/mail/utf7.h"
#include "lib/store/dovecot.h"
#include "lib/store/maildir_flags.h"

using namespace veredus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    if (const auto utf8 = mail::from_utf7(in); utf8 && mail::to_utf7(*utf8) != in) std::abort();
    if (const auto utf7 = mail::to_utf7(in); utf7 && mail::from_utf7(*utf7) != in) std::abort();
    if (const auto list = store::parse_dovecot_uidlist(in)) {
        uint32_t before = 0;
        for (const auto& entry : list->entries) {
            if (entry.uid <= before || entry.uid >= list->uidnext || entry.name.find('/') != std::string::npos) std::abort();
            before = entry.uid;
        }
    }
    if (store::parse_dovecot_keywords(in).size() > 26) std::abort();
    (void)store::parse_subscriptions(in, '.');
    const auto flags = store::maildir_flags(in);
    if (store::maildir_flags(store::with_maildir_flags(in, flags)) != flags) std::abort();
    (void)store::named_sizes(in);
    return 0;
}
