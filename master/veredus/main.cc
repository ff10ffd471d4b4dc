// veredus: the administrator's command.  Manual: man/veredus.8
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "config.h"
#include "lib/conf/values.h"
#include "master/veredus/commands.h"

namespace {

void print_help(std::FILE* out)
{
    std::fprintf(out, "usage: veredus [-c DIR] COMMAND [ARGUMENT...]\n\n");
    for (const auto& row : veredus::admin::subcommands()) std::fprintf(out, "  %-9s %s\n", row.name, row.help);
    std::fprintf(out, "\n`veredus COMMAND --help` says more; so does veredus(8).\n");
}

}  // namespace

int main(int argc, char** argv)
{
    using namespace veredus;
    admin::Common common{conf::default_directory()};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help" || option == "-h") {
            print_help(stdout);
            return 0;
        }
        if (option == "--version" || option == "-V") {
            std::printf("veredus " VEREDUS_VERSION "\n");
            return 0;
        }
        if (option == "-c" && i + 1 < argc) {
            common.config_directory = argv[++i];
            continue;
        }
        std::fprintf(stderr, "veredus: unknown option %s\n", argv[i]);
        print_help(stderr);
        return EX_USAGE;
    }
    if (i >= argc) {
        print_help(stderr);
        return EX_USAGE;
    }
    if (char* real = ::realpath(common.config_directory.c_str(), nullptr)) {
        common.config_directory = real;
        std::free(real);
    }
    const admin::Subcommand* command = admin::find_subcommand(argv[i]);
    if (!command) {
        std::fprintf(stderr, "veredus: no command \"%s\"\n", argv[i]);
        print_help(stderr);
        return EX_USAGE;
    }
    if (i + 1 < argc && std::strcmp(argv[i + 1], "--help") == 0) return admin::usage(command->name, true);
    return command->run(common, argc - i, argv + i);
}
