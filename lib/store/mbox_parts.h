// What the sources of MboxFolder share: the file under its locks, the pieces of a rewrite, and blocks of a file.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/text.h"
#include "lib/store/mbox_folder.h"

namespace veredus::store {

inline constexpr std::size_t mbox_block = 1u << 20;

Result<void> write_at(int fd, uint64_t offset, std::string_view bytes);

// `take` sees bytes [from, from + size) in blocks.
template <class Take> Result<void> each_block(int fd, uint64_t from, uint64_t size, Take take)
{
    while (size > 0) {
        const auto part = static_cast<std::size_t>(std::min<uint64_t>(size, mbox_block));
        const std::string bytes = TRY(pread_exact(fd, static_cast<off_t>(from), part));
        TRY(take(std::string_view(bytes)));
        from += part;
        size -= part;
    }
    return {};
}

// fcntl first, then the dotlock, none waited for while the other is held (Debian policy §11.6). Readers take the first alone.
class MboxFolder::Locked {
public:
    enum class For { reading, writing };
    // Reading, and no file: exists() is false.
    static Result<Locked> take(const MboxPlace& place, For what) { return take(place, what, place.patience); }
    static Result<Locked> take(const MboxPlace& place, For what, std::chrono::milliseconds patience);
    Locked(Locked&& other) noexcept : place_(other.place_), what_(other.what_), file_(std::move(other.file_)), dotlocked_(std::exchange(other.dotlocked_, false)) {}
    Locked& operator=(Locked&&) = delete;
    ~Locked()
    {
        if (dotlocked_) place_.keeper->unlock();
    }
    bool exists() const { return static_cast<bool>(file_); }
    bool writable() const { return what_ == For::writing; }
    int fd() const { return file_.get(); }
    const Fd& file() const { return file_; }

private:
    Locked(const MboxPlace& place, For what) : place_(place), what_(what) {}
    Result<bool> try_take();
    const MboxPlace& place_;
    For what_;
    Fd file_;
    bool dotlocked_ = false;
};

// While it lives, `file` is what the UID log is made from if it must be made anew.
class MboxFolder::Holding {
public:
    Holding(MboxFolder& folder, const Locked& file) : folder_(folder) { folder.held_ = &file; }
    ~Holding() { folder_.held_ = nullptr; }
    Holding(const Holding&) = delete;

private:
    MboxFolder& folder_;
};

struct MboxFolder::Piece {
    Extent extent;                // of the file as it is, when text is empty
    std::string text;
    uint64_t size() const { return text.empty() ? extent.size : text.size(); }
};

}  // namespace veredus::store
