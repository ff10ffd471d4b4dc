// Encoding of what master and roles say to each other.
#include "lib/ipc/control.h"

#include "lib/ipc/codec.h"

namespace veredus::ipc {

namespace {
template <class T> Result<T> whole(const Reader& r, T value, const char* what)
{
    if (!r.done()) return fail(std::string("malformed message: ") + what);
    return value;
}
}  // namespace

std::string Hello::encode() const
{
    Writer w;
    w.str(role).str(user).str(group).str(jail).str(extra_groups).u32(instance).u32(slot);
    w.u8(unprivileged).u8(keep_privilege_gain).str(config_directory).str(queue_directory).str(run_directory);
    w.str(log_ident).str(log_path).u8(log_target).u8(log_rfc3339).u8(quiet);
    return w.take();
}

Result<Hello> Hello::decode(std::string_view body)
{
    Reader r(body);
    Hello h;
    h.role = r.str(64);
    h.user = r.str(64);
    h.group = r.str(64);
    h.jail = r.str(4096);
    h.extra_groups = r.str(1024);
    h.instance = r.u32();
    h.slot = r.u32();
    h.unprivileged = r.u8();
    h.keep_privilege_gain = r.u8();
    h.config_directory = r.str(4096);
    h.queue_directory = r.str(4096);
    h.run_directory = r.str(4096);
    h.log_ident = r.str(256);
    h.log_path = r.str(4096);
    h.log_target = r.u8();
    h.log_rfc3339 = r.u8();
    h.quiet = r.u8();
    return whole(r, std::move(h), "hello");
}

std::string Listener::encode() const { return Writer().str(name).str(address).take(); }
Result<Listener> Listener::decode(std::string_view body)
{
    Reader r(body);
    Listener l;
    l.name = r.str(64);
    l.address = r.str(512);
    return whole(r, std::move(l), "listener");
}

std::string Neighbour::encode() const { return Writer().str(role).u32(instance).take(); }
Result<Neighbour> Neighbour::decode(std::string_view body)
{
    Reader r(body);
    Neighbour n;
    n.role = r.str(128);                        // or "unix:/path" of a configured socket
    n.instance = r.u32();
    return whole(r, std::move(n), "neighbour");
}

std::string Worker::encode() const { return Writer().str(user).str(of).u8(static_cast<uint8_t>(by)).take(); }
Result<Worker> Worker::decode(std::string_view body)
{
    Reader r(body);
    Worker w;
    w.user = r.str(256);
    w.of = r.str(max_address);
    const uint8_t by = r.u8();
    if (by > static_cast<uint8_t>(Worker::By::line)) return fail("malformed message: worker");
    w.by = static_cast<Worker::By>(by);
    return whole(r, std::move(w), "worker");
}

std::string File::encode() const { return Writer().str(name).take(); }
Result<File> File::decode(std::string_view body)
{
    Reader r(body);
    File f;
    f.name = r.str(256);
    return whole(r, std::move(f), "file");
}

std::string Status::encode() const { return Writer().u8(static_cast<uint8_t>(code)).str(text).take(); }
Result<Status> Status::decode(std::string_view body)
{
    Reader r(body);
    Status s;
    const uint8_t code = r.u8();
    if (code > static_cast<uint8_t>(Code::invalid)) return fail("malformed message: status");
    s.code = static_cast<Code>(code);
    s.text = r.str();
    return whole(r, std::move(s), "status");
}

}  // namespace veredus::ipc
