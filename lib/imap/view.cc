// Message numbers out of UIDs and back, while messages go and their EXPUNGE waits.
#include "lib/imap/view.h"

#include <algorithm>

namespace veredus::imap {

void merge_ranges(std::vector<store::UidRange>& ranges)
{
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::size_t kept = 0;
    for (std::size_t i = 1; i < ranges.size(); ++i) {
        if (uint64_t{ranges[i].first} <= uint64_t{ranges[kept].last} + 1)
            ranges[kept].last = std::max(ranges[kept].last, ranges[i].last);
        else
            ranges[++kept] = ranges[i];
    }
    if (!ranges.empty()) ranges.resize(kept + 1);
}

bool in_ranges(const std::vector<store::UidRange>& ranges, uint32_t number)
{
    const auto after =
        std::upper_bound(ranges.begin(), ranges.end(), number, [](uint32_t n, const auto& r) { return n < r.first; });
    return after != ranges.begin() && std::prev(after)->last >= number;
}

std::vector<store::UidRange> common_ranges(const std::vector<store::UidRange>& a, const std::vector<store::UidRange>& b)
{
    std::vector<store::UidRange> out;
    auto k = b.begin();
    for (const auto& r : a) {
        while (k != b.end() && k->last < r.first) ++k;
        for (auto i = k; i != b.end() && i->first <= r.last; ++i)
            out.push_back({std::max(i->first, r.first), std::min(i->last, r.last)});
    }
    return out;
}

std::vector<store::UidRange> plain_ranges(const SequenceSet& set, uint32_t last)
{
    std::vector<store::UidRange> out;
    for (const auto& r : set.ranges) {
        const uint32_t a = r.first ? r.first : last, b = r.last ? r.last : last;
        out.push_back({std::min(a, b), std::max(a, b)});
    }
    merge_ranges(out);
    return out;
}

View::View(const store::UidTable& table) : table_(&table)
{
    take_new();
}

void View::take_new()
{
    // Not UIDNEXT - 1: what was never announced must not count as known.
    if (has_new()) last_told_ = table_->messages().back().uid;
}

std::size_t View::below(uint32_t uid) const
{
    const auto& all = table_->messages();
    const auto at =
        std::lower_bound(all.begin(), all.end(), uid, [](const store::Message& m, uint32_t u) { return m.uid < u; });
    return static_cast<std::size_t>(at - all.begin());
}

std::size_t View::told() const
{
    if (!has_new()) return table_->messages().size();
    return below(last_told_ + 1);
}

std::size_t View::exists() const
{
    return told() + ghosts_.size();
}

View::Place View::at(uint32_t number) const
{
    if (number == 0 || number > exists()) return {};
    std::size_t before = 0; // ghosts with a lesser number
    if (!ghosts_.empty()) {
        std::size_t low = 0, high = ghosts_.size();
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            if (number_of_ghost(middle) < number)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < ghosts_.size() && number_of_ghost(low) == number) return {ghosts_[low], nullptr};
        before = low;
    }
    const store::Message& m = table_->messages()[number - 1 - before];
    return {m.uid, &m};
}

uint32_t View::first_number_from(uint32_t uid) const
{
    const auto ghosts = std::lower_bound(ghosts_.begin(), ghosts_.end(), uid) - ghosts_.begin();
    return static_cast<uint32_t>(std::min(below(uid), told()) + static_cast<std::size_t>(ghosts) + 1);
}

uint32_t View::number_of(uint32_t uid) const
{
    if (uid == 0 || uid > last_told_) return 0;
    const uint32_t number = first_number_from(uid);
    return at(number).uid == uid ? number : 0;
}

std::optional<View::Ranges> View::resolve(const SequenceSet& set, bool uid, const Ranges& saved) const
{
    Ranges out;
    const auto last = static_cast<uint32_t>(exists());
    const auto add_uids = [&](uint32_t from, uint32_t to) {
        const uint32_t first = first_number_from(from), end = to == UINT32_MAX ? last + 1 : first_number_from(to + 1);
        if (first < end) out.push_back({first, end - 1});
    };
    const uint32_t last_uid = last ? at(last).uid : 0;
    if (set.saved)
        for (const auto& r : saved) add_uids(r.first, r.last);
    for (const auto& r : set.ranges) {
        if (last == 0) { // "1:*" of nothing is nothing, and no error
            if (!uid && r.first > 1) return std::nullopt;
            continue;
        }
        const uint32_t star = uid ? last_uid : last;
        const uint32_t a = r.first ? r.first : star, b = r.last ? r.last : star;
        const uint32_t from = std::min(a, b), to = std::max(a, b);
        if (uid)
            add_uids(from, to);
        else if (to > last)
            return std::nullopt;
        else
            out.push_back({from, to});
    }
    merge_ranges(out);
    return out;
}

std::vector<uint32_t> View::uids(const Ranges& numbers, std::size_t* ghosts) const
{
    std::vector<uint32_t> out;
    for (const auto& r : numbers)
        for (uint32_t n = r.first; n <= r.last; ++n) {
            const Place place = at(n);
            if (place.message)
                out.push_back(place.uid);
            else if (ghosts)
                ++*ghosts;
        }
    return out;
}

std::vector<uint32_t> View::bury_last(std::size_t most)
{
    const auto from = ghosts_.end() - static_cast<std::ptrdiff_t>(std::min(most, ghosts_.size()));
    std::vector<uint32_t> out(from, ghosts_.end());
    ghosts_.erase(from, ghosts_.end());
    if (ghosts_.empty()) std::vector<uint32_t>().swap(ghosts_);
    return out;
}

uint32_t View::bury_last()
{
    const uint32_t number = number_of_ghost(ghosts_.size() - 1);
    ghosts_.pop_back();
    if (ghosts_.empty()) std::vector<uint32_t>().swap(ghosts_);
    return number;
}

void View::vanished(const std::vector<uint32_t>& uids, uint64_t before)
{
    if (ghosts_.empty()) before_ghosts_ = before;
    const auto middle = static_cast<std::ptrdiff_t>(ghosts_.size());
    for (const uint32_t uid : uids)
        if (uid <= last_told_) ghosts_.push_back(uid);
    std::inplace_merge(ghosts_.begin(), ghosts_.begin() + middle, ghosts_.end());
}

} // namespace veredus::imap
