// The rows of each role, one file each (lib/conf/settings_ROLE.cc); setting.h puts them together.
#pragma once

#include <span>

#include "lib/conf/setting.h"

namespace veredus::conf {

// std::span<const Setting> NAME_settings(); rows of what belongs to no single role are in general.
std::span<const Setting> general_settings();       // names, domains, networks, log, spool, limits that all share
std::span<const Setting> master_settings();
std::span<const Setting> smtpd_settings();
std::span<const Setting> submission_settings();
std::span<const Setting> login_settings();         // the login stages, pop3d
std::span<const Setting> router_settings();
std::span<const Setting> qmgr_settings();
std::span<const Setting> smtp_client_settings();
std::span<const Setting> local_settings();

}  // namespace veredus::conf
