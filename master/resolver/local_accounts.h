// Accounts of /etc/passwd, found without a walk through all of it for each question, as getpwnam(3) makes one.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "lib/base/clock.h"
#include "lib/ipc/user.h"

namespace veredus::resolver {

// Serves where nsswitch.conf(5) says "passwd: files ...": then who is in the file is who getpwnam(3) would find, and of several lines the
// first one counts. Both files are looked at with each question, and read again when they changed.
class LocalAccounts {
public:
    explicit LocalAccounts(const Clock& clock, std::string passwd = "/etc/passwd", std::string order = "/etc/nsswitch.conf")
        : clock_(clock), passwd_(std::move(passwd)), order_(std::move(order))
    {
    }
    // Nothing: that is not to be told here, and getpwnam(3) is to be asked.
    std::optional<ipc::UserReply> find(const std::string& name);

private:
    struct Source {
        explicit Source(std::string path_) : path(std::move(path_)) {}
        std::string path;
        struct stat seen {};
        bool restless = true;          // it changed so shortly before it was read that the next change may look the same
    };
    bool changed(Source& source) const;
    void read_order();
    void read_passwd();

    const Clock& clock_;
    Source passwd_, order_;
    bool files_first_ = false;
    std::unordered_map<std::string, std::optional<ipc::UserReply>> accounts_;    // nullopt: a line that is not as it should be
};

}  // namespace veredus::resolver
