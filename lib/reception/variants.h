// Settings as they hold for one client: what is not announced to him (smtpd_discard_ehlo_keyword_address_maps), and whether bare
// newlines are forgiven him (smtpd_forbid_bare_newline_exclusions).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/net/address.h"
#include "lib/smtp/server.h"
#include "lib/table/table.h"

namespace veredus::reception {

struct Settings;

struct ClientRules {
    std::vector<std::string> discarded;            // smtpd_discard_ehlo_keywords
    std::shared_ptr<const table::Chain> discards;  // by client address: other keywords instead; null: none. shared_ptr: settings are copied
    table::MatchList bare_lf_forgiven;
};

// What is not announced is not understood either. Words that name no extension are passed over.
void discard_keyword(smtp::Limits& limits, std::string_view keyword);
std::vector<std::string> unknown_keywords(const std::vector<std::string>& keywords);

// Few: clients that are treated alike share one.
class Variants {
public:
    std::shared_ptr<const Settings> find(const std::shared_ptr<const Settings>& base, const net::Address& client);
    void forget() { made_.clear(); }

private:
    std::map<std::pair<const Settings*, std::string>, std::shared_ptr<const Settings>> made_;
};

}  // namespace veredus::reception
