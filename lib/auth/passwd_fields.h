// The fields of a passwd-file's line.
#pragma once

#include <string_view>
#include <vector>

namespace veredus::auth {

// user:password:uid:gid:gecos:home:shell:extra fields. One to eight of them, views into `line`; the eighth is the rest of
// the line, for what is in it has colons of its own (an IPv6 network of allow_nets, userdb_mail=maildir:~/Maildir).
std::vector<std::string_view> passwd_fields(std::string_view line);

}  // namespace veredus::auth
