// Texts as small numbers: equal ones have the same. Texts are not kept but their hashes, under a key that nobody knows:
// mails cannot be made to collide, and by chance a million of them have one collision in some ten million mailboxes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace veredus::imap {

class Interner {
public:
    Interner();
    uint32_t number(std::string_view text); // 0, 1, 2… as they come
    std::optional<uint32_t> find(std::string_view text) const;
    std::size_t size() const { return used_; }

private:
    struct Slot {
        uint64_t hash = 0; // never 0 when it is taken
        uint32_t number = 0;
    };
    uint64_t hash(std::string_view text) const;
    std::size_t place(uint64_t hash) const;
    void grow();

    uint64_t key_[2];
    std::vector<Slot> slots_; // a power of two, at most half of them taken
    uint32_t used_ = 0;
};

} // namespace veredus::imap
