#include "smtp-client/race.h"

#include <utility>

namespace veredus::smtp_client {

Race::Race(Loop& loop, Runner first, std::optional<Runner> second, Times times, Done done)
    : loop_(loop), first_(std::move(first)), second_(std::move(second)), times_(times), done_(std::move(done))
{
    one_ = std::make_unique<net::Connector>(loop_, first_.to, first_.from ? &*first_.from : nullptr, times_.timeout,
                                            [this](Result<Fd> fd) { heard(Who::first, std::move(fd)); });
    if (!second_) return;
    head_start_ = std::make_unique<Timer>(loop_, [this] { begin_second(); });
    head_start_->start(times_.head_start);
}

void Race::begin_second()
{
    two_ = std::make_unique<net::Connector>(loop_, second_->to, second_->from ? &*second_->from : nullptr, times_.timeout,
                                            [this](Result<Fd> fd) { heard(Who::second, std::move(fd)); });
}

// The other one goes on while this one fails; a first that fails within its head start leaves the second to whoever tries it next.
void Race::heard(Who who, Result<Fd> fd)
{
    if (head_start_) head_start_->stop();
    if (!fd) {
        (who == Who::first ? first_error_ : second_error_) = fd.error();
        const bool other_runs = who == Who::first ? two_ && !second_error_ : !first_error_;
        if (other_runs) return;
        fd = unexpected(*first_error_);
        who = Who::first;
    }
    (who == Who::first ? two_ : one_).reset();
    const Done done = std::move(done_);
    done(std::move(fd), who);
}

} // namespace veredus::smtp_client
