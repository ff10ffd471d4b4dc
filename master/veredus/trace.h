// The story of one mail as the log tells it: its lines, and those of the notifications made from it.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::admin {

class Trace {
public:
    explicit Trace(std::string id) : wanted_{std::move(id)} {}
    // True when the line tells of a mail that is wanted. A notification that it names is wanted from here on.
    bool feed(std::string_view line);
    const std::set<std::string>& ids() const { return wanted_; }

private:
    std::set<std::string> wanted_;
};

// Log files in order of time, oldest first: the rotated one before the one that is written now.
std::vector<std::string> log_files(std::string_view maillog_file, const std::function<bool(const std::string&)>& exists);

}  // namespace veredus::admin
