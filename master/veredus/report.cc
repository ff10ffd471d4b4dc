// Complaints and settings.
#include "master/veredus/report.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "config.h"
#include "lib/reception/check.h"
#include "lib/table/check.h"

namespace veredus::admin {

namespace {

bool print(const std::vector<conf::Diagnostic>& diagnostics, bool quiet, bool* said = nullptr)
{
    bool good = true;
    for (const conf::Diagnostic& diagnostic : diagnostics) {
        if (said) *said = true;
        if (diagnostic.error || !quiet) std::fprintf(stderr, "%s\n", diagnostic.str().c_str());
        good = good && !diagnostic.error;
    }
    return good;
}

}  // namespace

std::optional<conf::Values> load_settings(const Common& common, bool quiet)
{
    const auto file = conf::File::load(common.config_directory);
    if (!print(file.diagnostics(), quiet)) return std::nullopt;
    return file.values();
}

std::optional<conf::Values> load_settings_and_tables(const Common& common, bool quiet, bool* said)
{
    const auto file = conf::File::load(common.config_directory);
    if (!print(file.diagnostics(), quiet, said) || !print(table::check_sources(file), quiet, said) ||
        !print(reception::check_restrictions(file), quiet, said)) return std::nullopt;
    return file.values();
}

std::string run_directory_of(const Common& common)
{
    const auto file = conf::File::load(common.config_directory);
    std::string directory = file.effective("run_directory");
    return directory.starts_with('/') ? directory : VEREDUS_RUNDIR;
}

std::string libexec_directory(const std::string& option)
{
    if (!option.empty()) return option;
    const char* environment = ::getuid() == ::geteuid() && ::getgid() == ::getegid() ? std::getenv("VEREDUS_LIBEXEC") : nullptr;
    return environment && *environment ? environment : VEREDUS_LIBEXECDIR;
}

void complain(const char* format, ...)
{
    std::fputs("veredus: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputc('\n', stderr);
}

}  // namespace veredus::admin
