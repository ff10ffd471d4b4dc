// libevent behind four small classes; no exception crosses its C frames.
#include "lib/loop/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/eventfd.h>

#include <mutex>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/panic.h"

namespace veredus {

struct Loop::Private {
    std::mutex mutex;
    std::vector<std::function<void()>> posted;     // under mutex
    bool woken = false;                            // under mutex: the eventfd is already set
    Fd wake;
    std::unique_ptr<Watch> wake_watch;
    std::vector<std::function<void()>> deferred, ending;    // of this turn; those that are being called
    std::vector<std::function<void()>> turns;
    bool stopping = false;
    int64_t now_us = 0;

    void drain_posted()
    {
        uint64_t count;
        [[maybe_unused]] const auto n = ::read(wake.get(), &count, sizeof count);
        std::vector<std::function<void()>> work;
        {
            const std::lock_guard lock(mutex);
            work.swap(posted);
            woken = false;
        }
        for (auto& w : work) w();
    }

    void end_turn()
    {
        // What a deferred call defers anew still belongs to this turn, but a chain without end must not starve the fds.
        for (int round = 0; !deferred.empty() && round < 16; ++round) {
            ending.swap(deferred);
            for (auto& w : ending) w();
            ending.clear();
        }
        for (auto& t : turns) t();
    }
};

Result<std::unique_ptr<Loop>> Loop::create()
{
    std::unique_ptr<Loop> loop(new Loop);
    event_config* config = event_config_new();
    if (!config) panic("event_config_new failed");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    // No PRECISE_TIMER: it arms a timerfd in every turn, and nothing here needs less than a clock tick.
    loop->base_ = event_base_new_with_config(config);
    event_config_free(config);
    if (!loop->base_) return fail("event_base_new failed: no kernel event mechanism");
    loop->private_ = std::make_unique<Private>();
    Private& p = *loop->private_;
    p.now_us = system_clock().mono_us();
    p.wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!p.wake) return fail_errno("eventfd");
    p.wake_watch = std::make_unique<Watch>(*loop, p.wake.get(), readable, [&p](unsigned) { p.drain_posted(); });
    return loop;
}

Loop::~Loop()
{
    if (private_) {
        private_->wake_watch.reset();
        private_->deferred.clear();
        private_->posted.clear();
    }
    if (base_) event_base_free(base_);
}

namespace {
void turn(event_base* base, int flags, const timeval* at_most)
{
    // A one-shot exit timer would cost a heap entry per turn; EVLOOP_ONCE blocks until something is ready.
    if (at_most) event_base_loopexit(base, at_most);
    event_base_loop(base, flags);
}
}  // namespace

void Loop::run()
{
    private_->stopping = false;
    while (!private_->stopping) {
        const bool busy = !private_->deferred.empty();
        turn(base_, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (busy ? EVLOOP_NONBLOCK : 0), nullptr);
        private_->now_us = system_clock().mono_us();
        private_->end_turn();
    }
}

void Loop::stop()
{
    private_->stopping = true;
    event_base_loopbreak(base_);
    const std::lock_guard lock(private_->mutex);
    if (!private_->woken) {
        private_->woken = true;
        const uint64_t one = 1;
        [[maybe_unused]] const auto n = ::write(private_->wake.get(), &one, sizeof one);
    }
}

void Loop::run_once(std::chrono::milliseconds at_most)
{
    const bool busy = !private_->deferred.empty();
    const timeval limit{at_most.count() / 1000, static_cast<suseconds_t>(at_most.count() % 1000 * 1000)};
    if (busy || at_most.count() == 0)
        turn(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK, nullptr);
    else
        turn(base_, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY, &limit);
    private_->now_us = system_clock().mono_us();
    private_->end_turn();
}

void Loop::post(std::function<void()> work)
{
    const std::lock_guard lock(private_->mutex);
    private_->posted.push_back(std::move(work));
    if (private_->woken) return;
    private_->woken = true;
    const uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(private_->wake.get(), &one, sizeof one);
}

void Loop::defer(std::function<void()> work) { private_->deferred.push_back(std::move(work)); }
void Loop::each_turn(std::function<void()> work) { private_->turns.push_back(std::move(work)); }
int64_t Loop::now_us() const { return private_->now_us; }

Watch::Watch(Loop& loop, int fd, unsigned interest, std::function<void(unsigned)> callback)
    : loop_(loop), fd_(fd), interest_(interest), callback_(std::move(callback))
{
    event_ = event_new(loop.base(), fd, 0, &Watch::trampoline, this);
    if (!event_) panic("event_new failed");
    if (interest_) arm();
}

Watch::~Watch()
{
    if (event_) event_free(event_);
}

void Watch::arm()
{
    short flags = EV_PERSIST;
    if (interest_ & readable) flags |= EV_READ;
    if (interest_ & writable) flags |= EV_WRITE;
    if (event_assign(event_, loop_.base(), fd_, flags, &Watch::trampoline, this) < 0) panic("event_assign failed");
    if (event_add(event_, nullptr) < 0) panic("event_add failed");
}

void Watch::set(unsigned interest)
{
    if (interest == interest_) return;
    if (interest_) event_del(event_);
    interest_ = interest;
    if (interest_) arm();
}

void Watch::trampoline(int, short what, void* self) noexcept
{
    const unsigned ready = (what & EV_READ ? readable : 0u) | (what & EV_WRITE ? writable : 0u);
    auto callback = static_cast<Watch*>(self)->callback_;    // a copy: the owner may destroy the watch inside
    callback(ready);
}

Timer::Timer(Loop& loop, std::function<void()> callback) : callback_(std::move(callback))
{
    event_ = event_new(loop.base(), -1, 0, &Timer::trampoline, this);
    if (!event_) panic("event_new failed");
}

Timer::~Timer()
{
    if (event_) event_free(event_);
}

void Timer::start(std::chrono::milliseconds delay)
{
    const auto ms = std::max<int64_t>(delay.count(), 0);
    const timeval tv{ms / 1000, static_cast<suseconds_t>(ms % 1000 * 1000)};
    if (event_add(event_, &tv) < 0) panic("event_add failed for a timer");
    armed_ = true;
}

void Timer::stop()
{
    event_del(event_);
    armed_ = false;
}

void Timer::trampoline(int, short, void* self) noexcept
{
    auto* timer = static_cast<Timer*>(self);
    timer->armed_ = false;
    auto callback = timer->callback_;
    callback();
}

Signal::Signal(Loop& loop, int number, std::function<void()> callback) : callback_(std::move(callback))
{
    event_ = evsignal_new(loop.base(), number, &Signal::trampoline, this);
    if (!event_ || event_add(event_, nullptr) < 0) panic("a signal cannot be watched");
}

Signal::~Signal()
{
    if (event_) event_free(event_);
}

void Signal::trampoline(int, short, void* self) noexcept
{
    auto callback = static_cast<Signal*>(self)->callback_;
    callback();
}

}  // namespace veredus
