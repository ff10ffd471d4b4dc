// What takes the place of a user's mailbox: another transport or a command (mailbox_transport, fallback_transport, mailbox_command and
// their tables).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/table/held.h"
#include "lib/table/table.h"

namespace veredus::local {

struct PlaceSettings {
    std::string transport, fallback_transport;               // TRANSPORT:NEXTHOP, empty: none
    std::string command;                                     // empty: none
    std::vector<std::string> transport_maps, fallback_maps, command_maps;   // table specs, asked with the user's name
    std::vector<std::string> pipes;                          // names of pipe_transports: transports too
};

// As it stands in ipc::Target::run_as of an address or a mailbox between dispatcher and worker, with a mark in front: "/path" a
// virtual user's mailbox, "|command", ">transport:nexthop" (the worker then only asks .forward). Empty: the user's own mailbox.
constexpr char command_mark = '|', transport_mark = '>';

struct Place {
    enum class Kind : uint8_t { mailbox, transport, command, deferred } kind = Kind::mailbox;
    std::string value;             // the transport with its next hop; the command; why deferred
};

// A transport that may be handed a user's mail, as it is kept: "defer:" is "retry:". `pipes`: further names. An Error for one that does
// not exist, that would come back here, or that is too long.
Result<std::string> check_transport(std::string_view text, const std::vector<std::string>& pipes = {});

// Tables may take their time: ask on a thread beside the loop when asks_tables() says so.
class Places {
public:
    static Result<std::shared_ptr<Places>> create(PlaceSettings settings);    // shared_ptr: questions under way keep the one they began with
    explicit Places(PlaceSettings settings);
    void refresh();                // changed tables are in force at once; a trouble that stays is said once
    bool asks_tables() const { return !settings_.transport_maps.empty() || !settings_.command_maps.empty(); }
    bool unknown_asks_tables() const { return !settings_.fallback_maps.empty(); }
    bool has_fallback() const { return unknown_asks_tables() || !settings_.fallback_transport.empty(); }
    Place of_mailbox(const std::string& user) const;         // Postfix's order: transport maps, transport, command maps, command
    Place of_unknown(const std::string& user) const;         // who has no account; Kind::mailbox: nothing is set for him

private:
    using Chain = table::Held<table::Chain>;
    bool ask(const Chain& chain, const char* setting, const std::string& user, Place::Kind kind, Place& place) const;
    PlaceSettings settings_;
    mutable std::mutex mutex_;
    Chain transports_, commands_, fallbacks_;
    std::vector<std::string> trouble_;
};

}  // namespace veredus::local
