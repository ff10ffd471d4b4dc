// Little-endian numbers in and out of the index files; a Taker that ran out says so and gives zeros.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace veredus::store {

template <std::integral T> void put(std::string& out, T value)
{
    auto bits = static_cast<std::make_unsigned_t<T>>(value);
    if constexpr (std::endian::native == std::endian::little) {
        char bytes[sizeof(T)];
        std::memcpy(bytes, &bits, sizeof(T));
        out.append(bytes, sizeof(T));
        return;
    }
    for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(static_cast<uint64_t>(bits) >> (8 * i)));
}

class Taker {
public:
    explicit Taker(std::string_view bytes) : bytes_(bytes) {}
    template <std::integral T> T take()
    {
        if (bytes_.size() < sizeof(T)) {
            short_ = true;
            bytes_ = {};
            return 0;
        }
        if constexpr (std::endian::native == std::endian::little) {
            T value;
            std::memcpy(&value, bytes_.data(), sizeof(T));
            bytes_.remove_prefix(sizeof(T));
            return value;
        }
        uint64_t bits = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) bits |= uint64_t{static_cast<unsigned char>(bytes_[i])} << (8 * i);
        bytes_.remove_prefix(sizeof(T));
        return static_cast<T>(static_cast<std::make_unsigned_t<T>>(bits));
    }
    std::string_view take_text(std::size_t size)
    {
        if (bytes_.size() < size) {
            short_ = true;
            bytes_ = {};
            return {};
        }
        const auto text = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return text;
    }
    std::string_view rest() const { return bytes_; }
    bool whole() const { return !short_ && bytes_.empty(); }   // all was there, and nothing is left
    bool ran_out() const { return short_; }

private:
    std::string_view bytes_;
    bool short_ = false;
};

}  // namespace veredus::store
