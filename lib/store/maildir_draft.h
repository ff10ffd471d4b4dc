// A mail on its way into a Maildir folder: a file in tmp/ until it gets its name in cur/.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/disk/parallel_sync.h"
#include "lib/store/content.h"
#include "lib/store/facts.h"
#include "lib/store/maildir.h"
#include "lib/store/maildir_folder.h"

namespace veredus::store {

// Of a file that nobody has made before.
MaildirName unique_name();

// The directory of the drafts, and those of them that have their file open: few, however many a command has.
struct MaildirFolder::Drafts {
    Drafts(disk::Directory directory, const MaildirDevice& from) : tmp(std::move(directory)), device(*from.on), keeps_order_(from.writes_data_before_names) {}
    static constexpr std::size_t most_open = 8;
    // A name that comes after the bytes were given to the device is never without them.
    bool keeps_order()
    {
        if (!keeps_order_) keeps_order_ = disk::writes_data_before_names(tmp);
        return *keeps_order_;
    }
    disk::Directory tmp;
    disk::Disk& device;
    std::vector<MaildirDraft*> open;           // borrowed: each takes itself out

private:
    std::optional<bool> keeps_order_;
};

// A mail being written to tmp/, with Unix line ends.
class MaildirDraft final : public Draft {
public:
    using Drafts = MaildirFolder::Drafts;
    MaildirDraft(std::shared_ptr<Drafts> drafts, MaildirName name, std::string file_name, Fd file)
        : drafts_(std::move(drafts)), name_(std::move(name)), file_name_(std::move(file_name)), file_(std::move(file))
    {
        note_open();
    }
    ~MaildirDraft() override
    {
        std::erase(drafts_->open, this);
        if (!file_name_.empty()) (void)drafts_->device.unlink(drafts_->tmp, file_name_);
    }
    MaildirDraft(const MaildirDraft&) = delete;
    Result<void> write(std::string_view wire) override
    {
        out_.clear();
        ends_.feed(wire, out_);
        return put_out();
    }
    // After finish() of at most Drafts::most_open; any thread.
    Result<void> sync() const { return drafts_->device.sync(file_); }
    // Likewise: its bytes go to the device, nothing is promised yet.
    void start_writing() const { disk::start_writing(file_); }
    Result<void> write_out() const { return drafts_->device.write_out(file_); }
    // After finish(); without INTERNALDATE.
    const Facts& facts() const { return maker_.facts(); }
    // The second time the file is only opened again, if need be.
    Result<void> finish(int64_t received)
    {
        TRY(reopen());
        if (finished_) return {};
        out_.clear();
        ends_.finish(out_);
        TRY(put_out());
        maker_.finish();
        struct stat st {};
        if (::fstat(file_.get(), &st) != 0) return fail_errno(cat("look at ", drafts_->tmp.path, '/', file_name_));
        if (st.st_nlink == 0) return fail_errno(cat("a draft in ", drafts_->tmp.path), ENOENT);
        name_.device = st.st_dev;
        name_.inode = st.st_ino;
        // Other programs take the file's time for INTERNALDATE.
        const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(received), 0}};
        (void)::futimens(file_.get(), times);
        finished_ = true;
        return {};
    }
    std::string final_name() const { return name_.full(sizes_); }
    const std::string& file_name() const { return file_name_; }
    const disk::Directory& directory() const { return drafts_->tmp; }
    void published() { file_name_.clear(); }

private:
    void note_open()
    {
        if (drafts_->open.size() >= Drafts::most_open) {
            drafts_->open.front()->file_.reset();
            drafts_->open.erase(drafts_->open.begin());
        }
        drafts_->open.push_back(this);
    }
    Result<void> reopen()
    {
        if (file_) {
            std::erase(drafts_->open, this);              // the one used last is closed last
            drafts_->open.push_back(this);
            return {};
        }
        file_ = TRY(drafts_->device.open_append(drafts_->tmp, file_name_, 0600));
        note_open();
        // Another program may have swept tmp/.
        if (TRY(drafts_->device.size(file_)) != sizes_.stored) return fail_errno(cat("a draft in ", drafts_->tmp.path), ENOENT);
        return {};
    }
    Result<void> put_out()
    {
        TRY(reopen());
        sizes_.stored += out_.size();
        bool cr = last_cr_;
        wire_.clear();
        to_wire(out_, cr, wire_);
        last_cr_ = cr;
        sizes_.wire += wire_.size();
        maker_.feed(out_);
        return drafts_->device.write(file_, out_);
    }
    std::shared_ptr<Drafts> drafts_;      // shared: a rename of the folder makes another MaildirFolder of it meanwhile
    MaildirName name_;
    std::string file_name_, out_, wire_;
    Fd file_;
    LineEnds ends_;
    FactsMaker maker_;
    Sizes sizes_;
    bool last_cr_ = false, finished_ = false;
};

}  // namespace veredus::store
