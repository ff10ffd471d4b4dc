// The text files behind the lookup tables of a jailed role: read before the jail, and again when master says that one changed.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/table/table.h"

namespace veredus::daemon {

// The files that the tables in settings of `who` are made of: those of rows of type `tables`, and those named in restriction lists
// and classes. Master watches them for its jailed roles. (tls_server_sni_maps is a matter of tls_files.h.)
std::set<std::string> table_files(const conf::Values& values, conf::Who who);
constexpr std::string_view table_file_mark = "table:";    // before the path, in the name under which master sends a file

class TableFiles {
public:
    void before_jail(const conf::Values& values, conf::Who who);     // outside the jail: reads what is there
    // Of Service::on_file; true: the file was for us, and what was opened with reader() is to be opened anew.
    bool on_file(const std::string& name, const Fd& fd);
    // For table::open_from. It borrows this object; a file that could not be read is an error that names it.
    table::ReadText reader() const;

private:
    std::map<std::string, Result<std::string>> texts_;
};

}  // namespace veredus::daemon
