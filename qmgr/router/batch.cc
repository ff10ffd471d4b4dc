// One request for routes on its way: decide, ask about what is not known, decide again, answer.
#include "qmgr/router/batch.h"

#include <set>

namespace veredus::router {

void Batch::run()
{
    const Routing& tables = tables_();
    const AnsweredUsers users(answers_, users_);
    std::vector<ipc::Route> routes;
    std::vector<std::string> ask, reasons;
    {
        const table::Questions::Scope scope(questions_);
        for (const std::string& recipient : request_.recipients) {
            std::string why;
            routes.push_back(tables.route({request_.sender, recipient, request_.check_only, request_.final_only}, users, ask, &why));
            if (!why.empty()) reasons.push_back(std::move(why));
        }
    }
    const std::set<std::string> names(ask.begin(), ask.end());
    const auto questions = questions_.take_open(std::chrono::steady_clock::now() < until_);
    if (names.empty() && questions.empty()) return done_(std::move(routes), reasons);
    const auto keep = shared_from_this();
    open_ = names.size() + questions.size();
    asking_ = true;
    for (const std::string& name : names)
        users_.find(name, [keep, name](Known known) {
            keep->answers_[name] = known;
            keep->one_answered();
        });
    for (const auto& question : questions)
        servers_(question, [keep, question](table::Answer answer) {
            keep->questions_.answered(question, std::move(answer));
            keep->one_answered();
        });
    asking_ = false;
    if (open_ == 0) run();
}

void Batch::one_answered()
{
    if (--open_ == 0 && !asking_) run();
}

std::string encode_fitting(ipc::RouteReply reply)
{
    constexpr std::size_t room = ipc::max_message - 64;
    std::string body = reply.encode();
    const auto shorten = [&](bool only_expansions) {
        for (std::size_t i = reply.routes.size(); i-- > 0 && body.size() > room;) {
            ipc::Route& route = reply.routes[i];
            if (only_expansions && route.kind != ipc::Route::Kind::expand) continue;
            ipc::Route later;
            later.address_class = route.address_class;
            later.dsn = "4.3.0";
            later.text = reply.routes.size() == 1 ? "expands to more addresses than one answer holds" : "the answer would be too long; ask for fewer at once";
            if (!only_expansions) later.text.clear();
            route = std::move(later);
            body = reply.encode();
        }
    };
    shorten(true);
    shorten(false);
    return body;
}

}  // namespace veredus::router
