// SORT: keys of messages, and their order.
#include "lib/imap/sort.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "lib/imap/base_subject.h"
#include "lib/imap/sent_date.h"

namespace veredus::imap {

namespace {

using By = SortCriterion::By;

// A string's first bytes as a number that sorts like them.
uint64_t first_bytes(std::string_view s)
{
    uint64_t out = 0;
    for (std::size_t i = 0; i < 8; ++i) out = out << 8 | (i < s.size() ? static_cast<unsigned char>(s[i]) : 0u);
    return out;
}

uint64_t ordered(int64_t n)
{
    return static_cast<uint64_t>(n) ^ (uint64_t{1} << 63);
}

std::string_view field_of(By by)
{
    switch (by) {
    case By::cc: return "cc";
    case By::from: return "from";
    case By::to: return "to";
    case By::subject: return "subject";
    default: return {};
    }
}

} // namespace

struct Sorter::Private {
    // One criterion of one message: most are decided by `first`.
    struct Key {
        uint64_t first = 0; // the other way round for REVERSE
        uint64_t at = 0;    // of the rest, in texts
        uint32_t size = 0;
    };
    struct Message {
        uint32_t number, uid;
    };

    Result<void> add_key(const SortCriterion& criterion, Candidate& candidate)
    {
        Key key;
        const std::string_view field = field_of(criterion.by);
        if (!field.empty()) {
            bodies.clear();
            TRY(candidate.header(field, bodies));
            key.at = texts.size();
            if (!bodies.empty() && criterion.by == By::subject)
                put_subject_key(bodies[0], texts);
            else if (!bodies.empty())
                put_mailbox_key(bodies[0], texts);
            key.first = first_bytes(std::string_view(texts).substr(key.at));
            const std::size_t size = texts.size() - key.at;
            key.size = static_cast<uint32_t>(size);
            if (size <= 8) texts.resize(key.at);
        } else if (criterion.by == By::size) {
            key.first = TRY(candidate.size());
        } else if (criterion.by == By::arrival) {
            key.first = ordered(TRY(candidate.received()));
        } else {
            key.first = ordered(TRY(sent_time(candidate, bodies)));
        }
        if (criterion.reverse) key.first = ~key.first;
        keys.push_back(key);
        return {};
    }

    // The rest of two texts that begin alike.
    int compare_rests(const Key& a, const Key& b) const
    {
        const auto rest = [&](const Key& key) {
            return key.size > 8 ? std::string_view(texts).substr(key.at + 8, key.size - 8) : std::string_view();
        };
        const int order = rest(a).compare(rest(b));
        // A NUL byte within the first eight looks like their end.
        return order != 0 ? order : a.size < b.size ? -1 : a.size > b.size;
    }

    bool before(uint32_t a, uint32_t b) const
    {
        const std::size_t width = by.size();
        for (std::size_t i = 0; i < width; ++i) {
            const Key &x = keys[a * width + i], &y = keys[b * width + i];
            if (x.first != y.first) return x.first < y.first;
            if (x.size == 0 && y.size == 0) continue;
            const int order = compare_rests(x, y);
            if (order != 0) return by[i].reverse ? order > 0 : order < 0;
        }
        return messages[a].number < messages[b].number;
    }

    std::vector<SortCriterion> by; // each once: a second time it decides nothing
    Needs needs;
    std::vector<Message> messages;
    std::vector<Key> keys; // by.size() for each message
    std::string texts;
    std::vector<std::string_view> bodies; // scratch
};

Sorter::Sorter(const std::vector<SortCriterion>& by) : private_(std::make_unique<Private>())
{
    Private& p = *private_;
    for (const SortCriterion& criterion : by) {
        if (std::any_of(p.by.begin(), p.by.end(), [&](const auto& other) { return other.by == criterion.by; }))
            continue;
        p.by.push_back(criterion);
        if (const auto field = field_of(criterion.by); !field.empty()) p.needs.fields.emplace_back(field);
        if (criterion.by == By::date) p.needs.fields.emplace_back("date");
        if (criterion.by == By::date || criterion.by == By::arrival) p.needs.received = true;
        if (criterion.by == By::size) p.needs.size = true;
    }
}

Sorter::~Sorter() = default;
Sorter::Sorter(Sorter&&) noexcept = default;
Sorter& Sorter::operator=(Sorter&&) noexcept = default;

const Needs& Sorter::needs() const
{
    return private_->needs;
}

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
    for (const Item& item : items) out.push_back(uid ? p.messages[item.index].uid : p.messages[item.index].number);
    return out;
}

} // namespace veredus::imap
