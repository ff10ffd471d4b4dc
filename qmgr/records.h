// The journal's records as qmgr writes them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/ipc/agent.h"
#include "lib/queue/journal.h"

namespace veredus::qmgr {

inline queue::Record record(queue::Event event, std::string_view id)
{
    queue::Record r;
    r.event = event;
    r.id = id;
    return r;
}

inline queue::Record outcome_record(std::string_view id, uint32_t index, uint8_t outcome, std::string dsn, std::string text)
{
    queue::Record r = record(queue::Event::outcome, id);
    r.recipient = index;
    r.outcome = outcome;
    r.dsn = std::move(dsn);
    r.text = std::move(text);
    return r;
}

// Which children of an expansion are doubles, and so have no number: an expansion is read back as it was written. Commands were doubles of each
// other whoever had them, at first.
constexpr uint8_t numbering_first = 0, numbering_now = 1;

// `by` is the local recipient whose alias or .forward it was; empty when the router's tables expanded it. `numbering` as in Mail::expand().
inline queue::Record expansion_record(std::string_view id, uint32_t parent, std::vector<queue::Child> children, std::string by, uint8_t numbering = numbering_now)
{
    queue::Record r = record(queue::Event::expansion, id);
    r.recipient = parent;
    r.text = std::move(by);
    r.outcome = numbering;
    r.children = std::move(children);
    return r;
}

// One for each recipient that the notification tells of: its sender may differ from that of others (owner-alias).
inline queue::Record notice_record(std::string_view id, uint32_t index, std::string notice_id)
{
    queue::Record r = record(queue::Event::bounced, id);
    r.recipient = index;
    r.text = std::move(notice_id);
    return r;
}

// A report that this recipient waits; no recipient and no ID: it was written long ago.
inline queue::Record delay_record(std::string_view id, uint32_t index, std::string notice_id)
{
    queue::Record r = notice_record(id, index, std::move(notice_id));
    r.outcome = static_cast<uint8_t>(ipc::Outcome::deferred);
    return r;
}

// `recipient` holds the hash of the destination, so that a start knows what waits for whom without opening a file.
inline queue::Record deferral_record(std::string_view id, uint32_t site, int64_t next_wall_us, uint32_t attempts, std::string dsn, std::string text)
{
    queue::Record r = record(queue::Event::deferred, id);
    r.recipient = site;
    r.time_us = next_wall_us;
    r.attempts = attempts;
    r.dsn = std::move(dsn);
    r.text = std::move(text);
    return r;
}

// Of a mail that the clock says is older than the time in which anybody could have tried it.
inline queue::Record aged_record(std::string_view id, int64_t nought_wall_us)
{
    queue::Record r = record(queue::Event::aged, id);
    r.time_us = nought_wall_us;
    return r;
}

inline queue::Record retry_record(std::string_view id, uint32_t index, std::string dsn, std::string text)
{
    queue::Record r = record(queue::Event::retry, id);
    r.recipient = index;
    r.dsn = std::move(dsn);
    r.text = std::move(text);
    return r;
}

}  // namespace veredus::qmgr
