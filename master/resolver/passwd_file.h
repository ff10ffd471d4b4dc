// A passwd-file as Dovecot reads it: user:password:uid:gid:gecos:home:shell:extra. Here only who the users are; passwords are
// skipped unread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/user.h"

namespace veredus::resolver {

class PasswdFile {
public:
    // Lines that do not fit are left out and counted: one bad line must not lock out everybody.
    // Empty uid and gid become `default_uid` and `default_gid`; names of accounts and groups are looked up (blocking). A user whose ids, home
    // or userdb_mail are not understood is found as temporary, with a text that begins with the line's number.
    static PasswdFile parse(std::string_view text, uint32_t default_uid, uint32_t default_gid);
    const ipc::UserReply* find(const std::string& name) const;
    std::size_t size() const { return users_.size(); }
    std::size_t misfits() const { return misfits_; }
    const std::vector<std::string>& problems() const { return problems_; }    // of users that are temporary, the first 20: "line 7: ..."

private:
    std::unordered_map<std::string, ipc::UserReply> users_;
    std::vector<std::string> problems_;
    std::size_t misfits_ = 0;
};

}  // namespace veredus::resolver
