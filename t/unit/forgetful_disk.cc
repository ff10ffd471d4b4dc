// The forgetful disk's memory: for each name its states since the last sync, for each file the bytes that are safe.
#include "t/unit/forgetful_disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/base/panic.h"
#include "lib/base/text.h"

namespace veredus::test {

namespace {
constexpr std::size_t sector = 512;
}

// The bytes that a reader sees lie in a memfd, so that a descriptor can be handed to code that reads without the seam.
struct ForgetfulDisk::File {
    explicit File(uint64_t number_) : number(number_), memory(::memfd_create("forgetful", MFD_CLOEXEC)) {}
    std::string now() const
    {
        struct stat st{};
        ::fstat(memory.get(), &st);
        auto bytes = pread_exact(memory.get(), 0, static_cast<std::size_t>(st.st_size));
        return bytes ? std::move(*bytes) : std::string();
    }
    void set(std::string_view bytes)
    {
        if (::ftruncate(memory.get(), 0) != 0 || ::pwrite(memory.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) panic("memfd");
    }
    uint64_t number;
    Fd memory;
    std::string safe;              // what a cut certainly keeps
    std::optional<std::string> given;   // what the device has been given, where that says something of later names
    bool poisoned = false;
    int unheard = 0;               // an error that its next sync tells
    int64_t changed_us = 0;
};

struct ForgetfulDisk::Folder {
    std::map<std::string, FilePtr> now;
    std::map<std::string, FilePtr> safe;
    // Names that changed since the last sync: their states since then, the safe one first (null: no such name).
    std::map<std::string, std::vector<FilePtr>> history;
    std::map<std::string, std::string> given;    // what a name is never without
    uint64_t failures = 0;
    std::set<std::string> poisoned;     // a failed sync lost their change and calls it clean

    void set(const std::string& name, FilePtr file)
    {
        auto& states = history[name];
        if (states.empty()) states.push_back(safe.contains(name) ? safe[name] : nullptr);
        states.push_back(file);
        poisoned.erase(name);
        if (file && file->given) given[name] = *file->given;
        else given.erase(name);
        if (file) now[name] = std::move(file);
        else now.erase(name);
    }
};

std::optional<int> ForgetfulDisk::Fault::hit()
{
    if (left == 0 || --left != 0) return std::nullopt;
    return code;
}

ForgetfulDisk::ForgetfulDisk(bool keeps_order) : keeps_order_(keeps_order) {}
ForgetfulDisk::~ForgetfulDisk() = default;

// --- the test's side

void ForgetfulDisk::make_directory(const std::string& path)
{
    const std::lock_guard lock(mutex_);
    std::string at;
    for (const auto part : split(path, "/")) {
        append(at, '/', part);
        if (!folders_.contains(at)) folders_[at] = std::make_unique<Folder>();
    }
}

void ForgetfulDisk::cut_power_at(uint64_t step)
{
    const std::lock_guard lock(mutex_);
    cut_at_ = step;
}

void ForgetfulDisk::revive()
{
    const std::lock_guard lock(mutex_);
    powered_ = true;
    cut_at_ = 0;
}

void ForgetfulDisk::after_each_step_sync(const std::string& directory)
{
    const std::lock_guard lock(mutex_);
    other_process_syncs_ = directory;
}

void ForgetfulDisk::sync_alone(const std::string& directory)
{
    const std::lock_guard lock(mutex_);
    sync_folder(folder_at(directory));
}

void ForgetfulDisk::fail_write_out(uint64_t nth, int code) { const std::lock_guard lock(mutex_); write_out_fault_ = {nth, code}; }
void ForgetfulDisk::fail_sync(uint64_t nth, int code) { const std::lock_guard lock(mutex_); sync_fault_ = {nth, code}; }
void ForgetfulDisk::fail_write(uint64_t nth, int code) { const std::lock_guard lock(mutex_); write_fault_ = {nth, code}; }
void ForgetfulDisk::fail_step(uint64_t nth, int code) { const std::lock_guard lock(mutex_); step_fault_ = {nth, code}; }
void ForgetfulDisk::fail_sync_all(Whose whose, int code) { const std::lock_guard lock(mutex_); all_fault_whose_ = whose; all_fault_ = code; }

namespace {

// What is left of bytes of which only `safe` was synced.
std::string survive(const std::string& safe, const std::string& now, Cut cut, std::mt19937_64& random)
{
    if (cut == Cut::oldest || cut == Cut::names_only || safe == now) return safe;
    if (cut == Cut::newest || cut == Cut::bytes_only) return now;
    // The size reached the disk or not, or in between; each sector did, or has what was there: old bytes or zeros.
    const std::size_t low = std::min(safe.size(), now.size()), high = std::max(safe.size(), now.size());
    std::string out = safe;
    out.resize(low + static_cast<std::size_t>(random() % (high - low + 1)));
    for (std::size_t at = 0; at < out.size(); at += sector) {
        if (random() % 2 || at >= now.size()) continue;
        const std::size_t size = std::min({sector, now.size() - at, out.size() - at});
        out.replace(at, size, now, at, size);
    }
    return out;
}

}  // namespace

void ForgetfulDisk::power_cut(Cut cut, uint64_t seed)
{
    const std::lock_guard lock(mutex_);
    std::mt19937_64 random(seed);
    std::set<File*> seen;
    for (auto& [path, f] : folders_) {
        for (auto& [name, states] : f->history) {
            std::size_t choice = states.size() - 1;
            if (cut == Cut::oldest || cut == Cut::bytes_only || f->poisoned.contains(name)) choice = 0;
            else if (cut == Cut::random) choice = static_cast<std::size_t>(random() % states.size());
            if (states[choice]) f->safe[name] = states[choice];
            else f->safe.erase(name);
        }
        f->history.clear();
        f->poisoned.clear();
        f->now = f->safe;
        for (const auto& [name, bytes] : f->given)
            if (const auto kept = f->now.find(name); kept != f->now.end() && !kept->second->poisoned && kept->second->safe.size() < bytes.size()) kept->second->safe = bytes;
        f->given.clear();
    }
    for (auto& [path, f] : folders_) {
        for (auto& [name, file] : f->now) {
            if (!seen.insert(file.get()).second) continue;
            file->safe = file->poisoned ? file->safe : survive(file->safe, file->now(), cut, random);
            file->poisoned = false;
            // A new inode for old descriptors' sake: a process that outlives the cut sees nothing of this one.
            file->memory = Fd(::memfd_create("forgetful", MFD_CLOEXEC));
            file->set(file->safe);
        }
    }
    open_files_.clear();
    open_folders_.clear();
    powered_ = true;
    cut_at_ = 0;
    other_process_syncs_.clear();
    sync_fault_ = write_fault_ = step_fault_ = {};
}

std::vector<std::string> ForgetfulDisk::names(const std::string& directory) const
{
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [name, file] : folders_.at(directory)->now) out.push_back(name);
    return out;
}

std::optional<std::string> ForgetfulDisk::content(const std::string& path) const
{
    const std::lock_guard lock(mutex_);
    const std::size_t slash = path.rfind('/');
    const auto& now = folders_.at(path.substr(0, slash))->now;
    const auto found = now.find(path.substr(slash + 1));
    if (found == now.end()) return std::nullopt;
    return found->second->now();
}

void ForgetfulDisk::put(const std::string& path, std::string_view content)
{
    const std::lock_guard lock(mutex_);
    const std::size_t slash = path.rfind('/');
    auto file = std::make_shared<File>(next_file_++);
    file->set(content);
    file->safe = content;
    file->changed_us = now_us_;
    Folder& f = folder_at(path.substr(0, slash));
    f.now[path.substr(slash + 1)] = file;
    f.safe[path.substr(slash + 1)] = file;
    f.history.erase(path.substr(slash + 1));
}

void ForgetfulDisk::damage(const std::string& path, uint64_t offset, char byte)
{
    const std::lock_guard lock(mutex_);
    const std::size_t slash = path.rfind('/');
    File& file = *folder_at(path.substr(0, slash)).now.at(path.substr(slash + 1));
    std::string bytes = file.now();
    bytes.at(static_cast<std::size_t>(offset)) = byte;
    file.set(bytes);
    if (offset < file.safe.size()) file.safe[static_cast<std::size_t>(offset)] = byte;
}

// --- the seam

Result<void> ForgetfulDisk::step()
{
    if (powered_) {
        ++steps_;
        if (cut_at_ && steps_ >= cut_at_) powered_ = false;
    }
    if (!powered_) return fail_errno("the power is off", EIO);
    if (const auto code = step_fault_.hit()) return fail_errno("injected", *code);
    return {};
}

void ForgetfulDisk::ended_step()
{
    if (!other_process_syncs_.empty()) sync_folder(folder_at(other_process_syncs_));
}

void ForgetfulDisk::sync_folder(Folder& f)
{
    for (auto& [name, states] : f.history) {
        if (f.poisoned.contains(name)) continue;
        if (states.back()) f.safe[name] = states.back();
        else f.safe.erase(name);
    }
    std::erase_if(f.history, [&](const auto& entry) { return !f.poisoned.contains(entry.first); });
}

ForgetfulDisk::Folder& ForgetfulDisk::folder_at(const std::string& path)
{
    const auto found = folders_.find(path);
    if (found == folders_.end()) panic(cat("forgetful disk: no directory ", path));
    return *found->second;
}

ForgetfulDisk::Folder& ForgetfulDisk::folder(const disk::Directory& dir)
{
    const auto found = open_folders_.find(dir.fd.get());
    // A process that outlived the cut holds descriptors of another boot.
    return folder_at(found == open_folders_.end() ? dir.path : found->second.path);
}

Result<ForgetfulDisk::FilePtr> ForgetfulDisk::file(const Fd& fd)
{
    const auto found = open_files_.find(fd.get());
    if (found == open_files_.end()) return fail_errno("forgetful disk", EBADF);
    return FilePtr(found->second);
}

ForgetfulDisk::FilePtr* ForgetfulDisk::find(Folder& in, const std::string& name)
{
    const auto found = in.now.find(name);
    return found == in.now.end() ? nullptr : &found->second;
}

Result<Fd> ForgetfulDisk::descriptor(const FilePtr& file)
{
    const int fd = ::fcntl(file->memory.get(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return fail_errno("dup");
    open_files_[fd] = file;
    return Fd(fd);
}

Result<disk::Directory> ForgetfulDisk::open_directory(const disk::Directory* base, const std::string& path)
{
    const std::lock_guard lock(mutex_);
    const std::string full = base ? cat(base->path, '/', path) : path;
    if (!powered_) return fail_errno("the power is off", EIO);
    if (!folders_.contains(full)) return fail_errno(cat("open directory ", full), ENOENT);
    Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno("/dev/null");
    open_folders_[fd.get()] = {full, folder_at(full).failures};
    return disk::Directory{std::move(fd), full};
}

Result<Fd> ForgetfulDisk::create(const disk::Directory& dir, const std::string& name, mode_t)
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    Folder& f = folder(dir);
    if (find(f, name)) return fail_errno(cat("create ", dir.path, '/', name), EEXIST);
    auto made = std::make_shared<File>(next_file_++);
    made->changed_us = now_us_;
    f.set(name, made);
    ended_step();
    return descriptor(made);
}

Result<Fd> ForgetfulDisk::open_read(const disk::Directory& dir, const std::string& name)
{
    const std::lock_guard lock(mutex_);
    if (!powered_) return fail_errno("the power is off", EIO);
    const FilePtr* found = find(folder(dir), name);
    if (!found) return fail_errno(cat("open ", dir.path, '/', name), ENOENT);
    return descriptor(*found);
}

Result<Fd> ForgetfulDisk::open_append(const disk::Directory& dir, const std::string& name, mode_t mode)
{
    const std::lock_guard lock(mutex_);
    if (!powered_) return fail_errno("the power is off", EIO);
    if (const FilePtr* found = find(folder(dir), name)) return descriptor(*found);
    return create(dir, name, mode);
}

Result<void> ForgetfulDisk::write(const Fd& fd, std::string_view bytes)
{
    const std::lock_guard lock(mutex_);
    struct stat st{};
    if (const auto f = file(fd)) ::fstat((*f)->memory.get(), &st);
    return write_at(fd, static_cast<uint64_t>(st.st_size), bytes);
}

Result<Fd> ForgetfulDisk::open_in_place(const disk::Directory& dir, const std::string& name) { return open_read(dir, name); }

Result<void> ForgetfulDisk::write_at(const Fd& fd, uint64_t offset, std::string_view bytes)
{
    const std::lock_guard lock(mutex_);
    const auto fault = write_fault_.hit();
    TRY(step());
    FilePtr f = TRY(file(fd));
    if (fault) bytes = bytes.substr(0, bytes.size() / 2);
    if (::pwrite(f->memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes.size())) return fail_errno("memfd");
    f->changed_us = now_us_;
    ended_step();
    if (fault) return fail_errno("write", *fault);
    return {};
}

Result<void> ForgetfulDisk::truncate(const Fd& fd, uint64_t size)
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    FilePtr f = TRY(file(fd));
    if (::ftruncate(f->memory.get(), static_cast<off_t>(size)) != 0) return fail_errno("truncate");
    ended_step();
    return {};
}

Result<std::string> ForgetfulDisk::read(const Fd& fd, uint64_t offset, std::size_t size)
{
    const std::lock_guard lock(mutex_);
    FilePtr f = TRY(file(fd));
    const std::string now = f->now();
    return offset >= now.size() ? std::string() : now.substr(static_cast<std::size_t>(offset), size);
}

Result<uint64_t> ForgetfulDisk::size(const Fd& fd)
{
    const std::lock_guard lock(mutex_);
    return uint64_t{TRY(file(fd))->now().size()};
}

Result<void> ForgetfulDisk::write_out(const Fd& fd)
{
    const std::lock_guard lock(mutex_);
    FilePtr f = TRY(file(fd));
    const auto fault = write_out_fault_.hit();
    if (!fault && keeps_order_) f->given = f->now();
    if (!fault) return {};
    f->poisoned = true;
    return fail_errno("write", *fault);
}

Result<void> ForgetfulDisk::sync(const Fd& fd)
{
    const std::lock_guard lock(mutex_);
    const auto fault = sync_fault_.hit();
    TRY(step());
    FilePtr f = TRY(file(fd));
    if (fault) {
        f->poisoned = true;
        return fail_errno("fdatasync", *fault);
    }
    if (const int unheard = std::exchange(f->unheard, 0)) return fail_errno("fdatasync", unheard);
    ++syncs_;
    if (!f->poisoned) f->safe = f->now();
    ended_step();
    return {};
}

Result<void> ForgetfulDisk::sync_all()
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    std::set<FilePtr> files;
    for (auto& [path, f] : folders_)
        for (const auto& [name, file] : f->now) files.insert(file);
    if (const int code = std::exchange(all_fault_, 0)) {
        if (all_fault_whose_ == Whose::others) return fail_errno("syncfs", code);
        for (const FilePtr& file : files)
            if (file->safe != file->now()) file->poisoned = true, file->unheard = code;
        for (auto& [path, f] : folders_) {
            if (f->history.empty()) continue;
            ++f->failures;
            for (const auto& [name, states] : f->history) f->poisoned.insert(name);
        }
        return fail_errno("syncfs", code);
    }
    ++syncs_;
    for (const FilePtr& file : files)
        if (!file->poisoned) file->safe = file->now();
    for (auto& [path, f] : folders_) sync_folder(*f);
    ended_step();
    return {};
}

Result<void> ForgetfulDisk::sync(const disk::Directory& dir)
{
    const std::lock_guard lock(mutex_);
    auto fault = sync_fault_.hit();
    TRY(step());
    Folder& f = folder(dir);
    if (fault) ++f.failures;
    if (const auto opened = open_folders_.find(dir.fd.get()); opened != open_folders_.end() && opened->second.failures_seen < f.failures) {
        opened->second.failures_seen = f.failures;
        if (!fault) fault = EIO;
    }
    if (fault) {
        for (const auto& [name, states] : f.history) f.poisoned.insert(name);
        return fail_errno(cat("fsync ", dir.path), *fault);
    }
    ++syncs_;
    sync_folder(f);
    ended_step();
    return {};
}

Result<void> ForgetfulDisk::move(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name, bool replace)
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    Folder &source = folder(from), &target = folder(to);
    FilePtr* found = find(source, name);
    if (!found) return fail_errno(cat("rename ", from.path, '/', name), ENOENT);
    if (!replace && find(target, new_name)) return fail_errno(cat("rename ", to.path, '/', new_name), EEXIST);
    const FilePtr moved = *found;
    if (FilePtr* there = find(target, new_name); there && *there == moved) return {};    // rename(2): two names of one file
    target.set(new_name, moved);
    source.set(name, nullptr);
    ended_step();
    return {};
}

Result<void> ForgetfulDisk::rename(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name)
{
    return move(from, name, to, new_name, true);
}

Result<void> ForgetfulDisk::rename_new(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name)
{
    return move(from, name, to, new_name, false);
}

Result<void> ForgetfulDisk::link(const disk::Directory& from, const std::string& name, const disk::Directory& to, const std::string& new_name)
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    FilePtr* found = find(folder(from), name);
    if (!found) return fail_errno(cat("link ", from.path, '/', name), ENOENT);
    Folder& target = folder(to);
    if (find(target, new_name)) return fail_errno(cat("link ", to.path, '/', new_name), EEXIST);
    target.set(new_name, *found);
    ended_step();
    return {};
}

Result<void> ForgetfulDisk::unlink(const disk::Directory& dir, const std::string& name)
{
    const std::lock_guard lock(mutex_);
    TRY(step());
    Folder& f = folder(dir);
    if (!find(f, name)) return fail_errno(cat("unlink ", dir.path, '/', name), ENOENT);
    f.set(name, nullptr);
    ended_step();
    return {};
}

Result<std::vector<std::string>> ForgetfulDisk::list(const disk::Directory& dir)
{
    const std::lock_guard lock(mutex_);
    if (!powered_) return fail_errno("the power is off", EIO);
    std::vector<std::string> out;
    for (const auto& [name, f] : folder(dir).now) out.push_back(name);
    return out;
}

Result<disk::FileInfo> ForgetfulDisk::stat(const disk::Directory& dir, const std::string& name)
{
    const std::lock_guard lock(mutex_);
    const FilePtr* found = find(folder(dir), name);
    if (!found) return fail_errno(cat("stat ", dir.path, '/', name), ENOENT);
    disk::FileInfo info;
    info.file = (*found)->number;
    info.size = (*found)->now().size();
    info.changed_us = (*found)->changed_us;
    info.links = static_cast<uint32_t>(std::count_if(folders_.begin(), folders_.end(), [&](const auto& entry) {
        return std::any_of(entry.second->now.begin(), entry.second->now.end(), [&](const auto& e) { return e.second == *found; });
    }));
    info.regular = true;
    return info;
}

Result<uint64_t> ForgetfulDisk::free_bytes(const disk::Directory&)
{
    const std::lock_guard lock(mutex_);
    return uint64_t{free_};
}

}  // namespace veredus::test
