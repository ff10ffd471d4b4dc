// What every mailbox does in the same way.
#include "lib/store/mailbox.h"

#include <cerrno>

#include "lib/base/text.h"

namespace veredus::store {

bool Mailbox::is_still(std::string_view, const Folder&) const { return true; }
Result<std::string> Mailbox::special_use(std::string_view) { return std::string(); }
Result<void> Mailbox::set_special_use(std::string_view name, std::string_view) { return fail_errno(cat("special use of ", printable(name)), ENOTSUP); }

Result<void> Mailbox::move_inbox(std::string_view to)
{
    TRY(create(to));
    const auto inbox = TRY(open("INBOX"));
    const auto target = TRY(open(to));
    std::vector<uint32_t> uids;
    for (const Message& m : inbox->table().messages()) uids.push_back(m.uid);
    auto moved = TRY(inbox->move(uids, *target));
    if (!moved.trouble.text.empty()) return unexpected(std::move(moved.trouble));
    return {};
}

}  // namespace veredus::store
