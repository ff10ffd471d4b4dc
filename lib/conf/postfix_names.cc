// The parameters that Postfix documents and that are no settings of ours: what veredus does instead.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "config.h"
#include "lib/base/text.h"
#include "lib/conf/foreign.h"

namespace veredus::conf {

namespace {

struct Builtin {
    std::string_view name;
    const char* value;
};
constexpr Builtin builtins[] = {
    {"mail_version", VEREDUS_VERSION}, {"config_directory", VEREDUS_SYSCONFDIR}, {"daemon_directory", VEREDUS_LIBEXECDIR},
    {"command_directory", VEREDUS_SBINDIR}, {"data_directory", "/var/lib/veredus"}, {"stress", ""}, {"process_name", ""}, {"process_id", ""},
};

struct Group {
    const char* instead;   // empty: nothing an administrator needs to hear
    const char* names;
};
// Names that have a row of their own are dropped when this is put together, so a setting that comes later only needs its row.
constexpr Group groups[] = {
    {"",
     "allow_percent_hack alternate_config_directories backwards_bounce_logfile_compatibility biff "
     "broken_sasl_auth_clients command_directory command_execution_directory compatibility_level config_directory "
     "cyrus_sasl_config_path daemon_directory data_directory debug_peer_level debugger_command html_directory "
     "lmtp_sasl_path lmtp_tls_session_cache_database lmtp_tls_session_cache_timeout mail_owner mail_release_date "
     "mail_version maillog_file_compressor maillog_file_prefixes maillog_file_rotate_suffix mailq_path "
     "manpage_directory max_use meta_directory milter_command_timeout milter_connect_macros milter_connect_timeout "
     "milter_content_timeout milter_data_macros milter_default_action milter_end_of_data_macros "
     "milter_end_of_header_macros milter_header_checks milter_helo_macros milter_macro_daemon_name "
     "milter_macro_defaults milter_macro_v milter_mail_macros milter_protocol milter_rcpt_macros "
     "milter_unknown_command_macros multi_instance_directories multi_instance_enable multi_instance_group "
     "multi_instance_name multi_instance_wrapper newaliases_path openssl_path postmulti_control_commands "
     "postmulti_start_commands postmulti_stop_commands postscreen_non_smtp_command_enable postscreen_pipelining_enable "
     "process_id_directory program_directory proxy_read_maps proxy_write_maps readme_directory require_home_directory sample_directory "
     "sendmail_path setgid_group shlib_directory show_user_unknown_table_name smtp_sasl_path "
     "smtp_tls_note_starttls_offer smtp_tls_session_cache_database smtp_tls_session_cache_timeout "
     "smtpd_tls_dh1024_param_file smtpd_tls_session_cache_database smtpd_tls_session_cache_timeout stress "
     "tls_daemon_random_source tls_preempt_cipherlist tls_random_bytes tls_random_exchange_name tls_random_prng_update_period "
     "tls_random_reseed_period tls_random_source tls_ssl_options"},
    {"logins at servers are as smtp_sasl_auth_enable and smtp_sasl_password_maps say; a refused one makes the mail wait",
     "smtp_sasl_auth_cache_name smtp_sasl_auth_cache_time smtp_sasl_auth_soft_bounce smtp_sasl_type "
     "send_cyrus_sasl_authzid"},
    {"users log in on the ports of submission_listen, with what auth_mechanisms says; there are no logins on port 25",
     "smtpd_sasl_auth_enable smtpd_sasl_authenticated_header smtpd_sasl_exceptions_networks smtpd_sasl_local_domain "
     "smtpd_sasl_mechanism_filter smtpd_sasl_response_limit smtpd_sasl_security_options "
     "smtpd_sasl_tls_security_options"},
    {"smtp_tls_security_level says it: may (the default) uses TLS where it is offered, encrypt demands it, verify and secure demand a name too",
     "smtp_use_tls smtp_enforce_tls smtp_tls_enforce_peername smtp_tls_per_site"},
    {"smtp_tls_ciphers and smtp_tls_mandatory_ciphers do it, with a grade",
     "lmtp_tls_cipherlist smtp_tls_cipherlist"},
    {"smtp_fallback_relay does it",
     "fallback_relay"},
    {"smtpd_client_event_limit_exceptions does it",
     "smtpd_client_connection_limit_exceptions"},
    {"smtp_tls_chain_files has certificates of every kind that servers are shown",
     "smtp_tls_dcert_file smtp_tls_dkey_file smtp_tls_eccert_file smtp_tls_eckey_file smtp_tls_enable_rpk"},
    {"connections are used again with TLS as without, for every destination, as smtp_connection_cache_on_demand says",
     "smtp_tls_connection_reuse smtp_connection_cache_destinations"},
    {"QUIT is said, and its answer not waited for",
     "smtp_quit_timeout smtp_skip_quit_response"},
    {"EHLO is always said, and HELO to servers that do not know it",
     "smtp_always_send_ehlo smtp_never_send_ehlo"},
    {"each stage has its time-out, and what a server drips without end is given up after an hour",
     "smtp_per_record_deadline smtp_per_request_deadline smtp_min_data_rate"},
    {"nothing is done for firewalls that break SMTP; smtp_discard_ehlo_keywords hides an extension of servers",
     "smtp_pix_workaround_delay_time smtp_pix_workaround_maps smtp_pix_workaround_threshold_time smtp_pix_workarounds"},
    {"what a reply means is as its code says; smtp_reply_filter changes it",
     "smtp_delivery_status_filter"},
    {"TLS is spoken by each daemon itself; there is no TLS proxy",
     "tlsproxy_client_CAfile tlsproxy_client_CApath tlsproxy_client_cert_file tlsproxy_client_chain_files "
     "tlsproxy_client_dcert_file tlsproxy_client_dkey_file tlsproxy_client_eccert_file tlsproxy_client_eckey_file "
     "tlsproxy_client_enforce_tls tlsproxy_client_key_file tlsproxy_client_loglevel tlsproxy_client_loglevel_parameter "
     "tlsproxy_client_per_site tlsproxy_client_policy_maps tlsproxy_client_scert_verifydepth "
     "tlsproxy_client_security_level tlsproxy_client_use_tls tlsproxy_enforce_tls tlsproxy_service_name "
     "tlsproxy_tls_CAfile tlsproxy_tls_CApath tlsproxy_tls_always_issue_session_ids tlsproxy_tls_ask_ccert "
     "tlsproxy_tls_ccert_verifydepth tlsproxy_tls_cert_file tlsproxy_tls_chain_files tlsproxy_tls_dcert_file "
     "tlsproxy_tls_dkey_file tlsproxy_tls_eccert_file tlsproxy_tls_eckey_file tlsproxy_tls_enable_rpk "
     "tlsproxy_tls_key_file tlsproxy_tls_loglevel tlsproxy_tls_req_ccert tlsproxy_tls_security_level tlsproxy_use_tls "
     "tlsproxy_watchdog_timeout"},
    {"addresses are never probed at other servers",
     "address_verify_cache_cleanup_interval address_verify_default_transport address_verify_local_transport "
     "address_verify_map address_verify_negative_cache address_verify_negative_expire_time "
     "address_verify_negative_refresh_time address_verify_pending_request_limit address_verify_poll_count "
     "address_verify_poll_delay address_verify_positive_expire_time address_verify_positive_refresh_time "
     "address_verify_relay_transport address_verify_relayhost address_verify_sender "
     "address_verify_sender_dependent_default_transport_maps address_verify_sender_dependent_relayhost_maps "
     "address_verify_sender_ttl address_verify_transport_maps address_verify_virtual_transport unverified_recipient_defer_code "
     "unverified_recipient_reject_code unverified_recipient_reject_reason unverified_recipient_tempfail_action "
     "unverified_sender_defer_code unverified_sender_reject_code unverified_sender_reject_reason "
     "unverified_sender_tempfail_action"},
    {"LMTP deliveries go without this; the line has no effect",
     "lmtp_address_verify_target lmtp_assume_final lmtp_bind_address_enforce lmtp_cache_connection "
     "lmtp_cname_overrides_servername lmtp_connection_cache_destinations lmtp_delivery_status_filter "
     "lmtp_dns_reply_filter lmtp_dns_resolver_options lmtp_enforce_tls lmtp_min_data_rate lmtp_per_record_deadline lmtp_per_request_deadline "
     "lmtp_pix_workaround_delay_time lmtp_pix_workaround_maps lmtp_pix_workaround_threshold_time lmtp_pix_workarounds "
     "lmtp_quit_timeout lmtp_quote_rfc821_envelope lmtp_sasl_auth_cache_name lmtp_sasl_auth_cache_time "
     "lmtp_sasl_auth_soft_bounce lmtp_sasl_type lmtp_send_dummy_mail_auth lmtp_send_xforward_command "
     "lmtp_skip_quit_response lmtp_tls_CApath lmtp_tls_block_early_mail_reply lmtp_tls_connection_reuse "
     "lmtp_tls_dcert_file lmtp_tls_dkey_file lmtp_tls_eccert_file lmtp_tls_eckey_file lmtp_tls_enable_rpk "
     "lmtp_tls_enforce_peername lmtp_tls_note_starttls_offer lmtp_tls_per_site lmtp_tls_scert_verifydepth lmtp_use_tls "
     "lmtp_xforward_timeout"},
    {"milters are not called yet; mail passes unfiltered",
     "non_smtpd_milters smtpd_milter_maps smtpd_milters"},
    {"addresses of a gateway in front of this host are not looked for; a loop is seen by the host's own name",
     "proxy_interfaces"},
    {"who calls sendmail may use any sender address; his user ID is logged",
     "empty_address_local_login_sender_maps_lookup_key local_login_sender_maps"},
    {"relay_domains names the domains whose mail is taken for another server",
     "permit_mx_backup_networks"},
    {"transport_maps does it: user@example.org error:5.1.6 user has moved to new@example.net",
     "relocated_maps"},
    {"each process serves many clients; smtpd_processes, submission_processes, login_processes and smtp_processes say how many there are",
     "default_process_limit"},
    {"an mbox is locked with fcntl, and with a dotlock where other programs may look for one",
     "mailbox_delivery_lock virtual_mailbox_lock"},
    {"a Maildir has no limit of its own; that of an mbox is mailbox_size_limit",
     "virtual_mailbox_limit"},
    {"the facility is always mail",
     "syslog_facility"},
    {"SMTPUTF8 is always offered; smtpd_discard_ehlo_keywords = smtputf8 hides it",
     "smtputf8_enable"},
    {"no reports about TLS are sent (RFC 8460)",
     "smtp_tlsrpt_enable smtp_tlsrpt_skip_reused_handshakes smtp_tlsrpt_socket_name"},
    {"DANE is not there yet",
     "lmtp_tls_force_insecure_host_tlsa_lookup lmtp_tls_trust_anchor_file smtp_tls_dane_insecure_mx_policy "
     "smtp_tls_force_insecure_host_tlsa_lookup smtp_tls_trust_anchor_file tls_dane_digests"},
    {"RSA and ECDSA certificates are shown, and no DSA and no raw keys",
     "smtpd_tls_dcert_file smtpd_tls_dkey_file smtpd_tls_enable_rpk"},
    {"smtpd_tls_CAfile names the authorities of clients, in one file",
     "smtpd_tls_CApath"},
    {"nobody on port 25 needs a certificate; check_ccert_access in a restriction list asks for one that is known",
     "smtpd_tls_req_ccert"},
    {"a listener with /tls behind its port begins with TLS, as in submission_listen = 587, 465/tls",
     "smtpd_tls_wrappermode"},
    {"smtpd_tls_security_level says it: may (the default) offers TLS, encrypt demands it",
     "smtpd_enforce_tls smtpd_use_tls"},
    {"XCLIENT and XFORWARD are neither spoken nor understood",
     "smtp_send_xforward_command smtp_xforward_timeout smtpd_authorized_xclient_hosts smtpd_authorized_xforward_hosts"},
    {"proxies that say whom they bring are known to imapd and pop3d only (haproxy_trusted_networks); smtpd takes the proxy for the client",
     "postscreen_upstream_proxy_protocol smtpd_upstream_proxy_protocol smtpd_upstream_proxy_timeout"},
    {"there is no postscreen: smtpd_pregreet_wait and smtpd_pregreet_action do it",
     "postscreen_greet_action"},
    {"there is no postscreen: reject_rbl_client in smtpd_client_restrictions does it, without weights",
     "postscreen_dnsbl_action postscreen_dnsbl_sites postscreen_dnsbl_threshold"},
    {"there is no postscreen: check_client_access in smtpd_client_restrictions does it",
     "postscreen_access_list"},
    {"header_checks and its kin look at all mail that smtpd and submission take in, and at no other",
     "cleanup_service_name internal_mail_filter_classes"},
    {"no content filter is called yet: mail passes unfiltered",
     "content_filter default_filter_nexthop receive_override_options smtpd_proxy_ehlo smtpd_proxy_filter "
     "smtpd_proxy_options smtpd_proxy_timeout"},
    {"only CRLF.CRLF ends a mail, and bytes sent too early are never obeyed; nothing needs to be switched on",
     "cleanup_replace_stray_cr_lf smtpd_forbid_unauth_pipelining"},
    {"reply codes are fixed",
     "fault_injection_code unknown_relay_recipient_reject_code unknown_virtual_alias_reject_code "
     "unknown_virtual_mailbox_reject_code"},
    {"roles have fixed names and there is no master.cf",
     "address_verify_service_name bounce_service_name connection_cache_service connection_cache_service_name defer_service_name "
     "error_service_name flush_service_name master_service_disable pickup_service_name postlog_service_name "
     "process_name proxymap_service_name proxywrite_service_name queue_service_name rewrite_service_name service_name "
     "showq_service_name smtpd_service_name tlsmgr_service_name trace_service_name"},
    {"smtpd serves thousands of clients itself; there is no postscreen before it",
     "postscreen_blacklist_action postscreen_dnsbl_ttl postscreen_dnsbl_whitelist_threshold postscreen_whitelist_interfaces "
     "dnsblog_reply_delay dnsblog_service_name postscreen_allowlist_interfaces postscreen_bare_newline_action "
     "postscreen_bare_newline_enable postscreen_bare_newline_ttl postscreen_cache_cleanup_interval "
     "postscreen_cache_map postscreen_cache_retention_time postscreen_client_connection_count_limit "
     "postscreen_command_count_limit postscreen_command_filter postscreen_command_time_limit "
     "postscreen_denylist_action postscreen_disable_vrfy_command postscreen_discard_ehlo_keyword_address_maps "
     "postscreen_discard_ehlo_keywords postscreen_dnsbl_allowlist_threshold postscreen_dnsbl_max_ttl "
     "postscreen_dnsbl_min_ttl postscreen_dnsbl_reply_map postscreen_dnsbl_timeout postscreen_enforce_tls "
     "postscreen_expansion_filter postscreen_forbidden_commands postscreen_greet_banner postscreen_greet_ttl "
     "postscreen_greet_wait postscreen_helo_required postscreen_non_smtp_command_action "
     "postscreen_non_smtp_command_ttl postscreen_pipelining_action postscreen_pipelining_ttl "
     "postscreen_post_queue_limit postscreen_pre_queue_limit postscreen_reject_footer postscreen_reject_footer_maps "
     "postscreen_tls_security_level postscreen_upstream_proxy_timeout postscreen_use_tls postscreen_watchdog_timeout"},
    {"tables are text files, read and watched by veredus",
     "berkeley_db_create_buffer_size berkeley_db_read_buffer_size default_database_type lmdb_map_size"},
    {"the answer to an unknown recipient is always 550 5.1.1",
     "unknown_local_recipient_reject_code"},
    {"there is no QMQP service; use SMTP or submission",
     "qmqpd_authorized_clients qmqpd_client_port_logging qmqpd_error_delay qmqpd_timeout"},
    {"veredus checks passwords itself (setting passdb)",
     "smtpd_sasl_application_name smtpd_sasl_path smtpd_sasl_service smtpd_sasl_type"},
    {"veredus has no such setting; the line has no effect",
     "allow_min_user allow_srv_lookup_fallback allow_untrusted_routing always_add_missing_headers append_at_myorigin "
     "authorized_submit_users authorized_verp_clients best_mx_transport bounce_template_file "
     "connection_cache_protocol_timeout connection_cache_status_update_time connection_cache_ttl_limit daemon_timeout "
     "debug_peer_list default_delivery_status_filter default_destination_concurrency_negative_feedback "
     "default_destination_concurrency_positive_feedback default_transport_rate_delay default_verp_delimiters "
     "delay_logging_resolution_limit destination_concurrency_feedback_debug detect_8bit_encoding_header "
     "disable_mime_input_processing disable_verp_bounces dns_ncache_ttl_fix_enable dnssec_probe "
     "empty_address_default_transport_maps_lookup_key empty_address_recipient empty_address_relayhost_maps_lookup_key "
     "enable_idna2003_compatibility enable_original_recipient enable_threaded_bounces error_notice_recipient "
     "execution_directory_expansion_filter fast_flush_purge_time fast_flush_refresh_time force_mime_input_conversion "
     "forward_expansion_filter frozen_delivered_to full_name_encoding_charset header_address_token_limit "
     "header_from_format ignore_srv_lookup_error info_log_address_format known_tcp_ports local_delivery_status_filter "
     "local_destination_recipient_limit maps_rbl_domains message_reject_characters message_strip_characters "
     "mime_boundary_length_limit nbdb_custom_script nbdb_enable nbdb_log_redirect non_empty_end_of_header_action "
     "pipe_delivery_status_filter postlogd_watchdog_timeout prepend_delivered_header queue_file_attribute_count_limit "
     "remote_header_rewrite_domain reset_owner_alias resolve_dequoted_address resolve_null_domain "
     "resolve_numeric_domain respectful_logging sendmail_fix_line_endings smtp_address_verify_target "
     "smtp_bind_address_enforce smtp_cname_overrides_servername smtp_dns_reply_filter smtp_dns_resolver_options "
     "smtp_quote_rfc821_envelope smtp_send_dummy_mail_auth smtp_skip_4xx_greeting smtp_tls_block_early_mail_reply smtp_tls_scert_verifydepth "
     "smtpd_authorized_verp_clients smtpd_client_port_logging smtpd_command_filter smtpd_delay_open_until_valid_rcpt "
     "smtpd_dns_reply_filter smtpd_expansion_filter smtpd_forbidden_commands smtpd_hide_client_session "
     "smtpd_history_flush_threshold smtpd_log_access_permit_actions smtpd_min_data_rate smtpd_noop_commands "
     "smtpd_per_record_deadline smtpd_per_request_deadline smtpd_starttls_timeout "
     "smtpd_tls_always_issue_session_ids smtpd_tls_ccert_verifydepth smtputf8_autodetect_classes strict_7bit_headers "
     "strict_8bitmime strict_8bitmime_body strict_mailbox_ownership strict_mime_encoding_domain strict_smtputf8 "
     "sun_mailtool_compatibility swap_bangpath tcp_windowsize tls_append_default_CA tls_config_file tls_config_name "
     "tls_daemon_random_bytes tls_disable_workarounds tls_fast_shutdown_enable tls_wildcard_matches_multiple_labels "
     "use_srv_lookup verp_delimiter_filter virtual_alias_address_length_limit virtual_delivery_status_filter "
     "virtual_maps"},
    {"qmgr_expansion_depth_limit says how often aliases may lead to aliases, of whatever kind",
     "virtual_alias_recursion_limit"},
    {"veredus offers the TLS versions and ciphers that its library calls current; there is no finer choice",
     "smtpd_tls_cipherlist smtpd_tls_ciphers smtpd_tls_dh512_param_file smtpd_tls_eecdh_grade smtpd_tls_exclude_ciphers "
     "smtpd_tls_mandatory_ciphers smtpd_tls_mandatory_exclude_ciphers smtpd_tls_mandatory_protocols "
     "smtpd_tls_protocols tls_eecdh_auto_curves tls_eecdh_strong_curve tls_eecdh_ultra_curve tls_export_cipherlist "
     "tls_high_cipherlist tls_legacy_public_key_fingerprints tls_low_cipherlist tls_medium_cipherlist "
     "tls_null_cipherlist tls_session_ticket_cipher tlsproxy_client_fingerprint_digest tlsproxy_tls_ciphers "
     "tlsproxy_tls_dh1024_param_file tlsproxy_tls_dh512_param_file tlsproxy_tls_eecdh_grade "
     "tlsproxy_tls_exclude_ciphers tlsproxy_tls_fingerprint_digest tlsproxy_tls_mandatory_ciphers "
     "tlsproxy_tls_mandatory_exclude_ciphers tlsproxy_tls_mandatory_protocols tlsproxy_tls_protocols"},
    {"veredus schedules and limits this by itself",
     "application_event_drain_time daemon_table_open_error_is_fatal default_delivery_slot_cost "
     "default_delivery_slot_discount default_delivery_slot_loan default_extra_recipient_limit "
     "default_minimum_delivery_slots default_recipient_limit default_recipient_refill_delay "
     "default_recipient_refill_limit dont_remove duplicate_filter_limit extract_recipient_limit enable_long_queue_ids fork_attempts fork_delay "
     "hash_queue_depth hash_queue_names helpful_warnings import_environment in_flow_delay ipc_idle ipc_timeout ipc_ttl "
     "max_idle process_id qmgr_clog_warn_time qmgr_daemon_timeout qmgr_fudge_factor qmgr_ipc_timeout "
     "qmgr_message_recipient_limit qmgr_site_hog_factor qmgr_message_recipient_minimum service_throttle_time stale_lock_time "
     "transport_retry_time trigger_timeout undisclosed_recipients_header"},
    {"veredus trusts the loopback only by default; list your networks in mynetworks",
     "mynetworks_style"},
};

std::vector<Foreign> gather()
{
    static std::vector<std::string> storage;   // the names, ended by NUL; never grows after this
    std::size_t count = 0;
    for (const Group& group : groups) count += split(group.names, " ").size();
    storage.reserve(count);
    std::vector<Foreign> all;
    all.reserve(count);
    for (const Group& group : groups)
        for (const std::string_view name : split(group.names, " ")) {
            if (find_setting(name)) continue;
            storage.emplace_back(name);
            all.push_back({storage.back().c_str(), group.instead});
        }
    std::sort(all.begin(), all.end(), [](const Foreign& a, const Foreign& b) { return std::strcmp(a.name, b.name) < 0; });
    return all;
}

}  // namespace

std::span<const Foreign> foreign_parameters()
{
    static const std::vector<Foreign> all = gather();
    return all;
}

const Foreign* find_foreign(std::string_view name)
{
    const auto all = foreign_parameters();
    const auto at = std::lower_bound(all.begin(), all.end(), name, [](const Foreign& f, std::string_view key) { return f.name < key; });
    return at != all.end() && at->name == name ? &*at : nullptr;
}

const char* builtin_value(std::string_view name)
{
    const auto at = std::find_if(std::begin(builtins), std::end(builtins), [&](const Builtin& b) { return b.name == name; });
    return at == std::end(builtins) ? nullptr : at->value;
}

}  // namespace veredus::conf
