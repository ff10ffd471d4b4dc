// A passwd-file as Dovecot has it, as far as it is about passwords: user:password:uid:gid:gecos:home:shell:extra fields.
#pragma once

#include <unordered_map>

#include "lib/auth/passdb.h"

namespace veredus::auth {

class PasswdFile final : public Passdb {
public:
    // Lines that do not fit are left out and named: one bad line must not lock out everybody. `key` chooses the form that unknown users
    // are compared with.
    static std::shared_ptr<const PasswdFile> parse(std::string_view text, std::string key, std::vector<std::string>* problems);
    Result<std::optional<Found>> find(const std::string& user) const override;
    std::string likely_password(std::string_view user) const override;
    bool all_scram(bool sha1) const override { return can_login_ > 0 && (sha1 ? scram_sha1_ : scram_sha256_) == can_login_; }
    bool all_plain() const override { return can_login_ > 0 && plain_ == can_login_; }
    std::string stamp() const override { return stamp_; }
    bool is_of(std::string_view text) const;       // was it parsed from this text?
    std::size_t size() const { return users_.size(); }
    // "line 3" of the first who can log in and has neither a secret for SCRAM with this digest nor his password in clear, if others have
    // such a secret; empty: there is no such quarrel.
    std::string without_scram(bool sha1) const;
    bool has_scram(bool sha1) const { return (sha1 ? secrets_sha1_ : secrets_sha256_) > 0; }    // made for it, not a password in clear

private:
    std::unordered_map<std::string, Found> users_;
    std::vector<std::string> forms_;               // of those who can log in
    std::string key_, stamp_;
    std::size_t can_login_ = 0, scram_sha1_ = 0, scram_sha256_ = 0, plain_ = 0, secrets_sha1_ = 0, secrets_sha256_ = 0;
    unsigned without_sha1_ = 0, without_sha256_ = 0;    // the first such line; 0: none
};

// The place of a user's line in a passwd-file: [begin, end) without the line end; nothing when he has none.
std::optional<std::pair<std::size_t, std::size_t>> find_line(std::string_view text, std::string_view user);
// What keeps the line of this user from being used, as parse() tells it: "line 3: …"; nothing when it fits or is not there.
std::optional<std::string> line_problem(std::string_view text, std::string_view user);
// Is it a name that a passwd-file can hold?
bool is_user_name(std::string_view user);

}  // namespace veredus::auth
