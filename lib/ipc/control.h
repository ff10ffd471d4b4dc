// What master and a role say to each other over the role's fd 3, and what master tells a zygote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

enum class Control : uint16_t {
    hello = 1,         // master -> role: Hello; fds: settings memfd, then the log file when there is one
    listener = 2,      // master -> role: Listener; fd. Between hello and begin, or later on reload
    begin = 3,         // master -> role: all is there, start
    ready = 4,         // role -> master
    peer = 5,          // master -> role: Peer; fd: a neighbour connected to you
    neighbour = 6,     // role -> master, call: Neighbour; answer: Status, fd when ok
    worker = 7,        // role -> master, call: Worker; answer: Status, fd when ok (a channel to a process of that user)
    settings = 8,      // master -> role, call: fd (memfd); answer: Status
    stop = 9,          // master -> role: finish what you do, then exit
    ping = 10,         // master -> role, call: answer: Status ok (watchdog)
    log_file = 11,     // master -> role: fd of the fresh log file
    file = 12,         // master -> role: File; fd: a watched file changed (resolv.conf …); also between hello and begin
    failed = 13,       // role -> master: Status: why the role cannot start; it exits next
    unix_socket = 15,  // role -> master, call: File (a path); answer: Status, fd when ok: connected to that socket
    unlisten = 14,     // master -> role: Listener: accept there no more (a reload took it away)
    ticket = 16,       // authd -> master, call: Ticket (lib/ipc/login.h); answer: Status
    taken = 18,        // login stage -> master: it has its client and accepts no more (login_process_per_connection)
    make_room = 19,    // master -> login stage: a client without a login is to go, others wait for a process
    worn = 20,         // login stage -> master, call: it has had login_max_use clients; answer: Status, ok: taken is to follow
    enter = 17,        // login stage -> master, call: Enter (lib/ipc/login.h), fd; answer: Status, of ok its text the session's process ID
};

struct Hello {
    std::string role, user, group, jail;    // jail empty: none; user empty: stays root (authd) or unprivileged
    std::string extra_groups;               // blank-separated names
    uint32_t instance = 0, slot = 0;        // slot: of queue IDs, for writers
    bool unprivileged = false, keep_privilege_gain = false;   // keep_…: no PR_SET_NO_NEW_PRIVS (local worker)
    std::string config_directory, queue_directory, run_directory;
    std::string log_ident, log_path;
    uint8_t log_target = 0;                 // log::Target
    bool log_rfc3339 = false;
    bool quiet = false;                     // what all processes of the role see when they start was said a while ago
    std::string encode() const;
    static Result<Hello> decode(std::string_view body);
};

struct Listener {
    std::string name, address;              // "smtpd", "public", "lockd"; address as configured, "/tls" kept
    std::string encode() const;
    static Result<Listener> decode(std::string_view body);
};

struct Neighbour {                          // also Peer
    std::string role;
    uint32_t instance = 0;
    std::string encode() const;
    static Result<Neighbour> decode(std::string_view body);
};

struct Worker {
    enum class By : uint8_t { name, table, line };
    std::string user;       // a name; else "uid:gid"
    std::string of{};       // a virtual user whose mailbox these ids keep: an address, of table, a name, of line
    By by = By::name;       // table: as virtual_uid_maps and virtual_gid_maps say; line: as his line of a passwd-file says
    std::string encode() const;
    static Result<Worker> decode(std::string_view body);
};

struct File {
    std::string name;
    std::string encode() const;
    static Result<File> decode(std::string_view body);
};

enum class Code : uint8_t { ok = 0, unavailable = 1, refused = 2, unknown = 3, invalid = 4 };   // unavailable: try again later
struct Status {
    Code code = Code::ok;
    std::string text;
    std::string encode() const;
    static Result<Status> decode(std::string_view body);
};

// Fixed size, so that a zygote parses nothing before it forks: sent with one fd (the worker's channel) over the zygote's fd 3.
struct Serve {
    char name[256];         // NUL-terminated
    char home[1024];
    char shell[256];
    char mailbox[1024];     // where his mail is, when it is not where the settings say; empty otherwise
    uint32_t uid, gid;
    uint8_t unprivileged;   // no setuid: the trial mode
    uint8_t reserved[7];
};

}  // namespace veredus::ipc
