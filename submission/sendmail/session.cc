#include "submission/sendmail/session.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "submission/sendmail/modes.h"

namespace veredus::sendmail {

using smtp::Outcome;
using smtp::Reply;

namespace {

class DropSink final : public Sink {
public:
    explicit DropSink(Drop drop) : drop_(std::move(drop)) {}
    bool write(std::string_view bytes) override { return drop_.write(bytes); }
    int finish(std::string& id) override { return drop_.finish(&id); }

private:
    Drop drop_;
};

Reply refusal(int status)
{
    if (status == EX_DATAERR) return Reply{554, "5.6.0", "Error: the mail was refused"};
    return Reply{451, "4.3.0", "Error: queue file write error"};
}

}  // namespace

OpenSink drop_sinks(DropProgram program)
{
    return [program = std::move(program)]() -> Result<std::unique_ptr<Sink>> {
        return std::unique_ptr<Sink>(std::make_unique<DropSink>(TRY(Drop::start(program, true))));
    };
}

Outcome StandardInputPolicy::helo(std::string_view, bool) { return Reply{250, "", ""}; }
Outcome StandardInputPolicy::sender(const mail::Envelope&, uint64_t) { return Reply{250, "2.1.0", "Ok"}; }
Outcome StandardInputPolicy::recipient(mail::Recipient, const mail::Envelope&) { return Reply{250, "2.1.5", "Ok"}; }

Outcome StandardInputPolicy::data(const mail::Envelope& envelope)
{
    mail_.emplace(envelope);
    return Reply{354, "", ""};
}

bool StandardInputPolicy::begin(Mail& mail)
{
    auto sink = open_();
    if (!sink) {
        mail.trouble = sink.error().text;
        return false;
    }
    mail.sink = std::move(*sink);
    auto header = mail::HeaderBlock::parse(mail.cutter.take_header());
    mend_header(header, mail.envelope.sender, {}, system_clock().wall_us());
    mail.encoder.emplace(mail.envelope);
    mail.encoder->content(cat(header.text(), "\r\n", mail.cutter.take_body_start()));
    return true;
}

bool StandardInputPolicy::content(std::string_view bytes)
{
    Mail& mail = *mail_;
    if (!mail.encoder) {
        bytes = mail.cutter.feed(bytes);
        if (mail.cutter.too_long()) mail.trouble = "the header is too long";
        if (!mail.trouble.empty() || !mail.cutter.done()) return mail.trouble.empty();
        if (!begin(mail)) return false;
    }
    mail.encoder->content(bytes);
    return mail.sink->write(mail.encoder->take());
}

// 250 only once veredus-drop has said that the mail is on disk.
Outcome StandardInputPolicy::end_of_data(const Content&, mail::Envelope&&)
{
    Mail mail = std::move(*mail_);
    mail_.reset();
    if (mail.trouble.empty() && !mail.encoder) {
        mail.cutter.finish();
        begin(mail);
    }
    if (!mail.trouble.empty()) {
        complain(mail.trouble);
        if (mail.cutter.too_long()) return Reply{552, "5.3.4", "Error: message header too big"};
        return refusal(EX_TEMPFAIL);
    }
    mail.encoder->end();
    mail.sink->write(mail.encoder->take());     // when it has gone, finish() knows why
    std::string id;
    if (const int status = mail.sink->finish(id)) return refusal(status);
    return Reply{250, "2.0.0", cat("Ok: queued as ", printable(id, 20))};
}

int smtp(const Invocation& invocation)
{
    const auto values = load_config(invocation);
    if (!values) return EX_CONFIG;
    signal(SIGPIPE, SIG_IGN);
    StandardInputPolicy policy(drop_sinks(find_drop(named_config(invocation))));
    smtp::Limits limits;
    limits.hostname = values->text("myhostname");
    limits.banner = cat(limits.hostname, " ESMTP");
    limits.message_size = static_cast<uint64_t>(values->number("message_size_limit"));
    limits.recipients = queue::drop::max_recipients;     // nobody but the caller himself is kept waiting
    limits.dsn = limits.smtputf8 = true;
    limits.strict_groups = false;                        // a whole session may come from a file
    smtp::Server server(policy, limits);

    std::string out, in(65'536, '\0');
    server.greet(out);
    auto wants = smtp::Server::Wants::input;
    for (;;) {
        if (!invocation.batch_smtp && !write_all(1, out)) return EX_IOERR;
        out.clear();
        if (wants == smtp::Server::Wants::close) break;
        const ssize_t n = ::read(0, in.data(), in.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return EX_IOERR;
        if (n == 0) break;
        wants = server.feed(std::string_view(in.data(), static_cast<std::size_t>(n)), out);
    }
    return invocation.batch_smtp && server.errors() ? EX_DATAERR : EX_OK;
}

}  // namespace veredus::sendmail
