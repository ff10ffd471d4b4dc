// The event loop: libevent lives here and nowhere else. Watches, timers, signals, and work posted from other threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "lib/base/fd.h"
#include "lib/base/result.h"

struct event;
struct event_base;

namespace veredus {

class Loop {
public:
    static Result<std::unique_ptr<Loop>> create();
    ~Loop();
    Loop(const Loop&) = delete;
    void run();                                   // until stop()
    void stop();
    void run_once(std::chrono::milliseconds at_most);   // one turn (tests, short waits)
    void post(std::function<void()> work);        // from any thread; runs on the loop's thread, in order
    void defer(std::function<void()> work);       // loop's thread only: after the callbacks of this turn
    void each_turn(std::function<void()> work);   // after every turn (log::flush); kept for ever
    int64_t now_us() const;                       // monotonic, taken once a turn
    event_base* base() const { return base_; }    // for lib/loop only

private:
    Loop() = default;
    event_base* base_ = nullptr;
    struct Private;
    std::unique_ptr<Private> private_;
};

enum Ready : unsigned { readable = 1, writable = 2 };

// Calls back while the fd is ready. Level-triggered; destroyed, it calls no more. The fd must outlive it.
class Watch {
public:
    Watch(Loop& loop, int fd, unsigned interest, std::function<void(unsigned ready)> callback);
    ~Watch();
    Watch(const Watch&) = delete;
    void set(unsigned interest);                  // 0 pauses
    unsigned interest() const { return interest_; }

private:
    static void trampoline(int, short, void*) noexcept;
    void arm();
    Loop& loop_;
    int fd_;
    unsigned interest_;
    std::function<void(unsigned)> callback_;
    event* event_ = nullptr;
};

// One shot; start() again re-arms. Cheap enough for one per session and re-arming per read.
class Timer {
public:
    Timer(Loop& loop, std::function<void()> callback);
    ~Timer();
    Timer(const Timer&) = delete;
    void start(std::chrono::milliseconds delay);
    void stop();
    bool armed() const { return armed_; }

private:
    static void trampoline(int, short, void*) noexcept;
    std::function<void()> callback_;
    event* event_ = nullptr;
    bool armed_ = false;
};

class Signal {
public:
    Signal(Loop& loop, int number, std::function<void()> callback);
    ~Signal();
    Signal(const Signal&) = delete;

private:
    static void trampoline(int, short, void*) noexcept;
    std::function<void()> callback_;
    event* event_ = nullptr;
};

}  // namespace veredus
