// The texts that say why mail waits, each kept once however many mails share it: a dead host has one reason for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace veredus::qmgr {

class Reasons {
public:
    // Distinct texts past `budget` bytes are cut to their status code: peers choose these words, so they must not fill memory.
    explicit Reasons(std::size_t budget = 16u << 20) : budget_(budget) {}
    uint32_t take(std::string_view text);        // 0 is "no text"; each take wants a drop
    void drop(uint32_t id);
    const std::string& text(uint32_t id) const;
    std::size_t distinct() const { return index_.size(); }

private:
    struct Slot {
        const std::string* text = nullptr;       // the key in index_
        uint32_t users = 0;
    };
    std::size_t budget_, used_ = 0;
    std::unordered_map<std::string, uint32_t> index_;
    std::vector<Slot> slots_;
    std::vector<uint32_t> free_;
};

}  // namespace veredus::qmgr
