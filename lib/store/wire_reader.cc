// Blocks of a stored mail, converted one at a time; where each begins on the wire is remembered.
#include "lib/store/wire_reader.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/base/text.h"

namespace veredus::store {

std::size_t count_bare_lfs(std::string_view in, bool& cr)
{
    std::size_t count = 0;
    const char* at = in.data();
    const char* const end = at + in.size();
#ifdef __SSE2__
    // Of 16 bytes at once: LFs without those right behind a CR.
    const __m128i lf = _mm_set1_epi8('\n'), carriage = _mm_set1_epi8('\r');
    for (; end - at >= 16; at += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
        const auto lfs = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, lf)));
        const auto crs = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, carriage)));
        if (lfs | crs | unsigned{cr}) {
            for (unsigned bare = lfs & ~((crs << 1) | unsigned{cr}); bare != 0; bare &= bare - 1) ++count;     // one, as a rule
            cr = crs >> 15 != 0;
        }
    }
#endif
    for (; at < end; ++at) {
        count += *at == '\n' && !cr;
        cr = *at == '\r';
    }
    return count;
}

void to_wire(std::string_view in, bool& cr, std::string& out)
{
    bool counted = cr;
    const std::size_t before = out.size(), more = count_bare_lfs(in, counted);
    if (more == 0) {
        out += in;
        cr = counted;
        return;
    }
    out.resize(before + in.size() + more);
    char* to = out.data() + before;
    while (!in.empty()) {
        const auto* lf = static_cast<const char*>(std::memchr(in.data(), '\n', in.size()));
        const std::size_t line = lf ? static_cast<std::size_t>(lf - in.data()) : in.size();
        std::memcpy(to, in.data(), line);
        to += line;
        if (line > 0) cr = in[line - 1] == '\r';
        if (!lf) return;
        if (!cr) *to++ = '\r';
        *to++ = '\n';
        cr = false;
        in.remove_prefix(line + 1);
    }
}

WireReader::WireReader(Fd file, std::vector<Extent> extents) : file_(std::move(file)), extents_(std::move(extents))
{
    for (const Extent& e : extents_) stored_ += e.size;
}

Result<std::string> WireReader::stored(uint64_t offset, std::size_t size) const
{
    std::string out;
    for (const Extent& e : extents_) {
        if (offset >= e.size) {
            offset -= e.size;
            continue;
        }
        const auto part = static_cast<std::size_t>(std::min<uint64_t>(size - out.size(), e.size - offset));
        std::string bytes = TRY(pread_exact(file_.get(), static_cast<off_t>(e.offset + offset), part));
        if (out.empty()) out.swap(bytes);                     // all of it, as a rule
        else out += bytes;
        offset = 0;
        if (out.size() == size) break;
    }
    return out;
}

Result<std::string> WireReader::raw(std::size_t block, bool& cr) const
{
    const uint64_t from = uint64_t{block} * block_size;
    cr = false;
    if (from > 0) {                                           // the byte before tells whether a first LF has its CR
        const std::string before = TRY(stored(from - 1, 1));
        cr = before.ends_with('\r');
    }
    return stored(from, block_size);
}

Result<void> WireReader::convert(std::size_t block)
{
    if (block_at_ == block) return {};
    bool cr = false;
    const std::string bytes = TRY(raw(block, cr));
    block_.clear();
    to_wire(bytes, cr, block_);
    block_at_ = block;
    return {};
}

// What is only measured is not converted.
Result<void> WireReader::measure_to(uint64_t wire_offset)
{
    while (starts_.back() <= wire_offset && uint64_t{starts_.size() - 1} * block_size < stored_) {
        const std::size_t block = starts_.size() - 1;
        uint64_t size = 0;
        if (wire_offset == UINT64_MAX && stored_ > block_size) {
            bool cr = false;
            const std::string bytes = TRY(raw(block, cr));
            size = bytes.size() + count_bare_lfs(bytes, cr);
        } else {
            TRY(convert(block));
            size = block_.size();
        }
        starts_.push_back(starts_.back() + size);
    }
    return {};
}

Result<uint64_t> WireReader::size()
{
    if (known_size_) return uint64_t{*known_size_};
    TRY(measure_to(UINT64_MAX));
    return uint64_t{starts_.back()};
}

Result<std::size_t> WireReader::find_block(uint64_t offset)
{
    TRY(measure_to(offset));
    const auto block = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin() - 1);
    if (offset < starts_.back()) TRY(convert(block));
    return std::size_t{block};
}

Result<std::string> WireReader::read(uint64_t offset, std::size_t size)
{
    std::string out;
    while (out.size() < size) {
        const std::size_t block = TRY(find_block(offset));
        if (offset >= starts_.back()) break;
        const auto at = static_cast<std::size_t>(offset - starts_[block]);
        if (at >= block_.size()) return fail_errno("a mail changed while it was read", EIO);
        const auto piece = std::string_view(block_).substr(at, size - out.size());
        out += piece;
        offset += piece.size();
    }
    return out;
}

Result<std::string> WireReader::read_some(uint64_t offset, std::size_t size)
{
    const std::size_t block = TRY(find_block(offset));
    if (offset >= starts_.back()) return std::string();
    const auto at = static_cast<std::size_t>(offset - starts_[block]);
    if (at >= block_.size()) return fail_errno("a mail changed while it was read", EIO);
    if (at > 0 || block_.size() > size) return block_.substr(at, size);
    block_at_ = SIZE_MAX;
    return std::exchange(block_, {});
}

}  // namespace veredus::store
