// Files outside the jails that roles need anew when they change (resolv.conf, passwd-files, certificates): watched by inotify on their
// directories and on those above, compared by stat, so that a rename over the file, a symbolic link to a moving target, and a directory
// that is made anew or is a link that is set anew are all seen. Once a minute they are compared in any case.
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
    // Replaces the list. A file that is in it already is what it was when it was looked at last: a change since then is told soon.
    void set(std::vector<std::pair<std::string, std::string>> name_and_path);
    Result<Fd> open(const std::string& name) const;
    std::vector<std::string> names() const;

private:
    struct Entry {
        std::string name, path, stamp;
    };
    static std::string stamp(const std::string& path);
    void watch_directories();
    void watch_directory(const std::string& directory);
    void drain();
    void compare();
    Loop& loop_;
    std::function<void(const std::string&)> changed_;
    std::vector<Entry> entries_;
    Fd inotify_;
    std::unique_ptr<Watch> watch_;
    Timer settle_, minute_;
    bool watch_failed_ = false;      // said already
};

}  // namespace veredus::master
