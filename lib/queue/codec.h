// Little-endian integers and counted strings of our own files: a writer, and a reader that never leaves its bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace veredus::queue {

template <class T> void put_int(std::string& out, T value)
{
    using U = std::make_unsigned_t<T>;
    for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(static_cast<U>(value) >> (8 * i)));
}

// Two bytes of length; the caller has bounded it.
inline void put_string(std::string& out, std::string_view s)
{
    s = s.substr(0, 0xFFFF);
    put_int(out, static_cast<uint16_t>(s.size()));
    out.append(s);
}

// Reads run past nothing: after the first one that would, good() is false and everything is zero or empty.
class Reader {
public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}
    template <class T> T integer()
    {
        using U = std::make_unsigned_t<T>;
        const std::string_view raw = take(sizeof(T));
        U value = 0;
        for (std::size_t i = 0; i < raw.size(); ++i) value = static_cast<U>(value | static_cast<U>(U{static_cast<unsigned char>(raw[i])} << (8 * i)));
        return static_cast<T>(value);
    }
    std::string_view string() { return take(integer<uint16_t>()); }
    std::string_view take(std::size_t size)
    {
        if (size > bytes_.size()) {
            good_ = false;
            bytes_ = {};
            return {};
        }
        const std::string_view out = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return out;
    }
    std::string_view rest() { return take(bytes_.size()); }
    bool good() const { return good_; }
    bool at_end() const { return bytes_.empty(); }
    std::size_t left() const { return bytes_.size(); }

private:
    std::string_view bytes_;
    bool good_ = true;
};

}  // namespace veredus::queue
