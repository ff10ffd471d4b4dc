// mailq and the queue run: asked of qmgr over the public socket.
#include <cstdio>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/ipc/control.h"
#include "lib/ipc/maildrop_listing.h"
#include "submission/sendmail/modes.h"

namespace veredus::sendmail {

namespace {

bool put(std::string_view text) { return std::fwrite(text.data(), 1, text.size(), stdout) == text.size(); }

// Never "empty" when nobody knows: EX_UNAVAILABLE, and what waits on this side of the door.
int system_down(const Error& error, const conf::Values& values)
{
    complain(error.text);
    if (const std::size_t count = ipc::maildrop_mails(std::string(values.text("queue_directory"))).size())
        complain(cat(count, count == 1 ? " mail waits" : " mails wait", " in the maildrop until then"));
    return EX_UNAVAILABLE;
}

ipc::Filter filter_of(const Invocation& invocation)
{
    // sendmail(8): parts of an address; "-qR example.org", Postfix's site, is one too. "<>" is no part, but the null sender.
    const auto part = [](const std::string& text) { return text.empty() || text == "<>" ? text : cat('*', text, '*'); };
    ipc::Filter filter;
    if (!invocation.flush_id.empty()) filter.ids.push_back(upper(invocation.flush_id));
    filter.recipient = part(invocation.flush_recipient);
    filter.sender = part(invocation.flush_sender);
    return filter;
}

}  // namespace

std::optional<conf::Values> load_config(const Invocation& invocation)
{
    const std::string named = named_config(invocation);
    const auto file = conf::File::load(named.empty() ? conf::default_directory() : named);
    if (file.ok()) return file.values();
    for (const conf::Diagnostic& d : file.diagnostics())
        if (d.error) complain(d.str());
    return std::nullopt;
}

int list(const Invocation& invocation)
{
    const auto values = load_config(invocation);
    if (!values) return EX_CONFIG;
    auto client = ipc::QueueClient::connect(std::string(values->text("run_directory")));
    if (!client) return system_down(client.error(), *values);

    ipc::QueueText text;
    bool written = true;
    const auto listed = ipc::list_queue(*client, std::string(values->text("queue_directory")), {}, [&](const ipc::Listed& mail) {
        written = put(invocation.json ? ipc::queue_json(mail) : text.entry(mail));
        return written;
    });
    if (!listed) {
        complain(listed.error().text);
        return EX_UNAVAILABLE;
    }
    if (!invocation.json) written = written && put(text.end());
    if (!written || std::fflush(stdout)) {
        complain("writing the list failed");
        return EX_IOERR;
    }
    return EX_OK;
}

int flush(const Invocation& invocation)
{
    const auto values = load_config(invocation);
    if (!values) return EX_CONFIG;
    auto client = ipc::QueueClient::connect(std::string(values->text("run_directory")));
    if (!client) return system_down(client.error(), *values);
    ipc::ActRequest request;
    request.act = ipc::Act::flush;
    request.filter = filter_of(invocation);
    request.all = invocation.flush_id.empty() && invocation.flush_recipient.empty() && invocation.flush_sender.empty();
    const auto reply = client->act(request);
    if (!reply) {
        complain(reply.error().text);
        return EX_UNAVAILABLE;
    }
    if (reply->code == static_cast<uint32_t>(ipc::Code::ok)) return EX_OK;
    complain(reply->text.empty() ? "the queue manager refused" : printable(reply->text));
    return reply->code == static_cast<uint32_t>(ipc::Code::refused) ? EX_NOPERM : EX_UNAVAILABLE;
}

}  // namespace veredus::sendmail
