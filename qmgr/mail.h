// One open mail: its recipients, what became of each, and how they expand without doubles and without loops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/fd.h"
#include "lib/ipc/agent.h"
#include "lib/queue/file.h"
#include "qmgr/catalog.h"

namespace veredus::qmgr {

enum class Progress : uint8_t {
    unrouted,    // waits for the router
    routing,     // the router was asked
    queued,      // in the queue of its destination
    in_flight,   // an agent has it
    deferred,    // tried, later again
    finished,
};

// Beside ipc::Outcome: a recipient that went nowhere by a rule (discard:, an empty expansion), and one that another host took.
constexpr uint8_t outcome_discarded = 5;
constexpr uint8_t outcome_relayed = 6;

struct MailRecipient {
    std::string address;               // external form; user name, command or path for the other kinds
    std::string original;              // the address as it came with the mail
    std::string run_as, sender;        // sender: "-" is the envelope's
    std::string orcpt;
    std::string expanded_as;           // its full local address when local expanded it: its children bear this mark
    std::string dsn, text, remote_mta;
    uint32_t parent = no_recipient;
    uint16_t depth = 0;
    queue::Child::Kind kind = queue::Child::Kind::address;
    uint8_t notify = 0;
    Progress progress = Progress::unrouted;
    uint8_t outcome = 0;               // when finished
    bool recorded = false;             // its outcome is in the journal
    bool final_route = false;          // result of its own expansion: no further aliases
    bool report_owed = false;          // a success that the sender wants to hear of, and that nobody else reports
    bool list = false;                 // expanded into a list: with another sender, so that it was the end for this mail (RFC 3461 §5.2.7.1)
    uint64_t notice = 0;
    uint64_t named = 0;                // hash of the local part under which it came, which routing does not change
    bool open() const { return progress != Progress::deferred && progress != Progress::finished; }
};

struct ExpansionLimits {
    std::size_t recipients = 50'000;
    unsigned depth = 50;
    std::string_view origin;           // domain of a bare local part, for comparing
};

class Mail {
public:
    Mail(const Mail&) = delete;
    Mail(uint64_t number, Fd file, queue::Layout layout, mail::Envelope envelope);

    const uint64_t number;
    const std::string id;
    const std::shared_ptr<const Fd> descriptor;   // shared with a thread that reads it: it stays until both are done
    const Fd& file;
    const queue::Layout layout;
    const mail::Envelope envelope;
    const std::string sender;          // external form
    int64_t active_wall_us = 0, active_mono_us = 0;
    std::vector<MailRecipient> recipients;
    unsigned questions = 0;            // of it that the router has
    uint32_t unrouted_from = 0;        // none before it is unrouted
    std::vector<uint32_t> unrecorded;  // finished, and not in the journal yet
    unsigned waits = 0;                // steps under way that must end before it can be concluded
    unsigned attempts_in_flight = 0;
    unsigned crashes = 0;              // agents that died while they had it
    uint32_t site = 0;                 // of the last deferral
    std::vector<uint32_t> queued_at;   // hashes of destinations whose queues may hold something of it
    bool forced = false;               // somebody asked for an attempt now: defer_transports does not stop it
    bool remote = false;               // something of it goes to another host
    bool hold_wanted = false, remove_wanted = false;
    bool no_room = false;              // too much remote mail is open already: back to its record
    bool router_away = false;          // routing failed for want of a router
    bool notice_failed = false;        // a notification could not be written
    bool touched = false;              // stands in the list of mails to conclude

    // Brings the recipients to where the journal says they are.
    void restore(const History& history, const Reasons& reasons, const ExpansionLimits& limits);
    // Adds the children of `parent`, doubles dropped; a child that is an ancestor of its own becomes final delivery.
    // Deterministic: the journal keeps the children as they came, with `numbering`. Answers the new indexes; an error says which limit.
    Result<std::vector<uint32_t>> expand(uint32_t parent, const std::vector<queue::Child>& children, const ExpansionLimits& limits, uint8_t numbering = numbering_now);
    const std::string& effective_sender(const MailRecipient& recipient) const { return recipient.sender == "-" ? sender : recipient.sender; }
    // The nearest local recipient above it: a Delivered-To of that name tells the next visit that the mail was here.
    const std::string& forwarded_by(const MailRecipient& recipient) const;
    bool any_open() const;             // cheap when asked again and again
    bool all_finished() const;
    std::size_t open_count() const;    // recipients that are not finished

private:
    static std::string key_of(queue::Child::Kind kind, std::string_view text, std::string_view run_as, std::string_view origin, const MailRecipient* parent);
    bool comes_from(uint32_t index, uint32_t ancestor) const;
    std::unordered_map<std::string, uint32_t> seen_;
    mutable std::size_t open_at_ = 0;  // where one was open last
    std::unordered_multimap<uint32_t, uint32_t> also_from_;   // a dropped double: kept one -> the parent that named it again
};

}  // namespace veredus::qmgr
