// What clients ask about a message again and again, made in one pass over it: sizes, ENVELOPE, BODYSTRUCTURE and the header fields
// that lists, SORT and THREAD are made of. Pure; the cache (cache.h) keeps them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/store/uid_table.h"

namespace veredus::store {

// Whoever gives them says how long the views live.
struct Facts {
    uint64_t size = 0;                           // RFC822.SIZE
    int64_t received = unknown_time;             // INTERNALDATE, seconds
    std::string_view envelope;                   // as FETCH answers it, with its parentheses
    std::string_view body, body_structure;
    // The fields of the message's own header that is_kept_field() names, as they stand there and in their order: name, colon, value,
    // folding, with CRLF.
    std::string_view fields;
    bool fields_whole = true;                    // false: there was more than is kept: read the message
    std::optional<std::string_view> preview;     // RFC 8970, UTF-8; nothing: nobody has made one yet
};

// Bytes of header fields kept of one message.
inline constexpr std::size_t max_kept_fields = 16 * 1024;

// Any case. What mail programs ask for to draw a list of messages, and what SORT, THREAD and SEARCH compare.
bool is_kept_field(std::string_view name);
// A checksum of the list of kept fields: a cache that was made with another one is no use.
uint32_t kept_fields_version();
// Appends the bodies of all fields of that name in `fields`, in order: after the colon, folding kept, no CRLF at the end.
void field_bodies(std::string_view fields, std::string_view name, std::vector<std::string_view>& bodies);

// One message, in any cut; CRLF or LF: all sizes are those of the CRLF form.
class FactsMaker {
public:
    enum class Preview : uint8_t { no, yes };
    explicit FactsMaker(Preview preview = Preview::yes);
    ~FactsMaker();
    FactsMaker(const FactsMaker&) = delete;
    void feed(std::string_view bytes);
    void finish();
    // After finish(); lives as long as the maker. `received` is not its business.
    const Facts& facts() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace veredus::store
