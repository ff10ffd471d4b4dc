// THREAD: what is taken out of each message, and what becomes of it.
#include "lib/imap/thread.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/imap/thread_tree.h"

namespace veredus::imap {

struct Threader::Private {
    uint32_t node_of(uint32_t id);
    uint32_t own_node(const MessageKeys::Row& row);

    Thread::Algorithm algorithm = Thread::Algorithm::references;
    std::shared_ptr<MessageKeys> keys;
    ThreadTree tree;                     // REFERENCES
    std::vector<uint32_t> nodes;         // by number of the ID
    std::vector<ThreadMessage> messages; // ORDEREDSUBJECT
    std::vector<uint32_t> references;    // scratch
};

uint32_t Threader::Private::node_of(uint32_t id)
{
    if (id >= nodes.size()) nodes.resize(std::max<std::size_t>(keys->id_count(), id + 1u), ThreadTree::none);
    if (nodes[id] == ThreadTree::none) nodes[id] = tree.add_node();
    return nodes[id];
}

// The node of the message's ID; one of its own when it has none, or another message had it before.
uint32_t Threader::Private::own_node(const MessageKeys::Row& row)
{
    if (row.id == MessageKeys::none) return tree.add_node();
    const uint32_t node = node_of(row.id);
    return tree.has_message(node) ? tree.add_node() : node;
}

Threader::Threader(Thread::Algorithm algorithm, std::shared_ptr<MessageKeys> keys)
    : private_(std::make_unique<Private>())
{
    Private& p = *private_;
    p.algorithm = algorithm;
    p.keys = keys ? std::move(keys) : std::make_shared<MessageKeys>();
}

Threader::~Threader() = default;
Threader::Threader(Threader&&) noexcept = default;
Threader& Threader::operator=(Threader&&) noexcept = default;

Result<void> Threader::add(Candidate& candidate)
{
    Private& p = *private_;
    const bool with_ids = p.algorithm == Thread::Algorithm::references;
    const uint8_t parts = MessageKeys::sent | MessageKeys::subject | (with_ids ? MessageKeys::ids : 0);
    const MessageKeys::Row& row = *TRY(p.keys->row(candidate, parts));
    const ThreadMessage message{candidate.number, candidate.uid, row.sent_time, row.subject_number, row.is_reply};
    if (!with_ids) {
        p.messages.push_back(message);
        return {};
    }
    const uint32_t node = p.own_node(row);
    p.references.clear();
    const uint32_t* ids = p.keys->references(row);
    for (uint32_t i = 0; i < row.reference_count; ++i) p.references.push_back(p.node_of(ids[i]));
    p.tree.add_message(node, message, p.references);
    return {};
}

std::string Threader::finish(bool uid)
{
    Private& p = *private_;
    std::string out;
    if (p.algorithm == Thread::Algorithm::ordered_subject)
        put_ordered_subject(p.messages, uid, out);
    else
        p.tree.put(uid, out);
    return out;
}

} // namespace veredus::imap
