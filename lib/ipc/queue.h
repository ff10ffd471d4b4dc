// What writers tell qmgr, and what people and tools ask over the public socket (mailq, veredus queue).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

enum class QueueType : uint16_t {
    queued = 200,      // writer -> qmgr: Queued. One-way; a lost one is found by the scan when the writer reconnects
    disowned = 201,    // writer -> qmgr: Queued. One-way: their senders are told to come again, though their files may be there or come back
    list = 210,        // tool -> qmgr, call: ListRequest; answer: ListReply pages
    act = 211,         // tool -> qmgr, call: ActRequest; answer: ActReply
    status = 212,      // tool -> qmgr, call: empty; answer: text lines "key value"
    content = 213,     // tool -> qmgr, call: queue ID; answer: Status, fd of the mail file (owner of the mail and admins)
};

struct Queued {
    std::vector<std::string> ids;
    std::string encode() const;
    static Result<Queued> decode(std::string_view body);
};

// Which mails: all filters must hold. Empty: all that the caller may see.
struct Filter {
    std::vector<std::string> ids;
    std::string sender, recipient;      // exact address, "@domain" or "*part*"; "<>" is the null sender
    std::string reason;                 // substring of the reason
    std::string site;                   // next hop domain
    int64_t older_than_s = 0, younger_than_s = 0;   // 0: no bound
    std::string state;                  // "active", "deferred", "hold", "incoming"; empty: any
    bool any() const;                   // it selects something
};

struct ListRequest {
    Filter filter;
    std::string after;                  // continue after this ID (paging)
    std::string encode() const;
    static Result<ListRequest> decode(std::string_view body);
};

struct ListedRecipient {
    std::string address;
    std::string reason;                 // why it waits; empty when not tried yet
};
struct Listed {
    std::string id, state;              // state as in Filter
    int64_t arrival_us = 0, next_us = 0;   // next: next attempt, 0 when active or held
    uint64_t size = 0;
    uint32_t attempts = 0;
    std::string sender;                 // "" is <>
    std::vector<ListedRecipient> recipients;   // of those not finished
};
struct ListReply {
    bool more = false;
    std::vector<Listed> mails;
    std::string encode() const;
    static Result<ListReply> decode(std::string_view body);
};

enum class Act : uint8_t { flush = 1, hold = 2, release = 3, remove = 4, requeue = 5 };
struct ActRequest {
    Act act = Act::flush;
    Filter filter;
    bool all = false;                   // an empty filter acts on nothing unless this says so
    std::string encode() const;
    static Result<ActRequest> decode(std::string_view body);
};
// hold, release, remove and requeue are answered when they are durable.
struct ActReply {
    uint32_t code = 0;                  // a Code of control.h
    uint64_t count = 0;
    std::string text;                   // why not, or of which mails not yet
    std::string encode() const;
    static Result<ActReply> decode(std::string_view body);
};

}  // namespace veredus::ipc
