// What every mailbox does in the same way.
#include "lib/store/mailbox.h"

#include <cerrno>

#include "lib/base/text.h"

namespace veredus::store {

bool Mailbox::is_still(std::string_view, const Folder&) const { return true; }
Result<std::string> Mailbox::special_use(std::string_view) { return std::string(); }
Result<void> Mailbox::set_special_use(std::string_view name, std::string_view) { return fail_errno(cat("special use of ", printable(name)), ENOTSUP); }

}  // namespace veredus::store
