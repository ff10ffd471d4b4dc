// What the subcommands share: reading the configuration with its complaints on stderr, and finding the programs.
#pragma once

#include <optional>
#include <string>

#include "lib/conf/values.h"
#include "master/veredus/commands.h"

namespace veredus::admin {

// Prints each diagnostic; nullopt when there is an error among them. `quiet`: errors only.
std::optional<conf::Values> load_settings(const Common& common, bool quiet = false);
// The same, and the tables and lists that they name must be there. `said`: whether anything was printed.
std::optional<conf::Values> load_settings_and_tables(const Common& common, bool quiet = false, bool* said = nullptr);
// For stop and status, which must work with a broken main.cf too: where the instance is, whatever else is wrong.
std::string run_directory_of(const Common& common);
// "-l DIR", $VEREDUS_LIBEXEC, or where `make install` put them.
std::string libexec_directory(const std::string& option);
[[gnu::format(printf, 1, 2)]] void complain(const char* format, ...);    // "veredus: …" on stderr

}  // namespace veredus::admin
