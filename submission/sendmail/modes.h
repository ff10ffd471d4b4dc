// What each mode of sendmail(1) does. Functions return the exit status (sysexits(3)).
#pragma once

#include <string>
#include <string_view>

#include "lib/conf/values.h"
#include "submission/sendmail/arguments.h"
#include "submission/sendmail/prepare.h"

namespace veredus::sendmail {

int run(const Invocation& invocation);          // the one that it asks for

int deliver(const Invocation& invocation);      // deliver.cc
int smtp(const Invocation& invocation);         // session.cc: -bs
int list(const Invocation& invocation);         // queue.cc: -bp, mailq
int flush(const Invocation& invocation);        // queue.cc: -q
int aliases(const Invocation& invocation);      // aliases.cc: -bi, newaliases
int verify(const Invocation& invocation);       // aliases.cc: -bv

void complain(std::string_view text);           // "sendmail: TEXT" on standard error
Caller identify();                              // who runs us
// The directory of main.cf that was named, by -C or $VEREDUS_CONFIG; empty: the built-in one.
std::string named_config(const Invocation& invocation);
std::string config_of_environment();            // $VEREDUS_CONFIG, unless somebody runs us set-id
std::optional<conf::Values> load_config(const Invocation& invocation);   // nothing: it said on standard error why not

}  // namespace veredus::sendmail
