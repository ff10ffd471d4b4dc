// veredus explain: router, which decides, is the one to tell why.
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

int explain(const Common& common, int argc, char** argv)
{
    std::string libexec, sender;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "f:l:")) != -1;) {
        if (option == '?') return usage("explain", false);
        (option == 'f' ? sender : libexec) = ::optarg;
    }
    if (::optind == argc) return usage("explain", false);
    const std::string program = cat(libexec_directory(libexec), "/router");
    std::vector<std::string> arguments = {program, "--explain", common.config_directory, sender == "<>" ? std::string() : sender};
    arguments.insert(arguments.end(), argv + ::optind, argv + argc);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(program.c_str(), pointers.data());
    complain("%s: %s", program.c_str(), std::strerror(errno));
    return EX_OSERR;
}

}  // namespace veredus::admin
