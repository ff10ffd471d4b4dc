// THREAD: what is taken out of each message, and what becomes of it.
#include "lib/imap/thread.h"

#include <string_view>
#include <vector>

#include "lib/imap/base_subject.h"
#include "lib/imap/interner.h"
#include "lib/imap/message_ids.h"
#include "lib/imap/sent_date.h"
#include "lib/imap/thread_tree.h"

namespace veredus::imap {

namespace {

constexpr std::size_t most_references = 1000; // of one message; the last ones count
constexpr std::size_t most_ids = 4'000'000;   // of one command: what is referred to beyond is not noticed

} // namespace

struct Threader::Private {
    Result<void> take_subject(Candidate& candidate, ThreadMessage& message);
    Result<void> take_references(Candidate& candidate);
    Result<uint32_t> own_node(Candidate& candidate);
    void refer(std::string_view id);

    Thread::Algorithm algorithm = Thread::Algorithm::references;
    Needs needs;
    Interner subjects, ids;
    std::vector<uint32_t> node_of_id;
    ThreadTree tree;                      // REFERENCES
    std::vector<ThreadMessage> messages;  // ORDEREDSUBJECT
    std::vector<std::string_view> bodies; // scratch, and so are these
    std::vector<uint32_t> references;
    std::string key, id_scratch;
};

Result<void> Threader::Private::take_subject(Candidate& candidate, ThreadMessage& message)
{
    bodies.clear();
    TRY(candidate.header("subject", bodies));
    key.clear();
    if (!bodies.empty()) message.is_reply = put_subject_key(bodies[0], key);
    message.subject = subjects.number(key);
    return {};
}

void Threader::Private::refer(std::string_view id)
{
    if (ids.size() >= most_ids && !ids.find(id)) return;
    const uint32_t number = ids.number(id);
    if (number == node_of_id.size()) node_of_id.push_back(tree.add_node());
    references.push_back(node_of_id[number]);
}

// RFC 5256 §3: References, else the first of In-Reply-To.
Result<void> Threader::Private::take_references(Candidate& candidate)
{
    references.clear();
    bodies.clear();
    TRY(candidate.header("references", bodies));
    std::string_view id;
    for (std::string_view body : bodies) {
        while (next_message_id(body, id, id_scratch)) {
            if (references.size() == 2 * most_references)
                references.erase(references.begin(), references.begin() + most_references);
            refer(id);
        }
    }
    if (references.size() > most_references) references.erase(references.begin(), references.end() - most_references);
    if (!references.empty()) return {};
    bodies.clear();
    TRY(candidate.header("in-reply-to", bodies));
    if (!bodies.empty() && next_message_id(bodies[0], id, id_scratch)) refer(id);
    return {};
}

// The node of the message's ID; one of its own when it has none, or another message had it before.
Result<uint32_t> Threader::Private::own_node(Candidate& candidate)
{
    bodies.clear();
    TRY(candidate.header("message-id", bodies));
    std::string_view id;
    if (!bodies.empty() && next_message_id(bodies[0], id, id_scratch)) {
        const uint32_t number = ids.number(id);
        if (number == node_of_id.size()) node_of_id.push_back(tree.add_node());
        if (!tree.has_message(node_of_id[number])) return node_of_id[number];
    }
    return tree.add_node();
}

Threader::Threader(Thread::Algorithm algorithm) : private_(std::make_unique<Private>())
{
    Private& p = *private_;
    p.algorithm = algorithm;
    p.subjects.number(""); // ThreadMessage::subject 0
    p.needs.received = true;
    p.needs.fields = {"subject", "date"};
    if (algorithm != Thread::Algorithm::references) return;
    for (const char* field : {"message-id", "references", "in-reply-to"}) p.needs.fields.emplace_back(field);
}

Threader::~Threader() = default;
Threader::Threader(Threader&&) noexcept = default;
Threader& Threader::operator=(Threader&&) noexcept = default;

const Needs& Threader::needs() const
{
    return private_->needs;
}

Result<void> Threader::add(Candidate& candidate)
{
    Private& p = *private_;
    ThreadMessage message;
    message.number = candidate.number;
    message.uid = candidate.uid;
    message.date = TRY(sent_time(candidate, p.bodies));
    TRY(p.take_subject(candidate, message));
    if (p.algorithm == Thread::Algorithm::ordered_subject) {
        p.messages.push_back(message);
        return {};
    }
    const uint32_t node = TRY(p.own_node(candidate));
    TRY(p.take_references(candidate));
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
