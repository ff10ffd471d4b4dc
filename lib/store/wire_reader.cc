// Blocks of a stored mail, converted one at a time; where each begins on the wire is remembered.
#include "lib/store/wire_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/text.h"

namespace veredus::store {

void to_wire(std::string_view in, bool& cr, std::string& out)
{
    while (!in.empty()) {
        const auto lf = in.find('\n');
        const auto line = in.substr(0, lf);
        out += line;
        if (!line.empty()) cr = line.back() == '\r';
        if (lf == std::string_view::npos) return;
        out += cr ? "\n" : "\r\n";
        cr = false;
        in.remove_prefix(lf + 1);
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
        out += TRY(pread_exact(file_.get(), static_cast<off_t>(e.offset + offset), part));
        offset = 0;
        if (out.size() == size) break;
    }
    return out;
}

Result<void> WireReader::convert(std::size_t block)
{
    if (block_at_ == block) return {};
    const uint64_t from = uint64_t{block} * block_size;
    bool cr = false;
    const std::size_t before = from > 0 ? 1 : 0;              // the byte before tells whether a first LF has its CR
    const std::string raw = TRY(stored(from - before, block_size + before));
    if (before) cr = raw.starts_with('\r');
    block_.clear();
    to_wire(std::string_view(raw).substr(std::min(before, raw.size())), cr, block_);
    block_at_ = block;
    return {};
}

Result<void> WireReader::measure_to(uint64_t wire_offset)
{
    while (starts_.back() <= wire_offset && uint64_t{starts_.size() - 1} * block_size < stored_) {
        TRY(convert(starts_.size() - 1));
        starts_.push_back(starts_.back() + block_.size());
    }
    return {};
}

Result<uint64_t> WireReader::size()
{
    if (known_size_) return uint64_t{*known_size_};
    TRY(measure_to(UINT64_MAX));
    return uint64_t{starts_.back()};
}

Result<std::string> WireReader::read(uint64_t offset, std::size_t size)
{
    std::string out;
    while (out.size() < size) {
        TRY(measure_to(offset));
        if (offset >= starts_.back()) break;
        const auto block = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin() - 1);
        TRY(convert(block));
        const auto piece = std::string_view(block_).substr(static_cast<std::size_t>(offset - starts_[block]), size - out.size());
        if (piece.empty()) return fail_errno("a mail changed while it was read", EIO);
        out += piece;
        offset += piece.size();
    }
    return out;
}

}  // namespace veredus::store
