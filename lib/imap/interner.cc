// Texts as small numbers, by SipHash-1-3 (Aumasson and Bernstein).
#include "lib/imap/interner.h"

#include <bit>
#include <cstring>
#include <utility>

#include "lib/base/random.h"

namespace veredus::imap {

namespace {

struct SipState {
    uint64_t a, b, c, d;
    void round()
    {
        a += b;
        b = std::rotl(b, 13) ^ a;
        a = std::rotl(a, 32);
        c += d;
        d = std::rotl(d, 16) ^ c;
        a += d;
        d = std::rotl(d, 21) ^ a;
        c += b;
        b = std::rotl(b, 17) ^ c;
        c = std::rotl(c, 32);
    }
    void take(uint64_t word)
    {
        d ^= word;
        round();
        a ^= word;
    }
};

} // namespace

Interner::Interner() : key_{random_u64(), random_u64()}, slots_(64) {}

uint64_t Interner::hash(std::string_view text) const
{
    SipState s{key_[0] ^ 0x736f6d6570736575u, key_[1] ^ 0x646f72616e646f6du, key_[0] ^ 0x6c7967656e657261u,
               key_[1] ^ 0x7465646279746573u};
    std::size_t at = 0;
    uint64_t word;
    for (; at + 8 <= text.size(); at += 8) {
        std::memcpy(&word, text.data() + at, 8);
        s.take(word);
    }
    word = 0;
    if (at < text.size()) std::memcpy(&word, text.data() + at, text.size() - at);
    s.take(word | uint64_t{text.size()} << 56);
    s.c ^= 0xFF;
    s.round();
    s.round();
    s.round();
    const uint64_t out = s.a ^ s.b ^ s.c ^ s.d;
    return out ? out : 1;
}

// Where it is, or where it would go.
std::size_t Interner::place(uint64_t hash) const
{
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].hash != 0 && slots_[at].hash != hash) at = (at + 1) & mask;
    return at;
}

uint32_t Interner::number(std::string_view text)
{
    const uint64_t h = hash(text);
    std::size_t at = place(h);
    if (slots_[at].hash != 0) return slots_[at].number;
    if ((used_ + 1u) * std::size_t{2} > slots_.size()) {
        grow();
        at = place(h);
    }
    slots_[at] = {h, used_};
    return used_++;
}

std::optional<uint32_t> Interner::find(std::string_view text) const
{
    const Slot& slot = slots_[place(hash(text))];
    if (slot.hash == 0) return std::nullopt;
    return slot.number;
}

void Interner::grow()
{
    std::vector<Slot> old(slots_.size() * 2);
    std::swap(old, slots_);
    for (const Slot& slot : old)
        if (slot.hash != 0) slots_[place(slot.hash)] = slot;
}

} // namespace veredus::imap
