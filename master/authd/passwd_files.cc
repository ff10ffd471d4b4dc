// Reading passwd-files, now or on a thread.
#include "master/authd/passwd_files.h"

#include <unistd.h>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/tls/digest.h"

namespace veredus::authd {

namespace {
constexpr std::size_t max_passwd_file = 64u << 20;
}

struct PasswdFiles::Reading {
    std::string path, key;
    Fd fd;
    File before, file;                       // file: null when it could not be read
    Error trouble;
    std::vector<std::string> problems;
};

void PasswdFiles::take_apart(Reading& reading, std::string_view text) { reading.file = auth::PasswdFile::parse(text, reading.key, &reading.problems); }

void PasswdFiles::tell(const Reading& reading) const
{
    for (const std::string& problem : reading.problems) log::warning(reading.path, ", ", problem, ": this user cannot log in");
}

Result<void> PasswdFiles::read_now(const std::string& path)
{
    auto text = TRY(read_file(path, max_passwd_file));
    Reading reading;
    reading.path = path;
    reading.key = key_;
    take_apart(reading, text);
    tls::wipe(text);
    tell(reading);
    states_[path].file = std::move(reading.file);
    return {};
}

void PasswdFiles::begin(Loop& loop, std::function<void()> changed)
{
    changed_ = std::move(changed);
    reader_ = std::make_unique<disk::Pool>(1, [&loop](std::function<void()> done) { loop.post(std::move(done)); });
}

PasswdFiles::File PasswdFiles::find(const std::string& path) const
{
    const auto at = states_.find(path);
    return at == states_.end() ? nullptr : at->second.file;
}

void PasswdFiles::update(const std::string& path, Fd fd)
{
    State& state = states_[path];
    if (state.busy) state.next = std::move(fd);
    else start(path, std::move(fd));
}

void PasswdFiles::start(const std::string& path, Fd fd)
{
    State& state = states_[path];
    state.busy = true;
    auto reading = std::make_shared<Reading>();    // shared: std::function wants to be copied
    reading->path = path;
    reading->key = key_;
    reading->fd = std::move(fd);
    reading->before = state.file;
    reader_->run(
        [reading] {
            ::lseek(reading->fd.get(), 0, SEEK_SET);
            auto text = read_all(reading->fd.get(), max_passwd_file);
            if (!text) return void(reading->trouble = text.error());
            // Often nothing but the time of the file is new.
            if (reading->before && reading->before->is_of(*text)) reading->file = reading->before;
            else take_apart(*reading, *text);
            tls::wipe(*text);
        },
        [this, reading, alive = alive_] {
            if (!*alive) return;
            take(*reading);
            reader_->run([reading]() { reading->before.reset(); }, [] {});    // a hundred thousand entries end elsewhere, too
        });
}

void PasswdFiles::take(Reading& reading)
{
    State& state = states_[reading.path];
    state.busy = false;
    const bool is_new = reading.file && reading.file != reading.before;
    if (!reading.file) log::warning(reading.path, ": ", reading.trouble.text, ": the passwords read before stay in force");
    if (is_new) {
        tell(reading);
        state.file = reading.file;
        log::info("passwd-file ", reading.path, ": ", state.file->size(), " users are in force");
    }
    reading.file.reset();
    if (state.next) {
        Fd fd = std::move(*state.next);
        state.next.reset();
        start(reading.path, std::move(fd));
    }
    if (is_new) changed_();
}

}  // namespace veredus::authd
