// submission: take mail from our users, over SMTP and out of the maildrop, into the queue.  Manual: man/submission.8
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/ipc/queue.h"
#include "lib/log/log.h"
#include "lib/reception/disowned.h"
#include "submission/front.h"
#include "submission/pickup.h"

namespace veredus::submission {

namespace {

using std::chrono::seconds;
constexpr unsigned pool_threads = 8;
constexpr seconds retry_delay{5};
constexpr std::size_t ids_in_a_message = 1000;
constexpr int64_t draft_age_us = 24 * 3600 * us_per_second;

PickupSettings read_settings(const conf::Values& values)
{
    PickupSettings out;
    out.inspect = read_inspect_settings(values);
    out.mend = read_mend_settings(values);
    out.mail_name = values.text("mail_name");
    out.size_limit = static_cast<uint64_t>(values.number("message_size_limit"));
    const auto free = static_cast<uint64_t>(values.number("queue_minfree"));
    out.minimum_free = free ? free : out.size_limit + out.size_limit / 2;
    return out;
}

}  // namespace

class Submission final : public daemon::Service {
public:
    // The maildrop is outside the jail: its directories are opened, and watched, before the walls go up.
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        settings_ = read_settings(values);
        scan_interval_ = seconds(values.seconds("maildrop_scan_interval"));
        slot_ = place.slot;
        TRY(front_.before_jail(values, place));
        settings_.checks = front_.checks();
        if (place.instance > 0) return {};         // the first of several takes up the maildrop
        takes_up_ = true;
        disk::Disk& disk = disk::posix_disk();
        const std::string fresh = place.queue_directory + "/maildrop/new";
        fresh_ = TRY(disk.open_directory(nullptr, fresh));
        tmp_ = TRY(disk.open_directory(nullptr, place.queue_directory + "/maildrop/tmp"));
        events_ = Fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        if (!events_) return fail_errno("inotify_init1");
        if (inotify_add_watch(events_.get(), fresh.c_str(), IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0) return fail_errno(cat("inotify ", fresh));
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        pool_ = std::make_unique<disk::Pool>(pool_threads, [&loop](std::function<void()> work) { loop.post(std::move(work)); });
        intake_ = TRY(queue::Intake::open(disk::posix_disk(), ".", slot_, system_clock(), pool_.get()));
        // What an earlier life of this process had begun may not stand in the way of its ID; what others write is theirs.
        const auto ours = [this](std::string_view id) { return queue::is_drop_id(id) ? takes_up_ : queue::id_slot(id) == slot_; };
        if (const auto swept = intake_->sweep_drafts(system_clock().wall_us() - draft_age_us, ours); !swept) log::warning("sweeping drafts: ", swept.error().text);
        qmgr_ = std::make_unique<daemon::Link>(loop, "qmgr");
        qmgr_->on_state([this](bool connected) {
            if (connected) disowned_.tell();
        });
        intake_->on_doubt([this](const std::string& id) { disowned_.add(id); });
        if (takes_up_) prepare_pickup(loop);
        qmgr_->start();       // only now: what it sees in incoming is no longer in the maildrop

        front_.start(loop, *intake_, [this](std::string body) {
            // While qmgr is away nothing is lost: it scans our directory when it is back.
            (void)qmgr_->send(static_cast<uint16_t>(ipc::QueueType::queued), std::move(body));
        });
        if (!takes_up_) return {};
        watch_ = std::make_unique<Watch>(loop, events_.get(), readable, [this](unsigned) { read_events(); });
        scan();
        return {};
    }

    void on_client(const std::string& listener, Fd client, net::Address peer) override { front_.on_client(listener, std::move(client), std::move(peer)); }
    void on_file(const std::string& name, Fd fd) override
    {
        front_.on_file(name, fd);
        settings_.checks = front_.checks();
        if (pickup_) pickup_->configure(settings_);
    }

    Result<void> reload(const conf::Values& values) override
    {
        scan_interval_ = seconds(values.seconds("maildrop_scan_interval"));
        TRY(front_.reload(values));
        settings_ = read_settings(values);
        settings_.checks = front_.checks();
        if (pickup_) pickup_->configure(settings_);
        return {};
    }

    void stop(std::function<void()> done) override
    {
        if (!takes_up_) return front_.stop(std::move(done));
        scan_timer_->stop();
        watch_->set(0);
        // Both; who ends first waits for the other.
        const auto open = std::make_shared<int>(2);
        const auto one = [open, done = std::move(done)] {
            if (--*open == 0) done();
        };
        front_.stop(one);
        pickup_->stop(one);
    }

private:
    void prepare_pickup(Loop& loop)
    {
        scan_timer_ = std::make_unique<Timer>(loop, [this] { scan(); });
        Pickup::Doors doors;
        doors.defer = [&loop](std::function<void()> work) { loop.post(std::move(work)); };
        doors.queued = [this](std::vector<std::string> ids) { tell_qmgr(std::move(ids)); };
        doors.rewriter = front_.rewriter();
        doors.trouble = [this] { scan_timer_->start(std::min<std::chrono::milliseconds>(scan_interval_, retry_delay)); };
        pickup_ = std::make_unique<Pickup>(std::move(fresh_), std::move(tmp_), *intake_, pool_.get(), system_clock(), settings_, std::move(doors));
        if (const auto gone = pickup_->reconcile(); !gone) log::warning("maildrop/new: ", gone.error().text);
        else if (*gone) log::info("maildrop/new: removed ", *gone, " files whose mail was queued before the last stop");
    }

    void scan()
    {
        scan_timer_->start(scan_interval_);
        if (const auto found = pickup_->scan(); !found) log::warning("maildrop/new: ", found.error().text);
        if (const auto swept = pickup_->sweep(); !swept) log::warning("maildrop/tmp: ", swept.error().text);
    }

    void read_events()
    {
        alignas(inotify_event) char buffer[16'384];
        for (;;) {
            const ssize_t n = ::read(events_.get(), buffer, sizeof buffer);
            if (n <= 0) return;
            for (const char* at = buffer; at < buffer + n;) {
                inotify_event event;
                std::memcpy(&event, at, sizeof event);
                if (event.mask & IN_Q_OVERFLOW) scan();
                else if (event.len) pickup_->found(at + sizeof event);
                at += sizeof event + event.len;
            }
        }
    }

    // What does not reach qmgr it finds by itself: it looks through incoming whenever we meet again.
    void tell_qmgr(std::vector<std::string> ids)
    {
        for (std::size_t at = 0; at < ids.size(); at += ids_in_a_message) {
            ipc::Queued queued;
            queued.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(at), ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + ids_in_a_message)));
            if (qmgr_->connected()) (void)qmgr_->send(static_cast<uint16_t>(ipc::QueueType::queued), queued.encode());
        }
    }

    PickupSettings settings_;
    std::chrono::milliseconds scan_interval_{60'000};
    uint32_t slot_ = 0;
    bool takes_up_ = false;                 // the maildrop
    disk::Directory fresh_, tmp_;
    Fd events_;
    std::unique_ptr<queue::Intake> intake_;
    std::unique_ptr<daemon::Link> qmgr_;
    reception::Disowned disowned_{[this](std::string body) { return qmgr_->send(static_cast<uint16_t>(ipc::QueueType::disowned), std::move(body)).has_value(); }};
    std::unique_ptr<Timer> scan_timer_;
    std::unique_ptr<Watch> watch_;
    std::unique_ptr<Pickup> pickup_;
    Front front_;
    std::unique_ptr<disk::Pool> pool_;      // last, so that it ends first and nothing it runs outlives what it borrows
};

}  // namespace veredus::submission

int main(int argc, char** argv)
{
    veredus::submission::Submission service;
    return veredus::daemon::run({"submission", veredus::conf::submission, "submission"}, service, argc, argv);
}
