// Restriction lists in a running daemon.
#include "lib/reception/examiner.h"

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

constexpr unsigned most_turns = 500;               // of questions and answers for one judgement
constexpr std::size_t small_run = 16 << 10;        // bytes of DNS answers: with so many a judgement goes on, whatever others hold
constexpr const char* at_words[] = {"HELO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "ETRN"};

struct Note final : PolicyNote {
    Deeds deeds;
};

// What the lists decided, done to the mail. Deeds are few and the addresses in them were parsed before.
class DeedDoer final : public queue::Inspector {
public:
    explicit DeedDoer(Deeds deeds) : deeds_(std::move(deeds)) {}
    queue::Decision finish(mail::HeaderBlock& header, mail::Envelope& envelope) override
    {
        if (deeds_.discard) return {queue::Decision::Kind::discard, 0, "", "by an access table"};
        for (auto field = deeds_.prepend.rbegin(); field != deeds_.prepend.rend(); ++field) {
            const auto [name, body] = cut(*field, ':');
            header.prepend(std::string(name), std::string(trim(body.value_or(""))));
        }
        if (!deeds_.redirect.empty()) {
            envelope.recipients.clear();
            add(envelope, deeds_.redirect, mail::notify_unset);
        }
        // The sender knows nothing of a copy (Postfix does the same for BCC).
        for (const std::string& address : deeds_.bcc) add(envelope, address, mail::notify_never);
        envelope.hold = envelope.hold || deeds_.hold;
        return {};
    }

private:
    static void add(mail::Envelope& envelope, const std::string& text, uint8_t notify)
    {
        auto address = mail::parse_address(text);
        if (!address) return;
        mail::Recipient recipient;
        recipient.address = std::move(*address);
        recipient.notify = notify;
        envelope.recipients.push_back(std::move(recipient));
    }
    Deeds deeds_;
};

}  // namespace

Result<std::shared_ptr<const Program>> make_program(const conf::Values& values, std::string_view prefix, const table::ReadText& read)
{
    std::vector<Complaint> complaints;
    auto program = std::make_shared<Program>();
    program->rules = parse_rules(values, prefix, complaints);
    for (const Complaint& complaint : complaints) {
        if (complaint.error) return fail(complaint.text);
        log::warning(complaint.text);
    }
    program->tables = open_tables(program->rules, read);
    for (const auto& [spec, table] : program->tables)
        if (!table) log::warning(spec, ": ", table.error().text, "; mail that a restriction needs it for is deferred");
    return std::shared_ptr<const Program>(std::move(program));
}

// The session holds it, and nobody else: what is asked for one who has gone is asked no more.
struct Examiner::Run {
    explicit Run(std::weak_ptr<Examiner*> e) : examiner(std::move(e)) {}
    Run(const Run&) = delete;
    ~Run() { forget(); }
    void forget()
    {
        const auto alive = examiner.lock();
        dns::Resolver* const resolver = alive && !tickets.empty() ? (*alive)->parts_.resolver() : nullptr;
        for (const auto ticket : std::exchange(tickets, {}))
            if (resolver) resolver->cancel(ticket);
        if (alive) (*alive)->held_ -= held;
        held = 0;
        facts = Facts();
    }
    std::weak_ptr<Examiner*> examiner;
    std::string who;                               // his network
    std::vector<dns::Resolver::Ticket> tickets;    // of this turn
    std::size_t held = 0;                          // bytes of DNS answers
    std::shared_ptr<const Program> program;
    Situation situation;
    At at{};
    Facts facts;
    Verdict verdict;
    std::size_t open = 0;                          // questions without an answer
    unsigned turns = 0;
    bool finished = false;
    std::function<void(const std::function<smtp::Outcome(Session&)>&)> done;
    smtp::Reply welcome;
    Then then;
};

smtp::Outcome Examiner::examine(Session& session, At at, Situation situation, const smtp::Reply& welcome, Then then)
{
    auto run = std::make_shared<Run>(self_);
    run->who = client_network(session.client().address);
    run->program = program_;
    run->situation = std::move(situation);
    run->at = at;
    run->welcome = welcome;
    run->then = std::move(then);
    go_on(run);
    if (run->finished) return close(session, *run);
    run->done = session.later_here();
    session.pursue(std::move(run));
    return smtp::Pending{};
}

// Judges until the verdict is there or something must be waited for.
void Examiner::go_on(const std::shared_ptr<Run>& run)
{
    while (run->open == 0) {
        run->verdict = judge(run->program->rules, run->program->tables, run->situation, run->at, run->facts);
        const auto questions = run->facts.take_questions();
        if (run->verdict.kind != Verdict::Kind::wait || questions.empty() || ++run->turns > most_turns) break;
        run->tickets.clear();
        run->open = 1;                             // nobody finishes it while the questions go out
        for (const Question& question : questions) ask(run, question);
        --run->open;
    }
    if (run->open > 0) return;
    if (run->verdict.kind == Verdict::Kind::wait) {
        run->verdict.kind = Verdict::Kind::refuse;
        run->verdict.reply = {451, "4.3.5", "Server configuration error"};
        run->verdict.warnings.push_back("restriction lists ask more than they may");
    }
    finish(run);
}

void Examiner::finish(const std::shared_ptr<Run>& run)
{
    run->finished = true;
    run->forget();
    if (run->done) run->done([run](Session& session) { return close(session, *run); });
}

void Examiner::answered(const std::shared_ptr<Run>& run)
{
    const auto alive = run->examiner.lock();
    if (alive && !run->finished && --run->open == 0) (*alive)->go_on(run);
}

// False: strangers' domains have filled what all judgements may hold, and this one has its part in that.
bool Examiner::keep(Run& run, const Question& question, const std::shared_ptr<const dns::Answer>& answer)
{
    std::size_t size = sizeof *answer;
    for (const dns::Record& record : answer->records) size += sizeof record + record.name.size() + record.bytes.size();
    run.held += size;
    held_ += size;
    run.facts.put_dns(question.name, question.record, answer);
    return held_ <= parts_.most_held || run.held <= small_run;
}

void Examiner::ask(const std::shared_ptr<Run>& run, const Question& question)
{
    ++run->open;
    // What comes for a judgement that nobody waits for any more finds null, or one that is finished.
    const auto answer = [weak = std::weak_ptr(run)](const auto& put) {
        const auto found = weak.lock();
        if (!found || found->finished) return;
        put(*found);
        answered(found);
    };
    switch (question.kind) {
    case Question::Kind::route: {
        const auto known = parts_.recipients.check(question.name, [answer, name = question.name](const ipc::Route& route) {
            answer([&](Run& r) { r.facts.put_route(name, route); });
        });
        if (!known) return;
        run->facts.put_route(question.name, *known);
        --run->open;
        return;
    }
    case Question::Kind::dns: {
        dns::Resolver* resolver = parts_.resolver();
        if (!resolver) {
            run->facts.put_dns(question.name, question.record, dns::Answer());
            --run->open;
            return;
        }
        run->tickets.push_back(resolver->lookup_shared(question.name, question.record,
                                                       [weak = std::weak_ptr(run), question](const std::shared_ptr<const dns::Answer>& heard) {
            const auto found = weak.lock();
            const auto alive = found ? found->examiner.lock() : nullptr;
            if (!alive || found->finished) return;
            if ((*alive)->keep(*found, question, heard)) return answered(found);
            found->verdict = {};
            found->verdict.kind = Verdict::Kind::refuse;
            found->verdict.reply = {451, "4.3.2", "Error: too much is being looked up; try again later"};
            found->verdict.warnings.push_back("DNS answers take too much memory; what this client named has very many records");
            finish(found);
        }, {run->who}));
        return;
    }
    case Question::Kind::owner:
        parts_.owner({question.user, question.name}, [answer, question](const ipc::OwnerReply& reply) {
            answer([&](Run& r) { r.facts.put_owner(question.user, question.name, reply); });
        });
        return;
    case Question::Kind::policy:
        parts_.services.ask(question.server, question.name, [answer, question](const std::string& action) {
            answer([&](Run& r) { r.facts.put_policy(question.server->endpoint, question.name, action); });
        });
        return;
    }
}

smtp::Outcome Examiner::close(Session& session, const Run& run)
{
    const Verdict& verdict = run.verdict;
    for (const std::string& warning : verdict.warnings) log::warning(session.client().label(), ": ", warning);
    for (const Event& event : verdict.events)
        if (run.at != At::helo || event.what == "reject_warning") session.log_event(event.what, at_words[static_cast<std::size_t>(run.at)], event.text);
    if (verdict.kind == Verdict::Kind::refuse) return verdict.reply;
    const Deeds& deeds = verdict.deeds;
    // At HELO there is no mail yet: they are asked again at MAIL. ETRN has none at all.
    if (run.at != At::helo && run.at != At::etrn && (deeds.hold || deeds.discard || !deeds.redirect.empty() || !deeds.prepend.empty() || !deeds.bcc.empty())) {
        if (!session.note()) session.note() = std::make_unique<Note>();
        static_cast<Note&>(*session.note()).deeds.add(deeds);
    }
    return run.then ? run.then(session) : smtp::Outcome(run.welcome);
}

std::unique_ptr<queue::Inspector> Examiner::deeds_of(const Session& session)
{
    return session.note() ? std::make_unique<DeedDoer>(static_cast<const Note&>(*session.note()).deeds) : nullptr;
}

}  // namespace veredus::reception
