#include "qmgr/destination.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::qmgr {

void Window::succeeded(unsigned in_flight)
{
    if (dead_ || probing_) size_ = initial_;
    dead_ = probing_ = false;
    proven_ = true;
    failed_in_row_ = 0;
    if (in_flight >= size_ && size_ < limit_) ++size_;
}

bool Window::failed()
{
    ++failed_in_row_;
    const bool hopeless = probing_ || (cohorts_ > 0 && failed_in_row_ >= (proven_ ? size_ * cohorts_ : cohorts_));
    if (size_ > 1) --size_;
    if (hopeless) {
        dead_ = true;
        probing_ = false;
        proven_ = false;
    }
    return hopeless;
}

void Window::probe()
{
    dead_ = false;
    probing_ = true;
}

void Window::revive()
{
    if (!dead_ && !probing_) return;
    dead_ = probing_ = false;
    failed_in_row_ = 0;
    size_ = initial_;
}

void Window::set_limit(unsigned limit, unsigned cohorts)
{
    cohorts_ = cohorts;
    limit_ = limit;
    initial_ = std::min(initial_, limit);
    size_ = std::min(size_, limit);
}

void Line::add(uint64_t mail, const std::string& sender, const std::string& delivered_to, uint32_t recipient, std::size_t most)
{
    const auto after = [this](uint64_t round) {
        return std::upper_bound(groups_.begin(), groups_.end(), round, [](uint64_t r, const Placed& p) { return r < p.round; });
    };
    const auto known = turns_.find(mail);
    if (known != turns_.end()) {
        auto last = after(known->second.round);
        if (last != groups_.begin()) {
            Group& group = (--last)->group;
            if (group.mail == mail && group.sender == sender && group.delivered_to == delivered_to && group.recipients.size() < most) {
                group.recipients.push_back(recipient);
                return;
            }
        }
    }
    Turn& turn = turns_[mail];
    turn.round = std::max(now_, turn.groups == 0 ? 0 : turn.round) + 1;
    ++turn.groups;
    groups_.insert(after(turn.round), {turn.round, {mail, sender, {recipient}, delivered_to}});
}

void Line::again(Group group)
{
    Turn& turn = turns_[group.mail];
    turn.round = std::max(now_, turn.round);
    ++turn.groups;
    groups_.push_front({now_, std::move(group)});
}

void Line::left(uint64_t mail)
{
    const auto turn = turns_.find(mail);
    if (turn != turns_.end() && --turn->second.groups == 0) turns_.erase(turn);
}

void Line::pop_front()
{
    now_ = groups_.front().round;
    left(groups_.front().group.mail);
    groups_.pop_front();
}

void Line::drop(uint64_t mail)
{
    if (turns_.erase(mail)) std::erase_if(groups_, [&](const Placed& p) { return p.group.mail == mail; });
}

std::vector<Group> Line::take_all()
{
    std::vector<Group> all;
    all.reserve(groups_.size());
    for (Placed& p : groups_) all.push_back(std::move(p.group));
    groups_.clear();
    turns_.clear();
    return all;
}

void Ring::add(Destination& destination, uint64_t mail)
{
    uint64_t& last = last_[mail];
    last = std::max(now_, last) + 1;
    entries_.emplace(std::pair{last, arrivals_++}, Entry{&destination, mail});
}

Destination& Ring::take()
{
    const auto first = entries_.begin();
    now_ = std::max(now_, first->first.first);
    const Entry entry = first->second;
    entries_.erase(first);
    const auto last = last_.find(entry.mail);
    if (last != last_.end() && last->second <= now_) last_.erase(last);
    if (entries_.empty()) last_.clear();
    return *entry.destination;
}

std::string destination_key(std::string_view transport, std::string_view nexthop)
{
    return cat(transport, ':', lower(nexthop));
}

uint32_t destination_hash(std::string_view key)
{
    uint64_t h = 0xcbf29ce484222325u;   // FNV-1a, folded
    for (const char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    const uint32_t folded = static_cast<uint32_t>(h ^ (h >> 32));
    return folded ? folded : 1;
}

}  // namespace veredus::qmgr
