// A mail on standard input, recipients on the command line or in the header.
#include <pwd.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/queue/intake.h"
#include "submission/sendmail/content.h"
#include "submission/sendmail/maildrop.h"
#include "submission/sendmail/modes.h"

namespace veredus::sendmail {

namespace {

constexpr std::size_t block = 65'536;
constexpr std::size_t header_limit = 16 << 20;     // a -t header may name many thousands
constexpr std::size_t in_memory = 1 << 20;         // beyond, the mail streams through a veredus-drop of its own

// One mail on its way from standard input to veredus-drop.
class Submission {
public:
    explicit Submission(const Invocation& invocation) : invocation_(invocation), reader_(invocation.dot_ends), cutter_(header_limit) {}

    Result<int> run()
    {
        std::string raw(block, '\0');
        while (!reader_.ended()) {
            const ssize_t n = ::read(0, raw.data(), raw.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return unexpected(Error{EX_IOERR, fail_errno("reading the mail").error.text});
            if (n == 0) break;
            std::string content;
            reader_.feed(std::string_view(raw.data(), static_cast<std::size_t>(n)), content);
            TRY(take(content));
            if (gone_) break;
        }
        std::string last;
        reader_.finish(last);
        TRY(take(last));
        if (!encoder_) {
            cutter_.finish();
            TRY(begin());
        }
        return finish();
    }

private:
    Result<void> take(std::string_view content)
    {
        if (!encoder_) {
            content = cutter_.feed(content);
            if (cutter_.too_long()) return unexpected(Error{EX_DATAERR, "the header is too long"});
            if (!cutter_.done()) return {};
            TRY(begin());
        }
        encoder_->content(content);
        return pass_on(in_memory);
    }

    // The header is whole: the envelope follows from it.
    Result<void> begin()
    {
        Caller caller;
        if (!invocation_.sender) caller = identify();
        const Prepared mail = TRY(prepare(invocation_, cutter_.take_header(), reader_.from_line(), caller, system_clock().wall_us()));
        if (mail.header.size() > queue::max_intake_header)
            return unexpected(Error{EX_DATAERR, cat("the header is too long: ", mail.header.size(), " bytes; at most ", queue::max_intake_header, " are taken")});
        encoder_.emplace(mail.envelope);
        encoder_->content(cat(mail.header, "\r\n", cutter_.take_body_start()));
        return {};
    }

    Result<void> pass_on(std::size_t more_than)
    {
        if (encoder_->size() <= more_than || gone_) return {};
        if (!drop_) {
            signal(SIGPIPE, SIG_IGN);
            drop_.emplace(TRY(Drop::start(program(), false)));
        }
        gone_ = !drop_->write(encoder_->take());
        return {};
    }

    DropProgram program() const { return find_drop(named_config(invocation_)); }

    Result<int> finish()
    {
        if (!drop_) {
            encoder_->end();
            const Error error = become_drop(program(), encoder_->take());
            return unexpected(Error{EX_TEMPFAIL, error.text});
        }
        if (!gone_) {
            encoder_->end();
            TRY(pass_on(0));
        }
        return drop_->finish();
    }

    const Invocation& invocation_;
    ContentReader reader_;
    mail::HeaderCutter cutter_;
    std::optional<Encoder> encoder_;
    std::optional<Drop> drop_;
    bool gone_ = false;        // veredus-drop reads no more; its exit status will say why
};

}  // namespace

Caller identify()
{
    Caller caller;
    const passwd* user = getpwuid(getuid());
    if (!user) return caller;
    caller.login = user->pw_name;
    const char* name = getenv("NAME");
    caller.full_name = name ? name : gecos_name(user->pw_gecos ? user->pw_gecos : "", caller.login);
    return caller;
}

std::string config_of_environment()
{
    const char* named = getauxval(AT_SECURE) ? nullptr : getenv("VEREDUS_CONFIG");
    return named ? named : "";
}

int deliver(const Invocation& invocation)
{
    auto status = Submission(invocation).run();
    if (status) return *status;
    complain(status.error().text);
    // What is no sysexits code is an errno: our trouble, not the mail's.
    const int code = status.error().code;
    return code >= EX__BASE && code <= EX__MAX ? code : EX_TEMPFAIL;
}

}  // namespace veredus::sendmail
