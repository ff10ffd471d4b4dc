#include "submission/sendmail/maildrop.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "config.h"
#include "lib/base/crc32c.h"
#include "lib/base/text.h"

extern char** environ;

namespace veredus::sendmail {

namespace {

using queue::drop::Type;

std::string little_endian(uint64_t value, unsigned bytes)
{
    std::string out;
    for (unsigned i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
    return out;
}

std::vector<char*> argv_of(const std::vector<std::string>& words)
{
    std::vector<char*> out;
    for (const std::string& w : words) out.push_back(const_cast<char*>(w.c_str()));   // exec's signature, not its intent
    out.push_back(nullptr);
    return out;
}

std::vector<std::string> words_of(const DropProgram& program, bool want_id)
{
    std::vector<std::string> words{"veredus-drop"};
    if (want_id) words.push_back("-p");
    words.insert(words.end(), program.arguments.begin(), program.arguments.end());
    return words;
}

std::string own_directory()
{
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    const std::string_view self(path, n > 0 ? static_cast<std::size_t>(n) : 0);
    return std::string(self.substr(0, self.rfind('/')));
}

}  // namespace

Encoder::Encoder(const mail::Envelope& envelope)
{
    out_ = queue::drop::magic;
    crc_ = crc32c(0, out_);
    record(Type::sender, envelope.sender.text());
    if (envelope.body == mail::Body::eight_bit) record(Type::body, "8BITMIME");
    if (envelope.ret != mail::Ret::unset) record(Type::ret, envelope.ret == mail::Ret::full ? "FULL" : "HDRS");
    if (!envelope.envid.empty()) record(Type::envid, envelope.envid);
    if (envelope.smtputf8) record(Type::utf8, {});
    for (const mail::Recipient& r : envelope.recipients)
        record(Type::recipient, cat(static_cast<char>(r.notify), little_endian(r.orcpt.size(), 2), r.orcpt, r.address.text()));
}

void Encoder::record(Type type, std::string_view payload)
{
    char header[queue::drop::header_size];
    queue::drop::put_header(header, type, static_cast<uint32_t>(payload.size()));
    const std::string_view head(header, sizeof header);
    if (type != Type::end) crc_ = crc32c(crc32c(crc_, head), payload);
    append(out_, head, payload);
}

void Encoder::content(std::string_view bytes)
{
    // Callers bring single lines too; a record is worth its header only when it is large.
    content_ += bytes.size();
    while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, queue::drop::max_chunk - pending_.size());
        pending_.append(piece);
        bytes.remove_prefix(piece.size());
        if (pending_.size() == queue::drop::max_chunk) flush();
    }
}

void Encoder::flush()
{
    if (!pending_.empty()) record(Type::content, pending_);
    pending_.clear();
}

void Encoder::end()
{
    flush();
    record(Type::end, little_endian(content_, 8) + little_endian(crc_, 4));
}

DropProgram find_drop(const std::string& config_directory)
{
    DropProgram program{VEREDUS_LIBEXECDIR "/veredus-drop", {}};
    if (config_directory.empty() || config_directory == VEREDUS_SYSCONFDIR) return program;
    program.arguments = {"-C", config_directory};
    const char* named = getauxval(AT_SECURE) ? nullptr : getenv("VEREDUS_LIBEXEC");
    for (const std::string& directory : {std::string(named ? named : ""), own_directory()}) {
        const std::string path = directory + "/veredus-drop";
        if (directory.empty() || access(path.c_str(), X_OK)) continue;
        program.path = path;
        break;
    }
    return program;
}

Result<Drop> Drop::start(const DropProgram& program, bool want_id)
{
    int in[2], out[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC)) return fail_errno("pipe");
    Drop drop;
    drop.in_ = Fd(in[1]);
    const Fd child_in(in[0]);
    if (want_id && pipe2(out, O_CLOEXEC)) return fail_errno("pipe");
    drop.id_ = Fd(out[0]);
    const Fd child_out(out[1]);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, child_in.get(), 0);
    if (want_id) posix_spawn_file_actions_adddup2(&actions, child_out.get(), 1);
    const auto words = words_of(program, want_id);
    const int why = posix_spawn(&drop.pid_, program.path.c_str(), &actions, nullptr, argv_of(words).data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (why) {
        drop.pid_ = -1;
        return fail_errno(program.path, why);
    }
    return drop;
}

Drop::~Drop()
{
    if (pid_ > 0) finish();
}

bool Drop::write(std::string_view bytes) { return write_all(in_.get(), bytes).has_value(); }

int Drop::finish(std::string* id)
{
    in_.reset();
    if (id && id_) {
        if (auto text = read_all(id_.get(), 64)) *id = std::string(trim(*text));
    }
    int status = 0;
    pid_t got;
    do got = waitpid(pid_, &status, 0);
    while (got < 0 && errno == EINTR);
    pid_ = -1;
    return got > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EX_TEMPFAIL;
}

Error become_drop(const DropProgram& program, std::string_view bytes)
{
    const Fd file(memfd_create("mail", MFD_CLOEXEC));
    if (!file) return fail_errno("memfd_create").error;
    if (auto written = write_all(file.get(), bytes); !written) return written.error();
    if (lseek(file.get(), 0, SEEK_SET) < 0 || dup2(file.get(), 0) < 0) return fail_errno("passing the mail on").error;
    const auto words = words_of(program, false);
    execv(program.path.c_str(), argv_of(words).data());
    return fail_errno(program.path).error;
}

}  // namespace veredus::sendmail
