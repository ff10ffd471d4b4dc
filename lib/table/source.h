// The text files behind tables: what they hold, whether they changed, and their logical lines.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::table {

constexpr std::size_t max_source = std::size_t{1} << 30;   // bytes of one table's text
constexpr std::size_t max_line = 1 << 20;                  // bytes of one logical line; longer ones are a problem, not an entry

// Which content a path had: another stamp means other content.
struct Stamp {
    uint64_t device = 0, inode = 0, size = 0;
    int64_t mtime_ns = 0;
    bool operator==(const Stamp&) const = default;
};

// Was it written less than a second ago? (A time in the future says nothing and counts as rested.)
bool still_written(int64_t mtime_ns);

// A file that is read again when it changed, at once. It may be half written then: while it is restless, what is not in it may
// still come, so nobody should be refused for that; once it has rested for a second it is compared again.
class Source {
public:
    explicit Source(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }
    Result<std::string> read();          // the whole text; from now on changes count against it
    enum class Look : uint8_t { same, changed, compare };    // compare: only its bytes can tell
    Result<Look> look(uint64_t& size) const;    // changed() by a stat alone; `size` is the file's now
    Result<bool> changed();              // true: call read(). An error: the file cannot be looked at; the old content stays in force
                                         // (a file that was never there has not changed while it is still missing)
    bool restless() const { return fresh_ && still_written(stamp_.mtime_ns); }
    uid_t owner() const { return owner_; }   // of what was read
    std::string where(unsigned line) const;   // "/etc/aliases, line 3"; 0: the file as a whole

private:
    std::string path_;
    Stamp stamp_;
    bool fresh_ = false;                 // it was written less than a second before it was read
    uint32_t crc_ = 0;
    uid_t owner_ = 0;
};

// Postfix's logical lines: blank lines and comment lines do not count, a line that begins with white space continues.
class Lines {
public:
    explicit Lines(std::string_view text) : rest_(text) {}
    bool next(std::string& line, unsigned& number);   // `number` is that of the first physical line
    bool overlong() const { return overlong_; }       // the line just given was cut at max_line
private:
    bool physical(std::string_view& line);
    std::string_view rest_, waiting_;
    unsigned number_ = 0, waiting_number_ = 0;
    bool has_waiting_ = false, overlong_ = false;
};

}  // namespace veredus::table
