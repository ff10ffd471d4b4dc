// How large the pieces are.
#include "lib/store/pieces.h"

#include <cstdint>

#include "lib/store/maildir_folder.h"

namespace veredus::store {

std::size_t piece_of_copy(const Folder& from, const Folder& to, bool move)
{
    const bool source = dynamic_cast<const MaildirFolder*>(&from) != nullptr, target = dynamic_cast<const MaildirFolder*>(&to) != nullptr;
    if (source && target) return 2'000;              // links
    return move && !source ? SIZE_MAX : 100;         // each is read and written
}

std::size_t piece_of_expunge(const Folder& folder)
{
    return dynamic_cast<const MaildirFolder*>(&folder) ? 2'000 : SIZE_MAX;
}

Result<void> apply_all(Folder& folder)
{
    // Each call gets a piece further; what cannot be done stays pending.
    const std::size_t most = folder.table().messages().size() / MaildirFolder::applied_at_a_time + 2;
    for (std::size_t i = 0; i < most && (i == 0 || folder.wants_apply()) && !folder.is_busy(); ++i) TRY(folder.apply());
    return {};
}

}  // namespace veredus::store
