// The cache of a folder: what was made out of messages once (facts.h) and need not be made again. One file beside the UID log; never
// synced, never trusted, thrown away at will (veredus-mailbox(5)). Several processes may append to it at once, without a lock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/disk/disk.h"
#include "lib/store/facts.h"

namespace veredus::store {

class Cache {
public:
    // Opens `name` in `dir`. Another version, another UIDVALIDITY, damage: an empty cache. `disk` must outlive it. An error only says
    // that nothing can be kept now; the folder works without.
    static Result<std::unique_ptr<Cache>> open(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity);
    uint32_t uidvalidity() const { return uidvalidity_; }
    // `id` is the message's (Message::id): a UID that a crash took back and that another message got is none of ours. The views live
    // until the next call. Ascending UIDs are read many at a time.
    std::optional<Facts> get(uint32_t uid, uint64_t id);
    // Kept in memory until flush(), which is called for when there is a lot of it.
    void put(uint32_t uid, uint64_t id, const Facts& facts);
    void put_preview(uint32_t uid, uint64_t id, std::string_view preview);
    void forget(uint32_t uid);
    void forget_if(const std::function<bool(uint32_t uid)>& is_gone);
    // One write for all of it. When more than half of the file is of forgotten messages, a new file takes its place. Buffers are freed.
    Result<void> flush();
    bool wants_flush() const;
    std::size_t messages() const { return facts_.size(); }
    bool has(uint32_t uid) const { return facts_.contains(uid); }      // as far as its own look at the file goes
    // For who has records to add and nothing to read: one append. A file of other numbers is left as it is. `records` from encode().
    static Result<void> append(disk::Disk& disk, const disk::Directory& dir, const std::string& name, uint32_t uidvalidity, std::string_view records);
    static void encode(std::string& out, uint32_t uid, uint64_t id, const Facts& facts);

private:
    enum class Kind : uint8_t { facts = 1, preview = 2 };
    struct Place {
        uint64_t offset = 0;         // of the payload in the file; beyond pending_base: in pending_
        uint32_t size = 0;
        uint32_t sum = 0;
        bool checked = false;        // its bytes had that sum when they were read before
    };
    using Places = std::unordered_map<uint32_t, Place>;
    Cache(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity);
    Result<void> load();
    Result<void> read_heads();
    Result<void> catch_up();
    Result<void> start_anew();
    Result<void> rewrite();
    void reset();
    bool take_head(std::string_view head, uint64_t payload_at, uint64_t end);
    void note(Places& places, uint32_t uid, const Place& place);
    void drop(Places& places, uint32_t uid);
    void seal(uint32_t uid, Kind kind, std::size_t at);
    struct Window {                  // of the file, as read last
        std::string bytes;
        uint64_t at = 0;
        uint64_t next_at = 0;        // where a reader in order would go on
        std::size_t ahead = 0;
    };
    std::optional<std::string_view> payload(Places& places, uint32_t uid, Window& window, uint64_t also_to = 0);
    uint64_t end_of_preview(uint32_t uid) const;
    static uint32_t seal_record(std::string& out, std::size_t at, uint32_t uid, Kind kind);
    static void encode_record(std::string& out, uint32_t uid, Kind kind, std::string_view payload);
    static std::string head_of(uint32_t uidvalidity);

    disk::Disk& disk_;
    disk::Directory dir_;
    std::string name_;
    uint32_t uidvalidity_;
    Fd file_;
    uint64_t file_id_ = 0;           // of what the name meant when it was opened
    uint64_t read_to_ = 0;           // of the file, in whole records
    uint64_t live_ = 0;              // bytes of the file and of pending_ that the places mean
    std::string pending_;
    Window facts_window_, preview_window_;
    Places facts_, previews_;
};

}  // namespace veredus::store
