// Files outside the jails that roles need anew when they change (resolv.conf, passwd-files): watched by inotify on their
// directories, compared by stat, so that a rename over the file and a symbolic link to a moving target are both seen.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/loop/loop.h"

namespace veredus::master {

class Watched {
public:
    // `changed` gets the name under which the file was added.
    Watched(Loop& loop, std::function<void(const std::string& name)> changed);
    void set(std::vector<std::pair<std::string, std::string>> name_and_path);    // replaces the list
    Result<Fd> open(const std::string& name) const;
    std::vector<std::string> names() const;

private:
    struct Entry {
        std::string name, path, stamp;
    };
    static std::string stamp(const std::string& path);
    void watch_directories(const Entry& entry);
    void drain();
    void compare();
    Loop& loop_;
    std::function<void(const std::string&)> changed_;
    std::vector<Entry> entries_;
    Fd inotify_;
    std::unique_ptr<Watch> watch_;
    Timer settle_;
};

}  // namespace veredus::master
