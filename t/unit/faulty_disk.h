// The real disk with a step that fails.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "lib/disk/disk.h"

namespace veredus::test {

// Does what posix_disk does: for doubles that change a step or two.
class RealDisk : public disk::Disk {
public:
    Result<disk::Directory> open_directory(const disk::Directory* b, const std::string& p) override
    {
        return real_.open_directory(b, p);
    }
    Result<Fd> create(const disk::Directory& d, const std::string& n, mode_t m) override
    {
        return real_.create(d, n, m);
    }
    Result<Fd> open_read(const disk::Directory& d, const std::string& n) override { return real_.open_read(d, n); }
    Result<Fd> open_append(const disk::Directory& d, const std::string& n, mode_t m) override
    {
        return real_.open_append(d, n, m);
    }
    Result<void> write(const Fd& f, std::string_view bytes) override { return real_.write(f, bytes); }
    Result<void> truncate(const Fd& f, uint64_t s) override { return real_.truncate(f, s); }
    Result<std::string> read(const Fd& f, uint64_t o, std::size_t s) override { return real_.read(f, o, s); }
    Result<uint64_t> size(const Fd& f) override { return real_.size(f); }
    Result<void> write_out(const Fd& f) override { return real_.write_out(f); }
    Result<void> sync(const Fd& f) override { return real_.sync(f); }
    Result<void> sync(const disk::Directory& d) override { return real_.sync(d); }
    Result<void> rename(const disk::Directory& f, const std::string& n, const disk::Directory& t,
                        const std::string& m) override
    {
        return real_.rename(f, n, t, m);
    }
    Result<void> rename_new(const disk::Directory& f, const std::string& n, const disk::Directory& t,
                            const std::string& m) override
    {
        return real_.rename_new(f, n, t, m);
    }
    Result<void> link(const disk::Directory& f, const std::string& n, const disk::Directory& t,
                      const std::string& m) override
    {
        return real_.link(f, n, t, m);
    }
    Result<void> unlink(const disk::Directory& d, const std::string& n) override { return real_.unlink(d, n); }
    Result<std::vector<std::string>> list(const disk::Directory& d) override { return real_.list(d); }
    Result<disk::FileInfo> stat(const disk::Directory& d, const std::string& n) override { return real_.stat(d, n); }
    Result<uint64_t> free_bytes(const disk::Directory& d) override { return real_.free_bytes(d); }

private:
    disk::Disk& real_ = disk::posix_disk();
};

// One step fails. For one thread.
class FaultyDisk final : public RealDisk {
public:
    int fail_write_at = 0, fail_write_out_at = 0, fail_sync_at = 0, code = ENOSPC;
    bool fail_truncate = false;
    std::string sick;                // the directory whose sync fails
    std::vector<std::string> synced; // directories
    int writes = 0, write_outs = 0, syncs = 0;
    Result<void> write(const Fd& f, std::string_view bytes) override
    {
        if (++writes != fail_write_at) return RealDisk::write(f, bytes);
        (void)RealDisk::write(f, bytes.substr(0, bytes.size() / 2));
        return fail_errno("write", code);
    }
    Result<void> truncate(const Fd& f, uint64_t s) override
    {
        return fail_truncate ? Result<void>(fail_errno("truncate", code)) : RealDisk::truncate(f, s);
    }
    Result<void> write_out(const Fd& f) override
    {
        return ++write_outs == fail_write_out_at ? Result<void>(fail_errno("write out", code)) : RealDisk::write_out(f);
    }
    Result<void> sync(const Fd& f) override
    {
        return ++syncs == fail_sync_at ? Result<void>(fail_errno("sync", code)) : RealDisk::sync(f);
    }
    Result<void> sync(const disk::Directory& d) override
    {
        synced.push_back(d.path);
        return d.path == sick ? Result<void>(fail_errno("sync", EIO)) : RealDisk::sync(d);
    }
};

} // namespace veredus::test
