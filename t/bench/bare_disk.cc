// What a bare program makes of the files that a row is about, on the same file system, each durable with its name, and nothing else done:
//   bare_disk users DIR USERS            a process for each user: become it, write, sync, name, sync
//   bare_disk account DIR MAILDIRS       one process, one mail for each Maildir, one syncfs for all files and one for all names
//   bare_disk mails DIR MAILS MAILDIRS queue|direct    20 threads: [a queue file that goes when it is done;] a file of a Maildir
// Prints "per_second N".
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int writers = 20, processes = 200;
constexpr gid_t first_uid = 30'000;
const std::string body(8400, 'a');

void must(bool good, const char* what)
{
    if (good) return;
    std::perror(what);
    ::_exit(1);
}

struct Folder {
    int from = -1, to = -1;    // tmp/, new/
    static void make(const std::string& path, uid_t owner)
    {
        for (const char* part : {"", "/tmp", "/new", "/cur"}) {
            must(::mkdir((path + part).c_str(), 0700) == 0, "mkdir");
            must(::chown((path + part).c_str(), owner, owner) == 0, "chown");
        }
    }
    explicit Folder(const std::string& path) : from(::open((path + "/tmp").c_str(), O_RDONLY | O_DIRECTORY)), to(::open((path + "/new").c_str(), O_RDONLY | O_DIRECTORY)) { must(from >= 0 && to >= 0, "open"); }
    int write(const std::string& name) const
    {
        const int file = ::openat(from, name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
        must(file >= 0 && ::write(file, body.data(), body.size()) == static_cast<ssize_t>(body.size()), "write");
        return file;
    }
    void give_name(const std::string& name) const { must(::renameat(from, name.c_str(), to, name.c_str()) == 0, "rename"); }
    void put(const std::string& name) const
    {
        const int file = write(name);
        must(::fdatasync(file) == 0, "fdatasync");
        give_name(name);
        must(::fsync(to) == 0, "fsync");
        ::close(file);
    }
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void users(const std::string& dir, int count)
{
    int status = 0;
    for (int live = 0, i = 0; i < count; ++i) {
        if (live == processes) must(::wait(&status) > 0 && status == 0, "a process of a user");
        else ++live;
        const pid_t pid = ::fork();
        must(pid >= 0, "fork");
        if (pid > 0) continue;
        const gid_t id = first_uid + static_cast<gid_t>(i);
        must(::setgroups(1, &id) == 0 && ::setresgid(id, id, id) == 0 && ::setresuid(id, id, id) == 0, "become a user");
        Folder(dir + "/u" + std::to_string(i)).put("mail");
        ::_exit(0);
    }
    while (::wait(&status) > 0) must(status == 0, "a process of a user");
}

void account(const std::string& dir, int count)
{
    std::vector<Folder> folders;
    int last = -1;
    for (int i = 0; i < count; ++i) {
        folders.emplace_back(dir + "/u" + std::to_string(i));
        if (last >= 0) ::close(last);
        last = folders.back().write("mail");
    }
    must(::syncfs(last) == 0, "syncfs");
    for (const Folder& folder : folders) folder.give_name("mail");
    must(::syncfs(last) == 0, "syncfs");
}

void mails(const std::string& dir, int count, int maildirs, bool queued)
{
    std::vector<Folder> folders;
    for (int i = 0; i < maildirs; ++i) folders.emplace_back(dir + "/u" + std::to_string(i));
    const Folder queue(dir + "/queue");
    std::atomic<int> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < writers; ++t)
        threads.emplace_back([&] {
            for (int i = 0; (i = next++) < count;) {
                const std::string name = "m" + std::to_string(i);
                if (queued) queue.put(name);
                folders[static_cast<std::size_t>(i % maildirs)].put(name);
                if (queued) must(::unlinkat(queue.to, name.c_str(), 0) == 0, "unlink");
            }
        });
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv)
{
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() < 3) return 64;
    const std::string& mode = words[0];
    const std::string& dir = words[1];
    const int count = std::atoi(words[2].c_str()), maildirs = mode == "mails" && words.size() > 4 ? std::atoi(words[3].c_str()) : count;
    rlimit files{};
    must(::getrlimit(RLIMIT_NOFILE, &files) == 0, "getrlimit");
    files.rlim_cur = files.rlim_max;
    must(::setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
    must(::mkdir(dir.c_str(), 0755) == 0, "mkdir");
    for (int i = 0; i < maildirs; ++i) Folder::make(dir + "/u" + std::to_string(i), mode == "users" ? first_uid + static_cast<uid_t>(i) : 0);
    Folder::make(dir + "/queue", 0);
    ::sync();
    const double begin = now();
    if (mode == "users") users(dir, count);
    else if (mode == "account") account(dir, count);
    else mails(dir, count, maildirs, words.back() == "queue");
    std::printf("per_second %.1f\n", count / (now() - begin));
}
