// SORT: keys of messages, and their order.
#include "lib/imap/sort.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace veredus::imap {

namespace {

using By = SortCriterion::By;

uint64_t ordered(int64_t n)
{
    return static_cast<uint64_t>(n) ^ (uint64_t{1} << 63);
}

} // namespace

struct Sorter::Private {
    using Text = MessageKeys::Text;
    struct Message {
        uint32_t number, uid;
    };

    // Which of a row's texts decides alone; no_text: none does.
    static constexpr unsigned no_text = 4;
    unsigned lone_text() const
    {
        if (by.size() != 1) return no_text;
        switch (by[0].by) {
        case By::subject: return 0;
        case By::from: return 1;
        case By::to: return 2;
        case By::cc: return 3;
        default: return no_text;
        }
    }

    Result<void> add_text(unsigned text, Candidate& candidate, Text& key)
    {
        const auto* row = TRY(known->row(candidate, static_cast<uint8_t>(MessageKeys::subject << text)));
        key = row->texts[text];
        if (by.size() == 1) rows.push_back(known->place_of(*row));
        return {};
    }

    Result<void> add_key(const SortCriterion& criterion, Candidate& candidate)
    {
        Text key; // most are decided by its first bytes, which are the other way round for REVERSE
        switch (criterion.by) {
        case By::arrival: key.first = ordered(TRY(candidate.received())); break;
        case By::size: key.first = TRY(candidate.size()); break;
        case By::date: key.first = ordered(TRY(known->row(candidate, MessageKeys::sent))->sent_time); break;
        case By::subject: TRY(add_text(0, candidate, key)); break;
        case By::from: TRY(add_text(1, candidate, key)); break;
        case By::to: TRY(add_text(2, candidate, key)); break;
        case By::cc: TRY(add_text(3, candidate, key)); break;
        }
        if (criterion.reverse) key.first = ~key.first;
        keys.push_back(key);
        return {};
    }

    // Two texts whose first bytes are alike.
    int compare_rests(const Text& a, const Text& b) const
    {
        const int order = known->rest(a).compare(known->rest(b));
        // A NUL byte within the first eight looks like their end.
        return order != 0 ? order : a.size < b.size ? -1 : a.size > b.size;
    }

    bool before(uint32_t a, uint32_t b) const
    {
        const std::size_t width = by.size();
        for (std::size_t i = 0; i < width; ++i) {
            const Text &x = keys[a * width + i], &y = keys[b * width + i];
            if (x.first != y.first) return x.first < y.first;
            const int order = x.size == 0 && y.size == 0 ? 0 : compare_rests(x, y);
            if (order != 0) return by[i].reverse ? order > 0 : order < 0;
        }
        return messages[a].number < messages[b].number;
    }

    // Ranks are small numbers without gaps: each message is put where those before it end.
    std::vector<uint32_t> in_known_order(unsigned text, bool uid)
    {
        const auto lesser = [](const Message& a, const Message& b) { return a.number < b.number; };
        std::vector<uint32_t> order(messages.size());
        for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
        if (!std::is_sorted(messages.begin(), messages.end(), lesser))
            std::sort(order.begin(), order.end(),
                      [&](uint32_t a, uint32_t b) { return lesser(messages[a], messages[b]); });
        uint32_t last = 0;
        for (const uint32_t row : rows) last = std::max(last, known->rank(text, row));
        const auto place = [&](uint32_t i) {
            const uint32_t rank = known->rank(text, rows[i]);
            return by[0].reverse ? last - rank : rank - 1;
        };
        std::vector<uint32_t> ends(last + std::size_t{1}), out(messages.size());
        for (const uint32_t i : order) ++ends[place(i) + std::size_t{1}];
        for (std::size_t r = 1; r < ends.size(); ++r) ends[r] += ends[r - 1];
        for (const uint32_t i : order) out[ends[place(i)]++] = uid ? messages[i].uid : messages[i].number;
        return out;
    }

    std::vector<SortCriterion> by; // each once: a second time it decides nothing
    std::shared_ptr<MessageKeys> known;
    std::vector<Message> messages;
    std::vector<Text> keys;     // by.size() for each message
    std::vector<uint32_t> rows; // of the messages in `known`, where a text decides alone
};

Sorter::Sorter(const std::vector<SortCriterion>& by, std::shared_ptr<MessageKeys> keys)
    : private_(std::make_unique<Private>())
{
    Private& p = *private_;
    p.known = keys ? std::move(keys) : std::make_shared<MessageKeys>();
    for (const SortCriterion& criterion : by) {
        if (std::any_of(p.by.begin(), p.by.end(), [&](const auto& other) { return other.by == criterion.by; }))
            continue;
        p.by.push_back(criterion);
    }
}

Sorter::~Sorter() = default;
Sorter::Sorter(Sorter&&) noexcept = default;
Sorter& Sorter::operator=(Sorter&&) noexcept = default;

Result<void> Sorter::add(Candidate& candidate)
{
    Private& p = *private_;
    const std::size_t keys = p.keys.size();
    for (const SortCriterion& by : p.by) {
        if (auto done = p.add_key(by, candidate); !done) {
            p.keys.resize(keys);
            return done;
        }
    }
    p.messages.push_back({candidate.number, candidate.uid});
    return {};
}

std::vector<uint32_t> Sorter::finish(bool uid)
{
    Private& p = *private_;
    const unsigned text = p.lone_text();
    if (text != Private::no_text && p.known->has_order(text, p.rows)) return p.in_known_order(text, uid);
    // What decides most is kept beside the index: sorting touches nothing else then.
    struct Item {
        uint64_t first;
        uint32_t index;
    };
    std::vector<Item> items(p.messages.size());
    for (uint32_t i = 0; i < items.size(); ++i) items[i] = {p.by.empty() ? 0 : p.keys[i * p.by.size()].first, i};
    std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
        return a.first != b.first ? a.first < b.first : p.before(a.index, b.index);
    });
    std::vector<uint32_t> out;
    out.reserve(items.size());
    if (text != Private::no_text) {
        for (const Item& item : items) out.push_back(p.rows[item.index]);
        if (p.by[0].reverse) std::reverse(out.begin(), out.end());
        p.known->keep_order(text, out);
        out.clear();
    }
    for (const Item& item : items) out.push_back(uid ? p.messages[item.index].uid : p.messages[item.index].number);
    return out;
}

} // namespace veredus::imap
