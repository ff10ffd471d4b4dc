// The passwd-files of passdb. One that has changed is read and taken apart on a thread: with a hundred thousand users that takes half a
// second, and logins go on meanwhile.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/auth/passwd_file.h"
#include "lib/base/fd.h"
#include "lib/disk/pool.h"
#include "lib/loop/loop.h"

namespace veredus::authd {

class PasswdFiles {
public:
    using File = std::shared_ptr<const auth::PasswdFile>;    // shared with jobs on threads
    // `key` as PasswdFile::parse() takes it.
    explicit PasswdFiles(std::string key) : key_(std::move(key)) {}
    ~PasswdFiles() { *alive_ = false; }
    PasswdFiles(const PasswdFiles&) = delete;
    // At the start, when nobody waits for a loop.
    Result<void> read_now(const std::string& path);
    // From here on update() may be called; `changed` hears of each file that is another than before.
    void begin(Loop& loop, std::function<void()> changed);
    // Reads it anew. While that goes on, only the last of further ones is kept. What cannot be read changes nothing.
    void update(const std::string& path, Fd fd);
    File find(const std::string& path) const;    // null: not read yet

private:
    struct Reading;
    struct State {
        File file;
        bool busy = false;                       // on the thread
        std::optional<Fd> next;                  // to be read after that
    };
    static void take_apart(Reading& reading, std::string_view text);
    void start(const std::string& path, Fd fd);
    void take(Reading& reading);
    void tell(const Reading& reading) const;

    std::string key_;
    std::map<std::string, State> states_;
    std::function<void()> changed_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);    // shared: completions of the pool may come after our end
    std::unique_ptr<disk::Pool> reader_;
};

}  // namespace veredus::authd
