// smtpd: take mail from strangers into the queue.  Manual: man/smtpd.8
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/disk/pool.h"
#include "lib/ipc/flush.h"
#include "lib/ipc/queue.h"
#include "lib/log/log.h"
#include "lib/reception/disowned.h"
#include "lib/reception/front.h"
#include "smtpd/policy.h"

namespace veredus::smtpd {

namespace {
constexpr unsigned disk_threads = 16;                     // 16 writers share journal commits best (speed.md)
constexpr std::chrono::milliseconds etrn_deadline{20'000};
constexpr int64_t draft_age_us = 24 * 3600 * us_per_second;

// What only strangers meet.
Result<void> adjust(reception::Settings& settings, const conf::Values& values)
{
    settings.pregreet_wait = std::chrono::seconds(values.seconds("smtpd_pregreet_wait"));
    settings.pregreet_drop = iequals(values.text("smtpd_pregreet_action"), "drop");
    return {};
}
}  // namespace

class Smtpd final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        slot_ = place.slot;
        return front_.before_jail(values, place);
    }

    // Inside: meet the neighbours. The jail is this role's own incoming directory.
    Result<void> after_jail(Loop& loop) override
    {
        pool_ = std::make_unique<disk::Pool>(disk_threads, [&loop](std::function<void()> done) { loop.post(std::move(done)); });
        intake_ = TRY(queue::Intake::open(disk::posix_disk(), ".", slot_, system_clock(), pool_.get()));
        const unsigned swept = TRY(intake_->sweep_drafts(system_clock().wall_us() - draft_age_us));
        if (swept > 0) log::info("removed ", swept, " unfinished queue files older than a day");
        qmgr_ = std::make_unique<daemon::Link>(loop, "qmgr");
        qmgr_->on_state([this](bool connected) {
            if (connected) disowned_.tell();
        });
        intake_->on_doubt([this](const std::string& id) { disowned_.add(id); });
        front_.meet(loop, [this](std::string body) {
            // While qmgr is away nothing is lost: it scans our directory when it is back.
            (void)qmgr_->send(static_cast<uint16_t>(ipc::QueueType::queued), std::move(body));
        });
        policy_ = std::make_unique<MxPolicy>(front_.trust(), front_.exempt(), front_.recipients(), front_.examiner());
        front_.offer_etrn([this](std::string body, std::function<void(Result<ipc::Message>)> done) {
            qmgr_->call(ipc::flush_site_type, std::move(body), {}, etrn_deadline, std::move(done));
        });
        front_.open(*intake_, *policy_);
        qmgr_->start();
        return {};
    }

    void on_client(const std::string& listener, Fd client, net::Address peer) override { front_.on_client(listener, std::move(client), std::move(peer)); }
    void on_file(const std::string& name, Fd fd) override { front_.on_file(name, fd); }
    Result<void> reload(const conf::Values& values) override { return front_.reload(values); }
    void stop(std::function<void()> done) override { front_.stop(std::move(done)); }

private:
    unsigned slot_ = 0;
    std::unique_ptr<queue::Intake> intake_;
    std::unique_ptr<disk::Pool> pool_;                        // dies before the intake
    std::unique_ptr<daemon::Link> qmgr_;
    reception::Disowned disowned_{[this](std::string body) { return qmgr_->send(static_cast<uint16_t>(ipc::QueueType::disowned), std::move(body)).has_value(); }};
    std::unique_ptr<MxPolicy> policy_;
    reception::Front front_{{"smtpd", conf::smtpd, "smtp", false, true}, adjust};    // last: its sessions die before what they borrow
};

}  // namespace veredus::smtpd

int main(int argc, char** argv)
{
    veredus::smtpd::Smtpd service;
    return veredus::daemon::run({"smtpd", veredus::conf::smtpd, "smtpd"}, service, argc, argv);
}
