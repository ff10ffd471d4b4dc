// The facts of one folder's messages: out of its cache, or out of the mail, and then into the cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/parallel_sync.h"
#include "lib/store/cache.h"
#include "lib/store/folder.h"

namespace veredus::store {

// Reads what is stored to its end.
Result<void> read_facts(const WireReader& reader, FactsMaker& maker);

// A cache that cannot be written costs time, never an answer.
class FolderFacts {
public:
    FolderFacts(disk::Directory index, std::string cache_name);
    ~FolderFacts();
    // Opens a message where the table says it is, from any thread, and tells the file's date; nothing: only Folder::open() can.
    using Peek = std::function<std::unique_ptr<WireReader>(const Message& m, int64_t& modified)>;
    // With it, messages that are asked for one after the other are read several at once, ahead of the question.
    void read_ahead_with(Peek peek) { peek_ = std::move(peek); }
    Result<const Facts*> get(Folder& folder, uint32_t uid);                // Folder::facts()
    // Of a message that came in through us, whose facts are known. `received` is taken from them.
    void put(const UidTable& table, uint32_t uid, const Facts& facts);
    void keep_preview(Folder& folder, uint32_t uid, std::string_view preview);
    void forget(const std::vector<uint32_t>& uids);
    // Of size and INTERNALDATE alone: what is known without a look at the disk.
    const Facts* known(const UidTable& table, uint32_t uid);
    void abandon();                                                        // forgets what is not written, and keeps nothing any more
    void flush();                                                          // and frees what only speed needs

private:
    struct Ahead;
    Cache* cache(const UidTable& table);
    void changed() { answered_ = missed_ = 0; }
    void read_ahead(const UidTable& table, uint32_t uid);
    void expect_after(const UidTable& table, uint32_t uid);
    disk::Directory index_;
    std::string name_;
    std::unique_ptr<Cache> cache_;
    std::unique_ptr<FactsMaker> maker_;          // what facts_ looks into, if not the cache
    Facts facts_;
    uint32_t answered_ = 0;                      // the UID that facts_ is of: the next item of the same FETCH asks for it again
    uint64_t answered_id_ = 0;
    uint32_t missed_ = 0;                        // the UID whose facts are being made: the cache need not be asked again
    bool abandoned_ = false;
    bool useless_ = false;                       // it could not be opened
    uint32_t useless_validity_ = 0;
    Peek peek_;
    std::unique_ptr<disk::ParallelSync> threads_;    // null: nothing was read ahead lately
    uint32_t expected_ = 0;                          // the UID that follows those which were read last
    std::size_t ahead_ = 0;                          // so many were read at once
    bool wants_previews_ = false;                    // a client asked for them, of this folder
};

}  // namespace veredus::store
