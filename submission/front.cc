#include "submission/front.h"

#include "lib/base/text.h"

namespace veredus::submission {

MendSettings read_mend_settings(const conf::Values& values)
{
    MendSettings out;
    out.origin.myorigin = values.text("myorigin");
    if (values.flag("append_dot_mydomain")) out.origin.dot_mydomain = cat('.', values.text("mydomain"));
    out.drop_fields = values.list("message_drop_headers");
    return out;
}

queue::InspectSettings read_inspect_settings(const conf::Values& values)
{
    queue::InspectSettings out;
    out.myhostname = values.text("myhostname");
    out.myorigin = values.text("myorigin");
    out.header_count_limit = static_cast<std::size_t>(values.number("header_count_limit"));
    out.hopcount_limit = static_cast<unsigned>(values.number("hopcount_limit"));
    return out;
}

Front::Front()
    : front_({"submission", conf::submission, "submission", true, false},
             [this](reception::Settings& settings, const conf::Values& values) { return adjust(settings, values); })
{}

Result<void> Front::adjust(reception::Settings& settings, const conf::Values& values)
{
    settings.limits.auth = true;
    settings.limits.auth_in_clear = !values.flag("submission_tls_auth_only");
    settings.client_in_received = !values.flag("submission_hide_client");
    PolicySettings& policy = policy_settings_;
    policy.auth_required = values.flag("submission_auth_required");
    policy.check_owner = values.flag("submission_check_sender");
    policy.verify_domains = values.flag("submission_verify_domains");
    policy.messages_per_unit = static_cast<unsigned>(values.number("submission_user_message_rate_limit"));
    policy.recipients_per_unit = static_cast<unsigned>(values.number("submission_user_recipient_rate_limit"));
    policy.mend = read_mend_settings(values);
    policy.inspect = read_inspect_settings(values);
    return {};
}

void Front::start(Loop& loop, queue::Intake& intake, std::function<void(std::string body)> tell_qmgr)
{
    front_.meet(loop, std::move(tell_qmgr));
    domains_ = std::make_unique<reception::Domains>(loop, [this] { return front_.resolver(); });
    UserPolicy::Doors doors{
        front_.recipients(), *domains_,
        [this](const ipc::OwnerRequest& request, UserPolicy::OwnerDone done) {
            front_.ask_owner(request, std::move(done));
        },
        front_.meters(), front_.examiner()};
    policy_ = std::make_unique<UserPolicy>(std::move(doors), front_.trust(), front_.exempt(), policy_settings_);
    front_.open(intake, *policy_);
}

Result<void> Front::reload(const conf::Values& values)
{
    TRY(front_.reload(values));
    policy_->configure(policy_settings_);
    return {};
}

} // namespace veredus::submission
