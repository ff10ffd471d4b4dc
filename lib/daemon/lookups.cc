// Decisions beside the loop.
#include "lib/daemon/lookups.h"

#include <chrono>

#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned decision_threads = 4;               // tables may lie on a slow disk
constexpr unsigned list_threads = 2;                   // lists too, and their owners' accounts on a slow directory server
constexpr unsigned server_threads = 4;                 // for each socketmap: table
constexpr std::size_t most_server_questions = 1000;    // that wait for one of them

}  // namespace

struct Lookups::Decision {
    Step work, done;
    disk::Pool* pool = nullptr;                        // where the work is done
    table::Questions questions;
    std::size_t open = 0;                              // questions without an answer
    Clock::time_point until;
};

Lookups::Lookups(Loop& loop, std::chrono::milliseconds patience)
    : loop_(loop), patience_(patience), lists_(list_threads, [&loop](Step work) { loop.post(std::move(work)); }),
      pool_(decision_threads, [&loop](Step work) { loop.post(std::move(work)); })
{
}

Lookups::~Lookups() { *alive_ = false; }

void Lookups::run(Step work, Step done, Threads threads)
{
    auto decision = std::make_shared<Decision>();      // shared_ptr: thread and loop have it in turns
    decision->work = std::move(work);
    decision->done = std::move(done);
    decision->until = Clock::now() + patience_;
    decision->pool = threads == Threads::lists ? &lists_ : &pool_;
    turn(decision);
}

void Lookups::turn(const std::shared_ptr<Decision>& decision)
{
    auto work = [decision] {
        const table::Questions::Scope scope(decision->questions);
        decision->work();
    };
    decision->pool->run(std::move(work), [this, decision, alive = alive_] {
        if (*alive) turned(decision);
    });
}

void Lookups::turned(const std::shared_ptr<Decision>& decision)
{
    const auto questions = decision->questions.take_open(Clock::now() < decision->until);
    if (questions.empty()) return decision->done();
    decision->open = questions.size();
    for (const auto& question : questions)
        ask(question, decision->until, [this, decision, question](table::Answer answer) {
            decision->questions.answered(question, std::move(answer));
            answered(decision);
        });
}

void Lookups::answered(const std::shared_ptr<Decision>& decision)
{
    if (--decision->open == 0) turn(decision);
}

void Lookups::ask(const table::Questions::Question& question, Clock::time_point until, std::function<void(table::Answer)> answer)
{
    auto& pool = servers_[question.server->spec()];
    if (!pool) pool = std::make_unique<disk::Pool>(server_threads, [&loop = loop_](Step work) { loop.post(std::move(work)); });
    if (pool->waiting() >= most_server_questions) return answer(fail(cat(question.server->spec(), ": too many questions wait for an answer")));
    auto result = std::make_shared<table::Answer>(std::optional<std::string>());    // shared_ptr: made in one thread, read in another
    auto work = [question, result, until] {
        *result = question.server->ask(question.key, std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()));
    };
    pool->run(std::move(work), [result, answer = std::move(answer), alive = alive_] {
        if (*alive) answer(std::move(*result));
    });
}

}  // namespace veredus::daemon
