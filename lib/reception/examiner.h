// Restriction lists in a running daemon: asks DNS, router and policy services what a judgement needs, and tells sessions the verdict.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/queue/inspect.h"
#include "lib/reception/judge.h"
#include "lib/reception/policy_service.h"
#include "lib/reception/recipients.h"
#include "lib/reception/session.h"

namespace veredus::reception {

struct Program {                           // rules with their tables; a session under judgement keeps the one it began with
    Rules rules;
    Tables tables;
};
// The program of main.cf. Warnings are logged; an error of parse_rules() is one here, and a table that cannot be opened is logged
// and defers whoever needs it.
Result<std::shared_ptr<const Program>> make_program(const conf::Values& values, std::string_view prefix, const table::ReadText& read);

class Examiner {
public:
    struct Parts {
        Recipients& recipients;
        PolicyServices& services;
        std::function<dns::Resolver*()> resolver;      // null: DNS cannot be asked yet, which is a failure of DNS
        // Asks router; the answer comes later, with temporary when router cannot be asked.
        std::function<void(const ipc::OwnerRequest& request, std::function<void(const ipc::OwnerReply&)> done)> owner;
        std::size_t most_held = 32 << 20;              // bytes of DNS answers in all judgements; beyond it those that hold many of them are put off
    };
    explicit Examiner(Parts parts) : parts_(std::move(parts)) {}
    void set_program(std::shared_ptr<const Program> program) { program_ = std::move(program); }
    const std::shared_ptr<const Program>& program() const { return program_; }

    // The lists that are due at `at`, for a Delegate's call: a refusal, `welcome`, or Pending. Deeds of lists that permit are kept
    // with the session's mail; events are logged.
    // `then`: what else has to be looked at once the lists permit; its outcome takes the place of `welcome`.
    using Then = std::function<smtp::Outcome(Session&)>;
    smtp::Outcome examine(Session& session, At at, Situation situation, const smtp::Reply& welcome, Then then = nullptr);
    // Carries out the deeds: for Policy::inspectors().
    static std::unique_ptr<queue::Inspector> deeds_of(const Session& session);

private:
    struct Run;
    void go_on(const std::shared_ptr<Run>& run);
    void ask(const std::shared_ptr<Run>& run, const Question& question);
    bool keep(Run& run, const Question& question, const std::shared_ptr<const dns::Answer>& answer);
    static void finish(const std::shared_ptr<Run>& run);
    static void answered(const std::shared_ptr<Run>& run);
    static smtp::Outcome close(Session& session, const Run& run);

    Parts parts_;
    std::shared_ptr<const Program> program_;
    std::size_t held_ = 0;                         // bytes of DNS answers in judgements under way
    std::shared_ptr<Examiner*> self_ = std::make_shared<Examiner*>(this);
};

}  // namespace veredus::reception
