// Complaints and settings.
#include "master/veredus/report.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "config.h"

namespace veredus::admin {

std::optional<conf::Values> load_settings(const Common& common, bool quiet)
{
    const auto file = conf::File::load(common.config_directory);
    for (const conf::Diagnostic& diagnostic : file.diagnostics())
        if (diagnostic.error || !quiet) std::fprintf(stderr, "%s\n", diagnostic.str().c_str());
    if (!file.ok()) return std::nullopt;
    return file.values();
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
