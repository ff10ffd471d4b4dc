// A mail on its way into an mbox: kept in memory or in a file without a name until its place in the mailbox is known.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/disk/disk.h"
#include "lib/store/content.h"
#include "lib/store/folder.h"
#include "lib/store/mbox_reader.h"

namespace veredus::store {

// Gone with its descriptor.
Result<Fd> nameless_file(const disk::Directory& dir);

class MboxDraft final : public Draft {
public:
    explicit MboxDraft(std::shared_ptr<const disk::Directory> dir) : dir_(std::move(dir)) {}
    Result<void> write(std::string_view wire) override;
    Result<void> finish();                            // the second time there is nothing to do
    // "From_, header, status, blank line, body, blank line" through `sink`.
    Result<void> stream(const std::string& from_line, const MboxStatus& status, const Sink& sink) const;

private:
    Result<void> keep(std::string_view bytes);
    Result<std::string> first_bytes(std::size_t most) const;
    Result<void> rest(std::size_t from, const Sink& sink) const;
    std::shared_ptr<const disk::Directory> dir_;      // shared: the folder may go before its drafts
    std::string small_;                               // all of it, until it is large
    Fd file_;
    LineEnds ends_;
    std::string out_;
    uint64_t size_ = 0;
    bool finished_ = false;
};

}  // namespace veredus::store
