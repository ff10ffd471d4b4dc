// veredus: the administrator's command.  Manual: man/veredus.8
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "master/veredus/commands.h"
#include "master/veredus/postfix_commands.h"

namespace {

void print_help(std::FILE* out)
{
    std::fprintf(out, "usage: veredus [-c DIR] COMMAND [ARGUMENT...]\n\n");
    for (const auto& row : veredus::admin::subcommands()) std::fprintf(out, "  %-12s %s\n", row.name, row.help);
    std::fprintf(out, "\n`veredus COMMAND --help` says more; so does veredus(8).\n");
}

int run_command(const veredus::admin::Common& common, int argc, char** argv)
{
    using namespace veredus;
    const admin::Subcommand* command = admin::find_subcommand(argv[0]);
    if (!command) {
        std::fprintf(stderr, "veredus: no command \"%s\"\n", argv[0]);
        print_help(stderr);
        return EX_USAGE;
    }
    if (argc > 1 && std::strcmp(argv[1], "--help") == 0) return admin::usage(command->name, true);
    return command->run(common, argc, argv);
}

std::vector<std::string> ids_of_stdin()
{
    std::vector<std::string> ids;
    const auto text = veredus::read_all(STDIN_FILENO, 64 << 20);
    if (text)
        for (const std::string_view id : veredus::split(*text, " \t\r\n")) ids.emplace_back(id);
    return ids;
}

// The name and the words of a command of Postfix's: what it is here, until something fails.
int run_postfix_command(veredus::admin::Common common, int argc, char** argv)
{
    using namespace veredus;
    const auto call = admin::translate_postfix_command(argv[0], std::vector<std::string>(argv + 1, argv + argc), ids_of_stdin);
    if (!call) {
        std::fprintf(stderr, "%s: %s\n", argv[0], call.error().text.c_str());
        return EX_USAGE;
    }
    if (!call->config_directory.empty()) common.config_directory = call->config_directory;
    for (std::vector<std::string> words : call->commands) {
        std::vector<char*> pointers;
        for (std::string& word : words) pointers.push_back(word.data());
        pointers.push_back(nullptr);
        if (const int status = run_command(common, static_cast<int>(words.size()), pointers.data())) return status;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv)
{
    using namespace veredus;
    admin::Common common{conf::default_directory()};
    if (argc > 0 && admin::is_postfix_command(argv[0])) return run_postfix_command(common, argc, argv);
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
    if (admin::is_postfix_command(argv[i])) return run_postfix_command(common, argc - i, argv + i);
    return run_command(common, argc - i, argv + i);
}
