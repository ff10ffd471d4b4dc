// The way into the maildrop: a mail in the form that veredus-drop takes, and that program run over it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/mail/envelope.h"
#include "lib/queue/drop_format.h"

namespace veredus::sendmail {

// Builds the file (lib/queue/drop_format.h). take() what there is as often as you like; end() closes it.
class Encoder {
public:
    explicit Encoder(const mail::Envelope& envelope);
    void content(std::string_view bytes);
    void end();
    std::size_t size() const { return out_.size(); }
    std::string take() { return std::exchange(out_, {}); }

private:
    void record(queue::drop::Type type, std::string_view payload);
    void flush();
    std::string out_, pending_;
    uint32_t crc_ = 0;
    uint64_t content_ = 0;
};

// Which veredus-drop, and what to tell it.
struct DropProgram {
    std::string path;
    std::vector<std::string> arguments;     // after the program's name
};
// The installed one; beside us or in $VEREDUS_LIBEXEC when another configuration was named (trial, tests).
DropProgram find_drop(const std::string& config_directory);

// A veredus-drop that runs while we write to it.
class Drop {
public:
    static Result<Drop> start(const DropProgram& program, bool want_id);
    Drop(Drop&& other) noexcept : pid_(std::exchange(other.pid_, -1)), in_(std::move(other.in_)), id_(std::move(other.id_)) {}
    ~Drop();                                // not finished: it sees its input end too early, and leaves nothing
    bool write(std::string_view bytes);     // false: it has gone, finish() says why
    // Closes its input and waits: its exit status, EX_TEMPFAIL when it was killed. `id` is set when it was wanted and is there.
    int finish(std::string* id = nullptr);

private:
    Drop() = default;
    int pid_ = -1;
    Fd in_, id_;
};

// Becomes veredus-drop with these bytes as its input: no fork, and its exit status is ours. Returns only with an error.
Error become_drop(const DropProgram& program, std::string_view bytes);

}  // namespace veredus::sendmail
