// ~/.forward: where it may be, when it is believed, and what it says (forward(5)).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "local/expand.h"

namespace veredus::local {

struct ForwardNames {             // what $home, $user … stand for in forward_path
    std::string home, user, shell, extension, domain, local, recipient, recipient_delimiter;
};
// The paths that apply, in order. One that uses a name without a value ("${extension}" of plain user) does not; an
// extension never adds a directory.
std::vector<std::string> forward_paths(std::string_view setting, const ForwardNames& names);

// The setting with its names replaced; nothing when one without a value is used.
std::optional<std::string> expand_names(std::string_view setting, const ForwardNames& names);

// Commands put extensions into paths: one with a slash is none, as Postfix has it.
inline bool is_extension(std::string_view extension) { return extension.find('/') == std::string_view::npos; }

// $recipient_delimiter of a local part: the one of `delimiters` that it has, else the first of them.
std::string delimiter_in(std::string_view local, std::string_view delimiters);

struct ForwardFile {
    enum class Kind : uint8_t { none, found, deferred } kind = Kind::none;
    Targets targets;
    std::string path, text;       // text: why deferred
    std::string ignored;          // for the log: a file that is not believed, and why
};
// The first that is there decides. It must be a regular file of the user or of root that nobody else may write to; otherwise it is
// passed over with a word in the log, as Postfix does. An empty one is none. What cannot be read now defers the mail; but below a `home`
// that he may not search himself he has none. His group may write when it is his alone: of his number, or of the name `user` and
// without other members.
ForwardFile read_forward(const std::vector<std::string>& paths, uid_t uid, gid_t gid, const std::string& user = {}, const std::string& home = {});

constexpr std::size_t max_forward_size = 65'536;

}  // namespace veredus::local
