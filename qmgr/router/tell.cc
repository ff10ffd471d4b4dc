// `veredus explain`: the way of an address on paper.
#include "qmgr/router/tell.h"

#include <pwd.h>
#include <sysexits.h>

#include <map>
#include <set>

#include "lib/auth/passwd_file.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::router {

namespace {

constexpr std::size_t most_addresses = 1000;      // told of one question

// The users of this host, asked by the command itself: it may wait.
class HostUsers final : public Users {
public:
    explicit HostUsers(const conf::Values& values)
    {
        for (const std::string& source : values.list("passdb")) {
            if (source == "system") system_ = true;
            if (!source.starts_with("file:")) continue;
            const auto text = read_file(source.substr(5), std::size_t{1} << 28);
            if (text) files_.push_back(auth::PasswdFile::parse(*text, "", nullptr));
            else broken_ = true;
        }
    }
    Known known(const std::string& name) const override
    {
        passwd entry{}, *found = nullptr;
        std::string buffer(64 * 1024, '\0');
        if (system_) {
            const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
            if (found) return Known::yes;
            if (code != 0 && code != ENOENT) return Known::temporary;
        }
        for (const auto& file : files_)
            if (const auto user = file->find(name); user && *user) return Known::yes;
        return broken_ ? Known::temporary : Known::no;
    }

private:
    bool system_ = false, broken_ = false;
    std::vector<std::shared_ptr<const auth::PasswdFile>> files_;      // shared: as parse() gives them
};

class Teller {
public:
    Teller(const conf::File& file, const Routing& routing, std::string sender, const Users& users)
        : file_(file), routing_(routing), sender_(std::move(sender)), users_(users) {}
    void address(const std::string& recipient, std::size_t depth, bool final_only);
    std::string out;
    bool failed = false;

private:
    void line(std::size_t depth, std::string_view about, std::string_view text) { append(out, std::string(2 * depth, ' '), about, about.empty() ? "" : about == "=>" ? " " : ": ", text, '\n'); }
    std::string why(const Step& step) const
    {
        if (step.setting.empty()) return {};
        const auto at = file_.assignments().find(step.setting);
        std::string text = cat("  [", step.setting, at == file_.assignments().end() ? " by default" : cat(", ", at->second.origin));
        if (!step.origin.empty()) append(text, "; ", step.origin);
        return text + "]";
    }
    void result(const ipc::Route& route, std::size_t depth);
    const conf::File& file_;
    const Routing& routing_;
    std::string sender_;
    const Users& users_;
    std::set<std::string> told_;
};

void Teller::result(const ipc::Route& route, std::size_t depth)
{
    using Kind = ipc::Route::Kind;
    switch (route.kind) {
    case Kind::deliver: return line(depth, "=>", cat("delivered by ", route.transport, route.nexthop.empty() ? "" : cat(" to ", route.nexthop)));
    case Kind::discard: return line(depth, "=>", cat("discarded: ", printable(route.text)));
    case Kind::reject: failed = true; return line(depth, "=>", cat("refused: ", route.dsn, " ", printable(route.text)));
    case Kind::defer: failed = true; return line(depth, "=>", cat("put off: ", route.dsn, " ", printable(route.text)));
    case Kind::expand: break;
    }
    line(depth, "=>", cat("expands to ", route.children.size(), route.children.size() == 1 ? " address" : " addresses"));
}

void Teller::address(const std::string& recipient, std::size_t depth, bool final_only)
{
    line(depth, "", printable(recipient));
    if (told_.size() >= most_addresses) return line(depth + 1, "", "(too many addresses: the rest is not told)");
    if (!told_.insert(cat(lower(recipient), final_only ? " final" : "")).second) return line(depth + 1, "", "(told above)");
    const Question question{sender_, recipient, false, final_only};
    const auto steps = routing_.explain(question, users_);
    if (steps)
        for (const Step& step : *steps) line(depth + 1, step.about, cat(step.text, why(step)));
    std::vector<std::string> ask;
    std::string reason;
    const ipc::Route route = routing_.route(question, users_, ask, &reason);
    if (!reason.empty()) line(depth + 1, "trouble", printable(reason));
    result(route, depth + 1);
    for (const queue::Child& child : route.children) address(child.text, depth + 2, iequals(child.text, route.address));
}

}  // namespace

std::string tell(const conf::File& file, const Routing& routing, const std::string& sender, const std::string& recipient, const Users& users, bool& failed)
{
    Teller teller(file, routing, sender, users);
    teller.address(recipient, 0, false);
    failed = teller.failed;
    return std::move(teller.out);
}

int explain_main(int argc, char** argv)
{
    if (argc < 5) {
        std::fprintf(stderr, "usage: router --explain DIRECTORY SENDER ADDRESS...; `veredus explain` does it\n");
        return EX_USAGE;
    }
    const auto file = conf::File::load(argv[2]);
    for (const auto& diagnostic : file.diagnostics())
        if (diagnostic.error) std::fprintf(stderr, "%s\n", diagnostic.str().c_str());
    if (!file.ok()) return EX_CONFIG;
    const conf::Values values = file.values();
    const Routing routing(values, own_addresses(values.list("inet_interfaces")));
    const HostUsers users(values);
    bool any_failed = false;
    for (int i = 4; i < argc; ++i) {
        bool failed = false;
        std::fputs(tell(file, routing, argv[3], argv[i], users, failed).c_str(), stdout);
        any_failed = any_failed || failed;
    }
    return any_failed ? 1 : 0;
}

}  // namespace veredus::router
