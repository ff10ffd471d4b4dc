// A disk that forgets: strict POSIX names (a directory entry lasts only after an fsync of that directory), torn writes,
// syncs that fail for good, and a power switch. For every test that asks "what is left after a crash?".
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/in_place.h"
#include "lib/disk/parallel_sync.h"

namespace veredus::test {

// What a power cut keeps of all that was not synced. A name that changed since its directory's last sync may be in any
// of its states since then; of a file's bytes each sector may be new or old.
enum class Cut {
    oldest,      // nothing unsynced
    newest,      // everything
    names_only,  // all names, no bytes: the file system that orders nothing
    bytes_only,  // all bytes, no names
    random,      // each name and each sector for itself, by the seed
};

class ForgetfulDisk : public disk::Disk, public disk::InPlace {
public:
    // `keeps_order`: a name that a file got after write_out() is never without the bytes that it had then.
    explicit ForgetfulDisk(bool keeps_order = false);
    ~ForgetfulDisk() override;

    // Test's side. Directories last at once: they were made by `veredus setup`, long ago.
    void make_directory(const std::string& path);                 // absolute; parents too
    void power_cut(Cut cut, uint64_t seed = 0);                    // now; open descriptors are dead afterwards
    void cut_power_at(uint64_t step);                              // that step and all later ones fail (EIO) until power_cut()
    void revive();                                                 // the process died, not the machine: nothing is forgotten, nothing became safe
    void after_each_step_sync(const std::string& directory);      // another process that syncs this directory all the time
    void sync_alone(const std::string& directory);                 // once, now
    // The nth sync (file or directory), write, or step of any kind from now on (1 is the next) fails with `code`. A
    // failed write leaves half of its bytes; a failed sync marks what it lost as clean: a later sync says yes and saves
    // nothing. As on Linux, each other descriptor of a directory hears of the failure once, too.
    void fail_sync(uint64_t nth, int code);
    void fail_write(uint64_t nth, int code);
    void fail_write_out(uint64_t nth, int code);                   // what it lost is lost as by a failed sync
    void fail_step(uint64_t nth, int code);
    // The next sync_all() fails: of our own files, which lose what they had and say so once each when they are asked by themselves; or of
    // somebody else's.
    enum class Whose : uint8_t { ours, others };
    void fail_sync_all(Whose whose, int code);
    void set_free_bytes(uint64_t bytes) { free_ = bytes; }
    void set_now(int64_t wall_us) { now_us_ = wall_us; }           // modification times
    uint64_t steps() const { return steps_; }                      // that changed or synced something
    uint64_t syncs() const { return syncs_; }
    bool powered() const { return powered_; }
    std::vector<std::string> names(const std::string& directory) const;   // sorted, as a reader sees them now
    std::optional<std::string> content(const std::string& path) const;
    void put(const std::string& path, std::string_view content);   // a durable file, made by whoever
    void damage(const std::string& path, uint64_t offset, char byte);   // a flipped byte, durable

    Result<disk::Directory> open_directory(const disk::Directory* base, const std::string& path) override;
    Result<Fd> create(const disk::Directory& dir, const std::string& name, mode_t mode) override;
    Result<Fd> open_read(const disk::Directory& dir, const std::string& name) override;
    Result<Fd> open_append(const disk::Directory& dir, const std::string& name, mode_t mode) override;
    Result<void> write(const Fd& file, std::string_view bytes) override;
    Result<void> write_at(const Fd& file, uint64_t offset, std::string_view bytes) override;
    Result<Fd> open_in_place(const disk::Directory& dir, const std::string& name) override;
    Result<void> truncate(const Fd& file, uint64_t size) override;
    Result<std::string> read(const Fd& file, uint64_t offset, std::size_t size) override;
    Result<uint64_t> size(const Fd& file) override;
    Result<void> sync_all();                                       // all files, all names, in one step
    Result<void> write_out(const Fd& file) override;               // makes nothing safe, and is no step
    Result<void> sync(const Fd& file) override;
    Result<void> sync(const disk::Directory& dir) override;
    Result<void> rename(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name) override;
    Result<void> rename_new(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name) override;
    Result<void> link(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name) override;
    Result<void> unlink(const disk::Directory& dir, const std::string& name) override;
    Result<std::vector<std::string>> list(const disk::Directory& dir) override;
    Result<disk::FileInfo> stat(const disk::Directory& dir, const std::string& name) override;
    Result<uint64_t> free_bytes(const disk::Directory& dir) override;

private:
    struct File;
    using FilePtr = std::shared_ptr<File>;     // names and descriptors share a file, as on a disk
    struct Folder;
    struct Fault {
        uint64_t left = 0;                     // 0: none
        int code = 0;
        std::optional<int> hit();
    };
    Result<void> step();
    Folder& folder(const disk::Directory& dir);
    Folder& folder_at(const std::string& path);
    Result<FilePtr> file(const Fd& fd);
    FilePtr* find(Folder& in, const std::string& name);
    Result<Fd> descriptor(const FilePtr& file);
    Result<void> move(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name, bool replace);
    static void sync_folder(Folder& f);
    void ended_step();

    const bool keeps_order_;
    mutable std::recursive_mutex mutex_;
    std::map<std::string, std::unique_ptr<Folder>> folders_;    // by path
    struct OpenFolder {
        std::string path;
        uint64_t failures_seen = 0;
    };
    std::map<int, OpenFolder> open_folders_;                    // by descriptor; reused numbers are overwritten
    std::map<int, FilePtr> open_files_;
    Fault sync_fault_, write_fault_, write_out_fault_, step_fault_;
    int all_fault_ = 0;
    Whose all_fault_whose_ = Whose::ours;
    std::string other_process_syncs_;
    uint64_t steps_ = 0, syncs_ = 0, cut_at_ = 0, next_file_ = 1;
    uint64_t free_ = 1ull << 40;
    int64_t now_us_ = 1'795'500'000'000'000;
    bool powered_ = true;
};

// What syncs all of it at once, always.
class ForgetfulWhole final : public disk::WholeSync {
public:
    explicit ForgetfulWhole(ForgetfulDisk& disk) : disk_(disk) {}
    bool pays(int) override { return true; }
    Result<void> sync(int) override { return disk_.sync_all(); }

private:
    ForgetfulDisk& disk_;
};

}  // namespace veredus::test
