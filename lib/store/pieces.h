// Long changes in pieces: between them whoever else has the folder open in this process has its turn.
#pragma once

#include <cstddef>

#include "lib/base/result.h"
#include "lib/store/folder.h"

namespace veredus::store {

// How many messages one call of from.copy(), or of from.move(), to `to` should have. An mbox is rewritten by each move, so there all of
// them go at once.
std::size_t piece_of_copy(const Folder& from, const Folder& to, bool move);
// How many one call of expunge() should have: of an mbox all, for the same reason.
std::size_t piece_of_expunge(const Folder& folder);
// apply() until nothing is left to do; a Maildir renames so many files in one call.
Result<void> apply_all(Folder& folder);

}  // namespace veredus::store
