// Lookup tables of every type (main.cf(5)): text read, compiled to memory, re-read when it changes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/mail/address.h"
#include "lib/net/address.h"
#include "lib/table/source.h"

namespace veredus::table {

struct RightSide {        // what stands behind a key or a pattern
    std::string where;    // "file, line 3", or the table
    std::string text;
    bool variable = false;    // it has $1 of a pattern, which stands in it as it was written
};

class Table {
public:
    virtual ~Table() = default;
    // The value of `key`, nothing, or an Error that defers (never bounces). Keys of file tables are matched in lower case.
    virtual Result<std::optional<std::string>> find(std::string_view key) const = 0;
    // Re-reads when the source changed; `changed` becomes true when what it answers may differ now. An error: what was read before
    // answers, but the source cannot be read, as each call says until it can. Of tables made of several both may come at once.
    virtual Result<void> refresh(bool& changed)
    {
        (void)changed;
        return {};
    }
    virtual bool restless() const { return false; }                    // a source may be half written: what is missing may still come
    virtual std::vector<std::string> sources() const { return {}; }    // files to watch
    virtual std::string origin(std::string_view key) const { (void)key; return {}; }   // "file:line" that answers, for explain
    virtual bool is_pattern() const { return false; }                  // regexp:, pcre:, cidr:, static: match whole keys only
    // All that it may answer, for who checks what stands there. Of tables that ask others, or that are made of others, nothing.
    virtual std::vector<RightSide> right_sides() const { return {}; }
    virtual std::vector<std::string> problems() const { return {}; }   // "file, line 3: …": lines that are not used
};

// "hash:/etc/veredus/transport", "inline:{a=b, c=d}", "static:x", "regexp:/…", "pcre:/…", "cidr:/…", "texthash:…",
// "unix:passwd.byname", "proxy:hash:…" (prefix dropped), "lmdb:", "btree:", "cdb:", "dbm:". A missing file is an error that names
// it. Aliases files have their own reader (aliases.h).
Result<std::unique_ptr<Table>> open(const std::string& spec);

// For a role in a jail: the text of a file comes from `read` (what master sent), and the table never changes; whoever hears that a
// file changed opens it anew. Tables that look at the system (unix:) are an error there.
using ReadText = std::function<Result<std::string>(const std::string& path)>;
Result<std::unique_ptr<Table>> open_from(const std::string& spec, const ReadText& read);
// The file behind a spec ("/etc/veredus/access" of "hash:/etc/veredus/access"); nothing for those without one.
std::optional<std::string> file_of(std::string_view spec);

class Chain {      // several tables asked in order
public:
    static Result<Chain> open(const std::vector<std::string>& specs);
    static Result<Chain> open_from(const std::vector<std::string>& specs, const ReadText& read);
    Result<std::optional<std::string>> find(std::string_view key) const;
    // For a part of an address (user, @domain, a domain's parent): pattern tables are not asked.
    Result<std::optional<std::string>> find_part(std::string_view key) const;
    Result<void> refresh(bool& changed);
    bool empty() const { return tables_.empty(); }
    bool restless() const;
    std::vector<std::string> sources() const;
    std::vector<std::string> problems() const;
    std::string origin(std::string_view key) const;
    const std::vector<std::unique_ptr<Table>>& tables() const { return tables_; }

private:
    std::vector<std::unique_ptr<Table>> tables_;
};

struct AddressHit {
    std::string value;
    std::string key;          // the key that was found
    std::string extension;    // "+ext" when the key was found without the address's extension
};
Result<std::optional<AddressHit>> find_address_hit(const Chain& chain, const mail::Address& address, std::string_view delimiters, bool domain_is_ours);

// Postfix's order of keys for an address: user+ext@domain, user@domain, user+ext, user (when the domain is ours), @domain.
Result<std::optional<std::string>> find_address(const Chain& chain, const mail::Address& address, std::string_view delimiters, bool domain_is_ours);

// mydestination, relay_domains, mynetworks: names, .parent domains, /file/name, TYPE:TABLE, !negation, in order.
class MatchList {
public:
    static Result<MatchList> domains(const std::vector<std::string>& patterns, bool parents_match);
    static Result<MatchList> networks(const std::vector<std::string>& patterns);
    Result<bool> matches_domain(std::string_view domain) const;
    Result<bool> matches_client(const net::Address& client) const;
    bool lists_singly(const net::Address& client) const;   // by itself, not through a range (design.md §3)
    Result<void> refresh(bool& changed);
    bool restless() const;
    std::vector<std::string> sources() const;
    bool empty() const { return items_.empty(); }

private:
    struct Item {
        bool negated = false;
        std::string name;                       // domain pattern
        std::optional<net::Network> network;
        std::shared_ptr<Table> table;           // shared_ptr: a MatchList may be copied
    };
    static Result<MatchList> compile(const std::vector<std::string>& patterns, bool networks, bool parents_match);
    Result<void> add(std::string_view pattern, bool negated, int depth);
    Result<void> add_file(const std::string& path, bool negated, int depth);
    Result<bool> item_matches_domain(const Item& item, std::string_view domain) const;
    std::vector<Item> items_;
    std::vector<std::string> patterns_;         // as configured: compiled anew when a file changed
    std::vector<Source> files_;
    bool parents_ = false, networks_ = false;
    bool due_ = false;                          // what the files say now could not be compiled
};

}  // namespace veredus::table
