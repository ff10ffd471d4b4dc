// An inbox as POP3 sees it: the messages as they were when the session began.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/pop3/transaction.h"
#include "lib/pop3/uidl.h"
#include "lib/store/folder.h"

namespace veredus::pop3d {

class Drop final : public pop3::Maildrop {
public:
    // The folder is the process's, and shared with the user's other sessions; it and the format outlive the drop.
    // `reuse`: what another server noted in a message goes before the format (pop3_reuse_xuidl).
    // `kept`: what another server's UIDL said, by base name of the file; before all else.
    using Kept = std::unordered_map<std::string, std::string>;
    static Result<std::unique_ptr<Drop>> open(store::Folder& inbox, const pop3::UidlFormat& format, const Kept& kept, bool reuse);
    std::size_t count() const override { return mails_.size(); }
    uint64_t size(std::size_t number) const override { return mails_[number - 1].size; }
    std::string uid(std::size_t number) override;
    Result<void> prepare(std::size_t number) override;
    Result<std::string> read(std::size_t number, uint64_t offset, std::size_t most) override;
    void retrieved(std::size_t number) override { seen_.push_back(mails_[number - 1].uid); }
    Result<std::size_t> remove(const std::vector<std::size_t>& numbers) override;
    // What was fetched whole is seen from now on.
    Result<void> mark_seen();

private:
    void take_kept(const Kept& kept);
    Drop(store::Folder& inbox, const pop3::UidlFormat& format, bool reuse)
        : inbox_(inbox), format_(format), reuse_(reuse)
    {}
    void take_over_names();
    struct Mail {
        uint32_t uid = 0;
        uint64_t size = 0;
        std::string name;
        bool kept = false; // another server's
    };
    store::Folder& inbox_;
    const pop3::UidlFormat& format_;
    std::vector<Mail> mails_;
    std::vector<uint32_t> seen_;
    bool reuse_;              // and it has not been done yet
    std::size_t reading_ = 0; // whose reader it is
    std::unique_ptr<store::WireReader> reader_;
};

} // namespace veredus::pop3d
