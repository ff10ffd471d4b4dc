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
    // What Dovecot had noted of a file.
    struct Noted {
        std::string uidl, guid; // empty: nothing
    };
    // Where the names that UIDL says come from. It outlives the drop.
    struct Names {
        pop3::UidlFormat format;
        bool mbox = false;  // not a Maildir: its messages have no files
        bool reuse = false; // what another server noted in a message goes before the format (pop3_reuse_xuidl)
        std::unordered_map<std::string, Noted> noted; // by base name of the file; its UIDL goes before all else
    };
    // The folder is the process's, and shared with the user's other sessions; it outlives the drop. `deleted_flag`, a keyword: who has it is
    // not there, and what is to be removed gets it instead (pop3_deleted_flag); empty: there is none.
    static Result<std::unique_ptr<Drop>> open(store::Folder& inbox, const Names& names, const std::string& deleted_flag);
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
    Drop(store::Folder& inbox, const Names& names, std::string deleted_flag) : inbox_(inbox), names_(names), deleted_flag_(std::move(deleted_flag)) {}
    bool is_hidden(const store::Message& m) const;
    Result<std::size_t> hide(const std::vector<uint32_t>& uids);
    void name_all();
    void make_names();
    void take_kept();
    void take_over_names();
    std::string head_of(uint32_t uid);
    struct Mail {
        uint32_t uid = 0;
        uint64_t size = 0;
        std::string name;  // once named_
        bool kept = false; // another server's
    };
    store::Folder& inbox_;
    const Names& names_;
    std::string deleted_flag_;
    std::vector<Mail> mails_;
    std::vector<uint32_t> seen_;
    uint32_t uidvalidity_ = 0;
    bool named_ = false;      // the messages have their names: when UIDL is asked for
    std::size_t reading_ = 0; // whose reader it is
    std::unique_ptr<store::WireReader> reader_;
};

} // namespace veredus::pop3d
