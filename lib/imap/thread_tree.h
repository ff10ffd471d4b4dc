// The trees of THREAD (RFC 5256 §3) over numbers only: messages, and references between them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace veredus::imap {

struct ThreadMessage {
    uint32_t number = 0, uid = 0;
    int64_t date = 0;      // sent date, seconds since 1970
    uint32_t subject = 0;  // equal for equal base subjects; 0: an empty one
    bool is_reply = false; // or a forward
};

// RFC 5256 §2.2: by sent date, then by number.
bool is_earlier(const ThreadMessage& a, const ThreadMessage& b);

// Appends "(1)(2 3)(4 (5)(6))". Orders `messages` anew.
void put_ordered_subject(std::vector<ThreadMessage>& messages, bool uid, std::string& out);

// REFERENCES. Nodes are messages, or only referred to. Add messages by ascending number, then put() once.
class ThreadTree {
public:
    static constexpr uint32_t none = UINT32_MAX;
    uint32_t add_node(); // 0, 1, 2…
    bool has_message(uint32_t node) const { return nodes_[node].message != none; }
    // The node's message; `references` are the nodes of its ancestors, oldest first.
    void add_message(uint32_t node, const ThreadMessage& message, const std::vector<uint32_t>& references);
    void put(bool uid, std::string& out);

private:
    struct Node {
        uint32_t message = none;
        uint32_t parent = none;
        uint32_t children = 0;                           // how many, while links are made
        uint32_t first = none, last = none, next = none; // then: the children as a list
    };
    bool is_dummy(uint32_t node) const { return nodes_[node].message == none; }
    const ThreadMessage& message_of(uint32_t node) const { return messages_[nodes_[node].message]; }
    bool earlier(uint32_t a, uint32_t b) const { return is_earlier(message_of(a), message_of(b)); }
    uint32_t head(uint32_t root) const;
    bool would_loop(uint32_t parent, uint32_t child);
    void link(uint32_t parent, uint32_t child);
    void append_child(uint32_t parent, uint32_t child);
    void append_children_of(uint32_t parent, uint32_t from);
    void make_lists();
    void prune();
    void gather_subjects();
    void merge(uint32_t into, uint32_t from);
    void sort_children(uint32_t node, std::vector<uint32_t>& scratch);
    void sort_all();
    void put_thread(uint32_t root, bool uid, std::string& out) const;

    std::vector<Node> nodes_;
    std::vector<ThreadMessage> messages_;
    std::vector<uint32_t> roots_; // none: merged into another
    std::vector<uint32_t> order_; // parents before their children
    uint64_t steps_ = 0;          // that looking for loops took
};

} // namespace veredus::imap
