// The recipient's own mailbox, and no limit but the kernel's.
#include "local/placement.h"

#include <sys/stat.h>

#include "lib/base/text.h"

namespace veredus::local {

Result<Plan> OwnMailbox::place(const Letter&, const Addressed& to)
{
    std::string mailbox(to.mailbox);
    if (plus_folders_) mailbox = plus_folder(mailbox, to.extension);
    Plan plan;
    plan.copies.push_back({std::move(mailbox), 0, {}});
    return plan;
}

std::vector<store::Delivered> KernelQuota::admit(const std::string&, std::span<const uint64_t> sizes)
{
    return std::vector<store::Delivered>(sizes.size());
}

std::string plus_folder(const std::string& maildir, std::string_view extension)
{
    if (!maildir.ends_with('/') || extension.empty() || extension.size() > 200) return maildir;
    for (const char c : extension)
        if (!is_alnum(c) && std::string_view("-_.+=").find(c) == std::string_view::npos) return maildir;
    if (extension.front() == '.' || extension.back() == '.' || extension.find("..") != std::string_view::npos)
        return maildir;
    std::string folder = cat(maildir, '.', extension, '/');
    // A link leads to where IMAP, which stays in the Maildir, does not follow.
    struct stat st {};
    if (::lstat(folder.substr(0, folder.size() - 1).c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return maildir;
    return ::lstat(cat(folder, "cur").c_str(), &st) == 0 && S_ISDIR(st.st_mode) ? folder : maildir;
}

} // namespace veredus::local
