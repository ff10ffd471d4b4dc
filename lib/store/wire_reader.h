// A stored mail as it goes over the wire: LF becomes CRLF, in pieces from any offset, with its exact size (RFC822.SIZE).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::store {

struct Extent {
    uint64_t offset = 0, size = 0;
};

class WireReader {
public:
    // The mail is these pieces of the file, in order. Owns the descriptor.
    WireReader(Fd file, std::vector<Extent> extents);
    // All CRLFs counted: reads the whole mail the first time, unless the size is known from elsewhere.
    Result<uint64_t> size();
    void know_size(uint64_t size) { known_size_ = size; }
    // At most `size` bytes from `offset` of the wire form; fewer at the end only.
    Result<std::string> read(uint64_t offset, std::size_t size);
    // The same for who goes on reading: as many as come without another copy, none at the end only.
    Result<std::string> read_some(uint64_t offset, std::size_t size);
    uint64_t stored_size() const { return stored_; }
    // Bytes as they are stored, with the file's own line ends.
    Result<std::string> stored(uint64_t offset, std::size_t size) const;
    int file() const { return file_.get(); }

private:
    static constexpr std::size_t block_size = 65536;
    Result<std::string> raw(std::size_t block, bool& cr) const;     // `cr`: what is before it ends with one
    Result<void> convert(std::size_t block);                  // into block_
    Result<std::size_t> find_block(uint64_t wire_offset);     // converted; the number of blocks: it is behind the end
    Result<void> measure_to(uint64_t wire_offset);
    Fd file_;
    std::vector<Extent> extents_;
    uint64_t stored_ = 0;
    std::optional<uint64_t> known_size_;
    std::vector<uint64_t> starts_{0};                         // wire offset of block n; one more than were measured
    std::string block_;                                       // of number block_at_, converted
    std::size_t block_at_ = SIZE_MAX;
};

// How many bytes longer `in` is with CRLF line ends. `cr`: the byte before was a CR; updated.
std::size_t count_bare_lfs(std::string_view in, bool& cr);
// Appends `in` with CRLF line ends. `cr`: the byte before was a CR; updated.
void to_wire(std::string_view in, bool& cr, std::string& out);

}  // namespace veredus::store
