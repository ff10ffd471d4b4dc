// What was made out of messages once and need not be made again: sizes, dates, envelopes, structures, previews, chosen headers. One
// file beside the UID log; never synced, never trusted, thrown away at will (veredus-mailbox(5)).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/disk/disk.h"

namespace veredus::store {

// Numbers stay what they are: they are in files.
enum class Cached : uint8_t {
    size = 1,             // RFC822.SIZE, decimal
    received = 2,         // INTERNALDATE, seconds, decimal
    envelope = 3,         // as FETCH answers it
    body = 4,
    body_structure = 5,
    preview = 6,          // RFC 8970
    thread = 7,           // Message-ID, In-Reply-To, References
    headers = 8,          // chosen fields, as they stand in the message
};

class Cache {
public:
    // Opens `name` in `dir`. Another version, another UIDVALIDITY, damage: an empty cache. `disk` must outlive it. An error only says
    // that nothing can be kept now; the folder works without.
    static Result<std::unique_ptr<Cache>> open(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity);
    std::optional<std::string> get(uint32_t uid, Cached what);      // what other processes added since open() is not seen
    // Kept in memory until flush().
    void put(uint32_t uid, Cached what, std::string_view value);
    void forget(uint32_t uid);
    // One write for all of it. When more than half of the file is of forgotten messages, a new file takes its place.
    Result<void> flush();
    std::size_t messages() const { return places_.size(); }

private:
    struct Place {
        uint64_t offset = 0;         // of the value in the file, or in pending_ when beyond read_to_
        uint32_t size = 0;
        uint32_t sum = 0;
        Cached what = Cached::size;
    };
    Cache(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity);
    Result<void> load();
    Result<void> start_anew(const std::string& records);
    void note(uint32_t uid, const Place& place);

    disk::Disk& disk_;
    disk::Directory dir_;
    std::string name_;
    uint32_t uidvalidity_;
    Fd file_;
    uint64_t read_to_ = 0;           // of the file
    uint64_t live_ = 0;              // bytes that places_ means
    std::string pending_;
    std::unordered_map<uint32_t, std::vector<Place>> places_;
};

}  // namespace veredus::store
