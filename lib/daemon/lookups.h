// Decisions that read tables, lists and headers, beside the loop. Where a socketmap: server has to be asked, that is done in threads of
// this server's own: one that hangs delays the decision that needs it, and no other.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lib/disk/pool.h"
#include "lib/loop/loop.h"
#include "lib/table/socketmap.h"

namespace veredus::daemon {

class Lookups {
public:
    using Step = std::function<void()>;
    // `patience`: how long servers may take, for a whole decision.
    explicit Lookups(Loop& loop, std::chrono::milliseconds patience = std::chrono::seconds(30));
    ~Lookups();
    Lookups(const Lookups&) = delete;
    // `work` on a thread, again after each round of answers of servers, so it has to begin anew each time: what has not been answered
    // yet looks like a temporary failure to it. Then `done` on the loop. Out of patience, that failure is the result.
    // `lists`: work that reads what users wrote has threads of its own, so that it never takes all from the others.
    enum class Threads : uint8_t { tables, lists };
    void run(Step work, Step done, Threads threads = Threads::tables);
    std::size_t waiting() const { return pool_.waiting(); }                // decisions that no thread has begun: the owner's back-pressure

private:
    struct Decision;
    void turn(const std::shared_ptr<Decision>& decision);
    void turned(const std::shared_ptr<Decision>& decision);
    void answered(const std::shared_ptr<Decision>& decision);
    void ask(const table::Questions::Question& question, std::chrono::steady_clock::time_point until, std::function<void(table::Answer)> answer);

    Loop& loop_;
    std::chrono::milliseconds patience_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);           // shared_ptr: completions that come late look at it first
    std::map<std::string, std::unique_ptr<disk::Pool>> servers_;           // by spec; as many as the settings have named
    disk::Pool lists_, pool_;                                              // last: they end first
};

}  // namespace veredus::daemon
