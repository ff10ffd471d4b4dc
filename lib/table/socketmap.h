// socketmap: tables: a server that is asked over a socket, in netstrings: "NAME KEY" there, "OK VALUE", "NOTFOUND", "TEMP WHY" back.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/table/table.h"

namespace veredus::table {

using Answer = Result<std::optional<std::string>>;    // a value, nothing, or what makes it temporary

// "5:hello," as it comes, in any pieces. Strings longer than `limit` are an error as soon as their length is known.
class Netstring {
public:
    explicit Netstring(std::size_t limit) : limit_(limit) {}
    Result<bool> feed(std::string_view bytes);         // true: whole; bytes after it are an error, for only one is expected
    const std::string& text() const { return text_; }

private:
    std::size_t limit_, size_ = 0;
    bool has_digit_ = false, in_text_ = false, done_ = false;
    std::string text_;
};
std::string netstring(std::string_view text);
Answer socketmap_answer(std::string_view reply);       // of a reply without its netstring

// One server and the name of a map in it; any thread may ask.
class SocketmapServer {
public:
    // "inet:host:port:name", "unix:/path:name"
    static Result<std::shared_ptr<SocketmapServer>> create(std::string_view spec);
    // Waits, for `patience` and `within` at most. After a time-out it answers "temporary" at once for a moment, so that no crowd gathers.
    Answer ask(std::string_view key, std::chrono::milliseconds within = std::chrono::milliseconds::max());
    const std::string& spec() const { return spec_; }
    std::chrono::milliseconds patience{10'000};
    std::chrono::milliseconds pause{3'000};

private:
    using Deadline = std::chrono::steady_clock::time_point;
    SocketmapServer() = default;
    Result<Fd> connect(Deadline deadline) const;
    Result<std::string> exchange(const Fd& fd, std::string_view request, Deadline deadline, bool& heard) const;
    Result<std::string> talk(std::string_view request, Deadline deadline);

    std::string spec_, host_, port_, path_, name_;
    std::mutex mutex_;                                 // of what follows
    std::vector<Fd> idle_;                             // connections that wait for the next question
    Deadline silent_until_{};
};

// What a decision has asked servers. While a Scope of it is open in this thread, socketmap: tables do not wait: they answer from
// here, or note the question and fail with EINPROGRESS; who decides has the questions answered and decides again.
class Questions {
public:
    struct Question {
        std::shared_ptr<SocketmapServer> server;       // shared: tables may be replaced while it is asked
        std::string key;
    };
    class Scope {
    public:
        explicit Scope(Questions& questions);
        ~Scope();
        Scope(const Scope&) = delete;

    private:
        Questions* before_;
    };
    std::vector<Question> take_open(bool wanted = true);     // each once; not wanted: forgotten
    void answered(const Question& question, Answer answer);

private:
    friend class SocketmapTable;
    const Answer* known(const SocketmapServer& server, const std::string& key) const;
    std::map<std::pair<std::string, std::string>, Answer> answers_;    // by spec and key
    std::vector<Question> open_;
};

Result<std::unique_ptr<Table>> open_socketmap(std::string_view spec);

}  // namespace veredus::table
