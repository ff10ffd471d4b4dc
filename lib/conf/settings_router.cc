// Settings: routing.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Who rewriters = Who(router | smtpd | submission);
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"alias_maps", Type::tables, "hash:" VEREDUS_ALIASES, Who(router | local | tool), "aliases(5) tables"},
    {"alias_database", Type::tables, "$alias_maps", tool, "the aliases(5) tables that newaliases(1) checks"},
    {"local_recipient_maps", Type::tables, "unix:passwd.byname $alias_maps", router, "which local recipients exist; empty: all are taken"},
    {"virtual_alias_maps", Type::tables, "", router, "addresses that stand for other addresses"},
    {"virtual_alias_domains", Type::list, "$virtual_alias_maps", router, "domains all of whose addresses are in virtual_alias_maps"},
    {"virtual_alias_expansion_limit", Type::number, "1000", router, "how many addresses one entry of virtual_alias_maps may have", 1, 1000},
    {"virtual_mailbox_domains", Type::list, "$virtual_mailbox_maps", Who(router | local | resolver), "domains whose users are in virtual_mailbox_maps and have no account"},
    {"virtual_mailbox_maps", Type::tables, "", Who(router | local | resolver), "virtual users and their mailboxes"},
    {"virtual_transport", Type::text, "virtual", router, "transport:nexthop for mail to virtual_mailbox_domains"},
    {"canonical_maps", Type::tables, "", rewriters, "the form that addresses of all kinds get when a mail is taken in"},
    {"canonical_classes", Type::list, "envelope_sender, envelope_recipient, header_sender, header_recipient", router, "which addresses canonical_maps change", 0, 0, "envelope_sender|envelope_recipient|header_sender|header_recipient"},
    {"sender_canonical_maps", Type::tables, "", rewriters, "the same for senders, before canonical_maps"},
    {"sender_canonical_classes", Type::list, "envelope_sender, header_sender", router, "which addresses sender_canonical_maps change", 0, 0, "envelope_sender|header_sender"},
    {"recipient_canonical_maps", Type::tables, "", rewriters, "the same for recipients, before canonical_maps"},
    {"recipient_canonical_classes", Type::list, "envelope_recipient, header_recipient", router, "which addresses recipient_canonical_maps change", 0, 0, "envelope_recipient|header_recipient"},
    {"masquerade_domains", Type::list, "", rewriters, "domains whose hosts are not shown: user@host.domain becomes user@domain"},
    {"masquerade_classes", Type::list, "envelope_sender, header_sender, header_recipient", router, "which addresses masquerade_domains change", 0, 0, "envelope_sender|envelope_recipient|header_sender|header_recipient"},
    {"masquerade_exceptions", Type::list, "", router, "users whose addresses masquerade_domains leave alone"},
    {"always_bcc", Type::text, "", Who(smtpd | submission), "who gets a blind copy of every mail"},
    {"sender_bcc_maps", Type::tables, "", rewriters, "who gets a blind copy, by sender"},
    {"recipient_bcc_maps", Type::tables, "", rewriters, "who gets a blind copy, by recipient"},
    {"local_header_rewrite_clients", Type::list, "permit_inet_interfaces, permit_sasl_authenticated", Who(smtpd | submission), "clients in whose mail header addresses are changed"},
    {"propagate_unmatched_extensions", Type::list, "canonical, virtual", Who(router | local | smtp_client), "where user+extension keeps its extension when user was found", 0, 0, "canonical|virtual|alias|forward|include|generic"},
    {"relay_domains", Type::list, "", Who(router | smtpd), "domains that this host takes mail for and passes on"},
    {"relay_recipient_maps", Type::tables, "", router, "which recipients of relay_domains exist; empty: all are taken"},
    {"parent_domain_matches_subdomains", Type::list, "debug_peer_list, fast_flush_domains, mynetworks, permit_mx_backup_networks, qmqpd_authorized_clients, relay_domains, smtpd_access_maps",
     Who(router | smtpd | submission), "lists in which example.org stands for its subdomains too"},
    {"transport_maps", Type::tables, "", router, "transport:nexthop by address and by domain"},
    {"relayhost", Type::text, "", router, "where mail for other hosts goes; empty: to their MX hosts"},
    {"smtpd_sender_login_maps", Type::tables, "", router, "who may send as an address: address or @domain, then login names"},
    {"sender_dependent_relayhost_maps", Type::tables, "", router, "relayhost by sender"},
    {"default_transport", Type::text, "smtp", router, "transport:nexthop for mail to other hosts"},
    {"sender_dependent_default_transport_maps", Type::tables, "", router, "default_transport by sender"},
    {"relay_transport", Type::text, "relay", router, "transport:nexthop for mail to relay_domains"},
    {"local_transport", Type::text, "local", router, "transport:nexthop for mail to mydestination"},
};
}  // namespace

std::span<const Setting> router_settings() { return rows; }

}  // namespace veredus::conf
