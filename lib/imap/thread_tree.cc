// The trees of THREAD. Nothing here calls itself: how deep threads are is for those to say who write mails.
#include "lib/imap/thread_tree.h"

#include <algorithm>
#include <utility>

#include "lib/base/text.h"

namespace veredus::imap {

namespace {

// Looking for a loop means walking up to the root. Real threads end long before that; when they do not, and mails were
// made to have us walk long ways again and again, what would take a long walk is not linked any more.
constexpr uint64_t free_steps = 20'000'000;
constexpr unsigned long_walk = 1000;

} // namespace

bool is_earlier(const ThreadMessage& a, const ThreadMessage& b)
{
    return a.date != b.date ? a.date < b.date : a.number < b.number;
}

// ---- ORDEREDSUBJECT ----

void put_ordered_subject(std::vector<ThreadMessage>& messages, bool uid, std::string& out)
{
    std::sort(messages.begin(), messages.end(), [](const ThreadMessage& a, const ThreadMessage& b) {
        return a.subject != b.subject ? a.subject < b.subject : is_earlier(a, b);
    });
    struct Group {
        std::size_t first, size;
    };
    std::vector<Group> groups;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (i > 0 && messages[i].subject == messages[i - 1].subject)
            ++groups.back().size;
        else
            groups.push_back({i, 1});
    }
    std::sort(groups.begin(), groups.end(),
              [&](const Group& a, const Group& b) { return is_earlier(messages[a.first], messages[b.first]); });
    const auto number = [&](std::size_t i) { return uid ? messages[i].uid : messages[i].number; };
    for (const Group& group : groups) {
        append(out, '(', number(group.first));
        if (group.size > 1) out += ' ';
        if (group.size == 2) append(out, number(group.first + 1));
        for (std::size_t i = 1; i < group.size && group.size > 2; ++i) append(out, '(', number(group.first + i), ')');
        out += ')';
    }
}

// ---- REFERENCES: links (step 1) ----

uint32_t ThreadTree::add_node()
{
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
}

bool ThreadTree::would_loop(uint32_t parent, uint32_t child)
{
    if (parent == child) return true;
    if (nodes_[child].children == 0) return false;
    const uint64_t most = steps_ < free_steps ? free_steps : long_walk;
    uint64_t steps = 0;
    uint32_t at = parent;
    while (at != none && at != child && steps < most) {
        at = nodes_[at].parent;
        ++steps;
    }
    steps_ += steps;
    return at != none;
}

void ThreadTree::link(uint32_t parent, uint32_t child)
{
    if (would_loop(parent, child)) return;
    nodes_[child].parent = parent;
    ++nodes_[parent].children;
}

void ThreadTree::add_message(uint32_t node, const ThreadMessage& message, const std::vector<uint32_t>& references)
{
    for (std::size_t i = 1; i < references.size(); ++i)
        if (nodes_[references[i]].parent == none) link(references[i - 1], references[i]);
    nodes_[node].message = static_cast<uint32_t>(messages_.size());
    messages_.push_back(message);
    // Step 1.B: what the message says of itself counts more than what others said.
    if (const uint32_t parent = nodes_[node].parent; parent != none) {
        --nodes_[parent].children;
        nodes_[node].parent = none;
    }
    if (!references.empty()) link(references.back(), node);
}

// ---- trees (steps 2 and 3) ----

void ThreadTree::append_child(uint32_t parent, uint32_t child)
{
    Node& p = nodes_[parent];
    nodes_[child].next = none;
    if (p.first == none)
        p.first = child;
    else
        nodes_[p.last].next = child;
    p.last = child;
}

void ThreadTree::append_children_of(uint32_t parent, uint32_t from)
{
    Node &p = nodes_[parent], &f = nodes_[from];
    if (f.first == none) return;
    if (p.first == none)
        p.first = f.first;
    else
        nodes_[p.last].next = f.first;
    p.last = f.last;
    f.first = f.last = none;
}

void ThreadTree::make_lists()
{
    order_.reserve(nodes_.size());
    for (uint32_t node = 0; node < nodes_.size(); ++node) {
        if (nodes_[node].parent == none)
            order_.push_back(node);
        else
            append_child(nodes_[node].parent, node);
    }
    roots_ = order_;
    for (std::size_t i = 0; i < order_.size(); ++i)
        for (uint32_t child = nodes_[order_[i]].first; child != none; child = nodes_[child].next)
            order_.push_back(child);
}

void ThreadTree::prune()
{
    // Children before their parents: what is promoted is final.
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
        uint32_t child = std::exchange(nodes_[*it].first, none);
        nodes_[*it].last = none;
        while (child != none) {
            const uint32_t next = nodes_[child].next;
            if (is_dummy(child))
                append_children_of(*it, child);
            else
                append_child(*it, child);
            child = next;
        }
    }
    std::vector<uint32_t> kept;
    for (const uint32_t root : roots_) {
        const uint32_t child = nodes_[root].first;
        if (!is_dummy(root) || (child != none && nodes_[child].next != none))
            kept.push_back(root);
        else if (child != none)
            kept.push_back(child);
    }
    roots_ = std::move(kept);
}

// ---- subjects (steps 4 and 5) ----

// The message that a thread is sorted by: its first one, or the earliest child of a dummy.
uint32_t ThreadTree::head(uint32_t root) const
{
    if (!is_dummy(root)) return root;
    uint32_t earliest = nodes_[root].first;
    for (uint32_t child = nodes_[earliest].next; child != none; child = nodes_[child].next)
        if (earlier(child, earliest)) earliest = child;
    return earliest;
}

void ThreadTree::gather_subjects()
{
    struct Root {
        uint32_t node, head;
    };
    std::vector<Root> sorted;
    sorted.reserve(roots_.size());
    uint32_t subjects = 0;
    for (const uint32_t root : roots_) {
        sorted.push_back({root, head(root)});
        subjects = std::max(subjects, message_of(sorted.back().head).subject + 1);
    }
    std::sort(sorted.begin(), sorted.end(), [&](const Root& a, const Root& b) { return earlier(a.head, b.head); });

    // 5.B: by subject, a place in roots_
    std::vector<uint32_t> table(subjects, none);
    for (uint32_t i = 0; i < sorted.size(); ++i) {
        const uint32_t node = roots_[i] = sorted[i].node;
        const uint32_t subject = message_of(sorted[i].head).subject;
        uint32_t& place = table[subject];
        if (subject == 0) continue;
        if (place == none) {
            place = i;
            continue;
        }
        const uint32_t other = roots_[place];
        if (!is_dummy(other) && (is_dummy(node) || (message_of(other).is_reply && !message_of(node).is_reply)))
            place = i;
    }
    // 5.C
    for (uint32_t i = 0; i < sorted.size(); ++i) {
        const uint32_t subject = message_of(sorted[i].head).subject;
        if (subject != 0 && table[subject] != i) merge(table[subject], i);
    }
    std::erase(roots_, none);
}

// Puts the thread at place `from` of roots_ to the one at place `into`, which has the same subject.
void ThreadTree::merge(uint32_t into, uint32_t from)
{
    const uint32_t node = roots_[from], other = roots_[into];
    if (is_dummy(other) && is_dummy(node)) {
        append_children_of(other, node);
    } else if (is_dummy(other) || (message_of(node).is_reply && !message_of(other).is_reply)) {
        append_child(other, node);
    } else {
        const uint32_t dummy = add_node();
        order_.push_back(dummy);
        append_child(dummy, other);
        append_child(dummy, node);
        roots_[into] = dummy;
    }
    roots_[from] = none;
}

// ---- order, and what it looks like (step 6) ----

void ThreadTree::sort_children(uint32_t node, std::vector<uint32_t>& scratch)
{
    if (nodes_[node].first == none || nodes_[nodes_[node].first].next == none) return;
    scratch.clear();
    for (uint32_t child = nodes_[node].first; child != none; child = nodes_[child].next) scratch.push_back(child);
    std::sort(scratch.begin(), scratch.end(), [&](uint32_t a, uint32_t b) { return earlier(a, b); });
    nodes_[node].first = none;
    for (const uint32_t child : scratch) append_child(node, child);
}

void ThreadTree::sort_all()
{
    std::vector<uint32_t> scratch;
    for (const uint32_t node : order_) sort_children(node, scratch);
    const auto first = [&](uint32_t root) { return is_dummy(root) ? nodes_[root].first : root; };
    std::sort(roots_.begin(), roots_.end(), [&](uint32_t a, uint32_t b) { return earlier(first(a), first(b)); });
}

void ThreadTree::put_thread(uint32_t root, bool uid, std::string& out) const
{
    constexpr uint32_t close = none;
    std::vector<uint32_t> waiting{root}, children;
    while (!waiting.empty()) {
        uint32_t node = waiting.back();
        waiting.pop_back();
        if (node == close) {
            out += ')';
            continue;
        }
        out += '(';
        for (bool begins = true;; begins = false) {
            if (!is_dummy(node)) append(out, begins ? "" : " ", uid ? message_of(node).uid : message_of(node).number);
            const uint32_t child = nodes_[node].first;
            if (child == none || nodes_[child].next != none) break;
            node = child;
        }
        waiting.push_back(close);
        if (nodes_[node].first != none && !is_dummy(node)) out += ' ';
        children.clear();
        for (uint32_t child = nodes_[node].first; child != none; child = nodes_[child].next) children.push_back(child);
        waiting.insert(waiting.end(), children.rbegin(), children.rend());
    }
}

void ThreadTree::put(bool uid, std::string& out)
{
    make_lists();
    prune();
    gather_subjects();
    sort_all();
    for (const uint32_t root : roots_) put_thread(root, uid, out);
}

} // namespace veredus::imap
