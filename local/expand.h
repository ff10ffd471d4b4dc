// What an alias expands to: chains, lists, owners, commands and files, decided without a loop or a process.
#pragma once

#include <pwd.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/queue/journal.h"
#include "lib/table/aliases.h"

namespace veredus::local {

using Targets = std::vector<table::AliasTarget>;

// Whose a file is: a user's name and home; both empty: root's.
struct Owner {
    std::string name = {}, home = {};
};

// What an alias says, and whose the table is: its commands and files are his.
struct Alias {
    Targets targets;
    Owner owner;
};

// One ":include:" file as read.
struct Include {
    Targets targets;
    Owner owner;
    uid_t uid = 0;
    std::size_t size = 0;         // bytes
};

// What one expansion may take; more defers. Users write lists, and the threads that read them are few.
struct ExpansionBounds {
    std::size_t lists = 500, list_bytes = 16u << 20;
    std::size_t targets = 200'000;               // with all that are named again
    std::chrono::milliseconds list_time{10'000}; // after that no further list is read
};

struct Allowed {                  // allow_mail_to_commands, allow_mail_to_files
    bool alias = true, forward = true, include = false;
    static Result<Allowed> parse(const std::vector<std::string>& words);
    static Allowed among(const std::vector<std::string>& words);   // words of others are none of our business
};

struct Policy {
    std::string origin;           // myorigin: the domain of names without one
    std::string delimiters;       // recipient_delimiter
    Allowed commands, files;
    bool owners = true;           // owner_request_special: owner-NAME, an alias, gets the bounces of NAME
    bool expand_owner = false;    // expand_owner_alias: the one address behind owner-NAME is the sender, not owner-NAME
    Allowed propagate{false, false, false};   // propagate_unmatched_extensions: where "+ext" goes on to the members
    ExpansionBounds bounds;
    std::function<Result<bool>(std::string_view domain)> is_local;
};

struct Sources {
    std::function<Result<std::optional<Alias>>(std::string_view name)> alias;   // lower-case name; an Error defers
    std::function<Result<Include>(const std::string& path)> include;
};

struct Expansion {
    enum class Kind : uint8_t { none, expanded, deferred, failed } kind = Kind::none;   // none: no alias of that name
    std::vector<queue::Child> children;
    std::string dsn, text;
};

// The alias of `local` (with its extension, then without). Names of other aliases are followed here and now, so that a chain that
// comes back to a name means that user's mailbox, as Postfix has it, and never drops the mail. `null_sender`: a bounce
// keeps its empty sender, whoever owns the list. A list is read once for each user whose rights it has, as Postfix has it: two that
// include each other are both read and no loop. What a person has to mend defers, and names the alias or the list and its line.
// What is not allowed, or cannot be read in an entry of an aliases file, costs the others nothing: it is a child that fails ("error:5.7.1
// text" takes it). When it is all there is, the whole fails, or is deferred if something could not be read. No child at all: the lists
// that it leads to name nobody.
Expansion expand_alias(const Policy& policy, const Sources& sources, std::string_view local, std::string_view domain, bool null_sender);

// A .forward file's targets: `user` is whose it is. The user's own name is his mailbox. `unmatched`: "+ext" of the address when the
// file is not that extension's own. `self`: the address itself, local@domain. `home`: his, which "~/" stands for.
Expansion expand_forward(const Policy& policy, const Sources& sources, const Targets& targets, std::string_view user, std::string_view unmatched = {}, std::string_view self = {},
                         std::string_view home = {});

// run_as of a child that is refused: the transport error, and why.
constexpr std::string_view refused_mark = "error:5.";

// mailbox children: "\user" skips .forward as well as aliases, "user" only the aliases.
std::string final_mailbox(std::string_view user);

// Reads an include file: absolute path, regular, on a disk, not writable by everyone, at most `limit` bytes. No owner: a .forward's lists
// have the rights of its user. Errors show nothing of what is in it.
Result<Include> read_include(const std::string& path, std::size_t limit);
// The same with its owner, for lists of aliases. Who cannot be named now makes the mail wait: taken for root's, its commands would run
// as default_privs.
Result<Include> read_owned_include(const std::string& path, std::size_t limit);
// The user. `lookup` is getpwuid_r or what a test has in its place.
Result<Owner> owner_of(uid_t uid, decltype(&::getpwuid_r) lookup);

constexpr std::size_t max_list_size = 1u << 20;
constexpr std::size_t max_children = 50'000;             // of an alias, its lists and theirs
constexpr std::size_t max_forward_children = 10'000;
constexpr std::size_t max_children_bytes = 8u << 20;     // half a frame of qmgr's journal, which has an expansion as a whole
constexpr int max_depth = 50;

}  // namespace veredus::local
